"""How many rows hold benchmark problems, counted from the evidence of decontaminate."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TOP = 5
_KIND_WORDS = {
    "ast": "is the same program but for names, comments and formatting",
    "ast-no-constants": "is the same program but for names, comments, formatting and numbers",
    "part": "holds its module class or a kernel of it, but for names and formatting",
    "part-no-constants": "holds its module class or a kernel of it, but for names and numbers",
    "name": "has its name",
}
_SIDE_WORDS = {"reference": "the reference", "prompt": "the prompt", "answer": "the answer",
               "name": "the module"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contamination:
    """Rows per benchmark and per kind of evidence, by the strongest hit of each row."""

    rows: int = 0
    contaminated: int = 0
    """Rows with evidence enough to be dropped."""
    weak: int = 0
    """Rows with weaker evidence, e.g. a name alone: kept."""
    by_benchmark: Counter[str] = field(default_factory=Counter)
    """Contaminated rows that hold a problem of it; a row may count for several."""
    by_kind: Counter[str] = field(default_factory=Counter)
    """Contaminated rows by their strongest evidence."""
    by_side: Counter[str] = field(default_factory=Counter)
    """Contaminated rows by where that was found."""
    by_problem: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Contaminated rows per benchmark and problem, by their best hit."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        problems = sorted(self.by_problem.items(), key=lambda item: (-item[1], item[0]))
        return {
            "rows": self.rows,
            "contaminated": self.contaminated,
            "weak": self.weak,
            "by_benchmark": _ordered(self.by_benchmark),
            "by_kind": _ordered(self.by_kind),
            "by_side": _ordered(self.by_side),
            "by_problem": [
                {"benchmark": benchmark, "problem": problem, "rows": count}
                for (benchmark, problem), count in problems
            ],
        }

    def lines(self) -> list[str]:
        """A line each of benchmarks, kinds, sides and commonest problems, where there are any."""
        top = self.as_json()["by_problem"]
        problems = [f"{one['problem']} {one['rows']:,}" for one in top[:TOP]]
        more = f" and {len(top) - TOP:,} more" if len(top) > TOP else ""
        parts = [
            ("benchmarks: ", _counted(self.by_benchmark)),
            ("evidence: ", _counted(self.by_kind)),
            ("found in: ", _counted(self.by_side)),
            ("problems: ", ", ".join(problems) + more),
        ]
        return [start + text for start, text in parts if text]


def count(found: Iterable[tuple[bool, Mapping[str, Any]]]) -> Contamination:
    """Count pairs of keep and evidence, one per row, as decontaminate's decisions hold them."""
    rows = contaminated = weak = 0
    benchmarks: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    sides: Counter[str] = Counter()
    problems: Counter[tuple[str, str]] = Counter()
    for keep, evidence in found:
        rows += 1
        hits = evidence.get("hits", [])
        if keep:
            weak += bool(hits)
            continue
        contaminated += 1
        best = hits[0]
        benchmarks.update({
            hit["benchmark"] for hit in hits if hit["kind"] != "name" or best == hit
        })
        kinds[best["kind"]] += 1
        sides[best["side"]] += 1
        problems[best["benchmark"], best["problem"]] += 1
    return Contamination(rows, contaminated, weak, benchmarks, kinds, sides, problems)


def sentence(reason: str, evidence: Mapping[str, Any]) -> str:
    """What decontaminate decided about a row and why, in one line."""
    match reason:
        case "contaminated":
            return f"decontaminate dropped it: {hit_words(evidence['hits'][0])}"
        case "weak-evidence":
            return f"decontaminate kept it on weak evidence: {hit_words(evidence['hits'][0])}"
        case "nothing-to-compare":
            return "decontaminate kept it: it has no reference, prompt or program to look through"
    return "decontaminate kept it: no benchmark problem was found in it"


def more_hits(evidence: Mapping[str, Any]) -> list[str]:
    """A line for each further hit."""
    hits = evidence.get("hits", [])
    out = [f"also: {hit_words(hit)}" for hit in hits[1:]]
    left = evidence.get("of", 0) - len(hits)
    return [*out, f"and {left:,} more"] if left > 0 else out


def hit_words(hit: Mapping[str, Any]) -> str:
    """One hit: which problem of which benchmark, what of the row shows it, and how."""
    version = f" {hit['version']}" if hit["version"] else ""
    problem = f"{hit['problem']} of {hit['benchmark']}{version}"
    if hit["kind"] == "ngram":
        what = f"has {hit['score']:.0%} of its token n-grams"
    else:
        what = _KIND_WORDS[hit["kind"]]
    return f"{problem}: {_SIDE_WORDS[hit['side']]} {what} ({hit['kind']})"


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in _ordered(counts).items())

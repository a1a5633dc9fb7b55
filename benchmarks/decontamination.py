"""Decontamination against word n-grams: time, what is found after changes, false alarms.

The baseline is what one would pick instead: 13-grams of words as datatrove's NGramsDecontFilter
has them (lower case, punctuation out, numbers as 0, words; one shared n-gram is a hit), with plain
Python sets. A second form of it asks for 60 % of a problem's n-grams.

    python benchmarks/decontamination.py            # minutes; needs ../shared/data
    python benchmarks/decontamination.py --choose   # also n and thresholds, side by side
"""

import argparse
import re
import string
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from changed_problems import changes
from data import SHARED
from machine import ROLLOUTS, Measured, measure, own_peak_mb, put_result, say, show, timed, worker

from kernelsift.config import Settings
from kernelsift.contamination import building, fingerprint
from kernelsift.contamination.index import shipped, shortened
from kernelsift.contamination.matching import Hit, Matcher, Texts
from kernelsift.run import Run
from kernelsift.session import Session

SIZE = 13
SHARE = 0.6
WORKERS = 2
PROBLEMS = SHARED / "kernelbench.parquet"
MODULES = SHARED / "kernelbook-modules.parquet"
REAL = SHARED / "rollouts-dev.parquet"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


# --- the baseline -------------------------------------------------------------------------------


class Words:
    """n-grams of words of every problem."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.sets = [word_grams(code) for code in codes]
        self.owners: dict[str, list[int]] = {}
        for number, grams in enumerate(self.sets):
            for gram in grams:
                self.owners.setdefault(gram, []).append(number)

    def hits(self, text: str) -> tuple[bool, bool]:
        """Whether any n-gram is shared, and whether 60 % of those of one problem are."""
        counts: Counter[int] = Counter()
        for gram in word_grams(text):
            counts.update(self.owners.get(gram, ()))
        return bool(counts), any(n >= SHARE * len(self.sets[k]) for k, n in counts.items())


def word_grams(text: str) -> set[str]:
    """All runs of 13 words."""
    words = re.sub(r"\d+", "0", text.lower().translate(_PUNCTUATION)).split()
    return {" ".join(words[at : at + SIZE]) for at in range(len(words) - SIZE + 1)}


def problems() -> list[dict[str, Any]]:
    """KernelBench in both versions, with the names that the index gives."""
    rows: list[dict[str, Any]] = pq.read_table(PROBLEMS).to_pylist()
    for row in rows:
        row["problem"] = f"level{row['level']}/{row['name']}"
        row["version"] = row["version"].partition(" (")[0]
    return rows


# --- parts --------------------------------------------------------------------------------------


def recall() -> None:
    """What is found of KernelBench's problems after changes."""
    rows = problems()
    matcher = Matcher(shipped(), ("ast", "ngram"), SHARE)
    words = Words([row["code"] for row in rows])
    table = []
    for name, change in changes().items():
        ours: Counter[str] = Counter()
        theirs = [0, 0]
        for row in rows:
            text = change(row["code"])
            hits = matcher.hits(Texts("", text, "", (), ""))
            mine = [h for h in hits if h.problem == row["problem"]]
            ours[mine[0].kind if mine else "not found"] += 1
            for at, is_hit in enumerate(words.hits(text)):
                theirs[at] += is_hit
        found = len(rows) - ours["not found"]
        by = ", ".join(f"{kind} {count}" for kind, count in ours.most_common())
        table.append((name, _percent(found, rows), by, *(_percent(n, rows) for n in theirs)))
    columns = ("change", "kernelsift", "by", "one 13-gram of words", "60 % of them")
    show(f"Found of {len(rows)} problem texts of KernelBench", columns, table)


def false_alarms() -> None:
    """What is found among modules that are, but for a few, no problem of the benchmark."""
    rows = pq.read_table(MODULES).to_pylist()
    matcher = Matcher(shipped(), ("ast", "ngram", "name"), SHARE)
    words = Words([row["code"] for row in problems()])
    kinds: Counter[str] = Counter()
    listed: Counter[tuple[str, str]] = Counter()
    theirs = [0, 0]
    for row in rows:
        hits = matcher.hits(Texts(row["module_name"], row["python_code"], "", (), ""))
        if hits:
            kinds[hits[0].kind] += 1
        if hits and hits[0].kind != "name":
            listed[hits[0].kind, hits[0].problem] += 1
        for at, is_hit in enumerate(words.hits(row["python_code"])):
            theirs[at] += is_hit
    ours = sum(n for kind, n in kinds.items() if kind != "name")
    show(
        f"Hits among the {len(rows):,} modules of KernelBook",
        ("way", "rows dropped", "share"),
        [
            ("kernelsift: tree or 60 % of 13-grams of tokens", ours, _percent(ours, rows)),
            ("kernelsift: name alone (kept)", kinds["name"], _percent(kinds["name"], rows)),
            ("one 13-gram of words", theirs[0], _percent(theirs[0], rows)),
            ("60 % of a problem's 13-grams of words", theirs[1], _percent(theirs[1], rows)),
        ],
    )
    lines = [(kind, problem, count) for (kind, problem), count in listed.most_common()]
    show("The hits, by problem", ("kind", "problem", "rows"), lines)


def answers() -> None:
    """What answers to KernelBench problems show of them by themselves."""
    rows = pq.read_table(REAL, columns=["answer"])["answer"].to_pylist()
    matcher = Matcher(shipped(), ("ast", "ngram"), SHARE)
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        first: dict[str, Hit] = {}
        for hit in matcher.hits(Texts("", "", "", (), row)):
            first.setdefault(hit.benchmark, hit)
        counts.update((name, hit.kind) for name, hit in first.items())
    lines = [(name, kind, n, _percent(n, rows)) for (name, kind), n in sorted(counts.items())]
    show(f"{len(rows):,} answers without their task", ("benchmark", "by", "rows", "share"), lines)


def choose() -> None:
    """n and threshold: false alarms against what is found after changes."""
    rows = problems()
    modules = sorted(set(pq.read_table(MODULES)["python_code"].to_pylist()))
    made = {name: [change(row["code"]) for row in rows] for name, change in changes().items()}
    table = []
    for size in (8, 10, 13, 15):
        fingerprint.NGRAM = size
        texts = [building.Text(r["problem"], r["version"], r["code"], "") for r in rows]
        built = building.build(texts, building.About("KernelBench", "", "")).index
        by_name = {(p.name, p.version): p.grams for p in built.problems}
        own = [by_name[row["problem"], row["version"]] for row in rows]
        best = _best_shares(built.problems, modules)
        for share in (0.5, 0.6, 0.7):
            found = [
                np.mean([
                    _share(grams, text) >= share for grams, text in zip(own, texts_, strict=True)
                ])
                for name, texts_ in made.items()
                if name.startswith("other names")
            ]
            without = sum(not len(grams) for grams in own)
            alarms = int((best >= share).sum())
            table.append((size, f"{share:.0%}", without, alarms, *(f"{f:.1%}" for f in found)))
    columns = (
        "n", "share", "problems without n-grams", f"hits in {len(modules):,} modules", "names",
        "names, numbers", "1 line", "2 lines", "3 lines",
    )  # fmt: skip
    show("n-grams alone: length and threshold", columns, table)


def _best_shares(known: Sequence[Any], texts: Sequence[str]) -> "np.ndarray[Any, Any]":
    owners: dict[int, list[int]] = {}
    for number, problem in enumerate(known):
        for gram in problem.grams.tolist():
            owners.setdefault(gram, []).append(number)
    best = np.zeros(len(texts))
    for at, text in enumerate(texts):
        counts: Counter[int] = Counter()
        for gram in _grams(text).tolist():
            counts.update(owners.get(gram, ()))
        best[at] = max((n / len(known[k].grams) for k, n in counts.items()), default=0.0)
    return best


def _share(grams: "np.ndarray[Any, Any]", text: str) -> float:
    return float(np.isin(grams, _grams(text)).mean()) if len(grams) else 0.0


def _grams(text: str) -> "np.ndarray[Any, Any]":
    return shortened(fingerprint.grams(fingerprint.token_hashes(text)))


# --- time ---------------------------------------------------------------------------------------


def rows_for(kind: str) -> Iterator[dict[str, Any]]:
    """18,162 rollouts: modules of KernelBook with real answers, or real rollouts with own texts."""
    real = pq.read_table(REAL).to_pylist()
    modules = pq.read_table(MODULES).to_pylist()
    for number in range(ROLLOUTS):
        row = dict(real[number % len(real)])
        module = modules[number % len(modules)]
        if kind == "KernelBook":
            info = {"module_name": module["module_name"], "python_code": module["python_code"]}
        else:
            info = {name: row["info"][name] for name in ("module_name", "python_code")}
        prompt = f"Rewrite this module.\n\n```python\n{info['python_code']}\n```"
        code = f"# attempt {number}\n{row['answer']}"
        yield {
            "example_id": number,
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": f"BEGIN_PYTHON\n{code}\nEND_PYTHON"}],
            "task": "x",
            "reward": 1.0,
            "info": info,
        }


def speed() -> None:
    """Wall time for 18,162 rows in two processes, from the run directory to the decisions."""
    table = []
    for kind in ("KernelBook", "KernelBench"):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "rows.jsonl"
            with source.open("wb") as out:
                for row in rows_for(kind):
                    out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            measure(worker(__file__, "--part", "load", "--folder", folder))
            for name in ("kernelsift", "words"):
                found = measure(worker(__file__, "--part", name, "--folder", folder))
                table.append(_line(kind, name, found))
    columns = ("tasks", "way", "stage s", "process s", "CPU s", "peak MB", "rows dropped")
    show(f"{ROLLOUTS:,} rows, {WORKERS} processes", columns, table)


def _line(kind: str, name: str, found: Measured) -> tuple[object, ...]:
    way = {"kernelsift": "kernelsift", "words": "13-grams of words, any"}[name]
    result = found.result
    return (
        kind, way, result["seconds"], found.seconds, found.cpu_seconds, found.peak_mb,
        result["dropped"],
    )  # fmt: skip


def part(name: str, folder: Path) -> None:
    """One measured process."""
    if name == "load":
        _load(folder)
    elif name == "kernelsift":
        _ours(folder)
    else:
        _theirs(folder)


def _settings(folder: Path) -> Settings:
    return Settings.read(None, {"load.source": str(folder / "rows.jsonl"), "workers": WORKERS})


def _load(folder: Path) -> None:
    from kernelsift import pipeline

    with Run.open(folder / "run") as run:
        session = Session(run, _settings(folder))
        pipeline.load(session)
        pipeline.filter_rows(session)
    put_result({})


def _ours(folder: Path) -> None:
    from kernelsift import pipeline

    with Run.open(folder / "run") as run:
        tally = pipeline.decontaminate(Session(run, _settings(folder)))
    put_result({"seconds": tally.seconds, "dropped": tally.counts["dropped"], "mb": own_peak_mb()})


def _theirs(folder: Path) -> None:
    seconds: dict[str, float] = {}
    with timed(seconds, "all"), ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        file = pq.ParquetFile(folder / "run" / "samples.parquet")
        groups = range(file.num_row_groups)
        path = str(folder / "run" / "samples.parquet")
        dropped = sum(pool.map(partial(_count, path), groups))
    put_result({"seconds": seconds["all"], "dropped": dropped, "mb": own_peak_mb()})


def _count(path: str, group: int) -> int:
    global _words  # noqa: PLW0603 - once in each process
    if _words is None:
        _words = Words([row["code"] for row in problems()])
    table = pq.ParquetFile(path).read_row_group(group, columns=["ks_reference", "ks_code"])
    pairs = zip(table["ks_reference"].to_pylist(), table["ks_code"].to_pylist(), strict=True)
    return sum(_words.hits(f"{reference}\n{code}")[0] for reference, code in pairs)


_words: Words | None = None


def _percent(count: int, of: Sequence[object]) -> str:
    return f"{count / len(of):.1%}"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true", help="also n and threshold")
    parser.add_argument("--quick", action="store_true", help="without the timed part")
    parser.add_argument("--part", choices=("load", "kernelsift", "words"))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.part:
        part(options.part, options.folder)
        return 0
    if not all(path.exists() for path in (PROBLEMS, MODULES, REAL)):
        say("../shared/data is not here: nothing to measure with")
        return 0
    recall()
    false_alarms()
    answers()
    if options.choose:
        choose()
    if not options.quick:
        speed()
    return 0


if __name__ == "__main__":
    sys.exit(main())

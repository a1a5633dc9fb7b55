"""dedup: which rows repeat others, and which of them stays."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from kernelsift.config import Dedup
from kernelsift.errors import DataError
from kernelsift.expression import Expression
from kernelsift.model import Decision, Entry
from kernelsift.repeats import Texts

Kind = Literal["exact", "near", "module-name"]
_TOO_FEW = 50
"""Rows of which a share says little."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample and the columns that its score is made of."""

    entry: Entry
    values: Mapping[str, float]


# --- by module name -----------------------------------------------------------------------------


def select(candidates: Iterable[Candidate], score: Expression) -> list[Decision]:
    """Keep one sample per module name: the highest score, ties by the smaller id.

    Every dropped sample's evidence names the sample that beat it, and both scores.

    Raises:
        DataError: a score has no finite value.
    """
    groups: dict[str, list[tuple[float, Entry]]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.entry.module].append((_score(candidate, score), candidate.entry))
    decisions = []
    for module, group in groups.items():
        (top, best), *rest = sorted(group, key=lambda pair: (-pair[0], pair[1].id))
        evidence = {"module": module, "score": top, "of": len(group)}
        decisions.append(
            Decision(
                sample=best.id, stage="dedup", keep=True, reason="best-of-module", evidence=evidence
            )
        )
        decisions += [
            Decision(
                sample=entry.id,
                stage="dedup",
                keep=False,
                reason="not-best-of-module",
                evidence={"module": module, "score": value, "best": best.id, "best_score": top},
            )
            for value, entry in rest
        ]
    return decisions


def _score(candidate: Candidate, score: Expression) -> float:
    try:
        return score(candidate.values)
    except (ArithmeticError, ValueError) as e:
        values = ", ".join(f"{k} = {v:g}" for k, v in candidate.values.items())
        raise DataError(
            f"{candidate.entry.origin}: the score {score.text!r} has no value for {values} ({e}); "
            "change the expression with --score"
        ) from e


# --- by what is in the programs -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows from the best to the worst; rows have the numbers of `Texts.of`."""

    entries: Sequence[Entry]
    """By number."""
    order: Sequence[int]
    """Numbers, the best row first."""
    scores: Sequence[tuple[float, ...]]
    """By number."""


@dataclass(frozen=True, slots=True)
class Match:
    """A row, the better row that it repeats, and in which way."""

    row: int
    centre: int
    kind: Kind
    similarity: float | None
    """Jaccard similarity of the structural shingles, the lower one of two sides; 1 for exact, None
    for a name."""
    raw: float | None = None
    """The same of the tokens as they are written."""


def rank(candidates: Sequence[Candidate], scores: Sequence[Expression]) -> Ranked:
    """Order rows by the first score, ties by the next, at last by the smaller id.

    Raises:
        DataError: a score has no finite value.
    """
    values = [tuple(_score(each, score) for score in scores) for each in candidates]
    entries = [each.entry for each in candidates]
    order = sorted(
        range(len(entries)), key=lambda i: (tuple(-value for value in values[i]), entries[i].id)
    )
    return Ranked(entries, order, values)


def find_repeats(ranked: Ranked, cfg: Dedup, parts: Sequence[Texts]) -> list[Match]:
    """Clusters without chains: the best row leads, and every follower is like its leader itself.

    Going from the best row to the worst, a row that is like a leader follows it; any other leads. A
    row that is only like a follower does not follow: every claim of likeness was checked.

    Args:
        ranked: All rows.
        cfg: `by`, any of which is enough. Exact comes before near, near before the name; of
            several near leaders the most similar counts, ties go to the better.
        parts: The sides to compare; with two, both must be alike.
    """
    leaders = _Leaders(ranked, cfg, parts)
    out = []
    for row in ranked.order:
        found = leaders.match(row)
        if found is None:
            leaders.add(row)
        else:
            out.append(found)
    return out


class _Leaders:
    """The rows that lead so far, and where to find them."""

    def __init__(self, ranked: Ranked, cfg: Dedup, parts: Sequence[Texts]) -> None:
        self._place = {row: place for place, row in enumerate(ranked.order)}
        self._modules = [entry.module for entry in ranked.entries]
        self._by = cfg.by
        self._parts = parts
        self._names: dict[str, int] = {}
        self._exact: dict[tuple[str, ...], int] = {}
        self._near: dict[tuple[int, ...], int] = {}

    def add(self, row: int) -> None:
        """This row leads."""
        self._names.setdefault(self._modules[row], row)
        self._exact.setdefault(self._keys(row), row)
        self._near.setdefault(self._nodes(row), row)

    def match(self, row: int) -> Match | None:
        """The leader that this row is like."""
        keys = self._keys(row)
        if "exact" in self._by and all(keys) and keys in self._exact:
            return Match(row, self._exact[keys], "exact", 1.0)
        if "near" in self._by and (found := self._nearest(row)):
            return found
        if "module-name" in self._by and self._modules[row] in self._names:
            return Match(row, self._names[self._modules[row]], "module-name", None)
        return None

    def _nearest(self, row: int) -> Match | None:
        around = [
            part.around(node) for part, node in zip(self._parts, self._nodes(row), strict=True)
        ]
        found = [
            (-min(value for _, value in combination), self._place[leader], leader)
            for combination in product(*(each.items() for each in around))
            if (leader := self._near.get(tuple(node for node, _ in combination))) is not None
        ]
        if not found:
            return None
        value, _, leader = min(found)
        return Match(row, leader, "near", -value)

    def _keys(self, row: int) -> tuple[str, ...]:
        return tuple(part.exact_key(row) for part in self._parts)

    def _nodes(self, row: int) -> tuple[int, ...]:
        return tuple(part.node(row) for part in self._parts)


def decide(ranked: Ranked, cfg: Dedup, matches: Sequence[Match]) -> list[Decision]:
    """Keep the best `cfg.keep` rows of every cluster, and all rows that are like no other.

    Every dropped row's evidence names the row that stays for it (`survivor`), the kind, side and
    similarity. With `keep = "none"` nothing stays of a cluster: `like` names the best row of it.
    """
    followers: dict[int, list[Match]] = defaultdict(list)
    for each in matches:  # best first, as `find_repeats` goes
        followers[each.centre].append(each)
    by_row = {each.row: each for each in matches}
    kept = Counter[int]()
    out = []
    for row in ranked.order:
        match = by_row.get(row)
        centre = match.centre if match else row
        size = 1 + len(followers.get(centre, ()))
        keep = size == 1 if cfg.keep == "none" else kept[centre] < cfg.keep
        kept[centre] += keep
        out.append(_decision(ranked, cfg, (row, match, size), keep=keep, first=followers.get(row)))
    return out


def _decision(
    ranked: Ranked,
    cfg: Dedup,
    place: tuple[int, Match | None, int],
    *,
    keep: bool,
    first: Sequence[Match] | None,
) -> Decision:
    """What becomes of one row: itself, what it repeats, the size of its cluster."""
    row, match, size = place
    evidence: dict[str, object] = {"of": size, "score": list(ranked.scores[row])}
    if match is None and first and not keep:  # the best one, where nothing stays
        match = replace(first[0], row=row, centre=first[0].row)
    if match is not None:
        other = ranked.entries[match.centre]
        evidence |= {
            "like" if cfg.keep == "none" else "survivor": other.id,
            "kind": match.kind,
            "side": cfg.side if match.kind != "module-name" else "name",
            "similarity": match.similarity,
            "raw_similarity": match.raw,
            "module": other.module,
            "survivor_score": list(ranked.scores[match.centre]),
        }
    if keep:
        reason = (
            "no-repeat" if size == 1 else "best-of-repeats" if match is None else "more-of-repeats"
        )
    else:
        assert match is not None
        reason = f"{'same' if match.kind == 'module-name' else match.kind}-repeat"
    return Decision(
        sample=ranked.entries[row].id, stage="dedup", keep=keep, reason=reason, evidence=evidence
    )


def alarm(ranked: Ranked, cfg: Dedup, matches: Sequence[Match]) -> str | None:
    """What to say where one cluster holds more than `cfg.alarm` of the rows; a few say nothing."""
    sizes = Counter(match.centre for match in matches)
    if not sizes or len(ranked.entries) < _TOO_FEW:
        return None
    centre, followers = max(sizes.items(), key=lambda item: (item[1], ranked.entries[item[0]].id))
    share = (followers + 1) / len(ranked.entries)
    if share <= cfg.alarm:
        return None
    leader = ranked.entries[centre]
    return (
        f"one cluster holds {followers + 1:,} of {len(ranked.entries):,} rows ({share:.0%}), more "
        f"than dedup.alarm = {cfg.alarm:g}: all of them are like {leader.id} ({leader.module}). "
        "Look at some with `kernelsift why ROW`, and raise --threshold if they are different"
    )

"""Rows that the filter has dropped and that are judged all the same, for comparison.

What separates good rows from bad ones may vanish among the good ones, so an analysis of kept rows
alone is blind. These rows are drawn in strata of their reward, with known probability, and stay
dropped. Their judgements are facts of the stage judge; which row has which key is kept under a name
of its own, so that nothing about the kept rows changes.

Strata: rewards of 0 and less are one (rows that failed); the others are cut at the quartiles of
their rewards. Places are given one by one, two to each stratum first, then in proportion to the
square root of its rows by Sainte-Laguë's divisors (Balinski & Young 1982, *Fair Representation*):
with such divisors more places never take one away. Within a stratum the rows with the smallest
digest of seed and id are chosen. So a larger sample holds every smaller one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, sqrt
from typing import Literal

from kernelsift.model import Entry, Fact, Failure, Frozen, SampleId, digest
from kernelsift.run import Run

STAGE = "judge-rejected"
"""The name under which the choice, and the key of every chosen row, is kept."""
VERSION = "1"
BINS = 4
"""Strata of the rewards above 0."""
LEAST = 2
"""Places of a stratum before any gets more: below two its variance is not known."""
Wanted = int | Literal["all"]


class Stratum(Frozen):
    """Rejected rows of similar reward."""

    high: float
    """The largest reward in it; the next stratum begins above."""
    rows: int
    chosen: int

    @property
    def probability(self) -> float:
        """That of each of its rows to be chosen."""
        return self.chosen / self.rows


class Design(Frozen):
    """How rejected rows were chosen."""

    wanted: Wanted
    seed: int
    population: str
    """Digest of the ids of all rejected rows."""
    strata: tuple[Stratum, ...]
    """By reward, the lowest first."""

    def stratum(self, reward: float) -> Stratum:
        """The one that a rejected row with this reward is in."""
        return self.strata[bisect_left([one.high for one in self.strata], reward)]


def sampled(run: Run) -> Mapping[SampleId, float]:
    """The probability with which each chosen rejected row was chosen, above 0 and at most 1.

    The sum of 1 / probability over the chosen rows of a stratum is the number of its rows. Empty
    where none was chosen, and where other rows are rejected by now than when they were.
    """
    design = stored(run)
    rows = population(run) if design else []
    if design is None or design.population != _digest_of(rows):
        return {}
    pointed = run.pointed(STAGE)
    return {e.id: design.stratum(e.reward).probability for e in rows if e.id in pointed}


def judged(run: Run) -> Mapping[SampleId, Fact | None]:
    """The fact that answers for each chosen rejected row now; None where none does yet.

    Rows with equal programs share a fact: its `sample` is the first of them that was judged.
    """
    chosen, keys = sampled(run), run.pointed(STAGE)
    facts = {fact.key: fact for fact in run.facts("judge", [keys[sample] for sample in chosen])}
    return {sample: facts.get(keys[sample]) for sample in chosen}


def population(run: Run) -> list[Entry]:
    """The rows that the reward filter has dropped, in source order."""
    dropped = run.dropped(("filter",))
    return [entry for entry in run.entries() if entry.id in dropped]


def design(rows: Sequence[Entry], wanted: Wanted, seed: int) -> Design:
    """Lay out a sample of `wanted` of these rows; all of them where there are fewer."""
    highs = _highs(rows)
    sizes = Counter(bisect_left(highs, entry.reward) for entry in rows)
    most = len(rows) if wanted == "all" else min(wanted, len(rows))
    places = _places([sizes[at] for at in range(len(highs))], most)
    strata = tuple(
        Stratum(high=high, rows=sizes[at], chosen=places[at]) for at, high in enumerate(highs)
    )
    return Design(wanted=wanted, seed=seed, population=_digest_of(rows), strata=strata)


def pick(rows: Sequence[Entry], laid_out: Design) -> list[Entry]:
    """The rows that a design of them chooses, in their order."""
    members: dict[float, list[Entry]] = {}
    for entry in rows:
        members.setdefault(laid_out.stratum(entry.reward).high, []).append(entry)
    chosen: set[SampleId] = set()
    for stratum in laid_out.strata:
        drawn = sorted(members[stratum.high], key=lambda e: (digest(laid_out.seed, e.id), e.id))
        chosen |= {entry.id for entry in drawn[: stratum.chosen]}
    return [entry for entry in rows if entry.id in chosen]


def stored(run: Run) -> Design | None:
    """How the rows were chosen that are kept under the name of this stage."""
    known = run.stages().get(STAGE)
    return Design.model_validate(known["settings"]) if known else None


def save(run: Run, laid_out: Design, keys: Mapping[SampleId, str]) -> None:
    """Write down which rows were chosen, how, and which key answers for each."""
    run.begin(STAGE, laid_out.model_dump(mode="json"), VERSION)
    run.point(STAGE, keys)


def counts(run: Run) -> Mapping[str, int]:
    """Chosen rows that were judged, that failed and that wait; empty where none was chosen."""
    said = Counter(
        "pending" if fact is None else "failed" if isinstance(fact.body, Failure) else "judged"
        for fact in judged(run).values()
    )
    return {what: said[what] for what in ("judged", "failed", "pending")} if said else {}


def summary(run: Run) -> str | None:
    """One sentence on the rows chosen, for people; None where none were."""
    laid_out = stored(run)
    if laid_out is None or not any(one.chosen for one in laid_out.strata):
        return None
    number = sum(one.chosen for one in laid_out.strata)
    said = counts(run)
    if not said:
        return (
            f"{number:,} rows were chosen for comparison from those that the filter dropped; it "
            "drops others now: run `kernelsift judge --also-rejected` again"
        )
    total = sum(one.rows for one in laid_out.strata)
    parts = ", ".join(f"{count:,} {what}" for what, count in said.items() if count)
    return (
        f"for comparison only, {number:,} of {total:,} rows that the filter dropped: {parts}; "
        "they stay dropped"
    )


def _digest_of(rows: Sequence[Entry]) -> str:
    return digest("rejected", sorted(entry.id for entry in rows))


def _highs(rows: Sequence[Entry]) -> list[float]:
    """The largest reward of each stratum, ascending; no stratum is empty."""
    rewards = sorted(entry.reward for entry in rows)
    above = [reward for reward in rewards if reward > 0]
    cuts = {above[ceil(len(above) * part / BINS) - 1] for part in range(1, BINS + 1) if above}
    failed = rewards[: len(rewards) - len(above)]
    return [*failed[-1:], *sorted(cuts)]


def _places(sizes: Sequence[int], most: int) -> list[int]:
    """How many of `most` places each stratum gets; with more places none gets fewer."""
    places = [0] * len(sizes)
    for _, at in zip(range(most), _order(sizes, places), strict=False):
        places[at] += 1
    return places


def _order(sizes: Sequence[int], places: list[int]) -> Iterator[int]:
    """Who gets the next place, given those that have been given."""
    for least in range(LEAST):
        yield from (at for at, size in enumerate(sizes) if size > least)
    while open_ := [at for at, size in enumerate(sizes) if places[at] < size]:
        yield max(open_, key=lambda at: (sqrt(sizes[at]) / (2 * places[at] + 1), -at))

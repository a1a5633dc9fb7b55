"""dedup: keep the best sample of each module."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kernelsift.errors import DataError
from kernelsift.expression import Expression
from kernelsift.model import Decision, Entry


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample and the columns that its score is made of."""

    entry: Entry
    values: Mapping[str, float]


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

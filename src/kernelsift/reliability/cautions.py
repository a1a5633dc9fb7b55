"""What a reader must know before believing a number of reliability.json."""

from collections.abc import Iterator

from kernelsift.reliability.schema import Coverage, Drift, ScoreReliability, Validity
from kernelsift.report.stats import percent

STATIC = "static"
FEW_LEVELS = 4.0
"""Effective levels (of 11) below which a score hardly tells rows apart."""
CROWDED = 0.35
"""Share of the rows on one level above which it is named."""
ENDS = 0.15
"""Share of the rows at both ends of the scale above which it is named."""
CAP = 0.95
"""Largest Spearman that the ties allow, below which it is named."""
DRIFT = 0.2
"""Mean shift of a canary set, in points, beyond which scores of two days are not comparable."""
LABELS = 100
"""Labels below which an agreement with humans has an interval of ± 0.1 and more."""


def cautions_of(
    judge: str,
    coverage: Coverage,
    scores: tuple[ScoreReliability, ...],
    drift: tuple[Drift, ...],
    validity: tuple[Validity, ...],
) -> tuple[str, ...]:
    """Return the cautions, the gravest first."""
    return (
        *_coverage(coverage),
        *(text for found in scores for text in _levels(found)),
        *_drift(drift),
        *_repeats(judge, scores),
        *_validity(validity),
    )


def _coverage(found: Coverage) -> Iterator[str]:
    missing = found.rows - found.scored
    if missing:
        named = [f"{name} {count:,}" for name, count in found.failed.items()]
        named += [f"pending {found.pending:,}"] if found.pending else []
        yield (
            f"{missing:,} of {found.rows:,} rows ({percent(missing / found.rows)}) have no score: "
            f"{', '.join(named)}. They are in no number here, and they are no random draw."
        )


def _levels(found: ScoreReliability) -> Iterator[str]:
    levels, name = found.levels, found.score
    if levels.effective_levels is None or levels.mode_share is None:
        return
    if levels.effective_levels < FEW_LEVELS or levels.mode_share > CROWDED:
        cap = found.ties.spearman
        capped = cap is not None and cap < CAP
        most = f"; ties cap every rank correlation at {cap:.2f}" if capped else ""
        yield (
            f"{name} uses {levels.effective_levels:.1f} of 11 levels, and "
            f"{percent(levels.mode_share)} of the rows are on level {levels.mode}{most}."
        )
    floor, ceiling = levels.floor_share or 0.0, levels.ceiling_share or 0.0
    if floor + ceiling > ENDS:
        yield (
            f"{percent(floor)} of the rows have the lowest {name} and {percent(ceiling)} the "
            "highest: differences beyond the ends of the scale are not seen."
        )


def _drift(found: tuple[Drift, ...]) -> Iterator[str]:
    for one in found:
        if one.shift.value is not None and abs(one.shift.value) > DRIFT:
            yield (
                f"{one.score} of the canary set by {one.judge} moved by {one.shift.value:+.2f} "
                f"points (limit {DRIFT}): scores of then and now are not comparable."
            ).replace("-", "−")


def _repeats(judge: str, scores: tuple[ScoreReliability, ...]) -> Iterator[str]:
    if judge == STATIC:
        yield (
            "The static judge computes its scores: the same code always gets the same ones, so "
            "asking it again tells nothing."
        )
    elif not any(found.retest for found in scores):
        yield (
            "No answer was judged twice by the same judge, so how much a score changes from one "
            "asking to the next is not known; `kernelsift judge --samples 3` asks again."
        )
    if not any(found.between for found in scores):
        yield (
            "One judge only: how far another one would agree is not known; judge the same run "
            "with another model."
        )
    for found in scores:
        if found.within is not None and found.within.by_construction:
            yield (
                "Difficulty rests on the module alone: that answers to one module agree follows "
                "from that, and says nothing of the judge."
            )


def _validity(found: tuple[Validity, ...]) -> Iterator[str]:
    if not found:
        yield (
            "No human labels: whether the scores mean what they are called is not known; "
            "--labels FILE compares them."
        )
    for one in found:
        if one.labelled < LABELS:
            yield f"Only {one.labelled:,} rows have a {one.score} label: read the intervals."

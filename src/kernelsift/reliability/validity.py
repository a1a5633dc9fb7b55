"""A judge's scores against others that are known: human labels, and its own of an earlier day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernelsift.reliability import agreement
from kernelsift.reliability.assess import group_of, two
from kernelsift.reliability.calibration import Calibration, cross_validated, isotonic
from kernelsift.reliability.outcome import Measure, Undefined
from kernelsift.reliability.prediction import Labelled, Unlabelled, ppi_mean
from kernelsift.reliability.ratings import FloatArray, Rater, Rating, Ratings, numbered
from kernelsift.reliability.resample import Resampling, mean, rank_correlation
from kernelsift.reliability.resample import agreement as agreement_of
from kernelsift.reliability.schema import BlockRow, Drift, Group, Powered, Score, Validity
from kernelsift.report.stats import level_of


@dataclass(frozen=True, slots=True)
class HumanScore:
    """One human's score of one row."""

    item: str
    rater: str
    score: float
    weight: float = 1.0
    """Inverse of the probability with which the row was chosen for labelling."""


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """The score of a row and its module."""

    module: str
    score: float


@dataclass(frozen=True)
class _Pairs:
    """Rows with both a label (the mean of its raters) and a score."""

    items: tuple[str, ...]
    modules: tuple[str, ...]
    judge: FloatArray
    human: FloatArray
    weights: FloatArray


def validate(
    score: Score,
    labels: Sequence[HumanScore],
    judged: Mapping[str, JudgedItem],
    how: Resampling,
) -> Validity:
    """Compare the judge with humans, fit the calibration, correct the mean.

    Args:
        score: Which score.
        labels: Of any rows, by one rater or several.
        judged: Row id -> its score, of all judged rows.
        how: Resampling of intervals.
    """
    pairs = _pairs(labels, judged)
    ratings = two(pairs.items, pairs.modules, (pairs.judge, pairs.human))
    off = pairs.judge - pairs.human
    apart = np.array([
        abs(level_of(a) - level_of(b)) for a, b in zip(pairs.judge, pairs.human, strict=True)
    ])
    known = bool(len(pairs.items))
    fitted = isotonic(pairs.judge, pairs.human, pairs.weights)
    return Validity(
        score=score,
        labelled=len(pairs.items),
        without_score=len({label.item for label in labels}) - len(pairs.items),
        humans=_humans(labels, judged, how),
        measures=compared(ratings, how),
        shift=mean("judge less human", off, ratings.clusters, how),
        exact=float((apart == 0).mean()) if known else None,
        near=float((apart <= 1).mean()) if known else None,
        calibration=_blocks(fitted),
        calibration_why=fitted.why if isinstance(fitted, Undefined) else None,
        error=float(np.abs(off).mean()) if known else None,
        error_calibrated=_calibrated_error(pairs, ratings),
        **_powered(pairs, judged),
    )


def compared(ratings: Ratings, how: Resampling) -> tuple[Measure, ...]:
    """Everything that tells how two raters agree."""
    return (
        agreement_of(agreement.QWK, ratings, how),
        agreement_of(agreement.ICC, ratings, how),
        agreement_of(agreement.ALPHA_ORDINAL, ratings, how),
        agreement_of(agreement.ac2(), ratings, how),
        rank_correlation(ratings, "spearman", how),
        rank_correlation(ratings, "kendall", how),
    )


def drift(
    score: Score, judge: str, rows: Sequence[tuple[str, str, float, float]], tolerance: float,
    how: Resampling,
) -> Drift:  # fmt: skip
    """Compare scores of a canary set: (id, module, expected, now) of each row."""
    listed = sorted(rows)
    expected, now = (np.array([row[place] for row in listed]) for place in (2, 3))
    items, modules = tuple(row[0] for row in listed), tuple(row[1] for row in listed)
    ratings = two(items, modules, (now, expected))
    apart = np.abs(now - expected)
    return Drift(
        score=score,
        judge=judge,
        items=len(listed),
        shift=mean("now less expected", now - expected, ratings.clusters, how),
        moved=float((apart > tolerance + 1e-9).mean()) if listed else None,
        agreement=compared(ratings, how),
    )


def _pairs(labels: Sequence[HumanScore], judged: Mapping[str, JudgedItem]) -> _Pairs:
    scores: dict[str, list[float]] = {}
    weights: dict[str, float] = {}
    for label in labels:
        if label.item in judged:
            scores.setdefault(label.item, []).append(label.score)
            weights[label.item] = label.weight
    items = tuple(sorted(scores))
    return _Pairs(
        items,
        tuple(judged[item].module for item in items),
        np.array([judged[item].score for item in items]),
        np.array([float(np.mean(scores[item])) for item in items]),
        np.array([weights[item] for item in items]),
    )


def _humans(
    labels: Sequence[HumanScore], judged: Mapping[str, JudgedItem], how: Resampling
) -> Group | None:
    """Agreement of human raters; None where there is one rater."""
    if len({label.rater for label in labels}) < 2:
        return None
    ratings = Ratings.of(
        Rating(
            label.item,
            judged[label.item].module if label.item in judged else label.item,
            Rater(label.rater),
            label.score,
        )
        for label in labels
    )
    return group_of(ratings, how)


def _blocks(fitted: Calibration | Undefined) -> tuple[BlockRow, ...]:
    if isinstance(fitted, Undefined):
        return ()
    return tuple(
        BlockRow(low=b.low, high=b.high, human=b.human, items=b.items) for b in fitted.blocks()
    )


def _calibrated_error(pairs: _Pairs, ratings: Ratings) -> float | None:
    found = cross_validated(pairs.judge, pairs.human, ratings.clusters)
    return None if isinstance(found, Undefined) else float(np.abs(found - pairs.human).mean())


def _powered(pairs: _Pairs, judged: Mapping[str, JudgedItem]) -> dict[str, Powered | str | None]:
    count = len(pairs.items)
    even = count == 0 or float(np.ptp(pairs.weights)) == 0
    # rows chosen with different probabilities leave a rest that is no fair draw: then all count
    labelled = set(pairs.items) if even else set()
    others = [item for name, item in sorted(judged.items()) if name not in labelled]
    modules = numbered([*pairs.modules, *(item.module for item in others)])
    found = ppi_mean(
        Labelled(pairs.human, pairs.judge, modules[:count], None if even else pairs.weights),
        Unlabelled(np.array([item.score for item in others]), modules[count:]),
    )
    if isinstance(found, Undefined):
        return {"mean": None, "mean_why": found.why}
    return {
        "mean": Powered(
            value=found.value,
            ci=found.ci,
            trust=found.trust,
            labels_only=found.labels_only,
            labels_only_ci=found.labels_only_ci,
            judge_only=found.judge_only,
            labelled=found.labelled,
            unlabelled=found.unlabelled,
        ),
        "mean_why": None,
    }

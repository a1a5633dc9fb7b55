"""Ratings of one score, and what they say of its reliability."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kernelsift.reliability import agreement, ranks
from kernelsift.reliability.outcome import Measure, Undefined
from kernelsift.reliability.ratings import FloatArray, Rater, Ratings, numbered
from kernelsift.reliability.resample import (
    Resampling,
    mean,
    rank_correlation,
    within,
)
from kernelsift.reliability.resample import (
    agreement as agreement_of,
)
from kernelsift.reliability.schema import Group, Score, ScoreReliability, Ties, Within
from kernelsift.report.stats import score_spread


@dataclass(frozen=True)
class Judged:
    """All that is known of one score of a run's rows."""

    score: Score
    ratings: Ratings
    """Every judge and occasion; its items are distinct answers."""
    rows: FloatArray
    """The score that stands, of each judged row."""
    tasks: tuple[tuple[float, str], ...] = ()
    """Of each distinct answer the score that stands, and its normalised module."""
    by_construction: bool = False
    """Whether one module cannot have two difficulties, since the judge sees it alone."""


def assess(judged: Judged, how: Resampling) -> ScoreReliability:
    """Compute everything that the ratings allow."""
    ratings = judged.ratings
    judges = ratings.per_judge()
    several = len(judges.raters) > 1
    return ScoreReliability(
        score=judged.score,
        levels=score_spread(judged.rows),
        ties=ties_of(judged.rows),
        retest=tuple(
            group_of(occasions, how)
            for judge in ratings.judges
            if len((occasions := ratings.of_judge(judge)).raters) > 1
        ),
        between=group_of(judges, how) if several else None,
        pairs=tuple(
            group_of(judges.pair(a, b), how)
            for a, b in (combinations(judges.raters, 2) if len(judges.raters) > 2 else ())
        ),
        within=_within(judged, how) if judged.score == "difficulty" else None,
    )


def group_of(ratings: Ratings, how: Resampling) -> Group:
    """Agreement of all raters; of two also what is made for two."""
    icc = agreement_of(agreement.ICC, ratings, how)
    measures = [
        icc,
        agreement_of(agreement.ALPHA_ORDINAL, ratings, how),
        agreement_of(agreement.ac2(), ratings, how),
    ]
    difference = None
    if len(ratings.raters) == 2:
        measures.insert(2, agreement_of(agreement.QWK, ratings, how))
        measures += [rank_correlation(ratings, method, how) for method in ("spearman", "kendall")]
        both = ratings.complete()
        apart = both.values[:, 0] - both.values[:, 1]
        difference = mean("mean difference", apart, both.clusters, how)
    return Group(
        raters=tuple(str(rater) for rater in ratings.raters),
        measures=tuple(measures),
        of_mean=spearman_brown(icc, len(ratings.raters)),
        difference=difference,
    )


def spearman_brown(icc: Measure, raters: int) -> float | None:
    """Reliability of the mean of `raters` ratings: k r / (1 + (k-1) r); None for r < 0."""
    if icc.value is None or icc.value < 0:
        return None
    return raters * icc.value / (1 + (raters - 1) * icc.value)


def ties_of(scores: FloatArray) -> Ties:
    """The largest rank correlations with something that has no ties."""
    spearman = ranks.largest(scores, method="spearman")
    kendall = ranks.largest(scores, method="kendall")
    if isinstance(spearman, Undefined):
        return Ties(why=spearman.why)
    return Ties(spearman=spearman, kendall=None if isinstance(kendall, Undefined) else kendall)


def _within(judged: Judged, how: Resampling) -> Within:
    known = [(score, task) for score, task in judged.tasks if task]
    scores = np.array([score for score, _ in known])
    groups = numbered([task for _, task in known])
    from kernelsift.reliability.within import Groups

    summed = Groups.of(scores, groups)
    return Within(
        measure=within(scores, groups, how),
        repeated=summed.repeated,
        agreeing=summed.agreeing,
        by_construction=judged.by_construction,
    )


def two(
    items: tuple[str, ...], modules: tuple[str, ...], columns: tuple[FloatArray, FloatArray]
) -> Ratings:
    """Ratings of two raters without missing values."""
    values = np.stack(columns, axis=1)
    return Ratings(items, modules, (Rater("first"), Rater("second")), values)

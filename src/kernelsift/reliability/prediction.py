"""The mean human score of all judged items, from few labels and many judgements: PPI++.

Angelopoulos, Duchi & Zrnic 2023, "PPI++: Efficient Prediction-Powered Inference". The mean of the
judge's scores is corrected by how far the judge is off where there are labels:

    θ = mean_labelled(Y - λŶ) + λ mean_unlabelled(Ŷ)

λ = 0 is the plain mean of the labels, λ = 1 trusts the judge fully; λ is chosen for the smallest
variance. The interval holds whatever the judge is worth, as long as the labelled items are a random
draw of all items, or are weighted by the inverse of the probability with which each was drawn.
"""

import math
from dataclasses import dataclass

import numpy as np

from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.ratings import FloatArray, IntArray
from kernelsift.report.stats import MIN_MODULES, Z95, Interval


@dataclass(frozen=True, slots=True)
class Labelled:
    """Items with a human label and a judge's score."""

    human: FloatArray
    judge: FloatArray
    clusters: IntArray | None = None
    """The module of each item; None where items are independent."""
    weights: FloatArray | None = None
    """Inverse probabilities of being labelled; None for a random draw."""


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Items that only the judge has scored."""

    judge: FloatArray
    clusters: IntArray | None = None


@dataclass(frozen=True, slots=True)
class PoweredMean:
    """A prediction-powered mean beside what the labels alone, and the judge alone, say."""

    value: float
    ci: Interval
    trust: float
    """λ, from 0 (the judge is ignored) to 1 (fully used)."""
    labels_only: float
    labels_only_ci: Interval
    judge_only: float
    labelled: int
    unlabelled: int


def ppi_mean(
    labelled: Labelled, unlabelled: Unlabelled, trust: float | None = None
) -> PoweredMean | Undefined:
    """Return the PPI++ mean with its 95 % interval; `trust` fixes λ, which is else estimated.

    Without clusters the interval is that of the paper (normal quantiles). With clusters its
    variance is that of sums over clusters, with the quantiles of a t distribution on the labelled
    clusters less one; an item counts in the cluster of its module on both sides.
    """
    n, others = len(labelled.human), len(unlabelled.judge)
    if n < 2:
        return Undefined(f"there {'is 1 label' if n else 'are no labels'}, and 2 are needed")
    if others < 1:
        return Undefined("there is no judged item without a label")
    if labelled.clusters is not None and len(np.unique(labelled.clusters)) < MIN_MODULES:
        count = len(np.unique(labelled.clusters))
        modules = f"{count} module{'' if count == 1 else 's'}"
        return Undefined(f"the labels come from {modules}, and at least {MIN_MODULES} are needed")
    w = _normal_weights(labelled)
    lam = _best_trust(labelled, unlabelled, w) if trust is None else trust
    value, error = _estimate(labelled, unlabelled, w, lam)
    alone, alone_error = _estimate(labelled, unlabelled, w, 0.0)
    q = _quantile(labelled)
    scores = np.concatenate([labelled.judge, unlabelled.judge])
    return PoweredMean(
        value,
        Interval(low=value - q * error, high=value + q * error),
        lam,
        alone,
        Interval(low=alone - q * alone_error, high=alone + q * alone_error),
        float(scores.mean()),
        n,
        others,
    )


def _normal_weights(labelled: Labelled) -> FloatArray:
    """Weights that sum to the number of labels."""
    if labelled.weights is None:
        return np.ones(len(labelled.human))
    return np.asarray(labelled.weights * (len(labelled.weights) / labelled.weights.sum()))


def _best_trust(labelled: Labelled, unlabelled: Unlabelled, w: FloatArray) -> float:
    """λ of the smallest variance: cov(Y, Ŷ) / ((1 + n/N) var Ŷ), kept in 0-1 (§6 of the paper)."""
    y, guess, other = labelled.human, labelled.judge, unlabelled.judge
    centre = float(other.mean() + (w * (y - guess)).mean())
    human, judge = w * (y - centre), w * (guess - centre)
    covariance = float(((human - human.mean()) * (judge - judge.mean())).mean())
    variance = float(np.var(np.concatenate([judge, other - centre]), ddof=1))
    if variance <= 0:
        return 0.0
    return max(0.0, min(1.0, covariance / ((1 + len(y) / len(other)) * variance)))


def _estimate(
    labelled: Labelled, unlabelled: Unlabelled, w: FloatArray, lam: float
) -> tuple[float, float]:
    """The mean and its standard error, from what each item contributes (influence functions)."""
    off = labelled.human - lam * labelled.judge
    correction, base = float((w * off).mean()), float(unlabelled.judge.mean())
    of_labelled = w * (off - correction) / len(off)
    of_others = lam * (unlabelled.judge - base) / len(unlabelled.judge)
    value = correction + lam * base
    if labelled.clusters is None:
        return value, math.sqrt(float((of_labelled**2).sum() + (of_others**2).sum()))
    others = unlabelled.clusters
    if others is None:
        raise ValueError("the labelled items have clusters and the others have none")
    groups, place = np.unique(np.concatenate([labelled.clusters, others]), return_inverse=True)
    sums = np.bincount(place, np.concatenate([of_labelled, of_others]), len(groups))
    few = len(np.unique(labelled.clusters))
    return value, math.sqrt(float((sums**2).sum()) * few / (few - 1))


def _quantile(labelled: Labelled) -> float:
    if labelled.clusters is None:
        return Z95
    from scipy.stats import t

    return float(t.ppf(0.975, len(np.unique(labelled.clusters)) - 1))

"""From a judge's scores to human ones: isotonic regression, checked on modules it has not seen.

The judge may use its scale in a way of its own; isotonic regression (pool adjacent violators,
Barlow et al. 1972) finds the best map that never turns the judge's order round.
"""

from dataclasses import dataclass

import numpy as np

from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.ratings import FloatArray, IntArray

FOLDS = 10


@dataclass(frozen=True, slots=True)
class Block:
    """Judge scores that are given the same human value."""

    low: float
    high: float
    human: float
    items: int


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing map from the judge's scale to the human one."""

    judge: FloatArray
    """The judge's scores that occur with a label, ascending."""
    human: FloatArray
    """What each stands for."""
    counts: IntArray

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Calibrated scores: linear between known ones, the nearest known one beyond them."""
        return np.interp(scores, self.judge, self.human)

    def blocks(self) -> tuple[Block, ...]:
        """The map as a table."""
        starts = np.flatnonzero(np.append(True, np.diff(self.human) > 1e-12))
        ends = np.append(starts[1:], len(self.human))
        return tuple(
            Block(
                float(self.judge[start]),
                float(self.judge[end - 1]),
                float(self.human[start]),
                int(self.counts[start:end].sum()),
            )
            for start, end in zip(starts, ends, strict=True)
        )


def isotonic(
    judge: FloatArray, human: FloatArray, weights: FloatArray | None = None
) -> Calibration | Undefined:
    """Fit the map by least squares; equal judge scores are one point.

    Args:
        judge: Scores of n items.
        human: The labels of the same items.
        weights: How much each item counts; all alike when not given.
    """
    from scipy.optimize import isotonic_regression

    if len(judge) < 2:
        return Undefined(f"there {'is 1 label' if len(judge) else 'are no labels'}, 2 are needed")
    w = np.ones(len(judge)) if weights is None else weights
    scores, place, counts = np.unique(judge, return_inverse=True, return_counts=True)
    total = np.bincount(place, w)
    means = np.bincount(place, w * human) / total
    fitted = isotonic_regression(means, weights=total).x
    return Calibration(scores, np.asarray(fitted, dtype=float), counts.astype(np.int64))


def cross_validated(
    judge: FloatArray, human: FloatArray, clusters: IntArray, *, seed: int = 0
) -> FloatArray | Undefined:
    """Calibrated scores of every item, each fitted without the items of its own fold.

    Whole clusters are in one fold, so that no module is on both sides.
    """
    count = int(clusters.max()) + 1 if len(clusters) else 0
    if count < 3:
        return Undefined(f"the labels come from {count} modules, and 3 are needed")
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    fold = folds[clusters]
    found = np.empty(len(judge))
    for number in np.unique(fold):
        out = fold == number
        fitted = isotonic(judge[~out], human[~out])
        if isinstance(fitted, Undefined):
            return fitted
        found[out] = fitted(judge[out])
    return found

"""Reliability for nothing: items that must get the same score, because they are the same task."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.ratings import FloatArray, IntArray
from kernelsift.report.bootstrap import FLAT

NAME = "ICC(1) within modules"


@dataclass(frozen=True, slots=True)
class Groups:
    """Scores in groups that ought to be constant, as sums per group."""

    sizes: FloatArray
    totals: FloatArray
    apart: FloatArray
    """Sum of squared distances from the group's own mean."""
    ranges: FloatArray
    """Largest less smallest score of each group."""

    @classmethod
    def of(cls, scores: FloatArray, groups: IntArray) -> "Groups":
        """Sum up scores by group (numbers from 0, none left out)."""
        centred = scores - scores.mean() if len(scores) else scores
        sizes = np.bincount(groups).astype(float)
        totals = np.bincount(groups, centred).astype(float)
        distances = centred - (totals / np.maximum(sizes, 1))[groups]
        low, high = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
        np.minimum.at(low, groups, scores)
        np.maximum.at(high, groups, scores)
        return cls(sizes, totals, np.bincount(groups, distances**2).astype(float), high - low)

    @property
    def repeated(self) -> int:
        """Groups with two scores or more."""
        return int((self.sizes >= 2).sum())

    @property
    def agreeing(self) -> int:
        """Repeated groups whose scores are all equal."""
        return int(((self.sizes >= 2) & (self.ranges == 0)).sum())

    def why_not(self) -> str | None:
        """Why there is no ICC; None where there is one."""
        if len(self.sizes) < 2:
            return f"there {'is 1 module' if len(self.sizes) else 'are no modules'}, 2 are needed"
        if not self.repeated:
            return "no module occurs twice"
        if float(self.apart.sum() + (self.totals**2).sum()) <= FLAT:
            return "all scores are equal, and without variation nothing tells agreement from chance"
        return None

    def value(self) -> float | Undefined:
        """ICC(1), or why there is none."""
        why = self.why_not()
        if why is not None:
            return Undefined(why)
        found = float(self.weighted()(np.ones((1, len(self.sizes))))[0])
        return found if np.isfinite(found) else Undefined("its denominator is zero")

    def weighted(self) -> Callable[[FloatArray], FloatArray]:
        """ICC(1) of groups that count `weights` times each: (b, groups) -> (b,).

        One-way analysis of variance, (MSB - MSW) / (MSB + (n₀-1) MSW) with n₀ the size of groups
        that corrects for their being unequal (Donner 1986; Shrout & Fleiss 1979, case 1).
        """

        def icc(weights: FloatArray) -> FloatArray:
            n, k = weights @ self.sizes, weights.sum(axis=1)
            grand = weights @ self.totals
            sums = weights @ (self.totals**2 / np.maximum(self.sizes, 1))
            with np.errstate(divide="ignore", invalid="ignore"):
                between = (sums - grand**2 / n) / (k - 1)
                inner = (weights @ self.apart) / (n - k)
                size = (n - (weights @ self.sizes**2) / n) / (k - 1)
                found = (between - inner) / (between + (size - 1) * inner)
            return np.asarray(found, dtype=float)

        return icc

"""Agreement of raters: ICC(A,1), Krippendorff's alpha, quadratic kappa, Gwet's AC2.

Each coefficient is written once, for items that count `weights` times each: (b, n) weights give b
values, so that a point estimate (all weights 1) and a thousand resamples are the same code. Where
a value does not exist it is NaN in these arrays; the functions below the line turn that into
`Undefined` with its reason. `values` is (items, raters) with NaN where a rating is missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.ratings import FloatArray, scored
from kernelsift.report.bootstrap import FLAT, midranks

Level = Literal["nominal", "ordinal", "interval"]
Weighted = Callable[[FloatArray, FloatArray], FloatArray]
"""(values, weights) -> one value per row of weights."""
SCALE = tuple(float(level) for level in range(11))
"""The levels of a 0-10 score."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient with its name, which items it can use, and when it does not exist."""

    name: str
    weighted: Weighted
    fewest: int
    """Ratings that an item needs; 0 means all raters."""
    raters: int | None = None
    """How many raters there must be; None for two or more."""
    constant_is: str = ""
    """Why it does not exist where all ratings are equal; empty where it exists nevertheless."""

    def usable(self, values: FloatArray) -> FloatArray:
        """The items that count."""
        return values[self.usable_rows(values)]

    def usable_rows(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """Which items count: those with as many ratings as the coefficient needs."""
        return scored(values) >= (self.fewest or values.shape[1])

    def why_not(self, values: FloatArray) -> str | None:
        """Why the coefficient does not exist for these ratings; None where it does."""
        raters = values.shape[1]
        if raters < 2 or (self.raters and raters != self.raters):
            needed = f"{self.raters} raters" if self.raters else "at least 2"
            count = "is 1 rater" if raters == 1 else f"are {raters} raters"
            return f"there {count}, and {needed} are needed"
        used = self.usable(values)
        if len(used) < 2:
            kind = f"at least {self.fewest} raters" if self.fewest else "every rater"
            count = "1 item was" if len(used) else "no item was"
            return f"{count} scored by {kind}, and 2 are needed"
        if not (scored(values) >= 2).any():
            return "no item was scored by two raters"
        found = used[~np.isnan(used)]
        if self.constant_is and np.ptp(found) <= FLAT * max(1.0, float(np.abs(found).max())):
            return f"all ratings are {found[0]:g}, and {self.constant_is}"
        return None

    def value(self, values: FloatArray) -> float | Undefined:
        """The coefficient, or why it does not exist."""
        why = self.why_not(values)
        if why is not None:
            return Undefined(why)
        used = self.usable(values)
        found = float(self.weighted(used, np.ones((1, len(used))))[0])
        if not np.isfinite(found):
            return Undefined("its denominator is zero for these ratings")
        return found


# ---- weighted forms -----------------------------------------------------------------------------


def icc_agreement(values: FloatArray, weights: FloatArray) -> FloatArray:
    """ICC(A,1): two-way, absolute agreement, single rating. McGraw & Wong 1996, case 2A.

    (MSR - MSE) / (MSR + (k-1) MSE + k/n (MSC - MSE)), of items that all k raters scored.
    """
    k = values.shape[1]
    x = values - values.mean()
    n = weights.sum(axis=1)
    means = x.mean(axis=1)
    of_raters = weights @ x / n[:, None]
    grand = of_raters.mean(axis=1)
    rows = k * (weights @ means**2 - n * grand**2)
    columns = n * ((of_raters - grand[:, None]) ** 2).sum(axis=1)
    total = weights @ (x**2).sum(axis=1) - n * k * grand**2
    error = np.maximum(total - rows - columns, 0.0) / ((n - 1) * (k - 1))
    rows, columns = np.maximum(rows, 0.0) / (n - 1), columns / (k - 1)
    below = rows + (k - 1) * error + k / n * (columns - error)
    return _ratio(rows - error, below, _size(x))


def alpha(values: FloatArray, weights: FloatArray, *, level: Level) -> FloatArray:
    """Krippendorff's alpha, 1 - D_o / D_e, of items with two ratings or more.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". Items may have different
    numbers of ratings. The ordinal difference of two levels is that of their mid-ranks among all
    ratings used, so the ordinal alpha is the interval alpha of those ranks.
    """
    if level == "nominal":
        return _alpha_nominal(values, weights)
    there = ~np.isnan(values)
    if level == "interval":
        x = np.where(there, values - np.nanmean(values), 0.0)
        return _alpha_of_moments(x[None], there, weights)
    codes = np.zeros(values.shape, dtype=np.int64)
    codes[there] = np.unique(values[there], return_inverse=True)[1]
    flat = np.repeat(weights, values.shape[1], axis=1) * there.ravel()
    ranks = midranks(codes.ravel(), flat).reshape(len(weights), *values.shape)
    return _alpha_of_moments(np.where(there, ranks, 0.0), there, weights)


def _alpha_of_moments(x: FloatArray, there: FloatArray, weights: FloatArray) -> FloatArray:
    """Alpha for squared differences; `x` is (1 or b, items, raters), 0 where missing."""
    m = there.sum(axis=1)
    totals, squares = x.sum(axis=2), (x**2).sum(axis=2)
    within = (m * squares - totals**2) / np.maximum(m - 1, 1)
    n = weights @ m
    observed = (weights * within).sum(axis=1)
    expected = (n * (weights * squares).sum(axis=1) - (weights * totals).sum(axis=1) ** 2) / (n - 1)
    return 1 - _ratio(observed, expected, n * _size(x))


def _alpha_nominal(values: FloatArray, weights: FloatArray) -> FloatArray:
    counts = _counts(values, np.unique(values[~np.isnan(values)]))
    m = counts.sum(axis=1)
    within = (counts * (m[:, None] - counts)).sum(axis=1) / np.maximum(m - 1, 1)
    marginals = weights @ counts
    n = marginals.sum(axis=1)
    expected = (marginals * (n[:, None] - marginals)).sum(axis=1) / (n - 1)
    return 1 - _ratio(weights @ within, expected, n)


def quadratic_kappa(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Cohen's kappa of two raters with quadratic weights (Cohen 1968).

    1 - E(x-y)² / (var x + var y + (mean x - mean y)²): the levels that are possible cancel, so it
    is defined for scores between levels too, where it is Lin's concordance coefficient (1989).
    """
    x = values - values.mean()
    n = weights.sum(axis=1)
    means = weights @ x / n[:, None]
    variances = weights @ x**2 / n[:, None] - means**2
    apart = weights @ (x[:, 0] - x[:, 1]) ** 2 / n
    expected = variances.sum(axis=1) + (means[:, 0] - means[:, 1]) ** 2
    return 1 - _ratio(apart, expected, _size(x))


def gwet_ac2(values: FloatArray, weights: FloatArray, *, levels: Sequence[float]) -> FloatArray:
    """Gwet's AC2 with quadratic weights over `levels`, all that a rater could have given.

    Gwet 2014, "Handbook of Inter-Rater Reliability", ch. 5: (p_a - p_e) / (1 - p_e), p_e =
    T_w / (q(q-1)) Σ π(1-π). Unlike kappa it does not collapse when nearly all ratings are one
    level. Scores between levels count as the nearest one.
    """
    scale = np.array(levels, dtype=float)
    counts = _counts(nearest(values, scale), scale)
    m = counts.sum(axis=1)
    closeness = 1 - ((scale[:, None] - scale) / (scale.max() - scale.min())) ** 2
    agreeing = (counts * (counts @ closeness - 1)).sum(axis=1) / np.maximum(m * (m - 1), 1)
    pairs = weights * (m >= 2)
    observed = pairs @ agreeing / np.maximum(pairs.sum(axis=1), 1)
    shares = weights @ (counts / np.maximum(m, 1)[:, None]) / weights.sum(axis=1)[:, None]
    q = len(scale)
    expected = closeness.sum() / (q * (q - 1)) * (shares * (1 - shares)).sum(axis=1)
    found = _ratio(observed - expected, 1 - expected, 1.0)
    return np.where(pairs.sum(axis=1) > 0, found, np.nan)


def nearest(values: FloatArray, scale: FloatArray) -> FloatArray:
    """The level nearest to each value, the upper one of two; NaN stays."""
    middles = (scale[1:] + scale[:-1]) / 2
    found = scale[np.searchsorted(middles, np.nan_to_num(values), side="right")]
    return np.where(np.isnan(values), np.nan, found)


def _counts(values: FloatArray, levels: FloatArray) -> FloatArray:
    """(items, levels): how many raters gave each level."""
    return np.asarray((values[:, :, None] == levels).sum(axis=1), dtype=float)


def _size(x: FloatArray) -> float:
    """A mean square, against which a denominator is rounding noise or is not."""
    return float((x**2).mean()) if x.size else 0.0


def _ratio(above: FloatArray, below: FloatArray, size: FloatArray | float) -> FloatArray:
    """above / below; NaN where `below` is nothing but rounding."""
    real = np.abs(below) > FLAT * size
    return np.where(real, above / np.where(real, below, 1.0), np.nan)


# ---- coefficients -------------------------------------------------------------------------------

_NO_VARIATION = "without variation nothing tells agreement from chance"
ICC = Coefficient("ICC(A,1)", icc_agreement, fewest=0, constant_is=_NO_VARIATION)
ALPHA_ORDINAL = Coefficient(
    "Krippendorff alpha (ordinal)", partial(alpha, level="ordinal"), 2, constant_is=_NO_VARIATION
)
ALPHA_INTERVAL = Coefficient(
    "Krippendorff alpha (interval)", partial(alpha, level="interval"), 2, constant_is=_NO_VARIATION
)
ALPHA_NOMINAL = Coefficient(
    "Krippendorff alpha (nominal)", partial(alpha, level="nominal"), 2, constant_is=_NO_VARIATION
)
QWK = Coefficient("quadratic kappa", quadratic_kappa, 0, raters=2, constant_is=_NO_VARIATION)


def ac2(levels: Sequence[float] = SCALE) -> Coefficient:
    """Gwet's AC2 for a scale; it exists for equal ratings too (they agree).

    Raises ValueError for fewer than two levels.
    """
    scale = tuple(sorted(set(levels)))
    if len(scale) < 2:
        raise ValueError(f"AC2 needs a scale of two levels or more, not {scale}")
    return Coefficient("Gwet AC2 (quadratic)", partial(gwet_ac2, levels=scale), fewest=1)

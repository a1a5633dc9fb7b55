"""Rank correlation with ties: Spearman, Kendall's tau-b, and the most that the ties allow.

A score with few levels cannot be perfectly correlated with anything finer. The most that it can
reach is the correlation of the two columns when each is sorted by itself (the comonotone pairing);
against a quantity without ties it is √(1 - Σ(t³-t)/(n³-n)) for Spearman and √(1 - Σt(t-1)/n(n-1))
for tau-b, t being the sizes of the ties (Kendall & Gibbons 1990, ch. 3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.ratings import FloatArray, IntArray
from kernelsift.report.bootstrap import midranks
from kernelsift.report.stats import is_flat

Method = Literal["spearman", "kendall"]
MOST_LEVELS = 64
"""tau-b is resampled by its table of levels; finer columns get a value and no interval."""
MOST_LEVELS_OF_ONE = 256
"""Most levels that one of two columns may have for `kendall_by_level`."""


def correlation(x: FloatArray, y: FloatArray, method: Method) -> float | Undefined:
    """Spearman's rho or Kendall's tau-b of two columns without missing values."""
    from scipy.stats import kendalltau, spearmanr

    why = why_not(x, y)
    if why is not None:
        return Undefined(why)
    found = spearmanr(x, y) if method == "spearman" else kendalltau(x, y, variant="b")
    return max(-1.0, min(1.0, float(found.statistic)))


def why_not(x: FloatArray, y: FloatArray) -> str | None:
    """Why two columns have no rank correlation; None where they have one."""
    if len(x) < 2:
        return f"there {'is 1 item' if len(x) else 'are no items'}, and 2 are needed"
    for values in (x, y):
        if is_flat(values):
            return f"all {len(x):,} values of a column are {values[0]:g}"
    return None


def largest(
    x: FloatArray, y: FloatArray | None = None, method: Method = "spearman"
) -> float | Undefined:
    """The largest rank correlation that the ties of `x` allow, with `y` or with a tie-free column.

    It depends on the marginals alone: not on which value belongs to which item.
    """
    if y is not None:
        return correlation(np.sort(x), np.sort(y), method)
    why = why_not(x, np.arange(len(x), dtype=float))
    if why is not None:
        return Undefined(why)
    n = len(x)
    ties = np.unique(x, return_counts=True)[1].astype(float)
    if method == "spearman":
        return math.sqrt(1 - float((ties**3 - ties).sum()) / (float(n) ** 3 - n))
    return math.sqrt(1 - float((ties * (ties - 1)).sum()) / (n * (n - 1.0)))


def spearman_weighted(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's rho of two columns whose items count `weights` times each; NaN where flat."""
    ranks = [midranks(np.unique(column, return_inverse=True)[1], weights) for column in values.T]
    n = weights.sum(axis=1)
    means = [(weights * rank).sum(axis=1) / n for rank in ranks]
    x, y = (rank - mean[:, None] for rank, mean in zip(ranks, means, strict=True))
    above = (weights * x * y).sum(axis=1)
    below = (weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1)
    return _cosine(above, below)


def kendall_weighted(values: FloatArray) -> Callable[[FloatArray, FloatArray], FloatArray] | None:
    """tau-b from the table of levels, for resampling; None where there are too many levels."""
    codes = [np.unique(column, return_inverse=True) for column in values.T]
    rows, columns = (len(levels) for levels, _ in codes)
    if max(rows, columns) > MOST_LEVELS:
        return None
    cell = codes[0][1] * columns + codes[1][1]

    def weighted(_: FloatArray, weights: FloatArray) -> FloatArray:
        tables = np.zeros((len(weights), rows * columns))
        for number in np.unique(cell):
            tables[:, number] = weights[:, cell == number].sum(axis=1)
        return _tau_b(tables.reshape(-1, rows, columns))

    return weighted


@dataclass(frozen=True)
class ByLevel:
    """tau-b of a column of few levels with any other, for rows that count several times.

    Rows are sorted by the other column. For each level the weight of its rows further down there
    is a running sum, so one evaluation takes levels x rows steps, and none of rows x rows.
    """

    levels: int
    _order: IntArray
    """Rows by the fine column, ascending."""
    _coarse: IntArray
    """The level of each of them."""
    _starts: IntArray
    """Where each run of equal fine values begins."""
    _first: IntArray
    """Where the run that a row belongs to begins."""

    def __call__(self, weights: FloatArray) -> FloatArray:
        """(b, n) weights -> b values; NaN where a column has one value only."""
        sorted_ = np.ascontiguousarray(weights.T[self._order])
        surplus, squares = np.zeros(len(weights)), np.zeros(len(weights))
        for level in range(self.levels):
            own = np.flatnonzero(self._coarse == level)
            upto = np.zeros((len(own) + 1, len(weights)))
            np.cumsum(sorted_[own], axis=0, out=upto[1:])
            squares += upto[-1] ** 2
            for sign, others in ((1, self._coarse > level), (-1, self._coarse < level)):
                at = np.flatnonzero(others)
                below = upto[np.searchsorted(own, self._first[at])]
                surplus += sign * np.einsum("nb,nb->b", sorted_[at], below)
        total = sorted_.sum(axis=0) ** 2
        runs = np.add.reduceat(sorted_, self._starts, axis=0)
        return _cosine(surplus, (total - squares) / 2 * (total - (runs**2).sum(axis=0)) / 2)


def kendall_by_level(values: FloatArray) -> ByLevel | None:
    """tau-b of two columns (n, 2) for resampling; None where both have too many levels."""
    codes = [np.unique(column, return_inverse=True)[1] for column in values.T]
    coarse, fine = sorted(codes, key=lambda code: int(code.max()))
    levels = int(coarse.max()) + 1
    if levels > MOST_LEVELS_OF_ONE:
        return None
    order = np.argsort(fine, kind="stable")
    starts = np.flatnonzero(np.diff(fine[order], prepend=-1))
    first = starts[np.cumsum(np.diff(fine[order], prepend=-1) > 0) - 1]
    return ByLevel(levels, order, coarse[order], starts, first)


def _tau_b(tables: FloatArray) -> FloatArray:
    """tau-b of (b, r, c) tables of counts: (concordant - discordant) / √(untied x · untied y)."""
    below = _after(tables, 1)
    concordant = (tables * _after(below, 2)).sum(axis=(1, 2))
    discordant = (tables * _before(below, 2)).sum(axis=(1, 2))
    n = tables.sum(axis=(1, 2))
    pairs = [
        (n**2 - (tables.sum(axis=axis) ** 2).sum(axis=1)) / 2
        for axis in (2, 1)
    ]  # fmt: skip
    return _cosine(concordant - discordant, pairs[0] * pairs[1])


def _after(tables: FloatArray, axis: int) -> FloatArray:
    """Of each cell the sum of all cells after it on one axis."""
    return np.flip(np.cumsum(np.flip(tables, axis), axis), axis) - tables


def _before(tables: FloatArray, axis: int) -> FloatArray:
    return np.cumsum(tables, axis) - tables


def _cosine(above: FloatArray, below: FloatArray) -> FloatArray:
    real = below > 0
    return np.where(real, above / np.sqrt(np.where(real, below, 1.0)), np.nan)

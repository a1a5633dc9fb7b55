"""Cluster bootstrap of correlations: whole modules are drawn, so rows of one module stay together.

Rows that share a module are not independent, and the textbook intervals are too narrow for them.
Here each resample draws as many modules as there are, with replacement, and takes all rows of each
drawn module (Davison & Hinkley 1997, §3.8). A row then counts 0, 1, 2 … times; correlations are
computed from those weights, and for Spearman the rows are ranked anew in every resample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

CHUNK_CELLS = 500_000
"""Weights held at once (resamples x rows): 4 MB per array, whatever the size of the data."""

FLAT = 1e-12
"""A variance below this share of the mean square is rounding noise: the column is constant."""

USABLE_SHARE = 0.9
"""An interval needs a defined correlation in at least this share of the resamples."""


def correlation_draws(
    columns: FloatArray,
    clusters: IntArray,
    *,
    seed: int,
    resamples: int,
    base: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return Pearson and Spearman matrices of `resamples` draws of whole clusters.

    `columns` is (k, n), finite and of moderate size (see `stats.scaled`); `clusters` is (n,) with
    the values 0 … m-1; `base` is (n,), what a row counts each time it is drawn, 1 if not given.
    Each result is (resamples, k, k); an entry is NaN where a column has one value only in that
    resample.
    """
    import numpy as np

    centred = columns - np.median(columns, axis=1, keepdims=True)
    codes = [np.unique(column, return_inverse=True)[1] for column in columns]

    def both(counts: FloatArray) -> FloatArray:
        weights = counts[:, clusters] if base is None else counts[:, clusters] * base
        return np.stack(weighted_correlations(centred, codes, weights), axis=1)

    drawn = draws_of(both, clusters, seed=seed, resamples=resamples)
    return drawn[:, 0], drawn[:, 1]


def weighted_correlations(
    centred: FloatArray, codes: Sequence[IntArray], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (b, k, k) Pearson and Spearman of columns whose rows count `weights` (b, n) each.

    `centred` is (k, n), near zero in the middle; `codes` are the columns as numbers of levels.
    """
    import numpy as np

    pearson = _correlate(np.repeat(centred[:, None, :], len(weights), axis=1), weights)
    ranks = np.stack([midranks(code, weights) for code in codes])
    return pearson, _correlate(ranks, weights)


def draws_of(
    statistic: Callable[[FloatArray], FloatArray], clusters: IntArray, *, seed: int, resamples: int
) -> FloatArray:
    """Return a statistic of `resamples` draws of clusters; the same draws for the same seed.

    `statistic` takes (b, clusters), how often each was drawn, and returns (b, …).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    count = int(clusters.max()) + 1
    step = max(1, CHUNK_CELLS // len(clusters))
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([statistic(draw(rng, count, size)) for size in sizes])


def percentile_interval(draws: FloatArray) -> tuple[float, float] | None:
    """Return the 2.5th and 97.5th percentile of the defined draws; None if too few are defined."""
    import numpy as np

    defined = draws[np.isfinite(draws)]
    if defined.size == 0 or defined.size < USABLE_SHARE * draws.size:
        return None
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)


def draw(rng: np.random.Generator, count: int, size: int) -> FloatArray:
    """Return (size, count): how often each cluster was drawn in each of `size` resamples."""
    import numpy as np

    picked = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    return np.bincount(picked.ravel(), minlength=size * count).reshape(size, count).astype(float)


def midranks(code: IntArray, weights: FloatArray) -> FloatArray:
    """Return (b, n) mid-ranks, less their mean, of rows that count `weights` times each."""
    import numpy as np

    order = np.argsort(code, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(code[order]) > 0, True))
    upto = np.cumsum(weights[:, order], axis=1)[:, ends]
    before = np.concatenate([np.zeros((len(weights), 1)), upto[:, :-1]], axis=1)
    middle = (before + upto - upto[:, -1:]) / 2
    return np.asarray(middle[:, code], dtype=float)


def _correlate(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (b, k, k) weighted correlations of `values` (k, b, n) under `weights` (b, n)."""
    import numpy as np

    size = weights.sum(axis=1)
    weighted = values * weights
    mean = weighted.sum(axis=2).T / size[:, None]
    square = np.einsum("ibn,jbn->bij", weighted, values) / size[:, None, None]
    covariance = square - mean[:, :, None] * mean[:, None, :]
    variance = np.einsum("bii->bi", covariance)
    variance = np.where(variance > FLAT * np.einsum("bii->bi", square), variance, np.nan)
    scale = np.sqrt(variance)
    found = covariance / (scale[:, :, None] * scale[:, None, :])
    return np.asarray(np.clip(found, -1, 1), dtype=float)

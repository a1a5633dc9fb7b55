"""How partial correlations are computed, of all rows and of draws of modules.

From the matrix R of correlations, S = R_mm - R_mg R_gg⁺ R_gm, over columns m and those given, g,
divided by the roots of its diagonal; for two columns m that is the same as inverting R. R_gg⁺ is
the pseudo-inverse, so columns that say the same, or nothing in one draw, do no harm.

Sums of products are added up per module once, so a draw of modules costs no pass over the rows.
Only ranks depend on the draw: they are made anew in each, and multiplied with the other columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kernelsift.report.bootstrap import FLAT, draws_of, midranks

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray, IntArray

MAIN = (0, 1, 2)
"""The columns whose partial correlations are wanted."""
_NOISE = 1e-9
"""What is left of a column, as a share of its variance, that is rounding and no remainder."""


@dataclass(frozen=True)
class Table:
    """Columns of rows: fine ones, which have ranks, then columns of zeros and ones."""

    values: FloatArray
    """(k, n), of moderate size."""
    fine: int
    """How many columns are no zeros and ones. Ranks of these are not the same thing."""
    clusters: IntArray
    """(n,): the module of each row, from 0."""
    modules: int

    def draws(self, held: Sequence[Sequence[int]], *, seed: int, resamples: int) -> FloatArray:
        """Return (resamples, 2, sets, 3, 3): Pearson and Spearman of MAIN given each of the sets.

        NaN where a column has one value only in a draw, or what is given explains it.
        """
        import numpy as np

        def both(counts: FloatArray) -> FloatArray:
            matrices = self.matrices(counts)
            found = [[partial_matrices(m, given) for given in held] for m in matrices]
            return np.moveaxis(np.array(found), 2, 0)

        return draws_of(both, self.clusters, seed=seed, resamples=resamples)

    def matrices(self, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return Pearson and Spearman (b, k, k) of rows whose modules count (b, modules) each.

        Rows and columns of a constant column are zero.
        """
        import numpy as np

        size = counts @ self._sizes
        k = len(self.values)
        square = (counts @ self._products).reshape(-1, k, k) / size[:, None, None]
        mean = counts @ self._sums / size[:, None]
        linear = square - mean[:, :, None] * mean[:, None, :]
        weights = counts[:, self.clusters]
        ranks = np.stack([midranks(code, weights) for code in self._codes], axis=1)
        weighted = ranks * weights[:, None, :]
        flags = self._centred[self.fine :]
        ranked = linear.copy()
        own = weighted @ ranks.transpose(0, 2, 1)
        ranked[:, : self.fine, : self.fine] = own / size[:, None, None]
        mixed = weighted.reshape(-1, weighted.shape[2]) @ flags.T
        mixed = mixed.reshape(len(counts), self.fine, -1) / size[:, None, None]
        ranked[:, : self.fine, self.fine :] = mixed
        ranked[:, self.fine :, : self.fine] = mixed.transpose(0, 2, 1)
        floor = np.einsum("bii->bi", square) * FLAT
        return _scaled(linear, floor), _scaled(ranked, np.full_like(floor, _NOISE))

    @cached_property
    def _centred(self) -> FloatArray:
        centred: FloatArray = self.values - self.values.mean(axis=1, keepdims=True)
        return centred

    @cached_property
    def _codes(self) -> list[IntArray]:
        import numpy as np

        return [np.unique(column, return_inverse=True)[1] for column in self.values[: self.fine]]

    @cached_property
    def _sizes(self) -> FloatArray:
        import numpy as np

        return np.bincount(self.clusters, minlength=self.modules).astype(float)

    @cached_property
    def _sums(self) -> FloatArray:
        """(modules, k)"""
        return self._per_module(self._centred)

    @cached_property
    def _products(self) -> FloatArray:
        """(modules, k * k)"""
        import numpy as np

        pairs = [self._per_module(column * self._centred) for column in self._centred]
        return np.stack(pairs, axis=1).reshape(self.modules, -1)

    def _per_module(self, values: FloatArray) -> FloatArray:
        """Sums of (k, n) per module: (modules, k)."""
        import numpy as np

        sums = [np.bincount(self.clusters, row, minlength=self.modules) for row in values]
        return np.stack(sums, axis=1)


def partial_matrices(matrices: FloatArray, given: Sequence[int]) -> FloatArray:
    """Return (b, 3, 3): the partial correlations of MAIN, given columns, from (b, k, k)."""
    import numpy as np

    main, held = list(MAIN), list(given)
    inner = matrices[:, held][:, :, held]
    cross = matrices[:, main][:, :, held]
    inverse = np.linalg.pinv(inner, rcond=_NOISE, hermitian=True)
    left = matrices[:, main][:, :, main] - cross @ inverse @ cross.transpose(0, 2, 1)
    size = np.einsum("bii->bi", left)
    scale = np.sqrt(np.where(size > _NOISE, size, np.nan))
    return np.asarray(np.clip(left / (scale[:, :, None] * scale[:, None, :]), -1, 1), dtype=float)


def independent(matrix: FloatArray, given: Sequence[int]) -> int:
    """Return how many of the given columns of (k, k) say something of their own."""
    import numpy as np

    inner = matrix[np.ix_(list(given), list(given))]
    return int(np.linalg.matrix_rank(inner, tol=_NOISE * len(given), hermitian=True))


def _scaled(covariance: FloatArray, floor: FloatArray) -> FloatArray:
    """Return correlations (b, k, k); zero where a variance is no more than its floor (b, k)."""
    import numpy as np

    variance = np.einsum("bii->bi", covariance)
    real = variance > floor
    scale = np.where(real, 1 / np.sqrt(np.where(real, variance, 1.0)), 0.0)
    return covariance * scale[:, :, None] * scale[:, None, :]

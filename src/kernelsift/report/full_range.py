"""What holds for all rows, not only for those that passed the reward filter.

Some rows that the filter had dropped are judged all the same, each chosen with a known probability.
Every judged row then stands for 1 / that probability rows, and correlations are computed with these
weights (Hájek's estimator). Intervals draw whole modules, passed and rejected rows together, and
each drawn row counts with its weight (Rao & Wu 1988 for the idea); no interval for independent rows
is given, as weights make it wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kernelsift.model import Frozen
from kernelsift.report.bootstrap import correlation_draws, draws_of, weighted_correlations
from kernelsift.report.stats import (
    COLUMNS,
    METHODS,
    MIN_MODULES,
    MIN_ROWS,
    PAIRS,
    RESAMPLES,
    Correlation,
    Interval,
    Scored,
    column,
    constant_why,
    counted,
    kendall_draws,
    largest_of,
    ordered,
    scaled,
    strength_of,
    with_interval,
    z_interval,
)

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray, IntArray


class Span(Frozen):
    """A 95 % confidence interval of a share or of a difference of scores."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}".replace("-", "−")


class Separation(Frozen):
    """How well a score tells rows that passed the reward filter from rows that did not."""

    score: Literal["difficulty", "style"]
    mean_passed: float
    mean_rejected: float
    """Weighted, as every number of rejected rows."""
    difference: float
    """Passed less rejected, in points of the score."""
    difference_ci: Span | None = None
    """95 %, modules resampled: ± t standard errors of the draws."""
    auc: float
    """Chance that a passed row has the higher score than a rejected one, ties counting half: 0.5
    tells nothing."""
    auc_ci: Span | None = None
    """95 %, modules resampled: Fisher z of 2 AUC - 1."""
    ci_why: str | None = None
    """Why an interval is missing."""
    sentence: str


class FullRange(Frozen):
    """Associations over all rows, weighted by inverse probability of being judged."""

    passed: int
    """Judged rows that passed the filter."""
    rejected: int
    """Judged rows that did not."""
    stands_for: float
    """Rejected rows that these stand for: the sum of their weights."""
    effective: float
    """Kish's effective number of rows: (sum of weights)² / sum of squared weights."""
    modules: int
    correlations: tuple[Correlation, ...]
    """Three pairs, three methods; `r` is weighted, `p` is from the bootstrap."""
    separations: tuple[Separation, ...]
    """Difficulty and style of passed beside rejected rows; none where one side has no row."""


def full_range(
    rows: Iterable[Scored], *, seed: int = 0, resamples: int = RESAMPLES
) -> FullRange | None:
    """Return what holds for all rows; None where no rejected row was judged.

    Raises DataError for values that `ordered` refuses.
    """
    import numpy as np

    known = ordered(rows)
    rejected = np.array([row.rejected for row in known], dtype=bool)
    if not rejected.any():
        return None
    weights = np.array([row.weight for row in known], dtype=float)
    names, clusters = np.unique([row.module for row in known], return_inverse=True)
    sample = _Sample(known, weights, clusters, len(names), (seed, resamples))
    both = not rejected.all()
    scores: tuple[Literal["difficulty", "style"], ...] = ("difficulty", "style")
    return FullRange(
        passed=int((~rejected).sum()),
        rejected=int(rejected.sum()),
        stands_for=float(weights[rejected].sum()),
        effective=float(weights.sum() ** 2 / (weights**2).sum()),
        modules=len(names),
        correlations=tuple(sample.correlations()),
        separations=tuple(sample.separation(score) for score in scores) if both else (),
    )


@dataclass(frozen=True)
class _Sample:
    """The judged rows with their weights."""

    rows: Sequence[Scored]
    weights: FloatArray
    clusters: IntArray
    modules: int
    how: tuple[int, int]
    """Seed and number of draws."""

    @property
    def few(self) -> str | None:
        """Why there is no interval; None where there is one."""
        if self.modules >= MIN_MODULES:
            return None
        count = counted(self.modules, "module")
        return f"the rows come from {count}; at least {MIN_MODULES} are needed"

    def correlations(self) -> Iterator[Correlation]:
        import numpy as np

        columns = np.stack([scaled(column(self.rows, name))[0] for name in COLUMNS])
        centred = columns - np.median(columns, axis=1, keepdims=True)
        codes = [np.unique(values, return_inverse=True)[1] for values in columns]
        found = weighted_correlations(centred, codes, self.weights[None, :])
        seed, resamples = self.how
        drawn = None
        if self.few is None and len(self.rows) >= MIN_ROWS:
            drawn = correlation_draws(
                columns, self.clusters, seed=seed, resamples=resamples, base=self.weights
            )
        for a, b in PAIRS:
            i, j = COLUMNS.index(a), COLUMNS.index(b)
            why = constant_why(self.rows, a, b)
            for method in METHODS:
                bare = Correlation(a=a, b=b, method=method, n=len(self.rows), modules=self.modules,
                                   why=why, sentence="")  # fmt: skip
                if why is not None:
                    yield with_interval(bare, None, 0, self.modules)
                elif method == "kendall":
                    yield self._kendall(bare, columns[[i, j]])
                else:
                    place = METHODS.index(method)
                    own = None if drawn is None else drawn[place][:, i, j]
                    yield self._found(bare, float(found[place][0, i, j]), columns[[i, j]], own)

    def _kendall(self, bare: Correlation, pair: FloatArray) -> Correlation:
        from kernelsift.reliability.ranks import kendall_by_level

        table = kendall_by_level(pair.T)
        if table is None:
            why = "both columns have too many levels to weight each pair of rows"
            return with_interval(bare.model_copy(update={"why": why}), None, 0, self.modules)
        seed, resamples = self.how
        drawn = None
        if self.few is None:
            made = kendall_draws(
                pair.T, self.clusters, seed=seed, resamples=resamples, base=self.weights
            )
            drawn = None if isinstance(made, str) else made
        return self._found(bare, float(table(self.weights[None, :])[0]), pair, drawn)

    def _found(
        self, bare: Correlation, r: float, pair: FloatArray, drawn: FloatArray | None
    ) -> Correlation:
        """Return a correlation with what its draws say. `pair` is (2, n)."""
        r = max(-1.0, min(1.0, r))
        update: dict[str, object] = {
            "r": r,
            "strength": strength_of(r),
            "largest": largest_of(pair[0], pair[1], bare.method, r),
        }
        interval: Interval | str = self.few or "nothing was drawn"
        if drawn is not None:
            interval = z_interval(r, drawn, self.modules)
            update["p"] = _wald(r, drawn, self.modules) if isinstance(interval, Interval) else None
        full = bare.model_copy(update=update)
        return with_interval(full, interval, 0 if drawn is None else len(drawn), self.modules)

    def separation(self, score: Literal["difficulty", "style"]) -> Separation:
        """Compare passed with rejected rows."""
        import numpy as np

        values = column(self.rows, score)
        rejected = np.array([row.rejected for row in self.rows], dtype=float)
        means = _Means(values, self.weights, rejected)
        area = _Area.of(values, self.weights, rejected)
        every = np.ones((1, len(self.rows)))
        passed, others = (float(value) for value in means(every)[0])
        auc = float(area(every)[0])
        found = Separation(
            score=score,
            mean_passed=passed,
            mean_rejected=others,
            difference=passed - others,
            auc=auc,
            sentence="",
        )
        found = found.model_copy(update=self._intervals(found, means, area))
        return found.model_copy(update={"sentence": sentence_of(found)})

    def _intervals(self, found: Separation, means: _Means, area: _Area) -> dict[str, object]:
        import numpy as np

        if self.few is not None:
            return {"ci_why": self.few}
        seed, resamples = self.how

        def drawn(statistic: Callable[[FloatArray], FloatArray]) -> FloatArray:
            return draws_of(
                lambda counts: statistic(counts[:, self.clusters]),
                self.clusters,
                seed=seed,
                resamples=resamples,
            )

        out: dict[str, object] = {}
        apart = drawn(lambda weights: np.diff(-means(weights), axis=1)[:, 0])
        out["difference_ci"] = _t_interval(found.difference, apart, self.modules)
        bounds = z_interval(2 * found.auc - 1, 2 * drawn(area) - 1, self.modules)
        if isinstance(bounds, str):
            out["ci_why"] = bounds
        else:
            out["auc_ci"] = Span(low=(bounds.low + 1) / 2, high=(bounds.high + 1) / 2)
        if out["difference_ci"] is None:
            out["ci_why"] = "it does not exist in more than 10 % of the resamples"
        return out


@dataclass(frozen=True)
class _Means:
    """Weighted means of passed and of rejected rows."""

    values: FloatArray
    weights: FloatArray
    rejected: FloatArray

    def __call__(self, counts: FloatArray) -> FloatArray:
        """(b, n) -> (b, 2); NaN where a side has no row."""
        import numpy as np

        sides = np.stack([1 - self.rejected, self.rejected], axis=1) * self.weights[:, None]
        sums, sizes = counts @ (sides * self.values[:, None]), counts @ sides
        return np.where(sizes > 0, sums / np.where(sizes > 0, sizes, 1.0), np.nan)


@dataclass(frozen=True)
class _Area:
    """The chance that a passed row has the higher value, from the runs of equal values."""

    order: IntArray
    starts: IntArray
    passed: FloatArray
    """(n,) weights in order of value, 0 for rejected rows."""
    rejected: FloatArray

    @classmethod
    def of(cls, values: FloatArray, weights: FloatArray, rejected: FloatArray) -> _Area:
        import numpy as np

        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=-1.0) > 0)
        own = weights[order]
        return cls(order, starts, own * (1 - rejected[order]), own * rejected[order])

    def __call__(self, counts: FloatArray) -> FloatArray:
        """(b, n) -> (b,); NaN where a side has no row."""
        import numpy as np

        sorted_ = counts[:, self.order]
        won = np.add.reduceat(sorted_ * self.passed, self.starts, axis=1)
        lost = np.add.reduceat(sorted_ * self.rejected, self.starts, axis=1)
        below = np.cumsum(lost, axis=1) - lost / 2
        size = won.sum(axis=1) * lost.sum(axis=1)
        return np.where(size > 0, (won * below).sum(axis=1) / np.where(size > 0, size, 1.0), np.nan)


def _t_interval(value: float, drawn: FloatArray, modules: int) -> Span | None:
    import numpy as np
    from scipy.stats import t

    defined = drawn[np.isfinite(drawn)]
    if len(defined) < 0.9 * len(drawn) or len(defined) < 2:
        return None
    grown = math.sqrt(modules / (modules - 1))
    reach = float(t.ppf(0.975, modules - 1)) * grown * float(defined.std(ddof=1))
    return Span(low=value - reach, high=value + reach)


def _wald(r: float, drawn: FloatArray, modules: int) -> float | None:
    """Return the two-sided p-value of r = 0, on Fisher's z with the error of the draws."""
    import numpy as np
    from scipy.stats import t

    defined = drawn[np.isfinite(drawn) & (np.abs(drawn) < 1)]
    if abs(r) >= 1 or len(defined) < 2:
        return None
    error = math.sqrt(modules / (modules - 1)) * float(np.arctanh(defined).std(ddof=1))
    return float(2 * t.sf(abs(math.atanh(r)) / error, modules - 1)) if error > 0 else None


def sentence_of(found: Separation) -> str:
    """Say in one sentence how a score tells passed from rejected rows."""
    name = found.score.capitalize()
    apart = f"{found.difference:+.2f}".replace("-", "−")
    means = f"{name}: {found.mean_passed:.2f} where the row passed the filter, " \
        f"{found.mean_rejected:.2f} where it did not"  # fmt: skip
    quoted = f" (95 % CI {found.difference_ci})" if found.difference_ci else ""
    text = f"{means}, a difference of {apart}{quoted}; AUC {found.auc:.2f}"
    if found.auc_ci is None:
        return f"{text}; how sure that is cannot be told, because {found.ci_why}."
    text += f" (95 % CI {found.auc_ci})"
    if found.auc_ci.low <= 0.5 <= found.auc_ci.high:
        return f"{text}: the interval contains 0.5, so the score may tell nothing of passing."
    if abs(found.auc - 0.5) < 0.06:
        return f"{text}: told apart from 0.5, but too close to it to matter."
    return f"{text}: passed rows tend to score {'higher' if found.auc > 0.5 else 'lower'}."

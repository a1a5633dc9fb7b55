"""Intervals by drawing whole modules: the clustered bootstrap of every statistic here.

The interval is value ± t · s on Fisher's z scale (atanh): s is the standard deviation of the
resampled values there, times √(m/(m-1)), and t the quantile with m - 1 degrees of freedom, for m
modules. It was chosen by coverage: benchmarks/interval_coverage.py puts it beside percentiles,
widened percentiles and BCa, which cover too rarely when modules are few.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernelsift.reliability import ranks
from kernelsift.reliability.agreement import Coefficient, Weighted
from kernelsift.reliability.outcome import Measure, Undefined
from kernelsift.reliability.ratings import FloatArray, IntArray, Ratings
from kernelsift.reliability.within import NAME, Groups
from kernelsift.report.bootstrap import CHUNK_CELLS, USABLE_SHARE, draw
from kernelsift.report.stats import MIN_MODULES, Interval

OfClusters = Callable[[FloatArray], FloatArray]
"""(b, clusters) weights -> b values."""
_EDGE = 1 - 1e-9
"""A correlation beyond this has no finite z."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often modules are drawn, and from which seed."""

    resamples: int = 2000
    seed: int = 0


def draws_of(statistic: OfClusters, count: int, how: Resampling, cells: int) -> FloatArray:
    """The statistic of `how.resamples` draws of `count` clusters; NaN where it does not exist.

    `cells` is how many numbers one draw needs in memory.
    """
    rng = np.random.default_rng(how.seed)
    step = max(1, CHUNK_CELLS // max(1, cells))
    sizes = [min(step, how.resamples - start) for start in range(0, how.resamples, step)]
    return np.concatenate([statistic(draw(rng, count, size)) for size in sizes])


def fisher_bounds(value: float, drawn: FloatArray, clusters: int) -> Interval | Undefined:
    """The 95 % interval of a value in -1 … 1 from its resampled values.

    Where draws reach ±1, which have no z, widened percentiles are used (Hesterberg 2015).
    """
    if clusters < MIN_MODULES:
        return Undefined(
            f"the items come from {clusters} module{'' if clusters == 1 else 's'}, and at least "
            f"{MIN_MODULES} are needed"
        )
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < max(2.0, USABLE_SHARE * len(drawn)):
        return Undefined("it does not exist in more than 10 % of the resamples")
    if np.ptp(defined) <= 1e-12:
        return Undefined("no resample differs from it, so nothing shows how sure it is")
    from scipy.stats import norm, t

    quantile = float(t.ppf(0.975, clusters - 1))
    grown = math.sqrt(clusters / (clusters - 1))
    if abs(value) >= _EDGE or np.abs(defined).max() >= _EDGE:
        tail = float(norm.cdf(-grown * quantile))
        low, high = (float(q) for q in np.quantile(defined, [tail, 1 - tail]))
        return Interval(low=min(low, value), high=max(high, value))
    error = grown * float(np.arctanh(defined).std(ddof=1))
    z = math.atanh(value)
    return Interval(low=math.tanh(z - quantile * error), high=math.tanh(z + quantile * error))


def agreement(coefficient: Coefficient, ratings: Ratings, how: Resampling) -> Measure:
    """A coefficient of agreement with its clustered interval."""
    used = ratings.rows(coefficient.usable_rows(ratings.values))
    found = coefficient.value(ratings.values)
    return _measured(coefficient.name, found, used, coefficient.weighted, how)


def rank_correlation(ratings: Ratings, method: ranks.Method, how: Resampling) -> Measure:
    """Spearman or tau-b of two raters with its clustered interval; ties are ranked anew."""
    used = ratings.complete()
    x, y = used.values.T
    name = "Spearman" if method == "spearman" else "Kendall tau-b"
    found = ranks.correlation(x, y, method)
    weighted: Weighted = ranks.spearman_weighted
    if method == "kendall" and not isinstance(found, Undefined):
        table = ranks.kendall_weighted(used.values)
        if table is None:
            why = f"a column has more than {ranks.MOST_LEVELS} levels"
            return _without_interval(name, used, found, why)
        weighted = table
    return _measured(name, found, used, weighted, how)


def _measured(
    name: str, found: float | Undefined, used: Ratings, weighted: Weighted, how: Resampling
) -> Measure:
    clusters = used.clusters
    count = int(clusters.max()) + 1 if len(clusters) else 0
    if isinstance(found, Undefined):
        return Measure(name=name, items=len(used.items), clusters=count, why=found.why)
    if count < MIN_MODULES:
        bounds = fisher_bounds(found, np.empty(0), count)
    else:

        def statistic(weights: FloatArray) -> FloatArray:
            return weighted(used.values, weights[:, clusters])

        drawn = draws_of(statistic, count, how, used.values.size)
        bounds = fisher_bounds(found, drawn, count)
    if isinstance(bounds, Undefined):
        return _without_interval(name, used, found, bounds.why)
    return Measure(name=name, items=len(used.items), clusters=count, value=found, ci=bounds)


def _without_interval(name: str, used: Ratings, value: float, why: str) -> Measure:
    count = len(set(used.modules))
    return Measure(name=name, items=len(used.items), clusters=count, value=value, ci_why=why)


def within(scores: FloatArray, groups: IntArray, how: Resampling) -> Measure:
    """ICC(1) of scores within groups that ought to agree, whole groups being drawn."""
    summed = Groups.of(scores, groups)
    items, count = len(scores), len(summed.sizes)
    found = summed.value()
    if isinstance(found, Undefined):
        return Measure(name=NAME, items=items, clusters=count, why=found.why)
    bounds: Interval | Undefined
    if count < MIN_MODULES:
        bounds = fisher_bounds(found, np.empty(0), count)
    else:
        bounds = fisher_bounds(found, draws_of(summed.weighted(), count, how, count), count)
    if isinstance(bounds, Undefined):
        return Measure(name=NAME, items=items, clusters=count, value=found, ci_why=bounds.why)
    return Measure(name=NAME, items=items, clusters=count, value=found, ci=bounds)


def share(name: str, marks: FloatArray, clusters: IntArray, how: Resampling) -> Measure:
    """A share, the mean of zeros and ones; its interval stays within 0 and 1."""
    found = mean(name, marks, clusters, how)
    if found.ci is None:
        return found
    kept = Interval(low=max(0.0, found.ci.low), high=min(1.0, found.ci.high))
    return found.model_copy(update={"ci": kept})


def mean(name: str, values: FloatArray, clusters: IntArray, how: Resampling) -> Measure:
    """A mean whose items share modules: mean ± t · s, s from drawing whole modules."""
    count = int(clusters.max()) + 1 if len(clusters) else 0
    if not len(values):
        return Measure(name=name, items=0, clusters=0, why="there are no items")
    value = float(values.mean())
    if count < MIN_MODULES:
        bounds = fisher_bounds(0.0, np.empty(0), count)
        assert isinstance(bounds, Undefined)
        return Measure(name=name, items=len(values), clusters=count, value=value, ci_why=bounds.why)
    from scipy.stats import t

    sums, sizes = np.bincount(clusters, values), np.bincount(clusters).astype(float)
    drawn = draws_of(lambda w: (w @ sums) / (w @ sizes), count, how, count)
    if np.ptp(drawn) <= 1e-12:
        why = "no resample differs from it, so nothing shows how sure it is"
        return Measure(name=name, items=len(values), clusters=count, value=value, ci_why=why)
    reach = float(t.ppf(0.975, count - 1) * math.sqrt(count / (count - 1)) * drawn.std(ddof=1))
    interval = Interval(low=value - reach, high=value + reach)
    return Measure(name=name, items=len(values), clusters=count, value=value, ci=interval)

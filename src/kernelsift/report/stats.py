"""Correlations of judged rows, with intervals for rows and for modules.

Nothing here yields NaN: what cannot be computed is None, with a sentence that says why. The rows,
their columns and their distributions have modules of their own; their names are found here too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from kernelsift.model import Frozen
from kernelsift.report.bootstrap import correlation_draws, draws_of, percentile_interval
from kernelsift.report.rows import (
    COLUMNS,
    LEVELS,
    MIN_ROWS,
    PAIRS,
    Column,
    Covariates,
    Scored,
    column,
    constant_why,
    counted,
    is_flat,
    level_of,
    ordered,
    p_text,
    percent,
    scaled,
    signed,
    values_of,
)
from kernelsift.report.spreads import (
    Group,
    ScoreSpread,
    Spread,
    groups_by,
    score_spread,
    spread_of,
)

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray, IntArray

__all__ = [
    "COLUMNS",
    "LEVELS",
    "METHODS",
    "MIN_MODULES",
    "MIN_ROWS",
    "PAIRS",
    "RESAMPLES",
    "Z95",
    "Column",
    "Correlation",
    "Covariates",
    "Group",
    "Interval",
    "Method",
    "ScoreSpread",
    "Scored",
    "Spread",
    "Strength",
    "column",
    "constant_why",
    "correlations",
    "counted",
    "fisher_interval",
    "groups_by",
    "is_flat",
    "kendall_draws",
    "kendall_resamples",
    "level_of",
    "ordered",
    "p_text",
    "percent",
    "scaled",
    "score_spread",
    "sentence_of",
    "signed",
    "spread_of",
    "strength_of",
    "title_of",
    "values_of",
    "with_interval",
    "z_interval",
]

Method = Literal["pearson", "spearman", "kendall"]
Strength = Literal["negligible", "weak", "moderate", "strong"]

METHODS: tuple[Method, ...] = ("pearson", "spearman", "kendall")
MIN_MODULES = 10
"""Fewest modules for a cluster interval: with fewer, its percentiles mean little."""
RESAMPLES = 1000
Z95 = 1.959963984540054
"""97.5th percentile of the standard normal distribution."""
KENDALL_CELLS = 40_000_000
"""Level x row steps behind one interval of tau-b; see `kendall_resamples`."""
KENDALL_LEAST = 200
"""Fewest draws behind it: the width then errs by about 5 %."""


class Interval(Frozen):
    """A 95 % confidence interval of a correlation."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{signed(self.low)} to {signed(self.high)}"


class Correlation(Frozen):
    """How two columns go together. Without a number, `r` is None and `why` says why."""

    a: Column
    b: Column
    method: Method
    n: int
    modules: int
    r: float | None = None
    """Pearson's r, Spearman's rho or Kendall's tau-b. Of all rows: weighted."""
    ci: Interval | None = None
    """95 %, for independent rows: Fisher z (Pearson), Bonett & Wright 2000 (Spearman), Fieller,
    Hartley & Pearson 1957 (Kendall). None for weighted rows: it would not hold there."""
    cluster_ci: Interval | None = None
    """95 %, for rows that share modules, by a bootstrap over modules: percentiles (Pearson and
    Spearman of passed rows), else Fisher z with the standard error of the draws there."""
    resamples: int = 0
    """Draws of modules behind `cluster_ci`; 0 without one. Fewer for Kendall with many rows."""
    p: float | None = None
    """Two-sided p-value of r = 0: for independent rows; of all rows: from the bootstrap."""
    p_holm: float | None = None
    """`p` adjusted over all hypotheses of the report, Holm 1979 (family-wise error)."""
    p_bh: float | None = None
    """`p` adjusted likewise, Benjamini & Hochberg 1995 (false discovery rate)."""
    strength: Strength | None = None
    largest: float | None = None
    """The most that the ties of both columns allow, in the direction of `r`: that of the columns
    when each is sorted by itself. None for Pearson."""
    why: str | None = None
    """Why there is no `r`."""
    cluster_why: str | None = None
    """Why there is an `r` but no `cluster_ci`."""
    sentence: str

    @property
    def widest(self) -> Interval | None:
        """The interval to quote: the wider of the two, so that neither assumption flatters."""
        if self.ci is None or self.cluster_ci is None:
            return self.ci or self.cluster_ci
        return max(self.cluster_ci, self.ci, key=lambda interval: interval.high - interval.low)


def title_of(method: Method) -> str:
    """Return the usual name of a coefficient."""
    return "Kendall tau-b" if method == "kendall" else f"{method.capitalize()} r"


def strength_of(r: float) -> Strength:
    """Return the usual word for the size of a correlation (Cohen 1988: 0.1, 0.3, 0.5)."""
    size = abs(r)
    if size < 0.1:
        return "negligible"
    if size < 0.3:
        return "weak"
    return "moderate" if size < 0.5 else "strong"


def correlations(
    rows: Iterable[Scored], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Correlation, ...]:
    """Return Pearson, Spearman and Kendall of the three pairs, in the order of PAIRS.

    Raises DataError for values that `ordered` refuses.
    """
    import numpy as np

    known = ordered(rows)
    names, clusters = np.unique([row.module for row in known], return_inverse=True)
    columns = np.stack([scaled(column(known, name))[0] for name in COLUMNS])
    draws = None
    if len(known) >= MIN_ROWS and len(names) >= MIN_MODULES:
        draws = correlation_draws(columns, clusters, seed=seed, resamples=resamples)
    found = []
    for a, b in PAIRS:
        i, j = COLUMNS.index(a), COLUMNS.index(b)
        for method in METHODS:
            plain = _correlation(known, (a, b), method)
            drawn: FloatArray | str | None = None
            if draws is not None and plain.r is not None:
                if method == "kendall":
                    pair = columns[[i, j]].T
                    drawn = kendall_draws(pair, clusters, seed=seed, resamples=resamples)
                else:
                    drawn = draws[METHODS.index(method)][:, i, j]
            found.append(_with_cluster(plain, drawn, len(names)))
    return tuple(found)


def kendall_resamples(levels: int, rows: int, resamples: int) -> int:
    """How many draws of modules tau-b gets: all where that is cheap, never fewer than 200.

    One draw takes levels x rows steps: of 1,000 draws, 3,600 rows of 11 levels get all, 7,000 rows
    half, and 18,000 rows 200. All rows are in each of them.
    """
    return min(resamples, max(KENDALL_LEAST, KENDALL_CELLS // max(1, levels * rows)))


def kendall_draws(
    pair: FloatArray,
    clusters: IntArray,
    *,
    seed: int,
    resamples: int,
    base: FloatArray | None = None,
) -> FloatArray | str:
    """Return tau-b of draws of modules, or why there are none.

    `pair` is (n, 2), `clusters` (n,), `base` (n,): what a row counts each time it is drawn.
    """
    from kernelsift.reliability.ranks import MOST_LEVELS_OF_ONE, kendall_by_level

    table = kendall_by_level(pair)
    if table is None:
        return f"both columns have more than {MOST_LEVELS_OF_ONE} levels"
    count = kendall_resamples(table.levels, len(pair), resamples)
    each = 1.0 if base is None else base
    return draws_of(lambda w: table(w[:, clusters] * each), clusters, seed=seed, resamples=count)


def _correlation(
    rows: Sequence[Scored], pair: tuple[Column, Column], method: Method
) -> Correlation:
    """Return the correlation with the interval for independent rows; no sentence yet."""
    from scipy.stats import kendalltau, pearsonr, spearmanr

    a, b = pair
    n = len(rows)
    why = constant_why(rows, a, b)
    if why is not None:
        return Correlation(a=a, b=b, method=method, n=n, modules=0, why=why, sentence="")
    x, y = (scaled(column(rows, name))[0] for name in pair)
    if method == "kendall":
        tau = kendalltau(x, y)
        r, p = float(tau.statistic), float(tau.pvalue)
    else:
        result = pearsonr(x, y) if method == "pearson" else spearmanr(x, y)
        r, p = float(result.statistic), float(result.pvalue)
    r = max(-1.0, min(1.0, r))
    return Correlation(
        a=a,
        b=b,
        method=method,
        n=n,
        modules=0,
        r=r,
        ci=fisher_interval(r, _error(r, n, method)),
        p=p,
        strength=strength_of(r),
        largest=largest_of(x, y, method, r),
        sentence="",
    )


def _error(r: float, n: int, method: Method) -> float:
    """Return the standard error of atanh(r) for n independent rows."""
    if method == "kendall":
        return math.sqrt(0.437 / (n - 4)) if n > 4 else math.inf
    return math.sqrt((1.0 if method == "pearson" else 1 + r * r / 2) / (n - 3))


def largest_of(x: FloatArray, y: FloatArray, method: Method, r: float) -> float | None:
    """Return the most that the ties allow in the direction of `r`; None for Pearson."""
    from kernelsift.reliability.outcome import Undefined
    from kernelsift.reliability.ranks import largest

    if method == "pearson":
        return None
    found = largest(x, -y if r < 0 else y, method)
    return None if isinstance(found, Undefined) else -found if r < 0 else found


def fisher_interval(r: float, error: float) -> Interval:
    """Return tanh(atanh(r) ± 1.96 error), Fisher 1921; r = ±1 gives an interval of no width."""
    if abs(r) >= 1:
        return Interval(low=r, high=r)
    z = math.atanh(r)
    return Interval(low=math.tanh(z - Z95 * error), high=math.tanh(z + Z95 * error))


def _with_cluster(plain: Correlation, drawn: FloatArray | str | None, modules: int) -> Correlation:
    """Return `plain` with its cluster interval, or the reason for none, and its sentence."""
    if plain.r is None:
        return with_interval(plain, None, 0, modules)
    if isinstance(drawn, str):
        return with_interval(plain, drawn, 0, modules)
    if drawn is None:
        count = counted(modules, "module")
        why = f"the rows come from {count}; at least {MIN_MODULES} are needed"
        return with_interval(plain, why, 0, modules)
    if plain.method == "kendall":
        return with_interval(plain, z_interval(plain.r, drawn, modules), len(drawn), modules)
    bounds = percentile_interval(drawn)
    interval: Interval | str = "a column has one value only in more than 10 % of the resamples"
    if bounds is not None:
        interval = Interval(low=bounds[0], high=bounds[1])
    return with_interval(plain, interval, len(drawn), modules)


def z_interval(value: float, drawn: FloatArray, modules: int) -> Interval | str:
    """Return the interval of `reliability.resample.fisher_bounds`, or why there is none."""
    from kernelsift.reliability.outcome import Undefined
    from kernelsift.reliability.resample import fisher_bounds

    found = fisher_bounds(value, drawn, modules)
    return found.why if isinstance(found, Undefined) else found


def with_interval(
    plain: Correlation, found: Interval | str | None, resamples: int, modules: int
) -> Correlation:
    """Return a correlation with its cluster interval, or why it has none, and its sentence."""
    update: dict[str, object] = {"modules": modules}
    if isinstance(found, Interval):
        update |= {"cluster_ci": found, "resamples": resamples}
    else:
        update["cluster_why"] = found
    full = plain.model_copy(update=update)
    return full.model_copy(update={"sentence": sentence_of(full)})


def sentence_of(found: Correlation) -> str:
    """Say in one sentence what the correlation is, and how sure one can be of it."""
    subject = f"{found.a.capitalize()} and {found.b}"
    if found.r is None:
        name = "Kendall" if found.method == "kendall" else found.method.capitalize()
        return f"{subject}: no {name} correlation, because {found.why}."
    interval = found.widest
    value = f"{title_of(found.method)} = {signed(found.r)}"
    if interval is None:
        return (
            f"{subject}: {found.strength} in these rows ({value}, n = {found.n:,}), and how sure "
            f"that is cannot be told, because {found.cluster_why}."
        )
    kind = ", modules resampled" if interval is found.cluster_ci else ""
    p = "" if found.p is None else f", {p_text(found.p)}"
    text = f"{subject}: {found.strength} ({value}, 95 % CI {interval}{kind}, n = {found.n:,}{p})"
    return text + direction_of(found.r, interval, found.a, found.b)


def direction_of(r: float, interval: Interval, a: str, b: str) -> str:
    """Say what a correlation with this interval lets one conclude; the end of a sentence."""
    strength = strength_of(r)
    if interval.low <= 0 <= interval.high:
        reach = strength_of(max(-interval.low, interval.high))
        more = "" if reach == strength else f" and reaches {reach} values"
        return f"; the interval contains zero{more}, so not even the direction is known."
    if strength == "negligible":
        return "; told apart from zero, but too small to matter."
    return f"; higher {a} goes with {'higher' if r > 0 else 'lower'} {b}."

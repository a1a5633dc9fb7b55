"""Statistics of judged rows: correlations with intervals, distributions, group tables.

Scores run from 0 to 10. A *level* is a score rounded to the nearest integer, halves upwards.
Nothing here yields NaN: what cannot be computed is None, with a sentence that says why.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kernelsift.errors import DataError
from kernelsift.model import Frozen
from kernelsift.report.bootstrap import correlation_draws, percentile_interval

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray

Column = Literal["difficulty", "style", "reward"]
Method = Literal["pearson", "spearman"]
Strength = Literal["negligible", "weak", "moderate", "strong"]

COLUMNS: tuple[Column, ...] = ("difficulty", "style", "reward")
PAIRS: tuple[tuple[Column, Column], ...] = (
    ("difficulty", "reward"),
    ("style", "reward"),
    ("difficulty", "style"),
)
LEVELS = 11
MIN_ROWS = 4
"""Fewest rows for a correlation: Fisher's interval divides by n - 3."""
MIN_MODULES = 10
"""Fewest modules for a cluster interval: with fewer, its percentiles mean little."""
RESAMPLES = 1000
Z95 = 1.959963984540054
"""97.5th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged row."""

    id: str
    module: str
    reward: float
    difficulty: float
    style: float


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
    ci: Interval | None = None
    """95 %, for independent rows: Fisher z (Pearson), Bonett & Wright 2000 (Spearman)."""
    cluster_ci: Interval | None = None
    """95 %, for rows that share modules: percentiles of a bootstrap over modules."""
    p: float | None = None
    """Two-sided p-value of r = 0, for independent rows."""
    strength: Strength | None = None
    why: str | None = None
    """Why there is no `r`."""
    cluster_why: str | None = None
    """Why there is an `r` but no `cluster_ci`."""
    sentence: str

    @property
    def widest(self) -> Interval | None:
        """The interval to quote: the wider of the two, so that neither assumption flatters."""
        if self.ci is None or self.cluster_ci is None:
            return self.ci
        return max(self.cluster_ci, self.ci, key=lambda interval: interval.high - interval.low)


class Spread(Frozen):
    """Where the values of a column lie. All are None without rows; `sd` needs two rows."""

    n: int
    mean: float | None = None
    sd: float | None = None
    """Sample standard deviation (divided by n - 1)."""
    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    min: float | None = None
    max: float | None = None


class ScoreSpread(Frozen):
    """The distribution of a 0-10 score. Shares run from 0 to 1; they are None without rows."""

    spread: Spread
    histogram: tuple[int, ...]
    """Rows per level, 0 to 10."""
    effective_levels: float | None = None
    """exp(Shannon entropy of the levels): 1 if all rows share one level, 11 if all are equal."""
    mode: int | None = None
    """The most frequent level; the lowest of several."""
    mode_share: float | None = None
    floor_share: float | None = None
    """Share of rows at level 0."""
    ceiling_share: float | None = None
    """Share of rows at level 10."""


class Group(Frozen):
    """The rows of one level of a score."""

    level: int
    n: int
    reward: Spread
    mean_other: float
    """Mean of the other score: of style in groups by difficulty, and the reverse."""


def ordered(rows: Iterable[Scored]) -> tuple[Scored, ...]:
    """Return the rows by id, so that no result depends on the order they came in.

    Raises DataError if a reward is not finite or a score is outside 0-10.
    """
    found = sorted(rows, key=lambda row: (row.id, row.module, *values_of(row)))
    for row in found:
        if not math.isfinite(row.reward):
            raise DataError(f"row {row.id}: reward is {row.reward}; a finite number is needed")
        for name, score in (("difficulty", row.difficulty), ("style", row.style)):
            if not 0 <= score <= 10:
                raise DataError(f"row {row.id}: {name} is {score}; scores run from 0 to 10")
    return tuple(found)


def values_of(row: Scored) -> tuple[float, float, float]:
    """Return difficulty, style and reward, in the order of COLUMNS."""
    return row.difficulty, row.style, row.reward


def column(rows: Sequence[Scored], name: Column) -> FloatArray:
    """Return one column as an array."""
    import numpy as np

    return np.array([getattr(row, name) for row in rows], dtype=float)


def level_of(score: float) -> int:
    """Return the nearest integer level, halves upwards."""
    return math.floor(score + 0.5)


def strength_of(r: float) -> Strength:
    """Return the usual word for the size of a correlation (Cohen 1988: 0.1, 0.3, 0.5)."""
    size = abs(r)
    if size < 0.1:
        return "negligible"
    if size < 0.3:
        return "weak"
    return "moderate" if size < 0.5 else "strong"


def signed(value: float) -> str:
    """Format a correlation with three digits, its sign, and a true minus."""
    return f"{value:+.3f}".replace("-", "−")


def p_text(p: float) -> str:
    """Format a p-value with two significant digits."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def percent(share: float) -> str:
    """Format a share (0 to 1) as per cent; what would round to nothing is still not nothing."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def constant_why(rows: Sequence[Scored], *names: Column) -> str | None:
    """Return why these columns allow no comparison (too few rows, or one value), else None."""
    n = len(rows)
    if n < MIN_ROWS:
        count = f"only {counted(n, 'row')}" if n else "no rows"
        return f"there {'is' if n == 1 else 'are'} {count}; at least {MIN_ROWS} are needed"
    for name in names:
        values = column(rows, name)
        if is_flat(values):
            return f"all {n:,} rows have the same {name} ({values[0]:g})"
    return None


def is_flat(values: FloatArray) -> bool:
    """Say whether the values differ by no more than rounding."""
    import numpy as np

    small, _ = scaled(values)
    return bool(np.ptp(small) <= 1e-12)


def scaled(values: FloatArray) -> tuple[FloatArray, float]:
    """Return the values divided by their largest size, and that size: sums cannot overflow."""
    import numpy as np

    size = float(np.max(np.abs(values), initial=0.0))
    return (values / size, size) if size > 0 else (values, 1.0)


def correlations(
    rows: Iterable[Scored], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Correlation, ...]:
    """Return Pearson and Spearman correlations of the three pairs, in the order of PAIRS.

    Raises DataError for values that `ordered` refuses.
    """
    import numpy as np

    known = ordered(rows)
    names, clusters = np.unique([row.module for row in known], return_inverse=True)
    draws = None
    if len(known) >= MIN_ROWS and len(names) >= MIN_MODULES:
        columns = np.stack([scaled(column(known, name))[0] for name in COLUMNS])
        draws = correlation_draws(columns, clusters, seed=seed, resamples=resamples)
    found = []
    for a, b in PAIRS:
        i, j = COLUMNS.index(a), COLUMNS.index(b)
        for number, method in enumerate(("pearson", "spearman")):
            plain = _correlation(known, (a, b), "pearson" if method == "pearson" else "spearman")
            drawn = None if draws is None else percentile_interval(draws[number][:, i, j])
            found.append(_with_cluster(plain, drawn, len(names)))
    return tuple(found)


def _correlation(
    rows: Sequence[Scored], pair: tuple[Column, Column], method: Method
) -> Correlation:
    """Return the correlation with the interval for independent rows; no sentence yet."""
    from scipy.stats import pearsonr, spearmanr

    a, b = pair
    n = len(rows)
    why = constant_why(rows, a, b)
    if why is not None:
        return Correlation(a=a, b=b, method=method, n=n, modules=0, why=why, sentence="")
    x, y = (scaled(column(rows, name))[0] for name in pair)
    result = pearsonr(x, y) if method == "pearson" else spearmanr(x, y)
    r = max(-1.0, min(1.0, float(result.statistic)))
    error = math.sqrt((1.0 if method == "pearson" else 1 + r * r / 2) / (n - 3))
    return Correlation(
        a=a,
        b=b,
        method=method,
        n=n,
        modules=0,
        r=r,
        ci=fisher_interval(r, error),
        p=float(result.pvalue),
        strength=strength_of(r),
        sentence="",
    )


def fisher_interval(r: float, error: float) -> Interval:
    """Return tanh(atanh(r) ± 1.96 error), Fisher 1921; r = ±1 gives an interval of no width."""
    if abs(r) >= 1:
        return Interval(low=r, high=r)
    z = math.atanh(r)
    return Interval(low=math.tanh(z - Z95 * error), high=math.tanh(z + Z95 * error))


def _with_cluster(
    plain: Correlation, drawn: tuple[float, float] | None, modules: int
) -> Correlation:
    """Return `plain` with its cluster interval, or the reason for none, and its sentence."""
    update: dict[str, object] = {"modules": modules}
    if plain.r is not None and drawn is not None:
        update["cluster_ci"] = Interval(low=drawn[0], high=drawn[1])
    elif plain.r is not None and modules < MIN_MODULES:
        count = counted(modules, "module")
        update["cluster_why"] = f"the rows come from {count}; at least {MIN_MODULES} are needed"
    elif plain.r is not None:
        update["cluster_why"] = "a column has one value only in more than 10 % of the resamples"
    full = plain.model_copy(update=update)
    return full.model_copy(update={"sentence": sentence_of(full)})


def sentence_of(found: Correlation) -> str:
    """Say in one sentence what the correlation is, and how sure one can be of it."""
    name = found.method.capitalize()
    subject = f"{found.a.capitalize()} and {found.b}"
    interval = found.widest
    if found.r is None or found.p is None or interval is None:
        return f"{subject}: no {name} correlation, because {found.why}."
    kind = ", modules resampled" if interval is found.cluster_ci else ""
    text = (
        f"{subject}: {found.strength} ({name} r = {signed(found.r)}, "
        f"95 % CI {interval}{kind}, n = {found.n:,}, {p_text(found.p)})"
    )
    if interval.low <= 0 <= interval.high:
        reach = strength_of(max(-interval.low, interval.high))
        more = "" if reach == found.strength else f" and reaches {reach} values"
        return f"{text}; the interval contains zero{more}, so not even the direction is known."
    if found.strength == "negligible":
        return f"{text}; told apart from zero, but too small to matter."
    direction = "higher" if found.r > 0 else "lower"
    return f"{text}; higher {found.a} goes with {direction} {found.b}."


def spread_of(values: FloatArray) -> Spread:
    """Return where the values lie."""
    import numpy as np

    n = len(values)
    if n == 0:
        return Spread(n=0)
    small, size = scaled(values)
    q1, median, q3 = (float(q) for q in np.quantile(small, [0.25, 0.5, 0.75]))
    deviation = float(small.std(ddof=1)) if n > 1 else None
    return Spread(
        n=n,
        mean=_grown(float(small.mean()), size),
        sd=None if deviation is None else _grown(deviation, size),
        median=_grown(median, size),
        q1=_grown(q1, size),
        q3=_grown(q3, size),
        min=float(values.min()),
        max=float(values.max()),
    )


def _grown(value: float, size: float) -> float:
    """Undo `scaled`, within the range of a float."""
    limit = sys.float_info.max
    return max(-limit, min(limit, value * size))


def score_spread(scores: FloatArray) -> ScoreSpread:
    """Return the distribution of a 0-10 score."""
    counts = Counter(level_of(float(score)) for score in scores)
    histogram = tuple(counts[level] for level in range(LEVELS))
    n = len(scores)
    if n == 0:
        return ScoreSpread(spread=Spread(n=0), histogram=histogram)
    shares = [count / n for count in histogram if count]
    mode = histogram.index(max(histogram))
    return ScoreSpread(
        spread=spread_of(scores),
        histogram=histogram,
        effective_levels=math.exp(-sum(share * math.log(share) for share in shares)),
        mode=mode,
        mode_share=histogram[mode] / n,
        floor_share=histogram[0] / n,
        ceiling_share=histogram[-1] / n,
    )


def groups_by(rows: Iterable[Scored], score: Literal["difficulty", "style"]) -> tuple[Group, ...]:
    """Return one group per level that occurs, ascending.

    Raises DataError for values that `ordered` refuses.
    """
    known = ordered(rows)
    other: Column = "style" if score == "difficulty" else "difficulty"
    found = []
    for level in range(LEVELS):
        members = [row for row in known if level_of(getattr(row, score)) == level]
        if members:
            mean_other = float(column(members, other).mean())
            reward = spread_of(column(members, "reward"))
            found.append(Group(level=level, n=len(members), reward=reward, mean_other=mean_other))
    return tuple(found)

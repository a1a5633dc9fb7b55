"""Distributions of scores and rewards, and rewards per level of a score.

Nothing here yields NaN: what cannot be computed is None.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from kernelsift.model import Frozen
from kernelsift.report.rows import LEVELS, Column, Scored, column, level_of, ordered, scaled

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray


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

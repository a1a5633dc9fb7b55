"""The rows of an analysis and their columns; how numbers are written in words.

Scores run from 0 to 10. A *level* is a score rounded to the nearest integer, halves upwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kernelsift.errors import DataError

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray

Column = Literal["difficulty", "style", "reward"]

COLUMNS: tuple[Column, ...] = ("difficulty", "style", "reward")
PAIRS: tuple[tuple[Column, Column], ...] = (
    ("difficulty", "reward"),
    ("style", "reward"),
    ("difficulty", "style"),
)
LEVELS = 11
MIN_ROWS = 4
"""Fewest rows for a correlation: Fisher's interval divides by n - 3."""


@dataclass(frozen=True, slots=True)
class Covariates:
    """What may stand behind a correlation of scores. None where it could not be told."""

    code_length: int | None = None
    """Characters of the answer's program."""
    reasoning_length: int | None = None
    """Characters of the completion outside that program, separate reasoning included."""
    operations: tuple[str, ...] | None = None
    """Classes of the operations of the row's PyTorch module (`kernels.operations.Group`)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged row."""

    id: str
    module: str
    reward: float
    difficulty: float
    style: float
    weight: float = 1.0
    """How many rows of all rows this one stands for: 1 / the probability with which it was
    chosen. Only what is said of *all* rows uses it."""
    rejected: bool = False
    """Judged although the reward filter had dropped it. It is in no number about passed rows."""
    covariates: Covariates = Covariates()


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

"""Medians with intervals by the bootstrap. Pure; the same numbers give the same answer."""

import math
import random
from collections.abc import Sequence
from statistics import median

from kernelsift.kernels.gpu.gpu_facts import Interval

RESAMPLES = 1000
LEAST = 5
"""An interval of a median needs so many values."""


def median_interval(values: Sequence[float], resamples: int = RESAMPLES) -> Interval | None:
    """The median with its 95 % percentile-bootstrap interval; None of fewer than `LEAST` values."""
    if len(values) < LEAST:
        return None
    draw = random.Random(len(values))  # noqa: S311 -- statistics, not secrets
    drawn = sorted(median(draw.choices(values, k=len(values))) for _ in range(resamples))
    low, high = drawn[int(0.025 * resamples)], drawn[math.ceil(0.975 * resamples) - 1]
    return Interval(low=low, middle=median(values), high=high)


def noise(values: Sequence[float]) -> float:
    """Half the width of the interval of the median, as a share of it.

    Of too few values for an interval: half of their range.
    """
    if not values:
        return 0.0
    found = median_interval(values)
    low, high = (found.low, found.high) if found else (min(values), max(values))
    middle = median(values)
    return (high - low) / 2 / middle if middle > 0 else 0.0


def drift(values: Sequence[float]) -> float | None:
    """Change from the first third of a series to its last, as a share; None of fewer than three."""
    third = len(values) // 3
    if not third:
        return None
    first, last = median(values[:third]), median(values[-third:])
    return last / first - 1 if first > 0 else None


def between(series: Sequence[tuple[str, float]], base: str, other: str) -> list[float]:
    """Ratios base / other, each of an `other` and the bases right before and after it in time.

    A steady drift of the clock falls out. An `other` with a base on one side only uses that one.
    """
    ratios = []
    for at, (name, value) in enumerate(series):
        if name != other or value <= 0:
            continue
        before = next((v for n, v in reversed(series[:at]) if n == base), None)
        after = next((v for n, v in series[at + 1 :] if n == base), None)
        near = [v for v in (before, after) if v is not None]
        if near:
            ratios.append(sum(near) / len(near) / value)
    return ratios


def wrong_calls(
    expected: Sequence[Sequence[float]], got: Sequence[Sequence[float]], tolerance: float
) -> int:
    """How many calls gave another answer: one row of sampled elements per call.

    An element is off by more than `tolerance` of its size plus that of a typical one; a call is
    wrong when more than one in fifty of its elements are off, or its row has another length.
    """
    finite = [abs(v) for row in expected for v in row if math.isfinite(v)]
    scale = math.sqrt(sum(v * v for v in finite) / len(finite)) if finite else 0.0
    wrong = abs(len(expected) - len(got))
    for want, have in zip(expected, got, strict=False):
        off = sum(
            not _near(w, h, tolerance * (abs(w) + scale)) for w, h in zip(want, have, strict=False)
        )
        wrong += len(want) != len(have) or off * 50 > len(want)
    return wrong


def _near(want: float, have: float, allowed: float) -> bool:
    if math.isfinite(want) and math.isfinite(have):
        return abs(want - have) <= allowed
    return want == have or (math.isnan(want) and math.isnan(have))


def telling(rows: Sequence[Sequence[float]], tolerance: float) -> bool:
    """Whether the answers of neighbouring calls differ, so that an old one would be noticed."""
    return len(rows) > 1 and wrong_calls(rows[1:], rows[:-1], tolerance) * 2 >= len(rows)

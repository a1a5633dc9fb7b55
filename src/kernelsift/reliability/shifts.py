"""What probes did to scores: mean shifts, shares that moved as they should, and violations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kernelsift.reliability.ratings import FloatArray, numbered
from kernelsift.reliability.resample import Resampling, mean, share
from kernelsift.reliability.schema import ProbeResult, Score, Violation


@dataclass(frozen=True, slots=True)
class Moved:
    """Scores of one row before and after a probe."""

    id: str
    origin: str
    module: str
    before: Mapping[Score, float]
    after: Mapping[Score, float]

    def by(self, score: Score) -> float:
        """How far a score moved."""
        return self.after[score] - self.before[score]


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as moved."""

    drop: float
    """A score that must fall falls by at least this."""
    tolerance: float
    """A score that must stay moves by at most this."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One probe, what was to come of it, and what came of it."""

    probe: str
    what: str
    style: Literal["lower", "same"]
    moved: Sequence[Moved]
    not_applicable: int
    unjudged: Mapping[str, int]


def result_of(tried: Tried, limits: Limits, how: Resampling) -> ProbeResult:
    """Sum up a probe; intervals are resampled by module."""
    rows = sorted(tried.moved, key=lambda row: row.id)
    clusters = numbered([row.module for row in rows])
    style = np.array([row.by("style") for row in rows])
    difficulty = np.array([row.by("difficulty") for row in rows])
    right = _right(style, tried.style, limits)
    stayed = _right(difficulty, "same", limits)

    return ProbeResult(
        probe=tried.probe,
        what=tried.what,
        style_expects=tried.style,
        rows=len(rows),
        not_applicable=tried.not_applicable,
        unjudged=tried.unjudged,
        style_shift=mean("mean shift of style", style, clusters, how),
        style_right=share("share as it should be, style", right, clusters, how),
        style_wrong_way=float((style > 0).mean()) if rows else None,
        difficulty_shift=mean("mean shift of difficulty", difficulty, clusters, how),
        difficulty_right=share("share as it should be, difficulty", stayed, clusters, how),
        violations=(
            *_violations(rows, "style", right),
            *_violations(rows, "difficulty", stayed),
        ),
    )


def _right(shift: FloatArray, expects: Literal["lower", "same"], limits: Limits) -> FloatArray:
    """1 for each row that moved as it should, 0 for the others."""
    slack = 1e-9  # scores are means of whole numbers: 1.0 must not become 0.9999…
    if expects == "lower":
        return (shift <= slack - limits.drop).astype(float)
    return (np.abs(shift) <= limits.tolerance + slack).astype(float)


def _violations(rows: Sequence[Moved], score: Score, right: FloatArray) -> list[Violation]:
    """Rows that are not as they should be: those that rose most come first."""
    wrong = [row for row, fine in zip(rows, right, strict=True) if not fine]
    return [
        Violation(
            id=row.id,
            origin=row.origin,
            module=row.module,
            score=score,
            before=row.before[score],
            after=row.after[score],
        )
        for row in sorted(wrong, key=lambda row: (-row.by(score), row.id))
    ]

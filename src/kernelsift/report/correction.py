"""A model-based correction for the reward filter: Thorndike's case 2, where it may be used at all.

With u the standard deviation of the reward of all rows over that of the passed rows, and r the
correlation of the passed rows, the correlation of all rows would be r u / √(1 - r² + r² u²)
(Thorndike 1949; Sackett & Yang 2000). That holds if, over the whole range of the reward, the score
has a linear mean and an even spread. Beyond the filter nothing of this was seen, so here it is
shown only if nothing speaks against it among the passed rows, and if the reward of all rows is one
scale with one hump, not much wider than the part that was seen. Rewards that are 0 for failures
fail that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from kernelsift.model import Frozen
from kernelsift.report.stats import (
    Correlation,
    Interval,
    Scored,
    column,
    constant_why,
    ordered,
    p_text,
    percent,
    scaled,
    signed,
)

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray

MOST_STRETCH = 3.0
"""Largest u: beyond it, most of the range would be extrapolated."""
MOST_EQUAL = 0.05
"""Largest share of all rows with one and the same reward."""
MOST_BIMODAL = 5 / 9
"""Largest bimodality coefficient (SAS): that of an even spread; a normal curve has 1/3."""
ALPHA = 0.01
"""Below this, a test speaks against linearity or even spread."""


class RewardShape(Frozen):
    """The rewards of all rows loaded, judged or not."""

    n: int
    sd: float
    most_common: float
    """The reward that most rows have; the lowest of several."""
    most_common_share: float
    bimodality: float | None
    """(skewness² + 1) / kurtosis; None where all rewards are the same."""


class Assumption(Frozen):
    """One condition of the correction."""

    name: Literal["stretch", "one scale", "one hump", "linear", "even spread"]
    holds: bool
    text: str
    """What was found, with the limit."""


class RangeCorrection(Frozen):
    """What the correlation of all rows would be if the model held. Model-based, never measured."""

    a: Literal["difficulty", "style"]
    b: Literal["reward"] = "reward"
    restricted: float
    """Pearson's r of the passed rows."""
    stretch: float
    """u: the reward's standard deviation in all rows over that in the passed rows."""
    assumptions: tuple[Assumption, ...]
    corrected: float | None = None
    """None where an assumption does not hold."""
    ci: Interval | None = None
    """The ends of the quoted interval of `restricted`, corrected likewise."""
    sentence: str


def reward_shape(rewards: Sequence[float]) -> RewardShape | None:
    """Return the shape of all rewards; None for fewer than four finite ones."""
    import numpy as np

    values = np.array(sorted(rewards), dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 4:
        return None
    small, size = scaled(values)
    levels, counts = np.unique(values, return_counts=True)
    centred = small - small.mean()
    square = float((centred**2).mean())
    ratio = None
    if square > 1e-24:
        skewness = float((centred**3).mean()) / square**1.5
        ratio = (skewness**2 + 1) / (float((centred**4).mean()) / square**2)
    return RewardShape(
        n=len(values),
        sd=min(float(small.std(ddof=1)) * size, 1e308),
        most_common=float(levels[counts.argmax()]),
        most_common_share=float(counts.max() / len(values)),
        bimodality=ratio,
    )


def corrections(
    rows: Iterable[Scored], found: Sequence[Correlation], shape: RewardShape
) -> tuple[RangeCorrection, ...]:
    """Return the correction, or why there is none, for difficulty and style with reward.

    `rows` are the passed rows, and `found` their correlations.
    """
    known = ordered(rows)
    out = []
    for one in found:
        if one.method != "pearson" or one.b != "reward" or one.r is None or one.a == "reward":
            continue
        if constant_why(known, one.a, "reward") is None:
            out.append(_correction(known, one, one.a, shape))
    return tuple(out)


def thorndike(r: float, stretch: float) -> float:
    """Return r u / √(1 - r² + r² u²), Thorndike's case 2."""
    return r * stretch / math.sqrt(1 - r * r + r * r * stretch * stretch)


def _correction(
    rows: Sequence[Scored],
    found: Correlation,
    score: Literal["difficulty", "style"],
    shape: RewardShape,
) -> RangeCorrection:
    reward, values = column(rows, "reward"), column(rows, score)
    small, size = scaled(reward)
    stretch = min(shape.sd / max(float(small.std(ddof=1)) * size, 1e-300), 1e300)
    checks = (*_of_rewards(shape, stretch), *_of_rows(small, values))
    assert found.r is not None
    bare = RangeCorrection(
        a=score, restricted=found.r, stretch=stretch, assumptions=checks, sentence=""
    )
    if all(check.holds for check in checks):
        update: dict[str, object] = {"corrected": thorndike(found.r, stretch)}
        if found.widest is not None:
            low, high = (thorndike(end, stretch) for end in (found.widest.low, found.widest.high))
            update["ci"] = Interval(low=low, high=high)
        bare = bare.model_copy(update=update)
    return bare.model_copy(update={"sentence": sentence_of(bare)})


def _of_rewards(shape: RewardShape, stretch: float) -> tuple[Assumption, ...]:
    """Check that the reward of all rows is one scale, of which a good part was seen."""
    bimodal = shape.bimodality
    return (
        Assumption(
            name="stretch",
            holds=stretch <= MOST_STRETCH,
            text=f"the reward varies {stretch:.3g} times as much among all rows as among the "
            f"passed ones (limit {MOST_STRETCH:g})",
        ),
        Assumption(
            name="one scale",
            holds=shape.most_common_share <= MOST_EQUAL,
            text=f"{percent(shape.most_common_share)} of all rows have the same reward "
            f"({shape.most_common:.4g}; limit {percent(MOST_EQUAL)})",
        ),
        Assumption(
            name="one hump",
            holds=bimodal is not None and bimodal < MOST_BIMODAL,
            text="all rewards are the same"
            if bimodal is None
            else f"bimodality of all rewards {bimodal:.2f} (limit {MOST_BIMODAL:.2f})",
        ),
    )


def _of_rows(reward: FloatArray, score: FloatArray) -> tuple[Assumption, ...]:
    """Check linearity and even spread among the passed rows."""
    p_linear, p_even = nonlinearity(reward, score), uneven_spread(reward, score)
    return (
        Assumption(
            name="linear",
            holds=p_linear is not None and p_linear >= ALPHA,
            text="too few distinct rewards to see a bend"
            if p_linear is None
            else f"square and cube of the reward beside the line: {p_text(p_linear)} "
            f"(limit {ALPHA:g})",
        ),
        Assumption(
            name="even spread",
            holds=p_even is not None and p_even >= ALPHA,
            text="too few distinct rewards to see how the spread changes"
            if p_even is None
            else f"Breusch–Pagan test of the spread, with the square: {p_text(p_even)} "
            f"(limit {ALPHA:g})",
        ),
    )


def nonlinearity(x: FloatArray, y: FloatArray) -> float | None:
    """Return p of the F test that x² and x³ add nothing to the line; None where there is none."""
    from scipy.stats import f

    powers = _powers(x, 3)
    freedom = len(x) - 4
    if powers is None or freedom < 1:
        return None
    line, bent = (_left(powers[:, :k], y) for k in (2, 4))
    if float(bent @ bent) <= 1e-12 * float(((y - y.mean()) ** 2).sum()):
        return None
    gained = max(0.0, float(line @ line - bent @ bent))
    return float(f.sf(gained / 2 / (float(bent @ bent) / freedom), 2, freedom))


def uneven_spread(x: FloatArray, y: FloatArray) -> float | None:
    """Return p of the Breusch-Pagan test (Koenker's form): n R² of the squared residuals on x and
    x², chi-squared with 2 degrees of freedom; None where it cannot be made."""
    from scipy.stats import chi2

    powers = _powers(x, 2)
    if powers is None or len(x) < 5:
        return None
    squared = _left(powers[:, :2], y) ** 2
    about = squared - squared.mean()
    if float(about @ about) <= 1e-24:
        return None
    rest = _left(powers, squared)
    return float(chi2.sf(len(x) * max(0.0, 1 - float(rest @ rest) / float(about @ about)), 2))


def _powers(x: FloatArray, degree: int) -> FloatArray | None:
    """Return (n, degree + 1): orthogonal powers of x; None with too few distinct values."""
    import numpy as np

    if len(np.unique(x)) <= degree + 1:
        return None
    spread = float(x.std())
    if spread <= 1e-12:
        return None
    z = (x - x.mean()) / spread
    found: FloatArray = np.linalg.qr(np.vander(z, degree + 1, increasing=True))[0]
    return found


def _left(powers: FloatArray, y: FloatArray) -> FloatArray:
    """Return what is left of y after regression on orthonormal columns."""
    left: FloatArray = y - powers @ (powers.T @ y)
    return left


def sentence_of(found: RangeCorrection) -> str:
    """Say what the correction says, or why there is none."""
    pair = f"{found.a.capitalize()} and reward"
    broken = [check.text for check in found.assumptions if not check.holds]
    if found.corrected is None:
        return (
            f"{pair}: no model-based correction for the filter, because its assumptions do not "
            f"hold: {'; '.join(broken)}. Judge some of the rejected rows instead."
        )
    interval = f", {found.ci} for the ends of its interval" if found.ci else ""
    return (
        f"{pair}: model-based, not measured: if the score followed the reward in one line with an "
        f"even spread far below the filter, too, r of all rows would be {signed(found.corrected)} "
        f"instead of {signed(found.restricted)} (Thorndike case 2, u = {found.stretch:.2f}"
        f"{interval}). Nothing among the passed rows speaks against it; below the filter "
        "nothing was seen."
    )

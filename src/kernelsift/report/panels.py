"""The single panels of the figures. Each draws into an Axes and keeps nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kernelsift.report.stats import (
    LEVELS,
    Column,
    Correlation,
    Scored,
    column,
    constant_why,
    counted,
    level_of,
    percent,
    signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kernelsift.report.bootstrap import FloatArray, IntArray
    from kernelsift.report.schema import Analysis

BLUE = "#0072B2"
SKY = "#9CCDEA"
VERMILLION = "#D55E00"
DARK = "#333333"
EMPTY = "#f4f4f4"
MAP = "viridis"
LABELS: dict[Column, str] = {
    "difficulty": "Difficulty (0–10)",
    "style": "Style (0–10)",
    "reward": "Reward",
}
JITTER = 0.32
"""Points of an integer score are spread this far to either side."""
MANY = 500
"""More points than this are drawn smaller, with a halo round the line through them."""
THIN = 5
"""Cells of fewer rows are pale, and the colour scale does not stretch for them."""
FEW = 10
"""A box of fewer rows shows the rows as well."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the reward axis that is drawn."""

    low: float
    high: float
    outside: int
    """Rows beyond it."""


def reward_window(rows: Sequence[Scored]) -> Window:
    """Return the 0.5th to 99.5th percentile of reward with a margin: outliers do not squash it."""
    import numpy as np

    if not rows:
        return Window(0.0, 1.0, 0)
    values = column(rows, "reward")
    low = float(np.quantile(values, 0.005, method="lower"))
    high = float(np.quantile(values, 0.995, method="higher"))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - margin, high + margin
    return Window(low, high, int(np.sum((values < low) | (values > high))))


def say_why(axes: Axes, why: str) -> None:
    """Show a sentence in place of a plot."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#fafafa")
    for spine in axes.spines.values():
        spine.set(visible=True, color="#dddddd")
    text = "\n".join(textwrap.wrap(f"Not drawn: {why}.", 38))
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=11,
        color="#555555",
        parse_math=False,
    )


def draw_scatter(
    axes: Axes,
    rows: Sequence[Scored],
    found: tuple[Correlation, Correlation],
    window: Window,
    *,
    seed: int,
) -> None:
    """Draw one pair with its least-squares line; the title quotes r with its interval."""
    import numpy as np

    pearson, spearman = found
    a, b = pearson.a, pearson.b
    head = f"{a.capitalize()} and {b}"
    if pearson.r is None or spearman.r is None or pearson.why is not None:
        axes.set_title(head)
        say_why(axes, pearson.why or spearman.why or "")
        return
    x, y = column(rows, a), column(rows, b)
    rng = np.random.default_rng(seed)
    across = rng.uniform(-JITTER, JITTER, len(rows))
    along = rng.uniform(-JITTER, JITTER, len(rows)) if b != "reward" else np.zeros(len(rows))
    shown = np.ones(len(rows), dtype=bool)
    if b == "reward":
        shown = (y >= window.low) & (y <= window.high)
    faint = float(np.clip(260 / len(rows), 0.10, 0.75))
    axes.scatter(
        (x + across)[shown],
        (y + along)[shown],
        s=9 if len(rows) > MANY else 22,
        c=BLUE,
        alpha=faint,
        linewidths=0,
        rasterized=True,
    )
    _fit_line(axes, x, y, pearson.r)
    score_axis(axes, "x", a)
    if b == "reward":
        _reward_axis(axes, window)
    else:
        score_axis(axes, "y", b)
    axes.grid(visible=True)
    axes.set_title(
        f"{head}: {pearson.strength}\n"
        f"Pearson r = {signed(pearson.r)}, 95 % CI {pearson.widest}\n"
        f"Spearman r = {signed(spearman.r)}, 95 % CI {spearman.widest}"
    )


def _fit_line(axes: Axes, x: FloatArray, y: FloatArray, r: float) -> None:
    """Draw the least-squares line, with a white rim where points are many."""
    import numpy as np

    ends = np.array([x.min(), x.max()])
    line = y.mean() + r * y.std() / x.std() * (ends - x.mean())
    if len(x) > MANY:
        axes.plot(ends, line, color="white", linewidth=4.5)
    axes.plot(ends, line, color=VERMILLION, linewidth=2.2)


def score_axis(axes: Axes, which: Literal["x", "y"], name: Column) -> None:
    """Give an axis the integer levels 0 to 10."""
    if which == "x":
        axes.set_xlim(-0.6, 10.6)
        axes.set_xticks(range(LEVELS))
        axes.set_xlabel(LABELS[name])
    else:
        axes.set_ylim(-0.6, 10.6)
        axes.set_yticks(range(LEVELS))
        axes.set_ylabel(LABELS[name])


def _reward_axis(axes: Axes, window: Window) -> None:
    """Give the y axis the reward window, and say how many rows lie outside."""
    axes.set_ylim(window.low, window.high)
    label = LABELS["reward"]
    if window.outside:
        label += f" ({counted(window.outside, 'row')} outside the axis)"
    axes.set_ylabel(label)


def draw_boxes(
    axes: Axes,
    rows: Sequence[Scored],
    score: Literal["difficulty", "style"],
    window: Window,
    *,
    seed: int,
) -> None:
    """Draw the reward per level of a score, with the number of rows over each box."""
    import numpy as np

    why = constant_why(rows, "reward", score)
    if why is not None:
        axes.set_title(f"Reward by {score}")
        say_why(axes, why)
        return
    rewards = column(rows, "reward")
    levels = _levels(rows, score)
    present = [level for level in range(LEVELS) if np.any(levels == level)]
    axes.boxplot(
        [rewards[levels == level] for level in present],
        positions=present,
        widths=0.62,
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": SKY, "edgecolor": BLUE},
        medianprops={"color": DARK, "linewidth": 2},
        whiskerprops={"color": BLUE},
        capprops={"color": BLUE},
    )
    rng = np.random.default_rng(seed)
    for level in present:
        values = rewards[levels == level]
        if len(values) < FEW:
            spots = level + rng.uniform(-0.16, 0.16, len(values))
            axes.scatter(spots, values, s=16, c=BLUE, zorder=3, linewidths=0)
        _count_above(axes, level, len(values))
    axes.set_title(f"Reward by {score}\nwhiskers to 1.5 × IQR; n on top of each box", pad=20)
    score_axis(axes, "x", score)
    _reward_axis(axes, window)
    axes.grid(visible=True, axis="y")


def _count_above(axes: Axes, level: int, count: int) -> None:
    """Write the number of rows over a box."""
    axes.annotate(
        f"{count:,}",
        (level, 1.0),
        (0, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color="#555555",
    )


def draw_mean_heatmap(axes: Axes, rows: Sequence[Scored]) -> None:
    """Draw the mean reward per difficulty and style, with the number of rows in each cell."""
    import numpy as np

    why = constant_why(rows, "reward")
    if why is not None:
        axes.set_title("Mean reward by difficulty and style")
        say_why(axes, why)
        return
    counts = _counts(rows)
    sums = np.zeros_like(counts, dtype=float)
    np.add.at(sums, (_levels(rows, "style"), _levels(rows, "difficulty")), column(rows, "reward"))
    means = np.full(counts.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    solid = means[counts >= THIN]
    usual = solid if len(np.unique(solid)) > 1 else means[counts > 0]
    low, high = (float(limit) for limit in np.quantile(usual, [0.05, 0.95]))
    _heatmap(axes, means, counts, limits=(low, high), label="Mean reward")
    axes.set_title(f"Mean reward by difficulty and style\nn in each cell; pale: n < {THIN}")


def counts_panel(axes: Axes, rows: Sequence[Scored]) -> None:
    """Draw the number of rows per difficulty and style."""
    import numpy as np

    counts = _counts(rows)
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    _heatmap(axes, shown, counts, limits=(0.0, max(float(np.nanmax(shown)), 0.1)), label=None)


def marginal_panels(top: Axes, side: Axes, analysis: Analysis) -> None:
    """Draw the histogram of difficulty on top and of style at the side."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    total = max(analysis.judged, 1)
    top.set_ylabel("Rows")
    side.set_xlabel("Rows")
    top.set_xlim(-0.5, 10.5)
    side.set_ylim(-0.5, 10.5)
    top.set_xticks([])
    side.set_yticks([])
    top.margins(y=0.18)
    side.margins(x=0.38)
    for axis in (top.yaxis, side.xaxis):
        axis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    for level in range(LEVELS):
        difficulty, style = analysis.difficulty.histogram[level], analysis.style.histogram[level]
        if difficulty:
            top.bar(level, difficulty, width=0.86, color=SKY, edgecolor=BLUE)
            share = percent(difficulty / total)
            top.annotate(share, (level, difficulty), (0, 2), textcoords="offset points",
                         ha="center", va="bottom", fontsize=8, color=DARK)  # fmt: skip
        if style:
            side.barh(level, style, height=0.86, color=SKY, edgecolor=BLUE)
            share = percent(style / total)
            side.annotate(share, (style, level), (3, 0), textcoords="offset points",
                          ha="left", va="center", fontsize=8, color=DARK)  # fmt: skip


def _levels(rows: Sequence[Scored], score: Literal["difficulty", "style"]) -> IntArray:
    """Return the level of each row."""
    import numpy as np

    return np.array([level_of(getattr(row, score)) for row in rows], dtype=np.int64)


def _counts(rows: Sequence[Scored]) -> IntArray:
    """Return (style, difficulty): the number of rows per cell."""
    import numpy as np

    counts = np.zeros((LEVELS, LEVELS), dtype=np.int64)
    np.add.at(counts, (_levels(rows, "style"), _levels(rows, "difficulty")), 1)
    return counts


def _heatmap(
    axes: Axes,
    values: FloatArray,
    counts: IntArray,
    *,
    limits: tuple[float, float],
    label: str | None,
) -> None:
    """Draw one cell per level pair, blank where there are no rows, with its count in it."""
    import numpy as np
    from matplotlib import colormaps

    low, high = limits
    axes.set_facecolor(EMPTY)
    # Any: matplotlib takes one alpha per cell here, but its types say a single number.
    solid: Any = np.where(counts >= THIN, 1.0, 0.4) if label else np.ones(counts.shape)
    edges = np.arange(LEVELS + 1) - 0.5
    mesh = axes.pcolormesh(
        edges,
        edges,
        np.ma.masked_invalid(values),
        cmap=MAP,
        vmin=low,
        vmax=high,
        edgecolors="white",
        linewidth=1,
    )
    mesh.set_alpha(solid)
    ramp = colormaps[MAP]
    for style, difficulty in zip(*np.nonzero(counts), strict=True):
        place = (values[style, difficulty] - low) / (high - low) if high > low else 0.5
        red, green, blue, _ = ramp(float(np.clip(place, 0, 1)))
        light = 0.299 * red + 0.587 * green + 0.114 * blue
        dark = solid[style, difficulty] > 0.5 and light < 0.5
        axes.text(
            difficulty,
            style,
            f"{counts[style, difficulty]:,}",
            ha="center",
            va="center",
            fontsize=7.5 if label else 9,
            color="white" if dark else "black",
        )
    if label is not None and axes.figure is not None:
        beyond = bool(np.nanmin(values) < low), bool(np.nanmax(values) > high)
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
        bar = axes.figure.colorbar(mesh, ax=axes, extend=extend.get(beyond, "neither"), pad=0.02)
        bar.set_label(label)
    _level_axes(axes)


def _level_axes(axes: Axes) -> None:
    """Label both axes of a heatmap with the integer levels."""
    axes.set_xlim(-0.5, 10.5)
    axes.set_ylim(-0.5, 10.5)
    axes.set_xticks(range(LEVELS))
    axes.set_yticks(range(LEVELS))
    axes.set_xlabel(LABELS["difficulty"])
    axes.set_ylabel(LABELS["style"])
    axes.tick_params(length=0)

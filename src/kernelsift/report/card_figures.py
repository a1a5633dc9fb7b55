"""Figures of a dataset card: where the rows went, and how scores are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelsift.report.card_facts import FunnelStep, Spread
from kernelsift.report.panels import BLUE, DARK, LABELS, VERMILLION
from kernelsift.report.plots import DPI, GREY, drawable, styled
from kernelsift.report.stats import counted, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kernelsift.report.bootstrap import FloatArray

KEPT = "kept"
"""The stage of the funnel's last step."""
_NAMED = 3
"""Reasons that are named beside a bar."""
_BINS = 30
_LEVELS = {"difficulty", "style"}
_LABELS: dict[str, str] = {str(name): label for name, label in LABELS.items()}


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    stayed: int
    lost: int
    text: str


def funnel_figure(steps: Sequence[FunnelStep], title: str) -> Figure:
    """Return one bar per stage: the rows that came to it, and those of them that went on."""
    from matplotlib.figure import Figure

    bars = _bars(steps)
    with styled():
        figure = Figure(figsize=(11, 1.4 + 0.55 * len(bars)), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        for place, bar in enumerate(bars):
            axes.barh(place, bar.stayed, color=BLUE, height=0.62)
            axes.barh(place, bar.lost, left=bar.stayed, color=VERMILLION, alpha=0.75, height=0.62)
            axes.annotate(
                f"{bar.stayed:,}   {bar.text}", (bar.stayed + bar.lost, place), xytext=(6, 0),
                textcoords="offset points", va="center", color=DARK, fontsize=9.5,
                parse_math=False, annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=11)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.75 * max(1, bars[0].stayed))
        axes.set_xticks([])
        for side in ("bottom", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
        note = "Blue: rows that went on. Orange: rows that left there, with the commonest reasons."
        _frame(figure, title, note)
    return figure


def _bars(steps: Sequence[FunnelStep]) -> list[_Bar]:
    """What was loaded, each stage in the order of the steps, and what was kept."""
    total = left = sum(step.rows for step in steps)
    bars = [_Bar("loaded", total, 0, "")]
    for stage in dict.fromkeys(step.stage for step in steps if step.stage != KEPT):
        mine = [step for step in steps if step.stage == stage]
        lost = sum(step.rows for step in mine)
        left -= lost
        bars.append(_Bar(stage, left, lost, _reasons(mine)))
    share = f"{percent(left / total)} of {total:,}" if total else ""
    return [*bars, _Bar(KEPT, left, 0, share)]


def _reasons(steps: Sequence[FunnelStep]) -> str:
    ordered = sorted(steps, key=lambda step: (-step.rows, step.reason))
    named = [
        f"−{step.rows:,} {drawable(step.reason.removeprefix('dropped: '), 34)}"
        for step in ordered[:_NAMED]
    ]
    rest = sum(step.rows for step in ordered[_NAMED:])
    return "  ".join([*named, *([f"−{rest:,} others"] if rest else [])])


def scores_figure(values: Mapping[str, FloatArray], title: str) -> Figure:
    """Return a histogram per column: whole numbers for difficulty and style, else 30 bins.

    `values` holds at least one column, and each column at least one finite number.
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(4.6 * len(values), 4.4), dpi=DPI, layout="constrained")
        panels = figure.subplots(1, len(values), squeeze=False)[0]
        for axes, (name, found) in zip(panels, values.items(), strict=True):
            _histogram(axes, name, found)
        _frame(figure, title, "Dashed: the median.")
    return figure


def _histogram(axes: Axes, name: str, values: FloatArray) -> None:
    import numpy as np

    if name in _LEVELS:
        edges = np.arange(-0.5, 11.5)
        axes.set_xticks(range(11))
        outside = 0
    else:
        low, high = np.quantile(values, (0.005, 0.995))
        high = high if high > low else low + 1
        edges = np.linspace(low, high, _BINS + 1)
        outside = int(np.sum((values < low) | (values > high)))
    axes.hist(values, bins=list(edges), color=BLUE, rwidth=0.92)
    axes.axvline(float(np.median(values)), color=DARK, linestyle=(0, (4, 3)), linewidth=1.2)
    beyond = f" · {outside:,} beyond the axis" if outside else ""
    axes.set_title(f"{counted(len(values), 'row')}{beyond}", fontsize=9.5, color=GREY)
    axes.set_xlabel(_LABELS.get(name, name))
    axes.set_ylabel("rows")
    axes.grid(visible=True, axis="y")


def _frame(figure: Figure, title: str, note: str) -> None:
    """The title above and a note below, with room for both."""
    width, height = figure.get_size_inches()
    left = 0.15 / width
    figure.text(left, 1 - 0.15 / height, drawable(title, 90), fontsize=13, fontweight="bold",
                va="top", parse_math=False)  # fmt: skip
    figure.text(left, 0.12 / height, note, fontsize=9, color=GREY, va="bottom")
    figure.set_layout_engine(
        "constrained", w_pad=0.12, h_pad=0.08, rect=(0, 0.36 / height, 1, 1 - 0.84 / height)
    )


def spread_of(name: str, values: FloatArray) -> Spread:
    """Return least, quartiles and most of a column's values."""
    import numpy as np

    found = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
    return Spread(name, len(values), *(float(value) for value in found))

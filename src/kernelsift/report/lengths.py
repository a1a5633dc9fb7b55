"""Figure of token lengths: how long rows are, and how many a sequence length holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.report.panels import BLUE, DARK, SKY, VERMILLION
from kernelsift.report.plots import DPI, GREY, drawable, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kernelsift.trainers.lengths import Lengths

_BINS = 40
"""Most bins; few rows have fewer."""


def draw(lengths: Lengths, folder: Path) -> tuple[Path, ...]:
    """Write lengths.png and lengths.svg into a folder and return their paths."""
    figure = lengths_figure(lengths)
    return tuple(save(figure, folder / f"lengths.{kind}") for kind in ("png", "svg"))


def lengths_figure(lengths: Lengths) -> Figure:
    """Return two panels: lengths of prompt, completion and whole row; rows that a length holds."""
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(13, 5.6), dpi=DPI, layout="constrained")
        left, right = figure.subplots(1, 2)
        _histogram(left, lengths)
        _coverage(right, lengths)
        kind = "tokens" if lengths.exact else "estimated tokens"
        for axis in (left, right):
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(_thousands)
            axis.xaxis.set_minor_locator(_none())
            axis.set_xlabel(f"{kind} (log scale)")
        figure.suptitle(
            f"Length of {len(lengths.rows):,} training rows", x=0.01, ha="left", fontweight="bold"
        )
        note = f"Tokens by {drawable(lengths.counter, 90)} · chat template {lengths.template}"
        figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=GREY)
    return figure


def _histogram(axis: Axes, lengths: Lengths) -> None:
    import numpy as np

    parts = (
        ("prompt", SKY, [row.prompt for row in lengths.rows]),
        ("completion", VERMILLION, [row.completion for row in lengths.rows]),
        ("whole row", BLUE, lengths.totals()),
    )
    every = [max(1, v) for _, _, values in parts for v in values]
    low, high = min(every), max(every)
    bins = min(_BINS, 8 + 2 * round(len(lengths.rows) ** 0.5))
    edges = np.geomspace(low, max(high, low + 1) * 1.0001, bins + 1)
    for name, colour, values in parts:
        filled = name != "whole row"
        axis.hist(
            np.maximum(values, 1), bins=list(edges), label=name, color=colour, linewidth=1.6,
            histtype="stepfilled" if filled else "step", alpha=0.75 if filled else 1.0,
        )  # fmt: skip
    axis.set_title("How long rows are")
    axis.set_ylabel("rows")
    axis.grid(visible=True, axis="y")
    axis.legend(frameon=False, loc="best")


def _coverage(axis: Axes, lengths: Lengths) -> None:
    totals = lengths.totals()
    shares = [100 * (at + 1) / len(totals) for at in range(len(totals))]
    axis.step([totals[0], *totals], [0, *shares], where="post", color=BLUE, linewidth=1.8)
    for size, rows in lengths.cut().items():
        if totals[0] / 2 < size < totals[-1] * 4:
            axis.axvline(size, color=GREY, linewidth=0.8, linestyle=":")
            axis.annotate(
                f"{size // 1024}k cuts {rows:,}", (size, 2), (3, 0), textcoords="offset points",
                rotation=90, fontsize=8, color=GREY, va="bottom",
            )  # fmt: skip
    held = lengths.covering()
    for q, size in held.items():
        axis.plot([size], [q], "o", color=VERMILLION, markersize=5, zorder=3)
    words = "\n".join(f"{q:g} % in {size:,}" for q, size in held.items())
    axis.text(
        0.02, 0.97, words, transform=axis.transAxes, va="top", fontsize=9, color=DARK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip
    axis.set_title("Rows that a sequence length holds whole")
    axis.set_ylabel("rows, %")
    axis.set_ylim(0, 103)
    axis.grid(visible=True, axis="y")


def _thousands(value: float, _: Any) -> str:
    return f"{value:,.0f}"


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()

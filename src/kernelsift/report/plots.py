"""Figures of an analysis: correlation_analysis and joint_distribution.

Each function returns a matplotlib Figure that no global state knows of; `save` writes it as png or
svg, the same bytes for the same input. Colours are of the Okabe-Ito palette, which stays readable
for colour-blind readers, and viridis, which does too.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsift.errors import DataError
from kernelsift.files import replacing
from kernelsift.report.markdown import one_line
from kernelsift.report.panels import (
    JITTER,
    counts_panel,
    draw_boxes,
    draw_mean_heatmap,
    draw_scatter,
    marginal_panels,
    reward_window,
    say_why,
)
from kernelsift.report.schema import Analysis
from kernelsift.report.stats import PAIRS, Scored, counted, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "svg.hashsalt": "kernelsift",
}
DPI = 150
GREY = "#555555"
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""What matplotlib would add by itself, left out: the time and its own version."""
DRAWN = f"Orange: least squares, all rows. Points: scores spread by up to {JITTER} to be seen."
SEED = 0
"""Of the jitter: the same rows always give the same picture."""


def correlation_figure(rows: Iterable[Scored], analysis: Analysis) -> Figure:
    """Return six panels: three scatters, two box plots and a heatmap of the mean reward.

    A panel that has nothing to show says why instead. Raises DataError for values that
    `stats.ordered` refuses, or if `analysis` is of another number of rows.
    """
    from matplotlib.figure import Figure

    known = _matching(rows, analysis)
    window = reward_window(known)
    with styled():
        figure = Figure(figsize=(16, 10), dpi=DPI, layout="constrained")
        axes = figure.subplots(2, 3)
        for axis, (a, b) in zip(axes[0], PAIRS, strict=True):
            found = (analysis.correlation(a, b), analysis.correlation(a, b, "spearman"))
            draw_scatter(axis, known, found, window, seed=SEED)
        draw_boxes(axes[1][0], known, "difficulty", window, seed=SEED)
        draw_boxes(axes[1][1], known, "style", window, seed=SEED)
        draw_mean_heatmap(axes[1][2], known)
        _frame(figure, "Difficulty, style and reward", analysis, DRAWN if known else "")
    return figure


def joint_figure(rows: Iterable[Scored], analysis: Analysis) -> Figure:
    """Return the number of rows per difficulty and style, with a histogram on either side.

    Raises like `correlation_figure`.
    """
    from matplotlib.figure import Figure

    known = _matching(rows, analysis)
    with styled():
        figure = Figure(figsize=(9.5, 9), dpi=DPI, layout="constrained")
        if known:
            axes = figure.subplots(
                2, 2, width_ratios=(5, 1.3), height_ratios=(1.3, 5), squeeze=False
            )
            axes[0][1].remove()
            counts_panel(axes[1][0], known)
            marginal_panels(axes[0][0], axes[1][1], analysis)
        else:
            say_why(figure.subplots(), "there are no rows to count")
        _frame(
            figure, "Joint distribution of difficulty and style", analysis, "Colours: log scale."
        )
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as png or svg, by the path's suffix, and return the path.

    The file is complete or not there. Raises DataError for another suffix.
    """
    data = render(figure, path.suffix.removeprefix("."))
    with replacing(path) as draft:
        draft.write_bytes(data)
    return path


def render(figure: Figure, kind: str) -> bytes:
    """Return the figure as the bytes of a png or svg file, without a time or version in them.

    Raises DataError for another kind.
    """
    if kind not in METADATA:
        raise DataError(f"cannot draw a {kind!r} file; choose png or svg")
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    return buffer.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """Use this module's look, whatever the reader's matplotlibrc says, and restore it after."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        yield


def _matching(rows: Iterable[Scored], analysis: Analysis) -> Sequence[Scored]:
    """Return the rows by id. Raises DataError if the analysis is not of them."""
    known = ordered(rows)
    if len(known) != analysis.judged:
        raise DataError(f"the analysis is of {analysis.judged} rows, but {len(known)} were given")
    return known


def _frame(figure: Figure, title: str, analysis: Analysis, drawn: str) -> None:
    """Add the title, and a footer that says which rows are not drawn, and how the others are."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    judge = drawable(analysis.judge.judge, 60)
    modules = counted(analysis.modules, "module")
    note = f"Prompt version {drawable(analysis.judge.prompt_version, 60)}. "
    note += f"{counted(analysis.unjudged, 'row')} without a verdict not shown."
    if analysis.reward_filter is not None:
        note += f" Only rows with a reward above {analysis.reward_filter.min_reward:g} were judged."
    if analysis.judge.judge == "static":
        note += " Ratings come from static features of the code, not from a language model."
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(f"{note} {drawn}", int(15 * width))
    left, top = 0.15 / width, 1 - 0.15 / height
    subtitle = f"n = {counted(analysis.judged, 'row')} from {modules} · judge: {judge}"
    figure.text(left, top, title, fontsize=16, fontweight="bold", va="top")
    figure.text(left, top - 0.34 / height, subtitle, fontsize=12, color=GREY, va="top")
    figure.text(left, 0.12 / height, "\n".join(lines), fontsize=9, color=GREY, va="bottom")
    for text in figure.texts:
        text.set_parse_math(False)
    bottom, head = (0.14 + 0.17 * len(lines)) / height, 0.72 / height
    figure.set_layout_engine(
        ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, rect=(0, bottom, 1, 1 - bottom - head))
    )


def drawable(text: str, width: int) -> str:
    """Return one line of at most `width` characters that the bundled font can draw."""
    known = "".join(letter if letter <= "\u024f" else "?" for letter in one_line(text))
    return textwrap.shorten(known, width, placeholder=" …") if " " in known else known[:width]

"""Charts of bars and lines as inline SVG: histograms, the funnel, the forest plot.

What lies across is placed in per cent and what lies up in pixels, so that a chart fills the width
it is given and its letters keep their size. Every mark has a `<title>`, which a browser shows by
itself; the page's script makes a better one of it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernelsift.report.card_facts import FunnelStep
from kernelsift.report.page.fill import nice_ticks
from kernelsift.report.page.markup import Html, el, short
from kernelsift.report.page.model import ForestRow, Histogram
from kernelsift.report.stats import LEVELS, counted, percent, signed

KEPT = "kept"
"""The stage of the funnel's last step."""
_HEIGHT = 150
_TOP = 26
_BELOW = 44
_NARROWEST = 0.1
"""The forest's axis reaches at least this far from zero."""
_STEPS = (0.05, 0.1, 0.2, 0.25, 0.5)
_BAND = 0.1
"""|r| below this is negligible."""


def at(share: float) -> str:
    """A place across, as SVG takes it."""
    return f"{100 * share:.2f}%"


def chart(label: str, height: float, *children: str, kind: str) -> Html:
    """An SVG that fills its width, which the keyboard can step through."""
    return el(
        "svg",
        *children,
        class_=f"chart {kind}",
        height=height,
        role="group",
        aria_label=label,
        tabindex=0,
    )


def text(place: float | str, y: float, words: str, kind: str = "tick") -> Html:
    """A label; the kind says how it looks and from where it runs."""
    return el("text", words, x=place, y=y, class_=kind)


# ---- histogram ----------------------------------------------------------------------------------


def histogram(found: Histogram) -> Html:
    """Bars with their counts, or with a scale where there are too many for that."""
    most = max((bar.rows for bar in found.bars), default=0)
    total = sum(bar.rows for bar in found.bars)
    ticks = [(v, t) for v, t in nice_ticks(0, max(most, 1), 4) if float(v).is_integer()]
    top = max(most, 1) * 1.02
    parts: list[str] = []
    for value, label in ticks:
        y = _TOP + _HEIGHT * (1 - value / top)
        parts += [
            el("line", x1="0", x2="100%", y1=y, y2=y, class_="grid"),
            text(-7, y + 4, label, "tick end"),
        ]
    width = 1 / max(len(found.bars), 1)
    gap = 0.12 * width
    for place, bar in enumerate(found.bars):
        if bar.rows:
            tip = f"{bar.label}\n{counted(bar.rows, 'row')}, {percent(bar.rows / total)}"
            parts += _bar(place * width + gap / 2, width - gap, bar.rows / top, tip)
        if bar.rows and len(found.bars) <= LEVELS:
            y = _TOP + _HEIGHT * (1 - bar.rows / top) - 4
            parts.append(text(at((place + 0.5) * width), y, short(bar.rows), "value middle"))
    base = _TOP + _HEIGHT
    parts.append(el("line", x1="0", x2="100%", y1=base, y2=base, class_="axis"))
    parts += [text(at(t.place), base + 16, t.label, "tick middle") for t in found.ticks]
    parts.append(text("50%", base + 36, found.axis, "label middle"))
    parts.append(text(-40, 11, "Rows", "label"))
    name = f"Histogram of {found.title.lower()}, {counted(total, 'row')}"
    return chart(name, _TOP + _HEIGHT + _BELOW, *parts, kind="histogram")


def _bar(x: float, width: float, share: float, tip: str) -> Iterator[Html]:
    height = max(_HEIGHT * share, 1.0)
    yield el(
        "rect",
        el("title", tip),
        class_="bar mark",
        x=at(x),
        y=_TOP + _HEIGHT - height,
        width=at(width),
        height=height,
    )


# ---- funnel -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    came: int
    stayed: int


def funnel(steps: Sequence[FunnelStep]) -> Html:
    """One bar per stage: the rows that came to it, and those of them that went on."""
    stages = list(_stages(steps))
    total = max(stages[0].came, 1)
    rows = [_funnel_row(stage, total) for stage in stages]
    return el("div", *rows, class_="bars", role="list")


def _stages(steps: Sequence[FunnelStep]) -> Iterator[_Stage]:
    left = sum(step.rows for step in steps)
    yield _Stage("loaded", left, left)
    for name in dict.fromkeys(step.stage for step in steps if step.stage != KEPT):
        lost = sum(step.rows for step in steps if step.stage == name)
        yield _Stage(name, left, left - lost)
        left -= lost


def _funnel_row(stage: _Stage, total: int) -> Html:
    lost = stage.came - stage.stayed
    marks = [
        el("rect", el("title", f"{stage.name}\n{counted(stage.stayed, 'row')} went on, "
                               f"{percent(stage.stayed / total)} of all"),
           class_="bar mark", x="0", y=2, width=at(stage.stayed / total), height=18),
    ]  # fmt: skip
    if lost:
        tip = f"{stage.name}\n{counted(lost, 'row')} left here, {percent(lost / total)} of all"
        marks.append(
            el("rect", el("title", tip), class_="lost mark", x=at(stage.stayed / total), y=2,
               width=at(lost / total), height=18)
        )  # fmt: skip
    words = f"{stage.stayed:,}"
    more = el("span", f" −{lost:,}", class_="lost-number") if lost else ""
    name = f"{stage.name}: {stage.stayed:,} of {stage.came:,} rows went on"
    return el(
        "div",
        el("span", stage.name, class_="row-label"),
        chart(name, 22, *marks, kind="funnel"),
        el("span", words, more, class_="row-value"),
        class_="bar-row",
        role="listitem",
    )


# ---- forest -------------------------------------------------------------------------------------


def forest(rows: Sequence[ForestRow]) -> Html:
    """One line per estimate, in groups, over one axis."""
    reach = _reach(rows)
    ticks = _forest_ticks(reach)
    parts: list[str] = []
    for group in dict.fromkeys(row.group for row in rows):
        parts.append(el("h4", group, class_="forest-group"))
        parts += [_forest_row(row, reach, ticks) for row in rows if row.group == group]
    parts.append(
        el(
            "div",
            el("span", class_="row-label"),
            el("svg", *[text(at(_across(t, reach)), 12, _plain(t), "tick middle") for t in ticks],
               text("50%", 32, "Correlation coefficient, −1 to +1", "label middle"),
               class_="chart forest-axis", height=38, role="img", aria_label="Axis"),
            el("span", class_="row-value"),
            class_="forest-row",
        )
    )  # fmt: skip
    return el("div", *parts, class_="forest")


def _reach(rows: Sequence[ForestRow]) -> float:
    """How far the axis goes to either side: the longest interval, rounded up."""
    ends = [abs(end) for row in rows for end in (row.low, row.high) if end is not None]
    longest = max([_NARROWEST, *ends])
    return min(1.0, math.ceil(longest * 20 + 0.2) / 20)


def _forest_ticks(reach: float) -> list[float]:
    step = next((s for s in _STEPS if reach / s <= 3), _STEPS[-1])
    count = math.floor(reach / step + 1e-9)
    return [i * step for i in range(-count, count + 1)]


def _across(value: float, reach: float) -> float:
    return (value + reach) / (2 * reach)


def _plain(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−") if value else "0"


def _forest_row(row: ForestRow, reach: float, ticks: Sequence[float]) -> Html:
    low, high = (_across(max(-reach, min(reach, end)), reach) for end in (-_BAND, _BAND))
    parts = [el("rect", class_="band", x=at(low), width=at(high - low), y="0", height=30)]
    parts += [
        el("line", x1=at(_across(t, reach)), x2=at(_across(t, reach)), y1="0", y2=30,
           class_="grid" if t else "zero")
        for t in ticks
    ]  # fmt: skip
    name = f"{row.group}, {row.label}"
    if row.value is None or row.low is None or row.high is None:
        value = el("span", f"n = {row.n:,}", class_="row-value quiet")
        name = f"{name}: {row.note}"
    else:
        words = f"{signed(row.value)}, 95 % CI {signed(row.low)} to {signed(row.high)}"
        name = f"{name}: {words}, n = {row.n:,}"
        parts += _whisker(row.low, row.value, row.high, reach, f"{name}\n{row.note}")
        value = el(
            "span",
            el("b", signed(row.value)),
            f" [{signed(row.low)} to {signed(row.high)}] ",
            el("span", f"n = {row.n:,}", class_="quiet"),
            class_="row-value",
        )
    return el(
        "div",
        el("span", row.label, " ", el("span", row.note, class_="row-note"), class_="row-label"),
        chart(name, 30, *parts, kind="forest-line"),
        value,
        class_="forest-row",
    )


def _whisker(low: float, value: float, high: float, reach: float, tip: str) -> tuple[Html, ...]:
    a, middle, b = (at(_across(v, reach)) for v in (low, value, high))
    return (
        el(
            "g",
            el("title", tip),
            el("rect", class_="catch", x=a, width=at((high - low) / (2 * reach)), y="0", height=30),
            el("line", x1=a, x2=b, y1=15, y2=15, class_="whisker"),
            el("line", x1=a, x2=a, y1=10, y2=20, class_="whisker"),
            el("line", x1=b, x2=b, y1=10, y2=20, class_="whisker"),
            el("circle", cx=middle, cy=15, r=5, class_="dot"),
            class_="mark",
        ),
    )

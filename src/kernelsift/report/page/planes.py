"""Charts with two quantities as inline SVG: the heatmap and the scatter."""

import math
from collections.abc import Iterator, Sequence

from kernelsift.model import digest
from kernelsift.report.page.charts import at, chart, text
from kernelsift.report.page.fill import mean_interval, nice_ticks
from kernelsift.report.page.markup import Html, el, number, short
from kernelsift.report.page.model import Cell, Point, Scatter
from kernelsift.report.panels import JITTER, THIN
from kernelsift.report.stats import LEVELS, Group, counted

VIRIDIS = (
    (0x44, 0x01, 0x54), (0x48, 0x28, 0x78), (0x3E, 0x4A, 0x89), (0x31, 0x68, 0x8E),
    (0x26, 0x82, 0x8E), (0x1F, 0x9E, 0x89), (0x35, 0xB7, 0x79), (0x6D, 0xCD, 0x59),
    (0xB4, 0xDE, 0x2C), (0xFD, 0xE7, 0x25),
)  # fmt: skip
"""Stops of the map of that name, which stays readable for colour-blind readers."""
_CELL = 30
_SIDE = LEVELS * _CELL
_PLOT = 340
_TOP = 12
_LEGEND = 24
"""Steps of a colour scale."""
_EDGE = 0.6
"""The score axis runs this far beyond 0 and 10."""


def colour(share: float) -> tuple[int, int, int]:
    """The colour at a place of the scale, 0 to 1; red, green and blue from 0 to 255."""
    place = max(0.0, min(1.0, share)) * (len(VIRIDIS) - 1)
    below = min(int(place), len(VIRIDIS) - 2)
    part = place - below
    pairs = zip(VIRIDIS[below], VIRIDIS[below + 1], strict=True)
    red, green, blue = (round(a + part * (b - a)) for a, b in pairs)
    return red, green, blue


def _hex(shade: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in shade)


# ---- heatmap ------------------------------------------------------------------------------------


def heatmap(cells: Sequence[Cell]) -> Html:
    """Difficulty across, style up; one layer coloured by rows, one by mean reward."""
    parts = [el("rect", class_="plane", x="0", y=_TOP, width="100%", height=_SIDE)]
    parts += [
        el("g", *_layer(cells, counts=True), class_="layer-count"),
        el("g", *_layer(cells, counts=False), class_="layer-mean"),
    ]
    for level in range(LEVELS):
        middle = (level + 0.5) / LEVELS
        parts.append(text(at(middle), _TOP + _SIDE + 17, str(level), "tick middle"))
        parts.append(text(-8, _TOP + _SIDE * (1 - middle) + 4, str(level), "tick end"))
    parts += _names("Difficulty (0–10)", "Style (0–10)", _SIDE)
    return chart(
        "Rows and mean reward by difficulty and style", _TOP + _SIDE + 46, *parts, kind="heatmap"
    )


def _names(across: str, up: str, height: float) -> Iterator[Html]:
    yield text("50%", _TOP + height + 38, across, "label middle")
    middle = _TOP + height / 2
    yield el("text", up, x=-38, y=middle, class_="label middle",
             transform=f"rotate(-90 -38 {middle:g})")  # fmt: skip


def count_limits(cells: Sequence[Cell]) -> tuple[float, float]:
    """Ends of the colour scale of counts."""
    return 1.0, float(max([10, *(cell.rows for cell in cells)]))


def mean_limits(cells: Sequence[Cell]) -> tuple[float, float]:
    """Ends of the colour scale of mean rewards: outliers and thin cells do not stretch it."""
    import numpy as np

    solid = sorted({cell.reward for cell in cells if cell.rows >= THIN})
    usual = solid if len(solid) > 1 else sorted(cell.reward for cell in cells)
    if not usual:
        return 0.0, 1.0
    low, high = np.quantile(usual, [0.05, 0.95])
    return float(low), float(high)


def _layer(cells: Sequence[Cell], *, counts: bool) -> Iterator[Html]:
    low, high = count_limits(cells) if counts else mean_limits(cells)
    for cell in cells:
        if counts:
            share = math.log(cell.rows) / math.log(high)
        else:
            share = (cell.reward - low) / (high - low) if high > low else 0.5
        thin = not counts and cell.rows < THIN
        yield _cell(cell, share, thin=thin, words=short(cell.rows) if counts else _tight(cell))


def _tight(cell: Cell) -> str:
    """The mean reward, as wide as a cell is on a telephone."""
    size = abs(cell.reward)
    words = short(round(size)) if 999.5 <= size < 1e12 else f"{size:.3g}"
    return f"−{words}" if cell.reward < 0 else words


def _cell(cell: Cell, share: float, *, thin: bool, words: str) -> Html:
    shade = colour(share)
    light = 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2]
    x, y = cell.difficulty / LEVELS, _TOP + (LEVELS - 1 - cell.style) * _CELL
    tip = (
        f"Difficulty {cell.difficulty}, style {cell.style}\n{counted(cell.rows, 'row')}\n"
        f"mean reward {number(cell.reward)}"
    )
    return el(
        "g",
        el("title", tip),
        el("rect", x=at(x), y=y, width=at(1 / LEVELS), height=_CELL, fill=_hex(shade),
           fill_opacity=0.35 if thin else None, class_="cell"),
        el("text", words, x=at(x + 0.5 / LEVELS), y=y + _CELL / 2 + 4,
           class_="cell-text middle" + (" on-thin" if thin else " on-dark" if light < 140 else "")),
        class_="mark",
    )  # fmt: skip


def legend(name: str, low: str, high: str) -> Html:
    """A colour scale with its ends."""
    steps = [
        el("rect", x=at(i / _LEGEND), width=at(1.05 / _LEGEND), y="0", height=12,
           fill=_hex(colour(i / (_LEGEND - 1))))
        for i in range(_LEGEND)
    ]  # fmt: skip
    scale = el("svg", *steps, class_="scale", width=160, height=12, role="img",
               aria_label=f"Colour scale from {low} to {high}")  # fmt: skip
    return el("span", f"{name}: {low} ", scale, f" {high}", class_="legend")


# ---- scatter ------------------------------------------------------------------------------------


def scatter(found: Scatter) -> Html:
    """Rewards up; style or difficulty across, by the class of what surrounds it."""
    parts: list[str] = []
    for value, label in nice_ticks(found.low, found.high):
        y = _height(value, found)
        parts.append(el("line", x1="0", x2="100%", y1=_TOP + y, y2=_TOP + y, class_="grid"))
        parts.append(text(-8, _TOP + y + 4, label, "tick end"))
    places = [(level, at(_across(level))) for level in range(LEVELS)]
    parts += [text(x, _TOP + _PLOT + 17, str(level), "tick middle") for level, x in places]
    dots = [_point(p, found) for p in sorted(found.points, key=lambda p: p.listed)]
    inner = [
        el("g", *dots, class_="dots" + (" many" if len(dots) > 500 else "")),
        el("g", *_means(found.by_style, found), class_="layer-style"),
        el("g", *_means(found.by_difficulty, found), class_="layer-difficulty"),
    ]
    parts.append(el("svg", *inner, x="0", y=_TOP, width="100%", height=_PLOT))
    base = _TOP + _PLOT
    parts.append(el("line", x1="0", x2="100%", y1=base, y2=base, class_="axis"))
    for name in ("style", "difficulty"):
        names = _names(f"{name.capitalize()} (0–10)", "Reward", _PLOT)
        parts.append(el("g", *names, class_=f"layer-{name}"))
    return chart("Reward by style or difficulty, one point per row", base + 46, *parts,
                 kind="scatter")  # fmt: skip


def _across(score: float) -> float:
    return (score + _EDGE) / (10 + 2 * _EDGE)


def _height(reward: float, found: Scatter) -> float:
    """Pixels from the top; what lies far outside the plot is put just outside it."""
    width = found.high - found.low
    share = found.high / width - reward / width
    return _PLOT * max(-0.1, min(1.1, share))


def _point(point: Point, found: Scatter) -> Html:
    """A dot; scores that are levels are spread a little, always in the same way."""
    shift = JITTER * (int(digest("jitter", point.id)[:8], 16) / 0xFFFFFFFF * 2 - 1)
    style = at(_across(_spread(point.style, shift)))
    difficulty = at(_across(_spread(point.difficulty, shift)))
    tip = (
        f"{point.id} · {point.module[:80]}\nstyle {number(point.style, 2)}, difficulty "
        f"{number(point.difficulty, 2)}, reward {number(point.reward)}"
    )
    dot = el(
        "circle",
        el("title", tip),
        cx=style,
        cy=_height(point.reward, found),
        r=4.5 if point.listed else 3,
        style=f"--s:{style};--d:{difficulty}",
        class_="mark listed" if point.listed else "mark",
        data_row=f"row-{point.id}" if point.listed else None,
    )
    return el("a", dot, href=f"#row-{point.id}", tabindex=-1) if point.listed else dot


def _spread(score: float, shift: float) -> float:
    return score + shift if float(score).is_integer() else score


def _means(groups: Sequence[Group], found: Scatter) -> Iterator[Html]:
    for group in groups:
        mean, interval = group.reward.mean, mean_interval(group.reward)
        if mean is None or not found.low <= mean <= found.high:
            continue
        x, y = at(_across(group.level)), _height(mean, found)
        said = "no interval for one row"
        bar = ""
        if interval is not None:
            said = f"95 % CI {number(interval[0])} to {number(interval[1])}"
            ends = [_height(end, found) for end in interval]
            bar = el("line", x1=x, x2=x, y1=ends[0], y2=ends[1], class_="mean-line")
        yield el(
            "g",
            el("title", f"Level {group.level}: mean reward {number(mean)}\n{said}, "
                        f"{counted(group.n, 'row')}"),
            bar,
            el("circle", cx=x, cy=y, r=5.5, class_="mean"),
            class_="mark",
        )  # fmt: skip

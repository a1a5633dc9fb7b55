"""The sections of the page, one function each."""

from collections.abc import Iterator, Sequence

from kernelsift.report.card_facts import FunnelStep
from kernelsift.report.health_tables import Table
from kernelsift.report.page import charts, planes
from kernelsift.report.page.markup import Html, el, joined, number, prose
from kernelsift.report.page.model import (
    Caution,
    Cell,
    Cost,
    Disagreement,
    Disagreements,
    Histogram,
    PageData,
    Scatter,
    Trust,
)
from kernelsift.report.panels import JITTER, THIN
from kernelsift.report.stats import counted, percent

CODE_SHOWN = 16_000
"""Characters of one kernel."""
WORDS_SHOWN = 1_500
"""Characters of what the judge said."""
_TIGHT = 32
"""A number with its interval stays on one line; reasons for none may be longer."""


def section(anchor: str, title: str, *children: str) -> Html:
    """A section with its heading."""
    heading = el("h2", title, id=f"{anchor}-title")
    return el("section", heading, *children, id=anchor, aria_labelledby=f"{anchor}-title")


def table(found: Table, right: int | None = None) -> Html:
    """A table; all but its first column, or the last `right`, are aligned as numbers."""
    numbers = len(found.columns) - 1 if right is None else right
    first = len(found.columns) - numbers
    head = [
        el("th", name, scope="col", class_="number" if i >= first else None)
        for i, name in enumerate(found.columns)
    ]
    body = [el("tr", *_cells(row, first)) for row in found.rows]
    whole = el(
        "table",
        el("caption", found.title),
        el("thead", el("tr", *head)),
        el("tbody", *body),
    )
    return el("div", whole, class_="scroll", tabindex=0, role="region", aria_label=found.title)


def _cells(row: Sequence[object], first: int) -> Iterator[Html]:
    for i, value in enumerate(row):
        words = f"{value:,}" if isinstance(value, int) else str(value)
        if i == 0:
            yield el("th", words, scope="row", class_="number" if first == 0 else None)
        else:
            kind = "number tight" if len(words) <= _TIGHT else "number"
            yield el("td", words, class_=kind if i >= first else None)


def header(page: PageData) -> Html:
    """The name of the run, who judged what, and when."""
    pairs = [el("div", el("dt", name), el("dd", value)) for name, value in page.facts]
    return el(
        "header",
        el("p", "kernelsift report", class_="eyebrow"),
        el("h1", page.title),
        el("dl", *pairs, class_="facts"),
    )


def cautions(found: Sequence[Caution]) -> Html:
    """What to know before quoting a number."""
    if not found:
        return section("read", "Read this first", el("p", "Nothing to warn of."))
    items = [
        el("li", el("strong", f"{one.title}. ") if one.title else "", one.text) for one in found
    ]
    return section("read", "Read this first", el("ul", *items, class_="cautions"))


def funnel(steps: Sequence[FunnelStep]) -> Html:
    """Where the rows went."""
    total = sum(step.rows for step in steps)
    rows = tuple(
        (step.stage, step.reason or "in the set", step.rows, percent(step.rows / total))
        for step in steps
    )
    reasons = Table(
        f"Every one of {counted(total, 'row')}, once: where it left, or that it was kept",
        ("stage", "what", "rows", "share"),
        rows,
    )
    note = "Blue: rows that went on. Orange: rows that left at this stage."
    parts = (charts.funnel(steps), el("p", note, class_="note"), table(reasons, 2))
    return section("funnel", "Where the rows went", *parts)


def distributions(found: Sequence[Histogram]) -> Html:
    """How scores and rewards are spread."""
    figures = []
    for one in found:
        pairs = [el("div", el("dt", name), el("dd", value)) for name, value in one.facts]
        note = el("p", one.note, class_="note") if one.note else ""
        parts = (el("h3", one.title), charts.histogram(one), note,
                 el("dl", *pairs, class_="numbers"))  # fmt: skip
        figures.append(el("figure", *parts))
    return section("distributions", "Distributions", el("div", *figures, class_="three"))


def correlations(page: PageData) -> Html:
    """The forest plot, and all numbers behind it."""
    parts = [charts.forest(page.forest), el("p", page.forest_note, class_="note")]
    if page.numbers.rows:
        parts.append(_more("Both intervals and p-values", table(page.numbers, 5)))
    return section("correlations", "Correlations", *parts)


def _more(summary: str, *children: str) -> Html:
    return el("details", el("summary", summary), *children, class_="more")


def _toggle(name: str, label: str, options: Sequence[tuple[str, str]], *content: str) -> Html:
    """Views of one chart to choose from; no script is needed."""
    parts: list[str] = []
    for place, (value, words) in enumerate(options):
        own = f"{name}-{value}"
        checked = "" if place == 0 else None
        parts.append(el("input", type="radio", name=name, id=own, checked=checked))
        parts.append(el("label", words, for_=own))
    pane = el("div", *content, class_="pane")
    return el("div", *parts, pane, class_="views", role="group", aria_label=label)


def heatmap(cells: Sequence[Cell]) -> Html:
    """Difficulty by style."""
    if not cells:
        return section("heatmap", "Difficulty by style", el("p", "No row has scores."))
    rows = sum(cell.rows for cell in cells)
    low, high = planes.mean_limits(cells)
    most = planes.count_limits(cells)[1]
    notes = (
        el("p", planes.legend("Rows, log scale", "1", f"{most:,.0f}"),
           class_="note layer-count"),
        el("p", planes.legend("Mean reward", number(low), number(high)),
           f" Beyond the ends: the end's colour. Pale: fewer than {THIN} rows.",
           class_="note layer-mean"),
    )  # fmt: skip
    options = (("count", "Rows"), ("mean", "Mean reward"))
    return section(
        "heatmap",
        "Difficulty by style",
        el("p", f"n = {counted(rows, 'row')}; scores rounded to levels.", class_="lead"),
        _toggle("heat", "What the colours show", options, planes.heatmap(cells), *notes),
    )


def scatter(found: Scatter, groups: Sequence[Table]) -> Html:
    """Score by reward."""
    if not found.points:
        return section("scatter", "Reward by score", el("p", "No row has scores."))
    shown = len(found.points)
    words = f"n = {counted(found.rows, 'row')}. "
    if found.outside:
        words += f"Outside the reward axis and not drawn: {found.outside:,}. "
    if shown < found.rows - found.outside:
        words += (
            f"Points: {shown:,} of the others: those listed under Disagreements, and the ones "
            "whose ids have the smallest digests, so every time the same. "
        )
    note = (
        "Orange: the mean reward of all rows of a level with its 95 % confidence interval (rows "
        f"taken as independent). Whole scores are spread by up to {JITTER} to be seen. "
        "Ringed points are listed under Disagreements: choose one to read its code. "
        "Point at a row to see what it is, or step through them with the arrow keys."
    )
    options = (("style", "Style"), ("difficulty", "Difficulty"))
    return section(
        "scatter",
        "Reward by score",
        el("p", words, class_="lead"),
        _toggle("across", "Which score lies across", options, planes.scatter(found)),
        el("p", note, class_="note"),
        _more("Reward by level, in numbers", *map(table, groups)),
    )


def trust(found: Trust) -> Html:
    """How far the scores can be trusted."""
    parts = [el("p", prose(found.note), class_="lead")]
    parts += [el("div", *map(table, found.tables), class_="tables")]
    return section("reliability", "Reliability of the judge", *parts)


def cost(found: Cost) -> Html:
    """What the run directory has cost."""
    if not found.rows and not found.lost:
        words = "No request was ever sent from this run directory: it has cost nothing."
        return section("cost", "Cost", el("p", words, class_="lead"))
    rows = [
        (
            one.stage,
            one.model,
            one.requests,
            one.input_tokens,
            one.output_tokens,
            _usd(one.usd) + _unpriced(one.unpriced),
        )
        for one in found.rows
    ]
    columns = ("stage", "model", "requests", "input tokens", "output tokens", "USD")
    answered = Table("Requests that were answered", columns, tuple(rows))
    parts = [table(answered, 4)] if rows else []
    if found.lost:
        lines = tuple(
            (x.stage, x.requests, _usd(x.usd), _usd(x.at_risk) + _unpriced(x.unpriced))
            for x in found.lost
        )
        names = ("stage", "requests", "USD billed", "USD at risk, at most")
        parts.append(table(Table("Requests without a usable answer", names, lines)))
    usd = sum(one.usd for one in found.rows) + sum(one.usd for one in found.lost)
    risk = sum(one.at_risk for one in found.lost)
    requests = sum(one.requests for one in found.rows) + sum(one.requests for one in found.lost)
    words = f"{counted(requests, 'request')}, {_usd(usd)} known to be billed"
    unpriced = sum(one.unpriced for one in found.rows) + sum(one.unpriced for one in found.lost)
    words += f", up to {_usd(risk)} more at risk" if risk else ""
    words += f"; the price of {counted(unpriced, 'request')} is not known." if unpriced else "."
    return section("cost", "Cost", el("p", words, class_="lead"), *parts)


def _unpriced(requests: int) -> str:
    """What keeps an unknown price from being read as nothing."""
    return f" + {counted(requests, 'request')} of unknown price" if requests else ""


def _usd(value: float) -> str:
    return f"${value:,.4f}"


# ---- disagreements ------------------------------------------------------------------------------


def disagreements(found: Sequence[Disagreements]) -> Html:
    """The rows that opinions differ most about, with their code."""
    seen: set[str] = set()
    parts: list[str] = []
    for group in found:
        parts += [el("h3", group.title), el("p", prose(group.rule), class_="note")]
        if not group.rows:
            parts.append(el("p", prose(group.none), class_="lead"))
        parts += [_one(row, seen) for row in group.rows]
    return section("disagreements", "Disagreements, with their code", *parts)


def _one(row: Disagreement, seen: set[str]) -> Html:
    anchor = None if row.id in seen else f"row-{row.id}"
    seen.add(row.id)
    head = el(
        "summary",
        el("span", row.module, class_="module"),
        " ",
        el("span", row.gap, class_="gap"),
    )
    lines = tuple(
        (one.who, number(one.difficulty, 2), number(one.style, 2)) for one in row.opinions
    )
    known = f"id {row.id} · {row.origin} · reward {number(row.reward)}"
    parts = [el("p", known, class_="note wrap")]
    parts.append(table(Table("Scores, 0–10", ("who", "difficulty", "style"), lines)))
    if row.words.strip():
        parts.append(
            _more("What the judge said", el("pre", _cut(row.words, WORDS_SHOWN), class_="words"))
        )
    code = el("code", _cut(row.code, CODE_SHOWN)) if row.code else "This row has no code."
    label = f"Code of {row.module}"
    parts.append(el("pre", code, class_="code", tabindex=0, role="region", aria_label=label))
    return el("details", head, *parts, class_="row", id=anchor)


def _cut(text: str, most: int) -> str:
    """The text, or its beginning with a word on how much is left away."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n… {len(text) - most:,} characters more are not shown."


def contents(pairs: Sequence[tuple[str, str]]) -> Html:
    """Links to the sections."""
    links = [el("a", words, href=f"#{anchor}") for anchor, words in pairs]
    return el("nav", *links, aria_label="Sections")


def body(page: PageData) -> Html:
    """Everything between the header and the end."""
    return joined(
        cautions(page.cautions),
        funnel(page.funnel),
        distributions(page.histograms),
        correlations(page),
        heatmap(page.cells),
        scatter(page.scatter, page.groups),
        trust(page.trust),
        cost(page.cost),
        disagreements(page.disagreements),
    )

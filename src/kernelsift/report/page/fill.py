"""The page's values out of an analysis, its rows and what is known of the run.

A new kind of correlation becomes a line of the page in `forest_rows` and `correlation_table`.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from kernelsift.model import digest
from kernelsift.report.health_tables import Table
from kernelsift.report.page.markup import number
from kernelsift.report.page.model import (
    Bar,
    Caution,
    Cell,
    ForestRow,
    Histogram,
    PageData,
    Point,
    RunFacts,
    Scatter,
    Tick,
)
from kernelsift.report.panels import Window, reward_window
from kernelsift.report.partials import Partial
from kernelsift.report.schema import Analysis
from kernelsift.report.stats import (
    LEVELS,
    PAIRS,
    Correlation,
    Group,
    Scored,
    ScoreSpread,
    Spread,
    column,
    counted,
    level_of,
    ordered,
    p_text,
    percent,
    signed,
)

POINTS = 2000
"""Most points of the scatter."""
FENCE = 5
"""The reward axis reaches this many times the distance of the quartiles beyond them."""
_BINS = 30
_TICKS = 6


def page_data(analysis: Analysis, rows: Sequence[Scored], run: RunFacts) -> PageData:
    """Fill the page. `rows` are those that the analysis is about.

    Raises DataError for values that `stats.ordered` refuses.
    """
    known = ordered(rows)
    window = page_window(known)
    own = tuple(Caution(one.title, one.text) for one in analysis.cautions)
    return PageData(
        title=run.name,
        facts=(*_judged_facts(analysis), *run.facts),
        cautions=(*own, *(Caution("", text) for text in run.trust.cautions)),
        funnel=run.funnel,
        histograms=(
            _score_histogram("Difficulty", analysis.difficulty),
            _score_histogram("Style", analysis.style),
            _reward_histogram(known, analysis.reward, window),
        ),
        forest=forest_rows(analysis),
        forest_note=_forest_note(analysis),
        numbers=correlation_table(analysis),
        cells=_cells(known),
        scatter=_scatter(known, analysis, window, _listed(run)),
        groups=(
            _group_table("difficulty", "style", analysis.by_difficulty),
            _group_table("style", "difficulty", analysis.by_style),
        ),
        trust=run.trust,
        cost=run.cost,
        disagreements=run.disagreements,
    )


def _judged_facts(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """Who judged which rows."""
    judge = analysis.judge
    total = analysis.judged + analysis.unjudged
    facts = [("Judge", f"{judge.judge}, prompt version {judge.prompt_version}")]
    answered = [name for name in judge.returned_models if name != judge.judge]
    if answered:
        facts.append(("Answered by", ", ".join(answered)))
    modules = counted(analysis.modules, "module")
    facts.append(
        ("Judged", f"{analysis.judged:,} of {counted(total, 'row')}, from {modules}"),
    )
    if analysis.missing:
        classes = ", ".join(f"{name} {count:,}" for name, count in analysis.missing.items())
        facts.append(("Without a verdict", f"{analysis.unjudged:,} ({classes}); in no number here"))
    known = analysis.reward_filter
    if known is not None:
        dropped = f"{known.dropped:,} of the others are not judged"
        facts.append(("Reward filter", f"above {known.min_reward:g}; {dropped}"))
    return tuple(facts)


# ---- correlations -------------------------------------------------------------------------------


def forest_rows(analysis: Analysis) -> tuple[ForestRow, ...]:
    """One line per correlation, with the wider of its intervals; those of one pair together."""
    return tuple(_forest_row(*named) for named in _named(analysis))


def _named(analysis: Analysis) -> Iterator[tuple[str, Correlation | Partial]]:
    """Every correlation with the name of its line: as judged, then given everything, then of all
    rows, pair by pair.
    """
    given = analysis.partials.given
    whole = analysis.full_range.correlations if analysis.full_range else ()
    for a, b in PAIRS:
        for one in analysis.correlations:
            if (one.a, one.b) == (a, b):
                yield one.method.capitalize(), one
        for partial in analysis.partials.correlations:
            if (partial.a, partial.b, partial.given) == (a, b, given):
                yield f"Partial {partial.method.capitalize()}", partial
        for one in whole:
            if (one.a, one.b) == (a, b):
                yield f"{one.method.capitalize()}, all rows", one


def _forest_row(label: str, found: Correlation | Partial) -> ForestRow:
    interval = found.widest
    if found.r is None or interval is None:
        note = f"no number, because {found.why}"
    else:
        drawn = "modules resampled" if interval is found.cluster_ci else "rows independent"
        note = f"{found.strength}; {drawn}"
    return ForestRow(
        group=f"{found.a.capitalize()} and {found.b}",
        label=label,
        value=found.r,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        n=found.n,
        note=note,
    )


def correlation_table(analysis: Analysis) -> Table:
    """Everything that analysis.json says of the correlations that have a number."""
    rows = tuple(
        (
            f"{one.a} – {one.b}",
            label,
            one.strength or "–",
            signed(one.r),
            str(one.ci or "–"),
            str(one.cluster_ci or "–"),
            _p(one.p),
            _p(one.p_holm),
            one.n,
        )
        for label, one in _named(analysis)
        if one.r is not None and one.p is not None
    )
    intervals = ("95 % CI, rows", "95 % CI, modules")
    columns = ("pair", "method", "strength", "r", *intervals, "p", "p, Holm", "n")
    return Table("Correlations with both intervals", columns, rows)


def _p(p: float | None) -> str:
    return "–" if p is None else p_text(p).removeprefix("p ").removeprefix("= ")


def _forest_note(analysis: Analysis) -> str:
    note = (
        "Dot: the correlation coefficient. Line: its 95 % confidence interval, the wider of two: "
        f"for rows taken as independent, and for whole modules drawn {analysis.resamples:,} times "
        f"(seed {analysis.seed}). Grey band: |r| below 0.1, too small to matter whatever p says."
    )
    if analysis.partials.given:
        note += f" Partial: with {' and '.join(analysis.partials.given)} held constant."
    if analysis.full_range is not None:
        note += (
            f" All rows: with {analysis.full_range.rejected:,} rows that the filter dropped, "
            "weighted by the inverse of their chance to be judged."
        )
    why = next((one.cluster_why for one in analysis.correlations if one.cluster_why), None)
    return note if why is None else f"{note} An interval for modules is missing: {why}."


# ---- distributions ------------------------------------------------------------------------------


def _score_histogram(name: str, score: ScoreSpread) -> Histogram:
    facts = list(_spread_facts(score.spread))
    if score.effective_levels is not None:
        facts += [
            ("effective levels of 11", f"{score.effective_levels:.1f}"),
            ("most frequent level", f"{score.mode} ({_share(score.mode_share)} of rows)"),
            ("at level 0; at level 10",
             f"{_share(score.floor_share)}; {_share(score.ceiling_share)}"),
        ]  # fmt: skip
    return Histogram(
        title=name,
        axis=f"{name} (0–10, rounded to a level)",
        bars=tuple(Bar(f"{name} level {i}", rows) for i, rows in enumerate(score.histogram)),
        ticks=tuple(Tick((level + 0.5) / LEVELS, str(level)) for level in range(LEVELS)),
        facts=tuple(facts),
    )


def _reward_histogram(rows: Sequence[Scored], spread: Spread, window: Window) -> Histogram:
    import numpy as np

    counts, edges = np.histogram(
        column(rows, "reward"), bins=_BINS, range=(window.low, window.high)
    )
    pairs = pairwise(edges)
    bars = tuple(
        Bar(f"Reward {number(float(a))} to {number(float(b))}", int(count))
        for (a, b), count in zip(pairs, counts, strict=True)
    )
    note = (
        f"The axis reaches {FENCE} times the distance of the quartiles beyond them, and not beyond "
        f"the 0.5th and 99.5th percentile; {counted(window.outside, 'row')} outside it."
    )
    ticks = tuple(
        Tick((value - window.low) / (window.high - window.low), label)
        for value, label in nice_ticks(window.low, window.high)
    )
    return Histogram("Reward", "Reward (as the source gives it)", bars, ticks,
                     tuple(_spread_facts(spread)), note)  # fmt: skip


def _spread_facts(spread: Spread) -> tuple[tuple[str, str], ...]:
    return (
        ("n", f"{spread.n:,}"),
        ("mean (sd)", f"{number(spread.mean)} ({number(spread.sd)})"),
        ("median (quartiles)",
         f"{number(spread.median)} ({number(spread.q1)} to {number(spread.q3)})"),
        ("range", f"{number(spread.min)} to {number(spread.max)}"),
    )  # fmt: skip


def page_window(rows: Sequence[Scored]) -> Window:
    """The part of the reward axis that is drawn: a long tail does not squash all other rows."""
    import numpy as np

    if not rows:
        return reward_window(rows)
    values = column(rows, "reward")
    low = float(np.quantile(values, 0.005, method="lower"))
    high = float(np.quantile(values, 0.995, method="higher"))
    q1, q3 = (float(q) for q in np.quantile(values, [0.25, 0.75]))
    reach = FENCE * (q3 - q1)
    if reach > 0:
        inside = values[(values >= max(low, q1 - reach)) & (values <= min(high, q3 + reach))]
        low, high = float(inside.min()), float(inside.max())
    margin = 0.04 * (high - low)
    if not margin > 1e-9 * abs(high):
        return reward_window(rows)
    low, high = low - margin, high + margin
    return Window(low, high, int(np.sum((values < low) | (values > high))))


def nice_ticks(low: float, high: float, most: int = _TICKS) -> list[tuple[float, str]]:
    """Round values within the range, with as many decimals as tell them apart."""
    import numpy as np

    width = high - low
    size = 10.0 ** np.floor(np.log10(width / most))
    step = next(size * m for m in (1, 2, 5, 10, 20) if width / (size * m) <= most)
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    values = [float(i * step) for i in range(first, last + 1)]
    return [(v, f"{v:,.{digits}f}".replace("-", "−")) for v in values]


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)


# ---- score by score, score by reward ------------------------------------------------------------


def _cells(rows: Sequence[Scored]) -> tuple[Cell, ...]:
    found: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        key = level_of(row.difficulty), level_of(row.style)
        found.setdefault(key, []).append(row.reward)
    return tuple(
        Cell(difficulty, style, len(rewards), sum(v / len(rewards) for v in rewards))
        for (difficulty, style), rewards in sorted(found.items())
    )


def _listed(run: RunFacts) -> frozenset[str]:
    return frozenset(row.id for group in run.disagreements for row in group.rows)


def _scatter(
    rows: Sequence[Scored], analysis: Analysis, window: Window, listed: frozenset[str]
) -> Scatter:
    """Rows that are listed below come first, then those with the smallest digest."""
    shown = [row for row in rows if window.low <= row.reward <= window.high]
    chosen = sorted(shown, key=lambda row: (row.id not in listed, digest("scatter", row.id)))
    points = tuple(
        Point(r.id, r.module, r.difficulty, r.style, r.reward, r.id in listed)
        for r in sorted(chosen[:POINTS], key=lambda row: row.id)
    )
    return Scatter(
        points=points,
        rows=len(rows),
        low=window.low,
        high=window.high,
        outside=window.outside,
        by_difficulty=analysis.by_difficulty,
        by_style=analysis.by_style,
    )


def _group_table(
    name: Literal["difficulty", "style"], other: str, groups: Sequence[Group]
) -> Table:
    rows = tuple(
        (
            group.level,
            group.n,
            number(group.reward.mean),
            _mean_interval(group.reward),
            number(group.reward.median),
            number(group.mean_other, 2),
        )
        for group in groups
    )
    columns = (name, "n", "mean reward", "95 % CI of it", "median", f"mean {other}")
    return Table(f"Reward by {name}", columns, rows)


def mean_interval(spread: Spread) -> tuple[float, float] | None:
    """Student's 95 % interval of a mean, for independent rows; None with fewer than two."""
    from scipy.stats import t

    if spread.mean is None or spread.sd is None:
        return None
    half = float(t.ppf(0.975, spread.n - 1)) * spread.sd / spread.n**0.5
    return spread.mean - half, spread.mean + half


def _mean_interval(spread: Spread) -> str:
    found = mean_interval(spread)
    return "–" if found is None else f"{number(found[0])} to {number(found[1])}"

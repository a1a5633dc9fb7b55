"""reliability.json and probes.json as tables for people."""

from collections.abc import Iterator

from kernelsift.reliability.outcome import Measure
from kernelsift.reliability.schema import (
    Coverage,
    Drift,
    Group,
    ProbeResult,
    Reliability,
    ScoreReliability,
    Validity,
)
from kernelsift.report.health_tables import Table
from kernelsift.report.stats import percent

_MEASURE_COLUMNS = ("what", "value (95 %)", "items", "modules")
VIOLATIONS_SHOWN = 5
_NAME = 28


def tables_of(found: Reliability) -> Iterator[Table]:
    """All tables of a reliability report."""
    yield _coverage(found.coverage)
    for score in found.scores:
        yield _levels(score)
        for group in score.retest:
            yield _group(f"{score.score}, judged again: {group.raters[0]}", group)
        if score.between is not None:
            raters = ", ".join(score.between.raters)
            yield _group(f"{score.score}, between judges: {raters}", score.between)
        for group in score.pairs:
            yield _group(f"{score.score}: {' and '.join(group.raters)}", group)
    for drift in found.drift:
        yield _drift(drift)
    for validity in found.validity:
        yield from _validity(validity)


def _coverage(found: Coverage) -> Table:
    rows: list[tuple[object, ...]] = [
        ("scored", found.scored, _share(found.scored, found.rows)),
        *((f"failed: {n}", count, _share(count, found.rows)) for n, count in found.failed.items()),
        ("pending", found.pending, _share(found.pending, found.rows)),
    ]
    return Table(f"{found.rows:,} rows to judge", ("", "rows", "share"), tuple(rows))


def _share(count: int, of: int) -> str:
    return percent(count / of) if of else "–"


def _levels(found: ScoreReliability) -> Table:
    levels, ties = found.levels, found.ties
    rows: list[tuple[object, ...]] = [
        ("rows", levels.spread.n),
        ("mean", _number(levels.spread.mean)),
        ("standard deviation", _number(levels.spread.sd)),
        ("effective levels, of 11", _number(levels.effective_levels, 1)),
        ("most frequent level", "–" if levels.mode is None else levels.mode),
        ("rows there", _percent(levels.mode_share)),
        ("lowest level", _percent(levels.floor_share)),
        ("highest level", _percent(levels.ceiling_share)),
        ("largest Spearman that ties allow", ties.why or _number(ties.spearman, 3)),
        ("largest Kendall tau-b", ties.why or _number(ties.kendall, 3)),
    ]
    if found.within is not None:
        inner = found.within
        rows.append((inner.measure.name, _short(inner.measure)))
        rows.append(("modules with several answers", inner.repeated))
        rows.append(("of these with one difficulty", inner.agreeing))
    return Table(found.score, ("", "value"), tuple(rows))


def _group(title: str, group: Group) -> Table:
    rows = [_measure(measure) for measure in group.measures]
    if group.difference is not None:
        rows.append(_measure(group.difference))
    if group.of_mean is not None:
        name = f"reliability of the mean of {len(group.raters)}"
        rows.append((name, f"{group.of_mean:.3f}", "", ""))
    return Table(title, _MEASURE_COLUMNS, tuple(rows))


def _measure(found: Measure) -> tuple[object, ...]:
    return found.name, _short(found), found.items, found.clusters


def _short(found: Measure) -> str:
    """The value with its interval; why there is no interval stands in the JSON file."""
    if found.value is None or found.ci is not None:
        return str(found)
    return f"{found.value:.3f} (no interval)".replace("-", "−")


def _drift(found: Drift) -> Table:
    rows = [_measure(found.shift), ("moved by more than the tolerance", _percent(found.moved),
                                    found.items, "")]  # fmt: skip
    rows += [_measure(measure) for measure in found.agreement]
    return Table(f"canary, {found.score}: {found.judge}", _MEASURE_COLUMNS, tuple(rows))


def _validity(found: Validity) -> Iterator[Table]:
    rows = [_measure(measure) for measure in (*found.measures, found.shift)]
    rows += [
        ("same level", _percent(found.exact), found.labelled, ""),
        ("at most one level apart", _percent(found.near), found.labelled, ""),
        ("mean absolute error", _number(found.error), found.labelled, ""),
        ("the same, calibrated", _number(found.error_calibrated), found.labelled, ""),
    ]
    if found.mean is not None:
        mean = found.mean
        rows += [
            ("mean human score (PPI++)", _interval(mean.value, mean.ci.low, mean.ci.high),
             mean.labelled + mean.unlabelled, ""),
            ("labels alone", _interval(mean.labels_only, mean.labels_only_ci.low,
                                       mean.labels_only_ci.high), mean.labelled, ""),
            ("judge alone", _number(mean.judge_only), mean.labelled + mean.unlabelled, ""),
            ("λ, trust in the judge", _number(mean.trust), "", ""),
        ]  # fmt: skip
    else:
        rows.append(("mean human score (PPI++)", f"not defined, because {found.mean_why}", "", ""))
    yield Table(f"{found.score} against human labels", _MEASURE_COLUMNS, tuple(rows))
    if found.calibration:
        listed = tuple(
            (f"{b.low:g}" if b.low == b.high else f"{b.low:g} to {b.high:g}",
             f"{b.human:.2f}", b.items)
            for b in found.calibration
        )  # fmt: skip
        columns = ("judge", "human", "labels")
        yield Table(f"{found.score}: what the judge's scores stand for", columns, listed)
    if found.humans is not None:
        yield _group(f"{found.score}, humans among each other", found.humans)


def probe_table(judge: str, results: tuple[ProbeResult, ...]) -> Table:
    """What every probe did to one judge's scores."""
    rows = tuple(
        (
            one.probe,
            "falls" if one.style_expects == "lower" else "stays",
            one.rows,
            _short(one.style_right),
            _short(one.style_shift),
            _percent(one.style_wrong_way),
            _short(one.difficulty_shift),
        )
        for one in results
    )
    columns = ("probe", "style", "rows", "as it should", "style moves by", "rises",
               "difficulty moves by")  # fmt: skip
    return Table(judge, columns, rows)


def violation_table(one: ProbeResult) -> Table:
    """The rows that a probe moved worst."""
    rows = tuple(
        (v.origin, v.module[:_NAME], v.score, f"{v.before:g} → {v.after:g}")
        for v in one.violations[:VIOLATIONS_SHOWN]
    )
    shown = f"{min(len(one.violations), VIOLATIONS_SHOWN)} of {len(one.violations):,}"
    return Table(f"{one.probe}: {shown} violations", ("row", "module", "score", "moved"), rows)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"

"""The tables that show the health of a set of modules to people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from kernelsift.kernels.reference.gate_facts import Trivial
from kernelsift.report.health import QUANTILES, Accepted, Health, Informative, Share

OPS_SHOWN = 12
_MARKS: dict[Trivial, str] = {
    "zeros": "zeros",
    "constant": "const",
    "previous": "other x",
    "input": "x",
    "weights": "other w",
    "uninformative": "<5% told",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows as text or numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def tables(health: Health) -> Iterator[Table]:
    """Yield all tables that have something in them."""
    yield Table("Modules", ("", "distinct", "rows"), tuple(_overview(health)))
    if health.runs.modules:
        yield _properties(health)
        yield _accepted(health.accepted)
        yield _informative(health.informative)
        yield _sizes(health)
        yield _ops(health)
    if health.failures:
        yield _failures(health)


def _overview(health: Health) -> Iterator[tuple[object, ...]]:
    yield ("read", health.modules, health.rows)
    yield ("run", health.runs.modules, health.runs.rows)
    yield ("do not run", *(a - b for a, b in _pairs(health.runs)))


def _pairs(share: Share) -> tuple[tuple[int, int], tuple[int, int]]:
    return (share.of_modules, share.modules), (share.of_rows, share.rows)


def _properties(health: Health) -> Table:
    rows = [(p.words, p.modules, p.rows, of(p)) for p in health.properties]
    return Table("Of those that run", ("", "distinct", "rows", "% of rows"), tuple(rows))


def _accepted(found: Sequence[Accepted]) -> Table:
    names = get_args(Trivial)
    rows = tuple(
        (_place(one), of(one.anything), *(of(one.by[name]) for name in names)) for one in found
    )
    return Table(
        "Trivial answers that pass, % of rows (any: all but other w)",
        ("at, on", "any", *(_MARKS[name] for name in names)),
        rows,
    )


def _informative(found: Sequence[Informative]) -> Table:
    rows = tuple(
        (
            _place(one),
            *(f"{value:.3f}" for value in one.quantiles),
            of(one.under_005),
            of(one.under_030),
        )
        for one in found
    )
    marks = tuple(f"{share:.0%}" for share in QUANTILES)
    return Table(
        "Share of an answer that tells two inputs apart: quantiles, and % of rows under",
        ("at, on", *marks, "<0.05", "<0.30"),
        rows,
    )


def _sizes(health: Health) -> Table:
    rows = [
        (one.what, *(_short(value) for value in (one.median, one.p90, one.p99, one.most)))
        for one in health.sizes
    ]
    cpu = health.cpu
    seconds = tuple(f"{value:.2f}" for value in (cpu.median, cpu.p90, cpu.p99, cpu.most))
    return Table(
        "Sizes and time", ("", "median", "90%", "99%", "most"), (*rows, (cpu.what, *seconds))
    )


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f}"


def _ops(health: Health) -> Table:
    shown = [op for op in health.ops if op.compute][:OPS_SHOWN]
    rows = tuple((op.name, op.modules, op.rows, of(op)) for op in shown)
    return Table("Operations needed most", ("aten", "distinct", "rows", "% of rows"), rows)


def _failures(health: Health) -> Table:
    rows = tuple((f.kind, f.modules, f.rows, f.example, f.error[:100]) for f in health.failures)
    return Table("What does not run", ("why", "distinct", "rows", "for example", "it says"), rows)


def _place(one: Accepted | Informative) -> str:
    """Tolerance and inputs: `own`, or `hard` for ours."""
    return f"{one.rule} {one.inputs[:4]}"


def of(share: Share) -> str:
    """The share of rows in percent, as text."""
    return f"{100 * share.share:.1f}" if share.of_rows else "–"

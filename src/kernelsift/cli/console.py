"""What the commands print: plain lines for people, one JSON object for machines."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kernelsift.model import State, Tally

_INDENT = " " * 10


def line(text: str = "") -> None:
    """One line on stdout."""
    click.echo(text)


def note(text: str) -> None:
    """One line on stderr, for what is not the result."""
    click.echo(text, err=True)


def as_json(value: Any) -> None:
    """The one JSON object of a command."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def tally(found: "Tally") -> None:
    """A stage in one line, its notes and files below."""
    counts = " · ".join(f"{name} {count:,}" for name, count in found.counts.items())
    money = f" · ${found.usd:.4f}" if found.usd else ""
    line(f"{found.stage:<9} {counts}{money} · {found.seconds:.1f} s")
    for text in found.notes:
        line(f"{_INDENT}{text}")


def tally_values(found: "Tally") -> dict[str, Any]:
    """A tally for machines."""
    return {
        "stage": found.stage,
        "counts": dict(found.counts),
        "seconds": round(found.seconds, 3),
        "usd": found.usd,
        "notes": list(found.notes),
        "files": list(found.files),
    }


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A small table; numbers are set right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    listed = [[_cell(value) for value in row] for row in rows]
    for number, name in enumerate(columns):
        numeric = listed and all(_is_number(row[number]) for row in listed)
        out.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        out.add_row(*row)
    Console(file=sys.stdout, highlight=False).print(out)


def funnel(
    states: "Mapping[State, int]", stages: Mapping[str, Mapping[str, int]], usd: float
) -> None:
    """Where every row went."""
    rows = []
    for stage, counts in stages.items():
        for number, (what, count) in enumerate(counts.items()):
            rows.append((stage if number == 0 else "", what, count))
    table("Funnel", ("stage", "what", "rows"), rows)
    total = sum(states.values())
    parts = ", ".join(f"{count:,} {state}" for state, count in states.items())
    line(f"{total:,} rows loaded: {parts}. ${usd:.4f} spent.")


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").lstrip("-$").isdigit()

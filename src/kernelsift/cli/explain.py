"""why and diff: what became of rows, and how two runs differ."""

from pathlib import Path
from typing import Any

import click

from kernelsift.cli import console
from kernelsift.cli.options import FOLDER, common

SHOWN = 20
"""Rows of each kind of change that diff lists unless told otherwise."""


@click.command()
@click.argument("row")
@common()
def why(row: str, **values: Any) -> None:
    """Why one row is in or out. ROW is an id (or its beginning), an origin or a row number."""
    from kernelsift.explain import explain
    from kernelsift.run import Run

    with Run.open(values["run_path"], read_only=True) as run:
        found = explain(run, row)
    if values["as_json"]:
        console.as_json(found.as_json())
        return
    for text in found.lines():
        console.line(text)


@click.command()
@click.argument("run_a", type=FOLDER)
@click.argument("run_b", type=FOLDER)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Rows listed of each kind of change; {SHOWN} when not given, with --json all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def diff(run_a: Path, run_b: Path, *, limit: int | None, as_json: bool) -> None:
    """Which rows changed state between two runs, and why."""
    from kernelsift.diff_words import report
    from kernelsift.diffing import compare
    from kernelsift.run import Run

    with Run.open(run_a, read_only=True) as a, Run.open(run_b, read_only=True) as b:
        found = compare(a, b)
    if as_json:
        console.as_json(found.as_json(limit))
        return
    for text in report(found, SHOWN if limit is None else limit):
        console.line(text)

"""The command `gate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console

if TYPE_CHECKING:
    from kernelsift.gating import GateReport


@click.command()
@click.argument("source")
@click.option("--limit", type=click.IntRange(min=1),
              help="Only so many distinct modules, chosen by digest: a fair sample.")  # fmt: skip
@click.option("--ids", metavar="IDS",
              help="Only these: origins, uuids, sample ids or module names with commas between "
              "them, or a file of one a line. One module is told in words.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Processes at once; one per core.")
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True,
              help="Processor time that one module may take.")  # fmt: skip
@click.option("--retry-failed", "retry", is_flag=True,
              help="Again for modules that were ended by a limit or a crash.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="File of results, a line per distinct module; gate.jsonl in the run, or here "
              "for other sources.")  # fmt: skip
@click.option("--sandbox", type=click.Choice(["auto", "required", "off"]), default="auto",
              show_default=True,
              help="What modules are kept in; `required` refuses to run with less than a full one.",
              )  # fmt: skip
@click.option("--split", help="Split of a Hub dataset.")
@click.option("--revision", help="Revision of a Hub dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def gate(source: str, *, as_json: bool, **options: Any) -> None:
    """Measure whether kernels can be verified against the PyTorch modules of SOURCE.

    SOURCE is a file, folder or Hub dataset of modules or rollouts, a run directory, or one .py
    file. Each distinct module runs once, in a sandbox; the same command goes on where it was.
    """
    from kernelsift.credentials import read_secrets
    from kernelsift.gating import GateOptions
    from kernelsift.gating import gate as measure
    from kernelsift.progress import Progress

    token = read_secrets(Path.cwd()).find("HF_TOKEN")
    given = GateOptions(**options, token=token)
    found = measure(source, given, Progress(quiet=as_json))
    if as_json:
        console.as_json(found.as_json())
        return
    show(found)


def show(found: "GateReport") -> None:
    """One module in words, more in tables; then what was done."""
    from kernelsift.report.health_story import story
    from kernelsift.report.health_tables import tables

    if len(found.modules) == 1:
        for text in story(found.modules[0]):
            console.line(text)
    else:
        for table in tables(found.health):
            console.table(table.title, table.columns, table.rows)
    known = found.health.modules - found.gated
    console.line(
        f"gated {found.gated:,} · known already {known:,} · {found.seconds:.1f} s · {found.out}"
    )
    if found.without:
        first = found.without[0]
        console.line(
            f"{len(found.without):,} rows without a module, e.g. {first.origin}: {first.reason}"
        )
    for text in found.notes:
        console.note(f"warning: {text}")

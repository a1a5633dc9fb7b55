"""The command `features`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console
from kernelsift.cli.options import all_of, common, setting
from kernelsift.cli.work import session_for

if TYPE_CHECKING:
    from kernelsift.kernels.portrait import Portrait


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@all_of(
    click.option("--reference", type=click.Path(path_type=Path, dir_okay=False),
                 help="The PyTorch module that FILE answers."),
    setting("--workers", "workers", "Processes at once; one per core.", type=click.IntRange(min=1)),
    common(),
)  # fmt: skip
def features(file: Path | None, reference: Path | None, **values: Any) -> None:
    """Static features of every row loaded, as features.parquet; or of one FILE.py, on the screen.

    Nothing is run. FILE is a Triton program or a PyTorch module: its features, difficulty, style
    checks and lint are shown.
    """
    if file is not None:
        from kernelsift.kernels.portrait import portrait_of

        found = portrait_of(file, reference)
        if values["as_json"]:
            console.as_json(found.as_json())
        else:
            show(found)
        return
    if reference is not None:
        raise click.UsageError("--reference goes with a FILE; a run's rows have their own modules")
    from kernelsift.stages.features import tabulate

    with session_for(values) as session:
        tally = tabulate(session.run, session.progress, workers=session.settings.workers_or_cores())
    if values["as_json"]:
        run = str(values["run_path"])
        console.as_json({"run": run, "tallies": [console.tally_values(tally)]})
        return
    console.tally(tally)
    for name in tally.files:
        console.line(f"  {values['run_path'] / name}")


def show(found: "Portrait") -> None:
    """What is seen of one file, in tables; features that are 0 are left out."""
    console.line(f"difficulty {found.difficulty:g} ({found.head} head) · style {found.style:g}")
    checks = [(c.name, c.answer, c.line or "", c.quote[:60]) for c in found.checks]
    console.table("Style", ("check", "answer", "line", "of the code"), checks)
    if found.findings:
        console.table("Lint", ("rule", "line"), [(f.rule, f.line) for f in found.findings])
    for title, numbers in (("Answer", found.row.answer), ("Module", found.row.reference)):
        if numbers:
            rows = [(name, f"{value:g}") for name, value in numbers.items() if value]
            console.table(title, ("feature", "value"), rows)

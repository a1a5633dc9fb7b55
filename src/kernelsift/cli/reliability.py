"""The commands `reliability` and `probes`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console
from kernelsift.cli.options import all_of, common, judge_options, llm_options, setting
from kernelsift.cli.work import session_for

if TYPE_CHECKING:
    from kernelsift.reliability.schema import Probes, Reliability

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@all_of(
    click.option("--labels", type=FILE, metavar="FILE",
                 help="Human labels, CSV or JSONL: id or row, difficulty, style; rater, weight."),
    click.option("--canary", type=FILE, metavar="FILE",
                 help="Programs with the scores they should get; judged now and compared."),
    click.option("--again", is_flag=True, help="Ask about the canary set anew."),
    click.option("--save-canary", type=FILE, metavar="FILE",
                 help="Write 50 judged rows of the run as a canary set, and no more."),
    judge_options(),
    llm_options(),
    common(),
)  # fmt: skip
def reliability(
    labels: Path | None,
    canary: Path | None,
    *,
    again: bool,
    save_canary: Path | None,
    **values: Any,
) -> None:
    """How far the scores can be trusted: coverage, agreement, ties, drift, human labels.

    Only --canary asks the judge; all else reads what the run has.
    """
    from kernelsift import trusting

    if again and canary is None:
        raise click.UsageError("--again belongs to --canary")
    if save_canary is not None:
        _save(save_canary, values)
        return
    asked = trusting.Asked(labels, canary, again)
    with session_for(values) as session:
        found = trusting.reliability(session, asked)
    if values["as_json"]:
        console.as_json(found.report.model_dump(mode="json"))
        return
    for tally in found.tallies:
        console.tally(tally)
    show(found.report)
    console.line(f"{found.seconds:.1f} s · {found.file}")


def _save(path: Path, values: dict[str, Any]) -> None:
    from kernelsift import trusting

    with session_for(values, read_only=True) as session:
        count = trusting.save_canary(session, path)
    if values["as_json"]:
        console.as_json({"file": str(path), "rows": count})
    else:
        console.line(f"{count} rows written to {path}")


def show(found: "Reliability") -> None:
    """What to know first, then the tables."""
    from kernelsift.reliability.tables import tables_of

    console.line(f"Judge: {found.judge}, {found.prompt_version}")
    for text in found.cautions:
        console.line(f"  ! {text}")
    for table in tables_of(found):
        console.table(table.title, table.columns, table.rows)


@click.command()
@all_of(
    setting("--rows", "reliability.rows", "Distinct kept answers to probe with.",
            type=click.IntRange(min=1)),
    click.option("--only", multiple=True, metavar="PROBE",
                 help="rename, strip, inline, dead-code, reasoning, praise or reorder; "
                 "may be given several times."),
    judge_options(),
    llm_options(),
    common(),
)  # fmt: skip
def probes(only: tuple[str, ...], **values: Any) -> None:
    """Change kernels in ways whose effect is known, and see whether the judge notices.

    Each row is judged as it is and after every probe: eight judgements a row, each paid once.
    """
    from kernelsift import probing

    with session_for(values) as session:
        rows = session.settings.reliability.rows
        found = probing.probe(session, rows=rows, only=only)
    if values["as_json"]:
        console.as_json(found.report.model_dump(mode="json"))
        return
    for tally in found.tallies:
        console.tally(tally)
    show_probes(found.report)
    console.line(f"{found.seconds:.1f} s · {found.file}")


def show_probes(found: "Probes") -> None:
    """One table per judge, then the worst rows of every probe that has any."""
    from kernelsift.reliability.tables import probe_table, violation_table

    console.line(
        f"{found.rows:,} rows. Style should fall by {found.drop:g} or more, or stay within "
        f"{found.tolerance:g}; difficulty should always stay."
    )
    for judge, results in found.judges.items():
        table = probe_table(judge, results)
        console.table(table.title, table.columns, table.rows)
        for one in results:
            if one.violations:
                table = violation_table(one)
                console.table(table.title, table.columns, table.rows)

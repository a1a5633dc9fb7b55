"""The commands `export` and `lengths`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console
from kernelsift.cli.options import Decorator, all_of, common, setting
from kernelsift.cli.work import perform, session_for

if TYPE_CHECKING:
    from kernelsift.model import Tally
    from kernelsift.session import Session
    from kernelsift.trainers.lengths import Lengths
    from kernelsift.training import CheckReport

FAILED = 3
"""Exit code of a check that finds a problem: as for other data that cannot be used."""


def row_options() -> Decorator:
    """Which rows, and what of them."""
    return all_of(
        setting("--from", "export.rows", "Which rows; unique ones where dedup has run.",
                type=click.Choice(["unique", "filtered"])),
        setting("--reasoning", "export.reasoning",
                "Reasoning beside the answer, in <think> tags in its text, or left away.",
                type=click.Choice(["keep", "inline", "strip"])),
        setting("--answer", "export.answer", "The whole answer, or its program alone.",
                type=click.Choice(["completion", "code"])),
        setting("--prompt", "export.prompt", "The source's prompt, or the generated one.",
                type=click.Choice(["source", "generated"])),
    )  # fmt: skip


def model_options() -> Decorator:
    """The model that is to be trained."""
    return all_of(
        click.option("--chat-template", metavar="FILE|NAME",
                     help="A jinja file, or a bundled one; the tokenizer's when not given."),
        click.option("--tokenizer", metavar="PATH|ID",
                     help="Folder with a tokenizer.json, or a model of the Hub; else tokens are "
                     "estimated."),
    )  # fmt: skip


@click.command()
@all_of(
    click.option("--format", "formats", metavar="NAME", multiple=True,
                 help="Trainer to write for: trl, trl-messages, prime-rl, axolotl, llamafactory, "
                 "openrlhf, nemo. Give it again for more."),
    row_options(),
    click.option("--check", is_flag=True, help="Read the files back as the trainer does instead."),
    model_options(),
    click.option("--seq-len", type=click.IntRange(min=1), metavar="N",
                 help="Tokens that fit in training, for --check."),
    common(),
)  # fmt: skip
def export(formats: tuple[str, ...], *, check: bool, **values: Any) -> None:
    """Write the run's tables, or with --format a folder per trainer below export/.

    Without --format: filtered.parquet, unique.parquet and ledger.parquet.
    """
    values["export__formats"] = formats or None
    if check:
        _check(values)
        return
    asked = next((o for o in ("chat_template", "tokenizer", "seq_len") if values[o]), None)
    if asked:
        raise click.UsageError(f"--{asked.replace('_', '-')} belongs to --check")
    from kernelsift import pipeline, training

    def stages(session: "Session") -> "Iterator[Tally]":
        if session.settings.export.formats:
            yield from training.export_formats(session)
        else:
            yield pipeline.export(session)

    perform(values, stages)


@click.command()
@all_of(
    row_options(),
    model_options(),
    click.option("--plot", is_flag=True, help="Also draw lengths.png and lengths.svg."),
    common(),
)
def lengths(*, plot: bool, **values: Any) -> None:
    """Token lengths of the kept rows, and which sequence length covers how many of them."""
    from kernelsift import training
    from kernelsift.report.lengths import draw

    with session_for(values, read_only=True) as session:
        tools = training.instruments(
            values["chat_template"], values["tokenizer"], session.hub_token
        )
        found = training.lengths(session, tools)
        files = draw(found, session.plots_folder) if plot else ()
    if values["as_json"]:
        console.as_json({**found.as_json(), "files": [str(file) for file in files]})
        return
    _show_lengths(found, tools.notes)
    for file in files:
        console.line(f"  {file}")


def _check(values: dict[str, Any]) -> None:
    from kernelsift import training

    with session_for(values, read_only=True) as session:
        tools = training.instruments(
            values["chat_template"], values["tokenizer"], session.hub_token
        )
        formats = values["export__formats"] or ()
        found = training.check(
            session, tools, values["seq_len"], session.settings.export.formats if formats else ()
        )
    if values["as_json"]:
        console.as_json(found.as_json())
    else:
        _show_check(found)
    if not found.fine:
        click.get_current_context().exit(FAILED)


def _show_check(found: "CheckReport") -> None:
    rows = [(f.name, f.rows, f.rows - f.bad, f.bad, f.longest, f.trained) for f in found.files]
    columns = ("file", "rows", "fine", "not fine", "longest", "trained tokens")
    console.table(f"Chat template {found.template}", columns, rows)
    for text in found.lines():
        console.line(text)
    if found.fine:
        console.line("Every row is read as it was written.")


def _show_lengths(found: "Lengths", notes: tuple[str, ...]) -> None:
    from kernelsift.trainers.lengths import PERCENTILES

    names = ("tokens", *(f"{q:g} %" for q in PERCENTILES))
    rows = [(name, *values) for name, values in found.percentiles().items()]
    console.table(f"{len(found.rows):,} rows, chat template {found.template}", names, rows)
    buckets = [(f"{a + 1:,}–{b:,}", n) for a, b, n in found.buckets()]
    console.table("Lengths of whole rows", ("tokens", "rows"), buckets)
    cut = [(size, n) for size, n in found.cut().items()]
    console.table("Rows that a sequence length cuts", ("seq_len", "rows cut"), cut)
    for q, size in found.covering().items():
        console.line(f"seq_len {size:,} holds {q:g} % of the rows")
    for text in notes:
        console.line(text)

"""The commands that run kernels: `verify` and `verify-file`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console
from kernelsift.cli.commands import exported
from kernelsift.cli.options import (
    FOLDER,
    SANDBOX,
    all_of,
    common,
    retry_classes,
    retry_option,
    setting,
    verify_options,
)
from kernelsift.cli.work import perform

if TYPE_CHECKING:
    from kernelsift.model import Tally
    from kernelsift.session import Session


@click.command()
@click.argument("run_dir", metavar="[RUN]", required=False, type=FOLDER)
@all_of(
    click.option("--limit", type=click.IntRange(min=1),
                 help="Verify only this many of the open rows, picked by id: a fair sample."),
    click.option("--ids", metavar="ID,…|FILE",
                 help="Verify only these rows: ids, origins or row numbers, or a file of them."),
    setting("--workers", "workers", "Kernels at once; one per core.", type=click.IntRange(min=1)),
    verify_options(),
    retry_option(),
    click.option("--decide-only", is_flag=True,
                 help="Apply the policy to stored facts; run nothing."),
    click.option("--forget", is_flag=True,
                 help="Undo: rows pass unverified again. Facts stay stored."),
    common(),
)  # fmt: skip
def verify(
    run_dir: Path | None,
    retry: tuple[str, ...],
    *,
    decide_only: bool,
    forget: bool,
    **values: Any,
) -> None:
    """Run every kept kernel against its PyTorch module; drop what is wrong or no kernel.

    It takes seconds per row and goes on where it was stopped. Facts are stored: another policy
    (section [verify] of the settings) needs no new run.
    """
    from kernelsift import pipeline

    values["run_path"] = run_dir or values["run_path"]
    classes = retry_classes(retry)

    def stages(session: "Session") -> "Iterator[Tally]":
        if forget:
            tally = pipeline.forget_verify(session)
        elif decide_only:
            tally = pipeline.decide_again(session)
        else:
            tally = pipeline.verify(
                session, limit=values["limit"], ids=values["ids"], retry=classes
            )
        yield tally
        if not tally.counts.get("pending"):
            yield from exported(session)

    perform(values, stages)


@click.command("verify-file")
@click.argument("reference", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("answer", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--class", "class_name", help="The module's class; the last one when not given.")
@click.option("--entry", metavar="NAME", help="The answer's class or function to call.")
@click.option(
    "--sandbox",
    type=SANDBOX,
    default="auto",
    show_default=True,
    help="What the code is kept in; `required` refuses to run with less than a full one.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="`auto` uses a GPU where there is one, after the checks on the CPU.",
)
@click.option(
    "--targets",
    metavar="NAME,…",
    default="sm_80,sm_90",
    show_default=True,
    help="GPUs that launches are compiled for, none needed here; `none` compiles nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def verify_file(
    reference: Path,
    answer: Path,
    *,
    class_name: str | None,
    entry: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run the kernel in ANSWER against the PyTorch module in REFERENCE; no GPU is needed."""
    from kernelsift.config_verify import Verify
    from kernelsift.verifying import verify_file as check

    cfg = Verify(**settings)
    found = check(reference, answer, cfg, class_name=class_name, entry=entry)
    if as_json:
        console.as_json(found.as_json())
        return
    for text in found.lines():
        console.line(text)

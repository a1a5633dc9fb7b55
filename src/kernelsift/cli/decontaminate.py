"""The command `decontaminate`: rows against benchmarks, and new indexes."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console
from kernelsift.cli.options import all_of, common, setting
from kernelsift.cli.work import perform
from kernelsift.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelsift.model import Tally
    from kernelsift.session import Session

FILE = click.Path(path_type=Path, dir_okay=False)
_BUILDING = ("benchmark", "license", "source", "out")


def _listed(_context: click.Context, _option: click.Parameter, value: Any) -> list[str] | None:
    """Names with commas between them, from one option or several; None where none is given."""
    texts = [value] if isinstance(value, str) else list(value or ())
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    return names or None


def _files(_context: click.Context, _option: click.Parameter, value: Any) -> list[str] | None:
    return list(value) or None


@click.command()
@all_of(
    click.option("--index", "decontaminate__index", multiple=True, callback=_files,
                 metavar="FILE", help="Index of held-out problems of your own; may be repeated."),
    click.option("--match", "decontaminate__match", callback=_listed, metavar="KIND,…",
                 help="What is compared: name, ast, ngram; all of them when not given."),
    setting("--drop-on", "decontaminate.drop_on",
            "The weakest evidence that drops a row; `name` drops on a name alone, too.",
            type=click.Choice(["ast", "ngram", "name"])),
    setting("--ngram-share", "decontaminate.ngram_share",
            "Share of a problem's n-grams that makes a hit.", type=float),
    click.option("--report-only", is_flag=True, help="Decide nothing; say what would be dropped."),
    click.option("--forget", is_flag=True, help="Undo: rows pass again without being looked at."),
    click.option("--build-index", "problems", type=click.Path(path_type=Path), metavar="PATH",
                 help="Make an index instead: of a folder of .py files, or of a parquet or JSONL "
                 "file with columns name and code."),
    click.option("--benchmark", help="With --build-index: name of the benchmark."),
    click.option("--version", default="", help="With --build-index: version of the benchmark."),
    click.option("--license", help="With --build-index: licence of the problems; never guessed."),
    click.option("--source", help="With --build-index: where the problems come from."),
    click.option("--out", type=FILE, help="With --build-index: the index file to write."),
    common(),
)  # fmt: skip
def decontaminate(*, report_only: bool, forget: bool, problems: Path | None, **values: Any) -> None:
    """Drop rows that hold a problem of KernelBench, TritonBench-G or a set of your own.

    Tasks and answers are compared with fingerprints of the problems: by syntax tree, by token
    n-grams, and by name (which is only reported).
    """
    if problems is not None:
        build(problems, values)
        return
    given = [name for name in _BUILDING if values[name]]
    if given:
        raise click.UsageError(f"--{given[0]} belongs to --build-index PATH")
    from kernelsift import pipeline

    def stages(session: "Session") -> "Iterator[Tally]":
        if forget:
            yield pipeline.forget_decontaminate(session)
        else:
            yield pipeline.decontaminate(session, report_only=report_only)
        if not report_only:
            with contextlib.suppress(DataError):  # no row is left: the ledger alone is written
                yield pipeline.export(session)

    perform(values, stages, None if forget else found)


def found(session: "Session") -> dict[str, Any]:
    """What the report says, for --json."""
    from kernelsift.decontaminating import REPORT

    report: dict[str, Any] = json.loads((session.run.path / REPORT).read_text(encoding="utf-8"))
    return report


def build(problems: Path, values: dict[str, Any]) -> None:
    """Write an index file and say what is in it."""
    missing = [name for name in _BUILDING if not values[name]]
    if missing:
        raise click.UsageError(f"--build-index needs --{missing[0]}, too")
    from kernelsift.contamination.building import About
    from kernelsift.decontaminating import build_index

    about = About(values["benchmark"], values["source"], values["license"])
    out: Path = values["out"]
    built = build_index(problems, about, out, values["version"])
    size = out.stat().st_size
    if values["as_json"]:
        console.as_json({
            "index": str(out),
            "bytes": size,
            "problems": len(built.index.problems),
            "unparsable": list(built.unparsable),
            "without_ngrams": list(built.without_grams),
        })
        return
    console.line(f"{out}: {len(built.index.problems):,} problems of {about.benchmark}, {size:,} B")
    for what, names in (
        ("are no Python: found by n-grams and name only", built.unparsable),
        ("have hardly an n-gram of their own: found by syntax tree and name only",
         built.without_grams),
    ):  # fmt: skip
        if names:
            console.line(f"  {len(names):,} {what}, e.g. {names[0]}")

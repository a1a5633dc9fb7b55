"""One command per stage."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelsift.cli import console
from kernelsift.cli.options import (
    all_of,
    batch_options,
    common,
    dedup_options,
    judge_options,
    llm_options,
    load_options,
    prompts_options,
    publish_options,
    retry_classes,
    retry_option,
    setting,
    split_options,
)
from kernelsift.cli.work import perform, session_for

if TYPE_CHECKING:
    from kernelsift.batching import How
    from kernelsift.model import Tally
    from kernelsift.session import Session

MIN_REWARD = setting("--min-reward", "filter.min_reward", "Keep rewards above this.", type=float)
SCORE = setting("--score", "dedup.score", "Arithmetic over columns, e.g. 'reward * style'.")
PLOTS = click.option(
    "--plots", type=click.Path(path_type=Path, file_okay=False), help="Folder for figures."
)


@click.command()
@click.argument("source", required=False)
@click.option("--sniff", "sniff_only", is_flag=True, help="Only say what SOURCE is.")
@all_of(load_options(), common())
def load(source: str | None, *, sniff_only: bool, **values: Any) -> None:
    """Read rollouts into the run: a Hub dataset, parquet, JSONL or JSON files, verifiers output."""
    if sniff_only:
        sniff(source, as_json=values["as_json"])
        return
    from kernelsift import pipeline

    values["load__source"] = source
    perform(values, lambda session: [pipeline.load(session, replace=values["replace"])])


def sniff(source: str | None, *, as_json: bool) -> None:
    """Say what a file or folder is."""
    if source is None:
        raise click.UsageError("--sniff needs the path of a file or folder")
    from kernelsift.ingest import sniff as sniff_path

    found = sniff_path(Path(source))
    if as_json:
        console.as_json(found.model_dump(mode="json"))
        return
    console.line(found.summary)
    console.table("", ("column", "type"), [(c.name, c.type) for c in found.columns])
    for text in (*found.notes, *found.problems):
        console.line(f"  {text}")


@click.command("filter")
@all_of(MIN_REWARD, common())
def filter_command(**values: Any) -> None:
    """Keep the rows whose reward is high enough."""
    from kernelsift import pipeline

    def stages(session: "Session") -> "Iterator[Tally]":
        yield pipeline.filter_rows(session)
        yield pipeline.export(session)

    perform(values, stages)


@click.command()
@all_of(
    judge_options(),
    batch_options(),
    setting("--no-wait", "batch.wait", "Hand batches over, or fetch what has ended, and return.",
            is_flag=True, flag_value=False),
    click.option("--batches", "end", type=click.Choice(["cancel", "forget"]),
                 help="End batches under way: cancel them, or give them up where they are gone."),
    retry_option(),
    llm_options(),
    common(),
)  # fmt: skip
def judge(retry: tuple[str, ...], end: "How | None", **values: Any) -> None:
    """Rate difficulty and style, 0-10, of every kept row that has no rating yet."""
    from kernelsift import pipeline

    classes = retry_classes(retry)

    def stages(session: "Session") -> "Iterator[Tally]":
        if end is not None:
            yield pipeline.end_batches(session, end)
            return
        yield pipeline.judge(session, retry=classes)
        yield from exported(session)

    perform(values, stages)


@click.command()
@all_of(
    setting("--source", "prompts.source", "Modules to write for; the run's own when not given."),
    setting("--model", "prompts.model", "Model that writes."),
    prompts_options(),
    retry_option(),
    llm_options(),
    common(),
)
def prompts(retry: tuple[str, ...], **values: Any) -> None:
    """Write a task prompt for every PyTorch module."""
    from kernelsift import pipeline

    classes = retry_classes(retry)
    perform(values, lambda s: [pipeline.prompts(s, retry=classes)])


@click.command()
@all_of(PLOTS, common())
def analyze(**values: Any) -> None:
    """Correlate difficulty, style and reward: report.html, analysis.md and .json, figures."""
    from kernelsift import pipeline

    perform(values, lambda s: [pipeline.analyze(s)])


@click.command()
@all_of(dedup_options(), SCORE, common())
def dedup(**values: Any) -> None:
    """Keep the best of the rows that repeat each other: by module name, exactly, or nearly."""
    from kernelsift import pipeline

    values["dedup__by"] = values["dedup__by"] or None

    def stages(session: "Session") -> "Iterator[Tally]":
        yield pipeline.keep_best(session)
        yield pipeline.export(session)

    perform(values, stages)


@click.command()
@all_of(
    click.option("--upload/--dry-run", default=False, help="Upload; the default only writes."),
    publish_options(),
    split_options(),
    common(),
)
def publish(*, upload: bool, **values: Any) -> None:
    """Write the data sets with cards and splits; send them to the Hub with --upload."""
    from kernelsift import pipeline

    perform(values, lambda s: [pipeline.publish(s, upload=upload)])


@click.command("run")
@click.argument("source", required=False)
@all_of(
    MIN_REWARD,
    judge_options(),
    batch_options(),
    setting("--generator", "prompts.generator",
            "Who writes prompts; with --judge static: template.",
            type=click.Choice(["llm", "template"])),
    SCORE,
    PLOTS,
    click.option("--decontaminate", "drop_benchmarks", is_flag=True,
                 help="Also drop rows that hold a problem of a benchmark, e.g. of KernelBench."),
    click.option("--verify", "verify_kernels", is_flag=True,
                 help="Also run every kept kernel, before it is judged: seconds per row."),
    load_options(),
    llm_options(),
    publish_options(),
    split_options(),
    common(),
)  # fmt: skip
def run_command(
    source: str | None, *, drop_benchmarks: bool, verify_kernels: bool, **values: Any
) -> None:
    """The whole job: load, filter, judge, prompts, keep best, analyze, export, publish (dry).

    With --verify, kernels are run after the filter, and what is wrong or no kernel is dropped.
    That is off by default because it takes hours for thousands of rows.
    """
    from kernelsift import pipeline

    values["load__source"] = source
    values["prompts__model"] = values.get("judge__model")
    if values.get("judge__judge") == "static" and values.get("prompts__generator") is None:
        values["prompts__generator"] = "template"

    def stages(session: "Session") -> "Iterator[Tally]":
        return pipeline.run_all(
            session,
            replace=values["replace"],
            drop_benchmarks=drop_benchmarks,
            verify_kernels=verify_kernels,
        )

    perform(values, stages)


@click.command()
@common()
def status(**values: Any) -> None:
    """Where every row stands, and what was spent."""
    from kernelsift import rejected
    from kernelsift.batch_records import may_be_paid
    from kernelsift.run import Run

    with Run.open(values["run_path"], read_only=True) as run:
        found, compared = run.status(), rejected.counts(run)
        sentence = rejected.summary(run)
        batches = may_be_paid(run.store)
    if values["as_json"]:
        states, stages = dict(found.states), {k: dict(v) for k, v in found.stages.items()}
        console.as_json({
            "states": states,
            "stages": stages,
            "usd": found.usd,
            "usd_at_risk": found.usd_at_risk,
            "requests": found.requests,
            "batches": [batch.as_json() for batch in batches],
            "judge_rejected": dict(compared),
        })
        return
    console.funnel(found.states, found.stages, found.usd)
    if sentence:
        console.line(f"Judged {sentence}." if compared else f"{sentence}.")
    for batch in batches:
        console.line(f"{batch.words}; `kernelsift {batch.stage} --batch` fetches it.")
    if found.usd_at_risk:
        what = "for batches under way and " if batches else ""
        console.line(f"Up to ${found.usd_at_risk:.4f} more {what}for calls that got no answer.")


@click.command()
@click.argument("stage", type=click.Choice(["judge", "prompts"]), default="judge")
@all_of(
    setting("--source", "prompts.source", "Modules to write prompts for."),
    judge_options(),
    llm_options(),
    common(),
)
def estimate(stage: str, **values: Any) -> None:
    """Requests, tokens and dollars of a stage, before anything is spent."""
    from kernelsift.estimating import estimate as estimate_stage

    values["prompts__model"] = values.get("judge__model")
    values["prompts__max_tokens"] = values.get("judge__max_tokens")
    with session_for(values, read_only=True) as session:
        found = estimate_stage(session, stage)
    if values["as_json"]:
        console.as_json(found.as_json())
        return
    for text in found.lines():
        console.line(text)


@click.command()
@common()
def doctor(**values: Any) -> None:
    """What this machine and this folder can do."""
    from kernelsift.doctor import examine

    checks = examine(values["run_path"], Path.cwd())
    if values["as_json"]:
        console.as_json({"checks": [check.as_json() for check in checks]})
        return
    marks = {True: "ok", False: "no", None: "–"}
    console.table("", ("", "what", "found"), [(marks[c.ok], c.what, c.found) for c in checks])


def exported(session: "Session") -> Iterator["Tally"]:
    """The tables after judging; there are none while every row has failed."""
    from kernelsift import pipeline

    if session.run.kept_before("dedup"):
        yield pipeline.export(session)

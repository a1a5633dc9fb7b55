"""The five commands that the project is known by; each file in scripts/ calls one of these."""

from typing import Any

import click

from kernelsift.cli.commands import MIN_REWARD, PLOTS, SCORE, exported
from kernelsift.cli.main import guarded
from kernelsift.cli.options import (
    all_of,
    common,
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
from kernelsift.cli.work import perform


@click.command()
@all_of(
    setting("--source", "load.source", "Hub dataset or local file of rollouts."),
    MIN_REWARD,
    judge_options(),
    retry_option(),
    load_options(),
    llm_options(),
    common(),
)
def filter_dataset(retry: tuple[str, ...], **values: Any) -> None:
    """Keep rewards above 0.85, then rate difficulty and style 0-10 by an LLM judge."""
    from kernelsift import pipeline

    classes = retry_classes(retry)

    def stages(session: Any) -> Any:
        pipeline.preflight(session)
        yield pipeline.load(session, replace=values["replace"])
        yield pipeline.filter_rows(session)
        yield pipeline.judge(session, retry=classes)
        yield from exported(session)

    perform(values, stages)


@click.command()
@all_of(
    setting("--source", "prompts.source", "Hub dataset or local file of PyTorch modules."),
    setting("--model", "prompts.model", "Model that writes."),
    prompts_options(),
    retry_option(),
    llm_options(),
    common(),
)
def generate_prompts(retry: tuple[str, ...], **values: Any) -> None:
    """Write synthetic task prompts from the PyTorch modules of GPUMODE/KernelBook."""
    from kernelsift import pipeline
    from kernelsift.config import DEFAULT_MODULES

    classes = retry_classes(retry)
    values["prompts__source"] = values["prompts__source"] or DEFAULT_MODULES
    perform(values, lambda s: [pipeline.prompts(s, retry=classes)])


@click.command()
@all_of(PLOTS, common())
def analyze_correlation(**values: Any) -> None:
    """Correlate difficulty, style and reward; draw plots/correlation_analysis.png."""
    from kernelsift import pipeline

    perform(values, lambda s: [pipeline.analyze(s)])


@click.command()
@all_of(SCORE, common())
def keep_best(**values: Any) -> None:
    """Keep one row per module: the best by score."""
    from kernelsift import pipeline

    def stages(session: Any) -> Any:
        yield pipeline.keep_best(session)
        yield pipeline.export(session)

    perform(values, stages)


@click.command()
@all_of(
    click.option("--upload/--dry-run", default=True, help="Upload, or only write the files."),
    publish_options(),
    split_options(),
    common(),
)
def upload_datasets(*, upload: bool, **values: Any) -> None:
    """Upload the data sets to the Hugging Face Hub with train/validation splits."""
    from kernelsift import pipeline

    perform(values, lambda s: [pipeline.publish(s, upload=upload)])


def run_script(command: click.Command) -> None:
    """Run one of the commands above with the error messages and exit codes of `kernelsift`."""
    guarded(command)

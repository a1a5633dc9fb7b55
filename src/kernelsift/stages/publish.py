"""publish: the data sets as they go on the Hub: parquet per split, card, pictures and manifest.

Dry by default: everything is written below publish/ in the run directory, just as it would go out.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kernelsift.config import Publish, Settings
from kernelsift.credentials import Secrets
from kernelsift.errors import ConfigError, DataError
from kernelsift.files import replacing_folder, write_text
from kernelsift.model import SampleId, Tally
from kernelsift.publishing import facts, pictures, record, sources
from kernelsift.publishing.shards import write_shards
from kernelsift.report.card import render_card
from kernelsift.report.card_facts import CardFacts, ColumnNote, Split
from kernelsift.report.stats import percent
from kernelsift.run import Run
from kernelsift.sides import write_sides
from kernelsift.splits import Side
from kernelsift.splitting import SplitPlan, split_run
from kernelsift.versions import installed

SETS = {
    "filtered": "every rollout that passed the filter and every check, with its ratings",
    "unique": "the best rollouts, without repeats",
    "prompts": "task prompts written for PyTorch modules",
}
_MEANINGS = {
    "example_id": "task of the source",
    "prompt": "what the model was asked",
    "completion": "what the model answered",
    "task": "environment of the source",
    "reward": "reward as the source measured it",
    "generation_ms": "time the source took to generate, milliseconds",
    "scoring_ms": "time the source took to score, milliseconds",
    "total_ms": "both, milliseconds",
    "info": "what the source knows of the task; python_code is the PyTorch module",
    "answer": "reference answer of the source, if any",
    "speedup_reward": "speedup part of the reward, as the source measured it",
    "sample_id": "digest of the row's content; ledger.parquet of the run says why it is here",
    "module_name": "name of the PyTorch module",
    "verify_outcome": "what running the kernel against the module showed",
    "verify_work": "who does the work: Triton kernels, or PyTorch in part or whole",
    "verify_findings": "ids of kernelsift's catalog of cheats and faults that were found",
    "verify_version": "verifier, packages and device that the kernel was run with",
    "difficulty": "difficulty of the task, 0 (trivial) to 10, by the judge",
    "style": "style of the code, 0 (broken) to 10, by the judge",
    "evaluation_raw": "the judge's own words",
    "judge_model": "judge that was asked; static rates from features of the code",
    "judge_returned_model": "model that the service says has answered",
    "judge_prompt_version": "instrument of the judge",
    "judge_usd": "cost of the rating, USD",
    "python_code": "the PyTorch module",
    "triton_code": "the source's own Triton version, if any",
    "uuid": "identifier of the module in its source",
}


@dataclass(frozen=True, slots=True)
class _Target:
    """One data set on its way."""

    name: str
    base: str
    table: Path
    folder: Path
    repo: str
    origin: sources.Origin | None


def publish(
    run: Run, settings: Settings, secrets: Secrets, command: Sequence[str], *, upload: bool
) -> Tally:
    """Write each data set below `publish/` in the run directory; upload them when asked to.

    Raises:
        DataError: nothing was exported yet, or the tables are not of what the run holds now.
        ConfigError: an upload without a licence of the data, of each source, or a token.
        DeniedError, UnreachableError: the Hub refuses or does not answer.
    """
    started = time.monotonic()
    cfg = settings.publish
    if upload and not cfg.license:
        raise ConfigError(
            "no licence is given, and kernelsift does not guess one: say --license NAME (a Hub "
            "identifier such as mit or cc-by-4.0), or set publish.license in kernelsift.toml"
        )
    if upload:
        sources.require((t.origin for t in _targets(run, cfg, cfg.namespace)), cfg.source_license)
    hub = _hub(secrets) if upload else None
    namespace = hub.user() if hub and not cfg.namespace else cfg.namespace
    targets = _targets(run, cfg, namespace)
    if not targets:
        raise DataError(
            f"{run.path} has nothing to publish yet; run `kernelsift run SOURCE --run {run.path}` "
            "or the stages one by one"
        )
    plan = split_run(run, settings)
    write_sides(run.path, plan.sides, plan.cluster)
    made_by = record.commands(run, command)
    counts = {target.name: _write(run, target, plan, cfg, made_by) for target in targets}
    notes = [*plan.notes, plan.leak.sentence()]
    notes += _sent(hub, targets, cfg) if hub else _dry(targets, cfg)
    files = tuple(f"publish/{target.name}" for target in targets)
    return Tally("publish", counts, time.monotonic() - started, notes=tuple(notes), files=files)


def _hub(secrets: Secrets) -> Any:
    from kernelsift.hub import Hub

    return Hub(secrets.find("HF_TOKEN"))


def _sent(hub: Any, targets: Sequence[_Target], cfg: Publish) -> list[str]:
    """Upload each data set; where it is now."""
    notes = []
    for target in targets:
        done = hub.upload(target.folder, target.repo, private=cfg.private)
        same = "" if done.commit else " (nothing has changed there, no commit was made)"
        notes.append(f"{target.name}: {done.address}{same}")
    return notes


def _dry(targets: Sequence[_Target], cfg: Publish) -> list[str]:
    """What to know after a dry run: above all what an upload will still ask for."""
    notes = ["dry run: written, not uploaded; --upload sends it"]
    if not cfg.license:
        notes.append("no licence is given: an upload will ask for --license")
    names = dict.fromkeys(t.origin.name for t in targets if t.origin)
    notes += [
        f"no licence of the source {name} is given: an upload will ask for --source-license"
        for name in names
        if name not in cfg.source_license
    ]
    return notes


def _targets(run: Run, cfg: Publish, namespace: str | None) -> list[_Target]:
    found = []
    base = cfg.name or _base_name(run)
    for name in SETS:
        table = run.path / f"{name}.parquet"
        if table.exists():
            origin = sources.of_prompts(run) if name == "prompts" else sources.of_rollouts(run)
            repo = f"{namespace or 'NAMESPACE'}/{base}-{name}"
            folder = run.path / "publish" / name
            found.append(_Target(name, base, table, folder, repo, origin))
    return found


def _base_name(run: Run) -> str:
    """The source's own name, as far as the Hub allows its characters."""
    source = run.samples.metadata()["source"] if run.samples.exists() else "kernelsift"
    last = source.rstrip("/").rsplit("/", 1)[-1].split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-") or "kernelsift"


def _write(
    run: Run, target: _Target, plan: SplitPlan, cfg: Publish, made_by: tuple[str, ...]
) -> int:
    """Write the files of one data set; returns its rows. The folder is replaced whole."""
    with replacing_folder(target.folder) as folder:
        splits = _write_splits(run, target, folder, plan)
        card = _card(run, target, splits, cfg, plan, made_by)
        card = pictures.draw(card, target.table, folder, f"{target.base}: {target.name}")
        record.write_record(run, folder, made_by, [one for one in (target.origin,) if one])
        write_text(folder / "README.md", render_card(card))
    return card.rows


def _write_splits(run: Run, target: _Target, folder: Path, plan: SplitPlan) -> tuple[Split, ...]:
    """Write the shards of each side; an empty side has no file."""
    side_of, module_of = _side_of(run, target, plan), _module_of(run, target)
    modules: dict[Side, set[str]] = {side: set() for side in plan.wanted()}

    def split_of(part: pa.Table) -> list[str]:
        keys = part.column(_key(target)).to_pylist()
        sides = [side_of(key) for key in keys]
        for key, side in zip(keys, sides, strict=True):
            modules[side].add(module_of(key))
        return [str(side) for side in sides]

    written = write_shards(target.table, folder / "data", plan.wanted(), split_of)
    return tuple(
        Split(side, f"data/{side}-*.parquet", written[side].rows, len(modules[side]))
        for side in plan.wanted()
    )


def _side_of(run: Run, target: _Target, plan: SplitPlan) -> Callable[[str], Side]:
    """A function from a row's key to its side."""
    if target.name == "prompts":
        return lambda name: plan.names[name]

    kept = facts.kept(run, target.name)

    def side(id_: str) -> Side:
        if id_ not in kept:
            raise DataError(
                f"{target.table} holds the row {id_}, which the run does not hold or no longer "
                f"keeps; run `kernelsift export --run {run.path}` first"
            )
        return plan.sides[SampleId(id_)]

    return side


def _module_of(run: Run, target: _Target) -> Callable[[str], str]:
    """A function from a row's key to its module's name."""
    if target.name == "prompts":
        return lambda name: name
    known = {str(entry.id): entry.module for entry in run.entries()}
    return lambda id_: known[id_]


def _key(target: _Target) -> str:
    return "module_name" if target.name == "prompts" else "sample_id"


def _card(
    run: Run,
    target: _Target,
    splits: tuple[Split, ...],
    cfg: Publish,
    plan: SplitPlan,
    made_by: tuple[str, ...],
) -> CardFacts:
    schema = pq.read_schema(target.table)
    is_prompts = target.name == "prompts"
    rows = sum(split.rows for split in splits)
    funnel = facts.prompts_funnel(run, rows) if is_prompts else facts.funnel(run, target.name)
    if not is_prompts:
        _check_kept(run, target, rows, sum(s.rows for s in funnel if s.stage == facts.KEPT))
    author = facts.author(run) if is_prompts else ""
    return CardFacts(
        repo_id=target.repo,
        pretty_name=f"{target.base}: {target.name}",
        summary=f"{rows:,} rows: {SETS[target.name]}{author}. Made by kernelsift.",
        input_rows=sum(step.rows for step in funnel),
        funnel=funnel,
        columns=tuple(ColumnNote(f.name, _type(f.type), _meaning(target, f.name)) for f in schema),
        sources=sources.with_licence(target.origin, cfg.source_license),
        row_licences=sources.row_licences(target.table),
        splits=splits,
        split_rule=_rule(plan),
        leaks=tuple(plan.leak.kinds.items()),
        commands=made_by,
        versions=installed(),
        judge=None if is_prompts else facts.judge(run),
        verify=None if is_prompts else facts.verify(run),
        duplicates=facts.duplicates(run) if target.name == "unique" else None,
        contamination=None if is_prompts else facts.contamination(run),
        licence=cfg.license,
        manifest=record.NAME,
    )


def _check_kept(run: Run, target: _Target, rows: int, kept: int) -> None:
    if rows != kept:
        raise DataError(
            f"{target.table} holds {rows:,} rows, and the run now keeps {kept:,}; run "
            f"`kernelsift export --run {run.path}` first"
        )


def _rule(plan: SplitPlan) -> str:
    """How rows were assigned, and what a split by row would have done."""
    cfg = plan.settings
    shares = {"validation": cfg.validation, "test": cfg.test}
    parts = [f"{percent(share)} to {side}" for side, share in shares.items() if share]
    parts.append(f"{percent(1 - cfg.validation - cfg.test)} to training")
    by = ", in each band of difficulty" if cfg.stratify == "difficulty" else ""
    name, rows = plan.largest
    clusters = sum(plan.clusters.values())
    seen, held = plan.leak, plan.leak.rows
    leak = (
        f"Had the {len(plan.sides):,} rows of the filtered set been split row by row, "
        f"{seen.leaked:,} of {held:,} rows held out would be alike to a row trained on, and "
        f"{seen.clusters:,} clusters would be on both sides."
    )
    return " ".join([
        "Rows are one cluster when they share a module's name, or when their modules or their "
        "answers are the same program or nearly so; clusters were assigned whole, by a hash "
        f"with seed {cfg.seed}, {', '.join(parts)}{by}.",
        f"The published sets have {clusters:,} clusters; the largest, {name}, has {rows:,} rows.",
        *([leak] if held else []),
    ])


def _meaning(target: _Target, column: str) -> str:
    if target.name == "prompts" and column == "prompt":
        return "what a model is to be asked: the task specification"
    return _MEANINGS.get(column, "as the source has it")


def _type(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else text.split("<")[0] + "<…>"

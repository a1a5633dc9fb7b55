"""publish: the data sets as they go on the Hub: parquet per split, and a card. Dry by default."""

import contextlib
import hashlib
import json
import re
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kernelsift.config import Publish
from kernelsift.credentials import Secrets
from kernelsift.errors import ConfigError, DataError
from kernelsift.files import replacing, write_error, write_text
from kernelsift.model import Failure, Tally
from kernelsift.report.card import (
    CardFacts,
    CardJudge,
    CardVerify,
    ColumnNote,
    FunnelStep,
    Split,
    render_card,
)
from kernelsift.report.card import Source as CardSource
from kernelsift.report.verified import count
from kernelsift.run import STAGES, Run
from kernelsift.splits import Side, assign
from kernelsift.versions import installed

SETS = {
    "filtered": "every rollout that passed the reward filter, with its ratings",
    "unique": "the best rollout of each module",
    "prompts": "task prompts written for PyTorch modules",
}
_SIDES: tuple[Side, ...] = ("train", "validation")
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
    "judge_model": "judge that was asked; `static` rates from features of the code",
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


def publish(run: Run, cfg: Publish, secrets: Secrets, command: str, *, upload: bool) -> Tally:
    """Write each data set below `publish/` in the run directory; upload them when asked to.

    Raises:
        DataError: nothing was exported yet.
        ConfigError: an upload without licence or token.
        DeniedError, UnreachableError: the Hub refuses or does not answer.
    """
    started = time.monotonic()
    if upload and not cfg.license:
        raise ConfigError(
            "no licence is given, and kernelsift does not guess one: say --license NAME (a Hub "
            "identifier such as mit or cc-by-4.0), or set publish.license in kernelsift.toml"
        )
    hub = _hub(secrets) if upload else None
    namespace = hub.user() if hub and not cfg.namespace else cfg.namespace
    targets = _targets(run, cfg, namespace)
    if not targets:
        raise DataError(
            f"{run.path} has nothing to publish yet; run `kernelsift run SOURCE --run {run.path}` "
            "or the stages one by one"
        )
    sides = assign(_modules(run, targets), seed=cfg.seed, validation=cfg.validation)
    counts: dict[str, int] = {}
    notes = []
    for target in targets:
        with _replacing_folder(target.folder) as folder:
            splits = _write_splits(run, target, folder, sides)
            card = _card(run, target, splits, cfg, _without_folders(command))
            write_text(folder / "README.md", render_card(card))
        counts[target.name] = sum(split.rows for split in splits)
    if hub:
        for target in targets:
            done = hub.upload(target.folder, target.repo, private=cfg.private)
            same = "" if done.commit else " (nothing has changed there, no commit was made)"
            notes.append(f"{target.name}: {done.address}{same}")
    else:
        notes.append("dry run: written, not uploaded; --upload sends it")
        if not cfg.license:
            notes.append("no licence is given: an upload will ask for --license")
    files = tuple(f"publish/{target.name}" for target in targets)
    return Tally("publish", counts, time.monotonic() - started, notes=tuple(notes), files=files)


def _hub(secrets: Secrets) -> Any:
    from kernelsift.hub import Hub

    return Hub(secrets.find("HF_TOKEN"))


def _targets(run: Run, cfg: Publish, namespace: str | None) -> list[_Target]:
    found = []
    base = cfg.name or _base_name(run)
    for name in SETS:
        table = run.path / f"{name}.parquet"
        if table.exists():
            repo = f"{namespace or 'NAMESPACE'}/{base}-{name}"
            found.append(_Target(name, base, table, run.path / "publish" / name, repo))
    return found


def _base_name(run: Run) -> str:
    """The source's own name, as far as the Hub allows its characters."""
    source = run.samples.metadata()["source"] if run.samples.exists() else "kernelsift"
    last = source.rstrip("/").rsplit("/", 1)[-1].split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-") or "kernelsift"


def _modules(run: Run, targets: list[_Target]) -> Iterator[tuple[str, str]]:
    """Name and text digest of every module in any of the data sets."""
    if run.samples.exists():
        for entry in run.entries():
            yield entry.module, entry.reference_digest
    for target in targets:
        if target.name == "prompts":
            table = pq.read_table(target.table, columns=["module_name", "python_code"])
            for row in table.to_pylist():
                text = hashlib.sha256(row["python_code"].encode("utf-8", "surrogatepass"))
                yield row["module_name"], text.hexdigest()[:32]


@contextlib.contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when all went well."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
        shutil.rmtree(folder, ignore_errors=True)
        try:
            draft.replace(folder)
        except OSError as e:
            raise write_error(folder, e) from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_splits(
    run: Run, target: _Target, folder: Path, sides: Mapping[str, Side]
) -> tuple[Split, ...]:
    """Write one parquet file per side, streaming; an empty side has no file."""
    source = pq.ParquetFile(target.table)
    names = _names(run, target)
    splits = []
    for side in _SIDES:
        path = folder / "data" / f"{side}-00000-of-00001.parquet"
        rows, modules = 0, set[str]()
        schema = source.schema_arrow
        with replacing(path) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as out:
            for number in range(source.num_row_groups):
                table = source.read_row_group(number)
                mine = [names(row) for row in table.select([_key(target)]).to_pylist()]
                picked = [i for i, name in enumerate(mine) if sides[name] == side]
                modules.update(mine[i] for i in picked)
                rows += len(picked)
                if picked:
                    out.write_table(table.take(pa.array(picked, pa.int64())))
        if not rows:
            path.unlink()
        splits.append(Split(side, f"data/{side}-*.parquet", rows, len(modules)))
    return tuple(splits)


def _key(target: _Target) -> str:
    return "module_name" if target.name == "prompts" else "sample_id"


def _names(run: Run, target: _Target) -> Any:
    """A function from a row to its module name."""
    if target.name == "prompts":
        return lambda row: row["module_name"]
    by_id = {str(entry.id): entry.module for entry in run.entries()}

    def name(row: Mapping[str, str]) -> str:
        if row["sample_id"] not in by_id:
            raise DataError(
                f"{target.table} is of another source than the run now holds; run "
                f"`kernelsift export --run {run.path}` first"
            )
        return by_id[row["sample_id"]]

    return name


def _card(
    run: Run, target: _Target, splits: tuple[Split, ...], cfg: Publish, command: str
) -> CardFacts:
    schema = pq.read_schema(target.table)
    is_prompts = target.name == "prompts"
    rows = sum(split.rows for split in splits)
    funnel = _prompts_funnel(run, rows) if is_prompts else _funnel(run, target.name)
    author = _author(run) if is_prompts else ""
    return CardFacts(
        repo_id=target.repo,
        pretty_name=f"{target.base}: {target.name}",
        summary=f"{rows:,} rows: {SETS[target.name]}{author}. Made by kernelsift.",
        input_rows=sum(step.rows for step in funnel),
        funnel=funnel,
        columns=tuple(ColumnNote(f.name, _type(f.type), _meaning(target, f.name)) for f in schema),
        sources=_sources(run, target),
        splits=splits,
        split_seed=cfg.seed,
        validation=cfg.validation,
        command=command,
        versions=installed(),
        judge=None if is_prompts else _judge(run),
        verify=None if is_prompts else _verify(run),
        licence=cfg.license,
    )


def _meaning(target: _Target, column: str) -> str:
    if target.name == "prompts" and column == "prompt":
        return "what a model is to be asked: the task specification"
    return _MEANINGS.get(column, "as the source has it")


def _type(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else text.split("<")[0] + "<…>"


def _funnel(run: Run, name: str) -> tuple[FunnelStep, ...]:
    """Every row loaded, once: by the first thing that put it out, or as kept."""
    counts: dict[tuple[str, str], int] = {}
    last = STAGES[:-1] if name == "filtered" else STAGES
    dropped = run.dropped(last)
    judging = {entry.id for entry in run.kept_before("judge")}
    for id_, state in run.states().items():
        decision = dropped.get(id_)
        if decision:
            place = (decision.stage, f"dropped: {decision.reason}")
        elif state in {"failed", "pending"}:
            place = ("judge" if id_ in judging else "verify", state)
        else:
            place = ("kept", "")
        counts[place] = counts.get(place, 0) + 1
    order = [*last, "kept"]
    ordered = sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return tuple(FunnelStep(stage, reason, rows) for (stage, reason), rows in ordered)


def _prompts_funnel(run: Run, rows: int) -> tuple[FunnelStep, ...]:
    """Every module that a prompt was asked for, once."""
    counts: Counter[str] = Counter()
    for fact in run.latest("prompts").values():
        body = fact.body if fact else None
        failed = f"failed: {body.failure}" if isinstance(body, Failure) else "written"
        counts[failed if body else "pending"] += 1
    if counts["written"] != rows:  # prompts.parquet is of an earlier run of the stage
        counts = Counter(written=rows)
    ordered = sorted(counts.items(), key=lambda item: (item[0] == "written", item[0]))
    return tuple(FunnelStep("prompts", reason, count) for reason, count in ordered if count)


def _author(run: Run) -> str:
    """Who wrote the prompts, for the summary."""
    settings = run.stages().get("prompts", {}).get("settings")
    if not isinstance(settings, dict):
        return ""
    if settings["generator"] == "template":
        return f", by a template ({settings['version']})"
    return f", by {settings['model']} with prompt version {settings['prompt']}"


def _verify(run: Run) -> CardVerify | None:
    """What verify found among the rows that the filter kept."""
    stage = run.stages().get("verify")
    if stage is None:
        return None
    settings = stage["settings"]
    assert isinstance(settings, dict)
    asked = {entry.id for entry in run.kept_before("verify")}
    made = [ds[-1] for id_, ds in run.decisions(("verify",)).items() if id_ in asked]
    return CardVerify(settings["facts"], settings["policy"], count(d.evidence for d in made))


def _judge(run: Run) -> CardJudge | None:
    stage = run.stages().get("judge")
    if stage is None:
        return None
    settings = stage["settings"]
    assert isinstance(settings, dict)
    facts = [f for f in run.latest("judge").values() if f is not None]
    judged = sum(fact.body.kind == "judgement" for fact in facts)
    ((usd,),) = run.store.rows("SELECT total(usd) FROM replies WHERE stage = 'judge'")
    static = settings["judge"] == "static"
    model = "static" if static else settings["model"]
    version = settings["version"] if static else settings["prompt"]
    return CardJudge(model, version, judged, usd)


def _sources(run: Run, target: _Target) -> tuple[CardSource, ...]:
    if target.name == "prompts":
        settings = run.stages().get("prompts", {}).get("settings")
        named = settings.get("source") if isinstance(settings, dict) else None
        if isinstance(settings, dict) and named:
            return (CardSource(_shown(str(named)), str(settings.get("revision") or ""), ""),)
    if not run.samples.exists():
        return ()
    info = json.loads(run.samples.metadata()["info"])
    files = info.get("files") or []
    revision = info.get("revision") or (f"sha256 {files[0]['sha256']}" if files else "")
    name = Path(info["spec"]).name if files else info["spec"]
    return (CardSource(name, revision, ""),)


def _without_folders(command: str) -> str:
    """The command without where files lie on this machine, which is nobody's business."""
    return shlex.join(_shown(word) for word in shlex.split(command))


def _shown(word: str) -> str:
    """A local path by its name alone; other words (a Hub id, a URL) as they are."""
    flag, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = Path(value).expanduser()
    is_path = path.is_absolute() or value.startswith(("./", "../", "~")) or path.exists()
    return f"{flag}{sign}{path.name}" if is_path and "/" in value else word

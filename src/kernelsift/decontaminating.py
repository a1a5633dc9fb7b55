"""The decontaminate stage of a run: what is looked through, decisions, report; new indexes."""

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.config import Decontaminate
from kernelsift.contamination.index import Index, read_index, shipped
from kernelsift.contamination.matching import Matcher, Texts
from kernelsift.engine import map_in_processes
from kernelsift.errors import ConfigError, DataError
from kernelsift.files import replacing, write_json
from kernelsift.model import Decision, Entry, SampleId, Tally
from kernelsift.report.contamination import Contamination, count
from kernelsift.run import Run
from kernelsift.session import Session
from kernelsift.stages.decontaminate import VERSION, Found, inspect, select

if TYPE_CHECKING:
    from kernelsift.contamination.building import About, Built

REPORT = "decontamination.json"
TABLE = "decontamination.parquet"
_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n`]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)


def decontaminate(session: Session, *, report_only: bool = False) -> Tally:
    """Hold every row that the filter kept against benchmarks; drop those with enough evidence.

    `report_only` decides nothing: it writes decontamination.json and decontamination.parquet, as
    a decision does too.

    Raises:
        ConfigError: an index file is not there, or there is no index at all.
        DataError: an index cannot be used, or no row is left to look at.
    """
    from kernelsift.stages.export import nothing_left

    started = time.monotonic()
    run, cfg = session.run, session.settings.decontaminate
    indexes = indexes_for(cfg)
    entries = run.kept_before("decontaminate")
    if not entries:
        raise DataError(nothing_left(run))
    found = _look(session, entries, cfg)
    decisions = select(found, cfg)
    seen = count((decision.keep, decision.evidence) for decision in decisions)
    notes = [*seen.lines(), *_notes(entries, cfg, seen)]
    if not report_only:
        notes += _decide(run, decisions, cfg, indexes)
    _write_report(run, seen, found, cfg, indexes, is_report=report_only)
    dropped = "would be dropped" if report_only else "dropped"
    counts = {
        "rows": seen.rows,
        "kept": seen.rows - seen.contaminated,
        dropped: seen.contaminated,
        "reported": seen.weak,
    }
    if report_only:
        counts.pop("kept")
    seconds = time.monotonic() - started
    return Tally("decontaminate", counts, seconds, notes=tuple(notes), files=(REPORT, TABLE))


def forget(session: Session) -> Tally:
    """Undo decontaminate: its rows are as if it had never run."""
    started = time.monotonic()
    rows = len(session.run.decisions(("decontaminate",)))
    session.run.forget("decontaminate")
    return Tally("decontaminate", {"forgotten": rows}, time.monotonic() - started)


def indexes_for(cfg: Decontaminate) -> tuple[Index, ...]:
    """The indexes that rows are held against.

    Raises:
        ConfigError: a file is not there, or there is none at all.
        DataError: a file is no index, or of another version.
    """
    own = [read_index(Path(name)) for name in cfg.index]
    found = (*(shipped() if cfg.shipped else ()), *own)
    if not found:
        raise ConfigError(
            "there is no benchmark to hold rows against: decontaminate.shipped is false and no "
            "index is named; give one with --index FILE"
        )
    return found


def build_index(source: Path, about: "About", out: Path, version: str = "") -> "Built":
    """Write an index of the problems in a folder or table; see `contamination.building`."""
    from kernelsift.contamination.building import build, read_problems
    from kernelsift.contamination.index import write_index

    built = build(read_problems(source, version), about)
    write_index(out, built.index)
    return built


@dataclass(frozen=True, slots=True)
class _Job:
    sample: SampleId
    texts: Texts


def _look(session: Session, entries: Sequence[Entry], cfg: Decontaminate) -> list[Found]:
    found = []
    with session.progress.start("decontaminate", len(entries)):
        for one in map_in_processes(
            partial(_inspect, cfg, _marks(cfg)),
            _jobs(session.run, entries),
            workers=session.settings.workers_or_cores(),
            total=len(entries),
        ):
            found.append(one)
            session.progress.update(len(found))
    return found


def _inspect(cfg: Decontaminate, marks: tuple[str, ...], job: _Job) -> Found:
    return inspect(job.sample, job.texts, _matcher(cfg, marks))


@lru_cache(maxsize=1)
def _matcher(cfg: Decontaminate, _marks: tuple[str, ...]) -> Matcher:
    """Made once in each process: an index is not sent with every row."""
    return Matcher(indexes_for(cfg), cfg.match, cfg.ngram_share)


def _marks(cfg: Decontaminate) -> tuple[str, ...]:
    """What changes when one of the index files does."""
    return tuple(hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in cfg.index)


def _jobs(run: Run, entries: Sequence[Entry]) -> Iterator[_Job]:
    columns = ["ks_reference", "ks_code"]
    if "prompt" in run.samples.schema().names:
        columns.append("prompt")
    by_row = iter(sorted(entries, key=lambda entry: entry.row))
    for table in run.samples.batches({entry.row for entry in entries}, columns):
        for row in table.to_pylist():
            entry = next(by_row)
            reference = row["ks_reference"]
            prompt = _said(row.get("prompt"))
            if reference.strip():
                prompt = prompt.replace(reference.strip(), "\n")
            blocks = tuple(block[2] for block in _FENCE.finditer(prompt)) or (prompt,)
            yield _Job(entry.id, Texts(entry.module, reference, prompt, blocks, row["ks_code"]))


def _said(prompt: Any) -> str:
    """The text of a prompt: a text, or messages whose content is a text or a list of parts."""
    match prompt:
        case str():
            return prompt
        case list():
            return "\n".join(filter(None, map(_said, prompt)))
        case {"content": content}:
            return _said(content)
        case {"text": str(text)}:
            return text
    return ""


def _decide(
    run: Run, decisions: list[Decision], cfg: Decontaminate, indexes: Sequence[Index]
) -> list[str]:
    """Store the decisions; say which later stages are to run again."""
    had_best = "dedup" in run.stages()
    run.save_decisions("decontaminate", decisions)
    settings = {**cfg.model_dump(mode="json"), "index": [Path(name).name for name in cfg.index]}
    settings["benchmarks"] = [_line(one) for one in _described(indexes)]
    run.begin("decontaminate", settings, VERSION)
    notes = []
    if not any(decision.keep for decision in decisions):
        for name in ("filtered", "unique"):
            (run.path / f"{name}.parquet").unlink(missing_ok=True)
        notes.append("no row is left; filtered.parquet and unique.parquet were removed")
    for stage in ("verify", "judge"):
        if stage in run.stages():
            known = run.pointed(stage)
            waiting = sum(entry.id not in known for entry in run.kept_before(stage))
            if waiting:
                notes.append(f"{waiting:,} rows wait for `kernelsift {stage} --run {run.path}`")
    if had_best and "dedup" not in run.stages():
        notes.append(f"what repeats is to be decided again: `kernelsift dedup --run {run.path}`")
    return notes


def _notes(entries: Sequence[Entry], cfg: Decontaminate, seen: Contamination) -> list[str]:
    out = []
    without = sum(not entry.reference_digest for entry in entries)
    if without:
        out.append(
            f"{without:,} rows have no reference: their prompt and answer were looked through"
        )
    if seen.weak:
        out.append(
            f"{seen.weak:,} rows have evidence weaker than {cfg.drop_on}: they are kept, "
            f"{TABLE} lists them; --drop-on name drops them too"
        )
    return out


def _line(one: dict[str, Any]) -> str:
    """A benchmark as cards name it."""
    versions = f" ({', '.join(one['versions'])})" if one["versions"] else ""
    return f"{one['benchmark']}{versions}: {one['problems']:,} problems, {one['license']}"


def _described(indexes: Sequence[Index]) -> list[dict[str, Any]]:
    return [
        {
            "benchmark": index.benchmark,
            "versions": sorted({p.version for p in index.problems if p.version}),
            "problems": len(index.problems),
            "source": index.source,
            "license": index.licence,
        }
        for index in indexes
    ]


def _write_report(
    run: Run,
    seen: Contamination,
    found: Sequence[Found],
    cfg: Decontaminate,
    indexes: Sequence[Index],
    *,
    is_report: bool,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    settings = cfg.model_dump(mode="json")
    about = {"report_only": is_report, "settings": settings, "indexes": _described(indexes)}
    write_json(run.path / REPORT, {**seen.as_json(), **about})
    texts = ("sample_id", "origin", "module", "benchmark", "version", "problem", "kind", "side")
    schema = pa.schema([*((name, pa.string()) for name in texts), ("score", pa.float64())])
    entries = {entry.id: entry for entry in run.entries()}
    rows = [
        {
            "sample_id": one.sample,
            "origin": entries[one.sample].origin,
            "module": entries[one.sample].module,
            **asdict(hit),
        }
        for one in found
        for hit in one.hits
    ]
    with replacing(run.path / TABLE) as draft:
        pq.write_table(pa.Table.from_pylist(rows, schema), draft, compression="zstd")

"""export: the curated tables. Reads the run, writes whole files, never half of one."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kernelsift.errors import DataError, RunError
from kernelsift.files import replacing
from kernelsift.model import (
    Decision,
    Entry,
    Fact,
    Judgement,
    Module,
    SampleId,
    Tally,
    TaskPrompt,
)
from kernelsift.run import Run
from kernelsift.samples import PREFIX, wanted_rows, writing

JUDGE_COLUMNS = pa.schema([
    ("difficulty", pa.float64()),
    ("style", pa.float64()),
    ("evaluation_raw", pa.string()),
    ("judge_model", pa.string()),
    ("judge_returned_model", pa.string()),
    ("judge_prompt_version", pa.string()),
    ("judge_usd", pa.float64()),
])
VERIFY_COLUMNS = pa.schema([
    ("verify_outcome", pa.string()),
    ("verify_work", pa.string()),
    ("verify_findings", pa.list_(pa.string())),
    ("verify_version", pa.string()),
])
PROMPT_COLUMNS = pa.schema([
    ("prompt", pa.string()),
    ("module_name", pa.string()),
    ("python_code", pa.string()),
    ("triton_code", pa.string()),
    ("uuid", pa.string()),
])
LEDGER_COLUMNS = pa.schema([
    ("sample_id", pa.string()),
    ("origin", pa.string()),
    ("module", pa.string()),
    ("reward", pa.float64()),
    ("state", pa.string()),
    ("stage", pa.string()),
    ("reason", pa.string()),
    ("evidence", pa.string()),
])


def export_samples(run: Run) -> Tally:
    """Write filtered.parquet, unique.parquet (once dedup has run) and ledger.parquet.

    filtered holds what the filter kept and the judge could rate; unique what dedup kept of that;
    ledger one row for every row loaded, with its state and the reason for it.

    Raises:
        RunError: nothing was loaded, or the states do not sum to the rows loaded.
        DataError: nothing is left after the filter.
    """
    started = time.monotonic()
    counts = {"ledger": _write_ledger(run)}
    stages = run.stages()
    added = _Added(run.latest("judge") if "judge" in stages else None, _verified(run))
    filtered = run.kept_before("dedup")
    if not filtered:
        raise DataError(nothing_left(run))
    counts["filtered"] = _write(run, run.path / "filtered.parquet", filtered, added)
    if "dedup" in stages:
        kept = {s for s, ds in run.decisions(("dedup",)).items() if ds[-1].keep}
        unique = [e for e in filtered if e.id in kept]
        counts["unique"] = _write(run, run.path / "unique.parquet", unique, added)
    else:
        (run.path / "unique.parquet").unlink(missing_ok=True)
    files = tuple(f"{name}.parquet" for name in counts)
    return Tally("export", counts, time.monotonic() - started, files=files)


def export_prompts(
    path: Path, modules: Sequence[Module], facts: Mapping[SampleId, Fact | None]
) -> int:
    """Write prompts.parquet, a row per module that has a prompt; returns how many."""
    rows = []
    for module in modules:
        fact = facts.get(module.id)
        if fact and isinstance(fact.body, TaskPrompt):
            row = (
                fact.body.prompt,
                module.name,
                module.reference,
                module.triton_code,
                module.uuid,
            )
            rows.append(dict(zip(PROMPT_COLUMNS.names, row, strict=True)))
    with replacing(path) as draft:
        pq.write_table(pa.Table.from_pylist(rows, PROMPT_COLUMNS), draft, compression="zstd")
    return len(rows)


def nothing_left(run: Run) -> str:
    """Why no row is left to work on, with what to change."""
    entries = run.entries()
    settings = run.stages().get("filter", {}).get("settings")
    low = settings.get("min_reward") if isinstance(settings, dict) else None
    best = max((e.reward for e in entries), default=0.0)
    if low is not None and best <= low:
        return (
            f"no row is left after the filter: all {len(entries):,} rewards are at most {best:g}, "
            f"and they must be above {low:g}; lower it with --min-reward"
        )
    return f"no row is left of {len(entries):,}; `kernelsift status --run {run.path}` says why"


@dataclass(frozen=True, slots=True)
class _Added:
    """The columns that kernelsift adds to a source row."""

    judged: Mapping[SampleId, Fact | None] | None
    verified: "_Verified | None"

    def schema(self, source: pa.Schema) -> pa.Schema:
        added = [pa.field("sample_id", pa.string())]
        if self.verified is not None:
            added += list(VERIFY_COLUMNS)
        if self.judged is not None:
            added += list(JUDGE_COLUMNS)
        names = {f.name for f in added}
        kept = [f for f in source if not f.name.startswith(PREFIX) and f.name not in names]
        if not any(f.name == "module_name" for f in kept):
            added.insert(0, pa.field("module_name", pa.string()))
        return pa.schema([*kept, *added])

    def values(self, entry: Entry) -> dict[str, Any]:
        out: dict[str, Any] = {"sample_id": entry.id, "module_name": entry.module}
        if self.verified is not None:
            out |= self.verified.values(entry)
        fact = self.judged.get(entry.id) if self.judged else None
        if fact and isinstance(fact.body, Judgement):
            body = fact.body
            out |= {
                "difficulty": body.difficulty,
                "style": body.style,
                "evaluation_raw": body.raw,
                "judge_model": body.judge,
                "judge_returned_model": body.returned_model,
                "judge_prompt_version": body.prompt_version,
                "judge_usd": fact.usd if fact.sample == entry.id else 0.0,
            }
        return out


@dataclass(frozen=True, slots=True)
class _Verified:
    """What verify decided on, and the versions that it ran with."""

    decisions: Mapping[SampleId, Decision]
    version: str

    def values(self, entry: Entry) -> dict[str, Any]:
        seen = self.decisions[entry.id].evidence
        return {
            "verify_outcome": seen["outcome"],
            "verify_work": seen["work"],
            "verify_findings": sorted({finding["id"] for finding in seen["findings"]}),
            "verify_version": self.version,
        }


def _verified(run: Run) -> _Verified | None:
    """None when the kernels were not verified."""
    stage = run.stages().get("verify")
    if stage is None:
        return None
    settings = stage["settings"]
    assert isinstance(settings, dict)
    found = settings["facts"]
    packages = [f"{name} {found[name]}" for name in ("torch", "triton") if found[name]]
    version = ", ".join([f"verifier {found['verifier']}", *packages, found["device"]])
    return _Verified({s: ds[-1] for s, ds in run.decisions(("verify",)).items()}, version)


def _write(run: Run, path: Path, entries: list[Entry], added: _Added) -> int:
    """Write the source's columns, untouched, with kernelsift's beside them."""
    schema = added.schema(run.samples.schema())
    known = set(run.samples.schema().names)
    source = [n for n in schema.names if n in known]
    by_row = iter(entries)
    with replacing(path) as draft, writing(draft, schema) as write:
        for table in run.samples.batches(wanted_rows(entries), source):
            chunk = [added.values(next(by_row)) for _ in range(table.num_rows)]
            columns = [
                table.column(f.name)
                if f.name in source
                else pa.array([c.get(f.name) for c in chunk], f.type)
                for f in schema
            ]
            write(pa.Table.from_arrays(columns, schema=schema))
    return len(entries)


def _write_ledger(run: Run) -> int:
    states = run.states()
    entries = run.entries()
    if len(states) != len(entries):
        raise RunError(
            f"{run.path}: {len(states):,} rows have a state but {len(entries):,} were loaded; "
            "nothing was exported. Load the source again"
        )
    rows = _ledger_rows(run, entries, states)
    with (
        replacing(run.path / "ledger.parquet") as draft,
        pq.ParquetWriter(draft, LEDGER_COLUMNS, compression="zstd") as writer,
    ):
        for start in range(0, len(entries), 10_000):
            chunk = [row for _, row in zip(range(start, start + 10_000), rows, strict=False)]
            writer.write_table(pa.Table.from_pylist(chunk, LEDGER_COLUMNS))
    return len(entries)


def _ledger_rows(
    run: Run, entries: list[Entry], states: Mapping[SampleId, str]
) -> Iterator[dict[str, Any]]:
    decisions = run.decisions()
    failed = run.failed()
    for entry in entries:
        state = states[entry.id]
        made = decisions.get(entry.id, [])
        row = {
            "sample_id": entry.id,
            "origin": entry.origin,
            "module": entry.module,
            "reward": entry.reward,
            "state": state,
            "stage": "",
            "reason": "",
            "evidence": "{}",
        }
        decisive = next((d for d in made if not d.keep), made[-1] if made else None)
        if state == "failed" and entry.id in failed:
            stage, failure = failed[entry.id]
            row |= {"stage": stage, "reason": failure.failure}
            row["evidence"] = json.dumps({"why": failure.why})
        elif decisive and state != "pending":
            row |= {"stage": decisive.stage, "reason": decisive.reason}
            row["evidence"] = json.dumps(dict(decisive.evidence))
        yield row

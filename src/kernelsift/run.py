"""A run: the directory that holds one curation. The only module that writes stage results."""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import orjson
from pydantic import TypeAdapter

from kernelsift.errors import RunError
from kernelsift.files import write_error
from kernelsift.model import Body, Decision, Entry, Fact, Failure, SampleId, State
from kernelsift.samples import SampleFile
from kernelsift.store import Store, Write, insert

STAGES = ("filter", "judge", "dedup")
"""Stages that say something about samples, in the order in which they do so."""
MEASURES = frozenset({"judge"})
_BODY: TypeAdapter[Body] = TypeAdapter(Body)


def now() -> str:
    """The time in UTC, to the second, as stored."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Status:
    """Where every row of a run stands. `states` sums to the rows loaded."""

    states: Mapping[State, int]
    stages: Mapping[str, Mapping[str, int]]
    usd: float
    usd_at_risk: float
    requests: int


@dataclass
class Run:
    """An open run directory. Make one with `Run.open(path)`."""

    path: Path
    store: Store
    _entries: list[Entry] | None = field(default=None, repr=False)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, read_only: bool = False) -> Iterator[Self]:
        """Open a run directory, made if need be, and hold it against other writers.

        Raises:
            RunError: another process writes to it, its format is unknown, it is missing (only
                with `read_only`), or the disk refuses.
        """
        if read_only and not (path / "run.sqlite").exists():
            raise RunError(
                f"there is no run in {path}; start one with `kernelsift run SOURCE --run {path}`"
            )
        with (
            contextlib.nullcontext() if read_only else _held(path),
            Store(path / "run.sqlite", read_only=read_only) as store,
        ):
            yield cls(path, store)

    @property
    def samples(self) -> SampleFile:
        return SampleFile(self.path / "samples.parquet")

    def entries(self) -> list[Entry]:
        """The small part of every sample, in source order; read once."""
        if self._entries is None:
            self._entries = self.samples.entries()
        return self._entries

    def samples_changed(self) -> None:
        """Forget what was decided about the samples that load has just replaced."""
        self._entries = None

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM decisions")
            db.execute("DELETE FROM stages")
            db.executemany("DELETE FROM measured WHERE stage = ?", [(s,) for s in STAGES])

        self.store.write(write)

    # --- stages ---------------------------------------------------------------------------------

    def begin(self, stage: str, settings: Mapping[str, object], version: str) -> None:
        """Note that a stage runs, with the settings that it runs with."""
        row = (stage, json.dumps(settings, sort_keys=True), version, now())
        self.store.write(insert("stages", [row], replace=True))

    def stages(self) -> dict[str, dict[str, object]]:
        """Settings of every stage that has run on this directory."""
        found = self.store.rows("SELECT stage, settings, version, at FROM stages")
        return {s: {"settings": json.loads(c), "version": v, "at": at} for s, c, v, at in found}

    def kept_before(self, stage: str) -> list[Entry]:
        """Entries that no earlier stage has dropped and no earlier measurement has failed on."""
        earlier = STAGES[: STAGES.index(stage)]
        gone = set(self.dropped(earlier))
        for measure in MEASURES.intersection(earlier):
            facts = self.latest(measure)
            gone |= {s for s, f in facts.items() if f is None or isinstance(f.body, Failure)}
        return [e for e in self.entries() if e.id not in gone]

    # --- decisions ------------------------------------------------------------------------------

    def save_decisions(self, stage: str, decisions: Sequence[Decision]) -> None:
        """Replace a stage's decisions whole; decisions of later stages that rest on others go."""
        rows = [
            (d.stage, d.sample, int(d.keep), d.reason, json.dumps(dict(d.evidence)))
            for d in decisions
        ]
        before = self.store.rows(
            "SELECT stage, sample, keep, reason, evidence FROM decisions WHERE stage = ?", stage
        )
        if sorted(before) == sorted(rows):
            return
        outdated = STAGES[STAGES.index(stage) + 1 :]
        self.store.write(_replace_decisions(stage, rows, outdated))

    def outdate_after(self, stage: str) -> None:
        """Forget decisions that rest on measurements which have just changed."""
        later = STAGES[STAGES.index(stage) + 1 :]
        self.store.write(_replace_decisions("", [], later))

    def decisions(self, stages: Sequence[str] = STAGES) -> dict[SampleId, list[Decision]]:
        """Every decision about each sample, in stage order."""
        out: dict[SampleId, list[Decision]] = {}
        for stage in (s for s in STAGES if s in stages):
            found = self.store.rows(
                "SELECT sample, keep, reason, evidence FROM decisions WHERE stage = ?", stage
            )
            for sample, keep, reason, evidence in found:
                out.setdefault(sample, []).append(
                    _read_decision(sample, stage, keep, reason, evidence)
                )
        return out

    def dropped(self, stages: Sequence[str] = STAGES) -> dict[SampleId, Decision]:
        """First decision against each sample, in stage order."""
        out: dict[SampleId, Decision] = {}
        for stage in (s for s in STAGES if s in stages):
            found = self.store.rows(
                "SELECT sample, keep, reason, evidence FROM decisions WHERE stage = ? AND keep = 0",
                stage,
            )
            for sample, keep, reason, evidence in found:
                if sample not in out:
                    out[sample] = _read_decision(sample, stage, keep, reason, evidence)
        return out

    # --- facts ----------------------------------------------------------------------------------

    def known(self, stage: str) -> dict[str, str | None]:
        """Key -> failure class (None for a success) of the latest fact of each key."""
        found = self.store.rows(
            "SELECT key, failure FROM facts WHERE stage = ? ORDER BY number", stage
        )
        return dict(found)

    def failures(self, stage: str, key: str) -> int:
        """How often this key was measured in vain."""
        ((count,),) = self.store.rows(
            "SELECT count(*) FROM facts WHERE stage = ? AND key = ? AND failure IS NOT NULL",
            stage,
            key,
        )
        return int(count)

    def spent(self) -> tuple[float, float, int]:
        """USD paid, USD at risk (calls that may be billed without an answer), requests; ever."""
        ((usd, answers),) = self.store.rows("SELECT total(usd), count(*) FROM replies")
        ((wasted, risk, lost),) = self.store.rows(
            "SELECT total(usd * known), total(usd * (1 - known)), count(*) FROM lost"
        )
        return usd + wasted, risk, answers + lost

    def point(self, stage: str, keys: Mapping[SampleId, str]) -> bool:
        """Say which fact answers for each sample now; older answers stay in the ledger.

        Returns whether that is another one for any sample than before.
        """
        rows = [(stage, sample, key) for sample, key in keys.items()]
        before = self.store.rows("SELECT stage, sample, key FROM measured WHERE stage = ?", stage)
        if set(before) == set(rows):
            return False

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM measured WHERE stage = ?", (stage,))
            insert("measured", rows)(db)

        self.store.write(write)
        return True

    async def save_fact(self, fact: Fact) -> None:
        """Append a fact; returns when it is durable."""
        await self.store.save(insert("facts", [_fact_row(fact)]))

    def save_facts(self, facts: Sequence[Fact]) -> None:
        """Append facts and wait until they are durable."""
        self.store.write(insert("facts", [_fact_row(f) for f in facts]))

    def latest(self, stage: str) -> dict[SampleId, Fact | None]:
        """The fact that answers for each sample of a measuring stage; None where none is yet."""
        found = self.store.rows(
            "SELECT m.sample, m.key, f.sample, f.body, f.usd, f.seconds, f.version FROM measured m "
            "LEFT JOIN facts f ON f.number = (SELECT max(number) FROM facts "
            "WHERE stage = m.stage AND key = m.key) WHERE m.stage = ?",
            stage,
        )
        return {
            sample: _read_fact(stage, key, first, body, usd, seconds, version)
            for sample, key, first, body, usd, seconds, version in found
        }

    # --- totals ---------------------------------------------------------------------------------

    def states(self) -> dict[SampleId, State]:
        """The one state of every sample: dropped, failed, pending or kept."""
        known = self.stages()
        active = [s for s in STAGES if s in known]
        answered = {s: self._answers(s) for s in MEASURES.intersection(active)}
        decided = self.decisions()
        selects = sum(s not in MEASURES for s in active)
        out: dict[SampleId, State] = {}
        for entry in self.entries():
            answers = [a.get(entry.id, "pending") for a in answered.values()]
            made = decided.get(entry.id, [])
            if any(not decision.keep for decision in made):
                out[entry.id] = "dropped"
            elif "failed" in answers:
                out[entry.id] = "failed"
            elif "pending" in answers or len(made) < max(1, selects):
                out[entry.id] = "pending"
            else:
                out[entry.id] = "kept"
        return out

    def status(self) -> Status:
        """Counts per state and per stage, and what was spent."""
        loaded = self.samples.exists()
        states = Counter(self.states().values()) if loaded else Counter()
        usd, risk, requests = self.spent()
        stages = {"load": {"rows": len(self.entries()) if loaded else 0}}
        for stage in STAGES:
            counts = self._counts(stage)
            if counts:
                stages[stage] = counts
        prompts = self._measure_counts("prompts")
        if prompts:
            stages["prompts"] = prompts
        return Status(
            states={s: states.get(s, 0) for s in ("kept", "dropped", "failed", "pending")},
            stages=stages,
            usd=usd,
            usd_at_risk=risk,
            requests=requests,
        )

    def _answers(self, stage: str) -> dict[SampleId, str]:
        found = self.store.rows(
            "SELECT m.sample, f.number, f.failure FROM measured m LEFT JOIN facts f ON f.number = "
            "(SELECT max(number) FROM facts WHERE stage = m.stage AND key = m.key) "
            "WHERE m.stage = ?",
            stage,
        )
        return {
            sample: "pending" if number is None else "failed" if failure else "ok"
            for sample, number, failure in found
        }

    def _counts(self, stage: str) -> dict[str, int]:
        if stage in MEASURES:
            return self._measure_counts(stage)
        found = self.store.rows(
            "SELECT CASE keep WHEN 1 THEN 'kept' ELSE 'dropped: ' || reason END, count(*) "
            "FROM decisions WHERE stage = ? GROUP BY 1 ORDER BY 1 DESC",
            stage,
        )
        return dict(found)

    def _measure_counts(self, stage: str) -> dict[str, int]:
        found = self.store.rows(
            "SELECT CASE WHEN f.number IS NULL THEN 'pending' WHEN f.failure IS NULL THEN "
            "'measured' ELSE 'failed: ' || f.failure END, count(*) FROM measured m LEFT JOIN "
            "facts f ON f.number = (SELECT max(number) FROM facts WHERE stage = m.stage "
            "AND key = m.key) WHERE m.stage = ? GROUP BY 1 ORDER BY 1 DESC",
            stage,
        )
        return dict(found)


def _replace_decisions(
    stage: str, rows: Sequence[tuple[object, ...]], outdated: Sequence[str]
) -> Write:
    """A write that replaces one stage's decisions and forgets those of others."""

    def write(db: sqlite3.Connection) -> None:
        for gone in (stage, *outdated):
            db.execute("DELETE FROM decisions WHERE stage = ?", (gone,))
        for gone in outdated:
            if gone not in MEASURES:
                db.execute("DELETE FROM stages WHERE stage = ?", (gone,))
        insert("decisions", rows)(db)

    return write


def _fact_row(fact: Fact) -> tuple[object, ...]:
    failure = fact.body.failure if isinstance(fact.body, Failure) else None
    return (
        None,
        fact.key,
        fact.stage,
        fact.sample,
        fact.body.kind,
        failure,
        fact.body.model_dump_json(),
        fact.usd,
        fact.seconds,
        fact.version,
        now(),
    )


def _read_decision(sample: SampleId, stage: str, keep: int, reason: str, evidence: str) -> Decision:
    return Decision.model_construct(
        sample=sample,
        stage=stage,
        keep=bool(keep),
        reason=reason,
        evidence=orjson.loads(evidence),
    )


def _read_fact(  # noqa: PLR0913, PLR0917 - one argument per column of the row
    stage: str,
    key: str,
    sample: SampleId,
    body: str | None,
    usd: float,
    seconds: float,
    version: str,
) -> Fact | None:
    if body is None:
        return None
    return Fact.model_construct(
        stage=stage,
        sample=sample,
        key=key,
        body=_BODY.validate_json(body),
        usd=usd,
        seconds=seconds,
        version=version,
    )


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the directory's lock file; a second writer is told who has it."""
    lock = path / "run.lock"
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
        raise write_error(lock, e) from e
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"
            raise RunError(
                f"{path} is in use by another kernelsift (process {holder}); wait for it, stop it, "
                "or use another directory with --run DIR"
            ) from e
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)

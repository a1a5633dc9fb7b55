"""A run: the directory that holds one curation. The only module that writes stage results."""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kernelsift.batch_records import at_risk
from kernelsift.errors import RunError
from kernelsift.files import write_error
from kernelsift.model import Decision, Entry, Fact, Failure, SampleId, State
from kernelsift.records import (
    answering,
    decision_row,
    fact_row,
    now,
    read_decision,
    read_fact,
    replace_clusters,
    replace_decisions,
)
from kernelsift.samples import SampleFile
from kernelsift.store import Store, insert

STAGES = ("filter", "decontaminate", "verify", "judge", "dedup")
"""Stages that say something about samples, in the order in which they do so."""
MEASURES = ("verify", "judge")
DECIDES = ("filter", "decontaminate", "verify", "dedup")
COMPARES = ("dedup",)
"""What these decide about a row rests on other rows; the others look at that row alone."""
OPTIONAL = ("decontaminate", "verify")
"""Rows pass where these have not run; where they have, a row needs to be let pass by them."""
_AT_ONCE = 500
_PLACES = ("kept", "measured", "dropped", "failed", "pending")


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
            for table in ("decisions", "clusters", "stages"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed names
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
        """Entries that no earlier stage has dropped and no earlier measurement has failed on.

        Once decontaminate or verify has run, a row that it has not let pass is not among them.
        """
        earlier = STAGES[: STAGES.index(stage)]
        gone = set(self.dropped(earlier))
        for measure in set(MEASURES).intersection(earlier):
            gone |= {s for s, answer in self._answers(measure).items() if answer != "ok"}
        entries = [e for e in self.entries() if e.id not in gone]
        for asked in set(OPTIONAL).intersection(earlier, self.stages()):
            made = self.decisions((asked,))
            entries = [e for e in entries if e.id in made and made[e.id][-1].keep]
        return entries

    def forget(self, stage: str) -> None:
        """Undo a stage; what it has measured stays in the ledger and is found there again."""

        def write(db: sqlite3.Connection) -> None:
            for table in ("decisions", "measured", "stages"):
                db.execute(f"DELETE FROM {table} WHERE stage = ?", (stage,))  # noqa: S608 - fixed names

        self.store.write(write)
        self.outdate_after(stage)

    # --- decisions ------------------------------------------------------------------------------

    def save_decisions(self, stage: str, decisions: Sequence[Decision]) -> None:
        """Replace a stage's decisions whole; decisions of later stages that rest on others go."""
        rows = [decision_row(d) for d in decisions]
        before = self.store.rows(
            "SELECT stage, sample, keep, reason, evidence FROM decisions WHERE stage = ?", stage
        )
        if sorted(before) == sorted(rows):
            return
        self.store.write(replace_decisions(stage, rows, _resting_on(stage)))

    def outdate_after(self, stage: str) -> None:
        """Forget decisions that rest on measurements which have just changed."""
        self.store.write(replace_decisions("", [], _resting_on(stage)))

    def decisions(self, stages: Sequence[str] = STAGES) -> dict[SampleId, list[Decision]]:
        """Every decision about each sample, in stage order."""
        out: dict[SampleId, list[Decision]] = {}
        for stage in (s for s in STAGES if s in stages):
            found = self.store.rows(
                "SELECT sample, keep, reason, evidence FROM decisions WHERE stage = ?", stage
            )
            for sample, keep, reason, evidence in found:
                made = read_decision(sample, stage, keep, reason, evidence)
                out.setdefault(sample, []).append(made)
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
                    out[sample] = read_decision(sample, stage, keep, reason, evidence)
        return out

    def save_clusters(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Replace what repeats what: side, kind, sample, leader, similarity, raw similarity."""
        self.store.write(replace_clusters(rows))

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
        """USD paid, USD at risk (calls that may be billed without an answer), requests; ever.

        Batches that are under way are at risk with the most they can cost.
        """
        ((usd, answers),) = self.store.rows("SELECT total(usd), count(*) FROM replies")
        ((wasted, risk, lost),) = self.store.rows(
            "SELECT total(usd * known), total(usd * (1 - known)), count(*) FROM lost"
        )
        batched, requests = at_risk(self.store)
        return usd + wasted, risk + batched, answers + lost + requests

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
        await self.store.save(insert("facts", [fact_row(fact)]))

    def save_facts(self, facts: Sequence[Fact]) -> None:
        """Append facts and wait until they are durable."""
        self.store.write(insert("facts", [fact_row(f) for f in facts]))

    def latest(self, stage: str) -> dict[SampleId, Fact | None]:
        """The fact that answers for each sample of a measuring stage; None where none is yet."""
        columns = "m.sample, m.key, f.sample, f.body, f.usd, f.seconds, f.version"
        found = self.store.rows(answering(columns), stage)
        return {
            sample: read_fact(stage, key, first, *rest) if rest[0] is not None else None
            for sample, key, first, *rest in found
        }

    def facts(self, stage: str, keys: Collection[str]) -> Iterator[Fact]:
        """The latest fact of each key that has one; a few are in memory at a time."""
        listed = list(dict.fromkeys(keys))
        for start in range(0, len(listed), _AT_ONCE):
            chunk = listed[start : start + _AT_ONCE]
            found = self.store.rows(
                "SELECT key, sample, body, usd, seconds, version FROM facts WHERE stage = ? "  # noqa: S608 - marks only
                f"AND key IN ({', '.join('?' * len(chunk))}) ORDER BY number",
                stage,
                *chunk,
            )
            latest = {key: (key, *rest) for key, *rest in found}
            yield from (read_fact(stage, *row) for row in latest.values())

    def pointed(self, stage: str) -> dict[SampleId, str]:
        """The key whose latest fact answers for each sample."""
        return dict(self.store.rows("SELECT sample, key FROM measured WHERE stage = ?", stage))

    def fact(self, stage: str, sample: SampleId) -> Fact | None:
        """The fact that answers for one sample; None where none does."""
        key = self.pointed(stage).get(sample)
        return next(self.facts(stage, [key]), None) if key else None

    def failed(self) -> dict[SampleId, tuple[str, Failure]]:
        """The first stage that could not measure each sample, and why."""
        out: dict[SampleId, tuple[str, Failure]] = {}
        for stage in MEASURES:
            query = f"{answering('m.sample, f.body')} AND f.failure IS NOT NULL"
            found = self.store.rows(query, stage)
            for sample, body in found:
                out.setdefault(sample, (stage, Failure.model_validate_json(body)))
        return out

    # --- totals ---------------------------------------------------------------------------------

    def states(self) -> dict[SampleId, State]:
        """The one state of every sample: dropped, failed, pending or kept."""
        known = self.stages()
        answered = [self._answers(s) for s in MEASURES if s in known]
        deciding = sum(s in known for s in DECIDES)
        decided = self.decisions()
        out: dict[SampleId, State] = {}
        for entry in self.entries():
            answers = {a.get(entry.id, "pending") for a in answered}
            made = decided.get(entry.id, [])
            if any(not d.keep and d.failure is None for d in made):
                out[entry.id] = "dropped"
            elif "failed" in answers or any(d.failure for d in made):
                out[entry.id] = "failed"
            elif "pending" in answers or len(made) < max(1, deciding):
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
                stages[stage] = _in_order(counts)
        prompts = self._measure_counts("prompts")
        if prompts:
            stages["prompts"] = _in_order(prompts)
        return Status(
            states={s: states.get(s, 0) for s in ("kept", "dropped", "failed", "pending")},
            stages=stages,
            usd=usd,
            usd_at_risk=risk,
            requests=requests,
        )

    def _answers(self, stage: str) -> dict[SampleId, str]:
        found = self.store.rows(answering("m.sample, f.number, f.failure"), stage)
        return {
            sample: "pending" if number is None else "failed" if failure else "ok"
            for sample, number, failure in found
        }

    def _counts(self, stage: str) -> dict[str, int]:
        if stage not in DECIDES:
            return self._measure_counts(stage)
        found = self.store.rows(
            "SELECT CASE keep WHEN 1 THEN 'kept' WHEN 0 THEN 'dropped: ' || reason "
            "ELSE 'failed: ' || reason END, count(*) "
            "FROM decisions WHERE stage = ? GROUP BY 1",
            stage,
        )
        decided = Counter(dict(found))
        measured = Counter(self._measure_counts(stage))
        undecided = measured.pop("measured", 0) - decided.total()
        return {**decided, **(measured + Counter(pending=max(0, undecided)))}

    def _measure_counts(self, stage: str) -> dict[str, int]:
        answer = (
            "CASE WHEN f.number IS NULL THEN 'pending' WHEN f.failure IS NULL THEN 'measured' "
            "ELSE 'failed: ' || f.failure END, count(*)"
        )
        return dict(self.store.rows(f"{answering(answer)} GROUP BY 1", stage))


def _in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """What was kept first, then what was dropped, failed or waits; the commonest reason first."""

    def place(item: tuple[str, int]) -> tuple[int, int, str]:
        what, count = item
        return _PLACES.index(what.partition(":")[0]), -count, what

    return dict(sorted(counts.items(), key=place))


def _resting_on(stage: str) -> list[str]:
    """Later stages whose decisions compare rows, so that other rows change them."""
    return [s for s in STAGES[STAGES.index(stage) + 1 :] if s in COMPARES]


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

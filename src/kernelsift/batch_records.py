"""What a run knows of its batches: written down before anything is sent.

A batch is `planned` before its file is uploaded, `creating` before the service is asked to make it,
`under way` once its id is known, and closed by what came of it. A request is `open` as long as its
batch is; then it is `answered` (the reply is stored), `expired`, `cancelled`, `unsent`, `refused`
(the file was), `unsupported` (a parameter was, and is not sent again), `lost` (no result came),
`forgotten`, or the class of its failure.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from kernelsift.records import now
from kernelsift.store import Store, insert

OPEN: Final = ("planned", "creating", "under way")
AGAIN: Final = ("expired", "cancelled", "unsent", "refused", "unsupported", "forgotten")
"""States of requests that may go into another batch."""
_COLUMNS: Final = (
    "intent, stage, base_url, model, state, requests, worst_usd, sha256, file_id, batch_id, why, at"
)


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch of a run."""

    intent: str
    """Our own name for it, unique in the run; its metadata at the service carries it."""
    stage: str
    base_url: str
    model: str
    state: str
    requests: int
    worst_usd: float | None
    """The most it can cost; None when the price is not known."""
    sha256: str
    """Of its file."""
    file_id: str
    batch_id: str
    why: str
    at: str

    @property
    def name(self) -> str:
        """What a message calls it."""
        return self.batch_id or self.intent

    @property
    def words(self) -> str:
        """How it stands, for people."""
        return (
            f"Batch {self.name}: {self.requests:,} requests of {self.model} at {self.base_url}, "
            f"{self.state} since {self.at}"
        )

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "id": self.batch_id or None,
            "intent": self.intent,
            "stage": self.stage,
            "model": self.model,
            "base_url": self.base_url,
            "state": self.state,
            "requests": self.requests,
            "most_usd": self.worst_usd,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """One request of a batch, and what is needed to read its result."""

    digest: str
    worst_usd: float | None
    params: Mapping[str, Any]
    """Parameters as they are really sent; see `llm.chat.sent_params`."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request."""

    digest: str
    state: str
    why: str = ""
    paid: bool = False
    """Whether it was or may have been billed although there is no reply."""
    usd: float | None = None
    """What that has cost, if `known`; else the most it can have cost."""
    known: bool = False


def plan(store: Store, batch: BatchRow, requests: Sequence[Planned]) -> None:
    """Write a batch down with all of its requests; returns when that is durable."""
    row = astuple(batch)
    rows = [
        (None, batch.intent, one.digest, one.worst_usd, json.dumps(dict(one.params)), "open", "")
        for one in requests
    ]

    def write(db: sqlite3.Connection) -> None:
        insert("batches", [row])(db)
        insert("batch_requests", rows)(db)

    store.write(write)


def planned(
    intent: str, place: tuple[str, str, str], requests: Sequence[Planned], sha256: str
) -> BatchRow:
    """A batch that is about to be made; `place` is stage, base URL and model."""
    worst = [one.worst_usd for one in requests]
    total = None if None in worst else sum(w for w in worst if w is not None)
    return BatchRow(intent, *place, "planned", len(requests), total, sha256, "", "", "", now())


def advance(store: Store, intent: str, **changed: str) -> None:
    """Change columns of a batch: `state`, `file_id`, `batch_id`; returns when that is durable."""
    names = ", ".join(f"{name} = ?" for name in changed)

    def write(db: sqlite3.Connection) -> None:
        db.execute(
            f"UPDATE batches SET {names} WHERE intent = ?",  # noqa: S608 - names of keywords
            (*changed.values(), intent),
        )

    store.write(write)


def close(store: Store, batch: BatchRow, results: Sequence[Result], state: str) -> None:
    """Close a batch, and say what became of each of its requests; all of it in one step."""
    place = (batch.stage, batch.base_url, batch.model)
    rows = [(one.state, one.why, batch.intent, one.digest) for one in results]
    lost = [
        (None, one.digest, *place, one.why, one.usd, int(one.known), now())
        for one in results
        if one.paid
    ]

    def write(db: sqlite3.Connection) -> None:
        db.executemany(
            "UPDATE batch_requests SET state = ?, why = ? WHERE intent = ? AND digest = ?", rows
        )
        insert("lost", lost)(db)
        db.execute("UPDATE batches SET state = ? WHERE intent = ?", (state, batch.intent))

    store.write(write)


def forget(store: Store, batch: BatchRow) -> None:
    """Close a batch that nobody will fetch; what it may have cost stays at risk."""
    why = f"batch {batch.name} was forgotten"
    results = [
        Result(one.digest, "forgotten", why, paid=True, usd=one.worst_usd)
        for one in requests_of(store, batch.intent).values()
    ]
    close(store, batch, results, "forgotten")


def close_all(store: Store, intent: str, state: str, request_state: str, why: str = "") -> None:
    """Close a batch whose requests have all come to the same."""

    def write(db: sqlite3.Connection) -> None:
        db.execute(
            "UPDATE batch_requests SET state = ?, why = ? WHERE intent = ?",
            (request_state, why, intent),
        )
        db.execute("UPDATE batches SET state = ?, why = ? WHERE intent = ?", (state, why, intent))

    store.write(write)


def open_batches(store: Store) -> list[BatchRow]:
    """Batches that are not closed, the oldest first; none in a run of an older version."""
    if not store.rows("SELECT 1 FROM sqlite_master WHERE name = 'batches'"):
        return []
    found = store.rows(
        f"SELECT {_COLUMNS} FROM batches WHERE state IN (?, ?, ?) ORDER BY at, intent",  # noqa: S608 - fixed names
        *OPEN,
    )
    return [BatchRow(*row) for row in found]


def requests_of(store: Store, intent: str) -> dict[str, Planned]:
    """The requests of a batch, by digest."""
    found = store.rows(
        "SELECT digest, worst_usd, params FROM batch_requests WHERE intent = ? ORDER BY number",
        intent,
    )
    return {digest: Planned(digest, worst, json.loads(params)) for digest, worst, params in found}


def not_again(store: Store, most_lessons: int) -> set[str]:
    """Digests that go into no further batch: they are in one, or one has turned them away.

    Args:
        store: The run's.
        most_lessons: How often a request may be turned away for a parameter.
    """
    latest: dict[str, str] = {}
    lessons: dict[str, int] = {}
    for digest, state in store.rows("SELECT digest, state FROM batch_requests ORDER BY number"):
        latest[digest] = state
        if state == "unsupported":
            lessons[digest] = lessons.get(digest, 0) + 1
    return {
        digest
        for digest, state in latest.items()
        if state not in AGAIN or lessons.get(digest, 0) >= most_lessons
    }


def may_be_paid(store: Store) -> list[BatchRow]:
    """Open batches that the service may know of: all but those whose file has just been planned."""
    return [row for row in open_batches(store) if row.state != "planned"]


def at_risk(store: Store) -> tuple[float, int]:
    """The most that open batches can cost in USD, and how many requests they hold."""
    rows = may_be_paid(store)
    return sum(row.worst_usd or 0.0 for row in rows), sum(row.requests for row in rows)

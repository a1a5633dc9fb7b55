"""run.sqlite: replies, facts, decisions. One writer thread, group commits, durable when awaited.

Every write is handed to one thread that commits whatever has come together since its last commit
(WAL, synchronous=FULL). 256 writers cost ~15 µs each that way, and nothing is lost on power
failure. Reads go through a connection of their own.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kernelsift.errors import RunError

FORMAT = 1
"""Version of the run directory. Raised when an older kernelsift could misread it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replies (
  digest TEXT PRIMARY KEY, stage TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL,
  reply TEXT NOT NULL, raw TEXT NOT NULL, usd REAL, input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost (
  number INTEGER PRIMARY KEY, digest TEXT NOT NULL, stage TEXT NOT NULL, base_url TEXT NOT NULL,
  model TEXT NOT NULL, why TEXT NOT NULL, usd REAL, known INTEGER NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS dropped_params (
  base_url TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL,
  PRIMARY KEY (base_url, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
  intent TEXT PRIMARY KEY, stage TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL,
  state TEXT NOT NULL, requests INTEGER NOT NULL, worst_usd REAL, sha256 TEXT NOT NULL,
  file_id TEXT NOT NULL, batch_id TEXT NOT NULL, why TEXT NOT NULL, at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_requests (
  number INTEGER PRIMARY KEY, intent TEXT NOT NULL, digest TEXT NOT NULL, worst_usd REAL,
  params TEXT NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL, UNIQUE (intent, digest)
);
CREATE TABLE IF NOT EXISTS facts (
  number INTEGER PRIMARY KEY, key TEXT NOT NULL, stage TEXT NOT NULL, sample TEXT NOT NULL,
  kind TEXT NOT NULL, failure TEXT, body TEXT NOT NULL, usd REAL NOT NULL, seconds REAL NOT NULL,
  version TEXT NOT NULL, at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS facts_by_key ON facts (stage, key);
CREATE TABLE IF NOT EXISTS measured (
  stage TEXT NOT NULL, sample TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (stage, sample)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
  stage TEXT NOT NULL, sample TEXT NOT NULL, keep INTEGER NOT NULL, reason TEXT NOT NULL,
  evidence TEXT NOT NULL, PRIMARY KEY (stage, sample)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clusters (
  side TEXT NOT NULL, kind TEXT NOT NULL, sample TEXT NOT NULL, leader TEXT NOT NULL,
  similarity REAL, raw REAL, PRIMARY KEY (side, kind, sample)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stages (
  stage TEXT PRIMARY KEY, settings TEXT NOT NULL, version TEXT NOT NULL, at TEXT NOT NULL
) WITHOUT ROWID;
"""

Write = Callable[[sqlite3.Connection], object]
_Done = Future[None] | asyncio.Future[None]
"""Who waits for a write: a thread, or a task of an event loop."""


class Store:
    """The database of one run directory. Open it with `with Store(path) as store:`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._queue: queue.SimpleQueue[tuple[Write, _Done] | None] = queue.SimpleQueue()
        self._reader: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        with self._explained():
            if not self._read_only:
                self._prepare()
                self._thread = threading.Thread(target=self._write_loop, name="store", daemon=True)
            self._reader = _connect(self.path, read_only=self._read_only)
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._thread and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._reader:
            self._reader.close()
            self._reader = None

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        if self._reader is None:
            raise RuntimeError("the store is not open")
        with self._explained():
            return self._reader.execute(sql, values).fetchall()

    def submit(self, write: Write) -> Future[None]:
        """Queue a write; the future is done when it is durable."""
        done: Future[None] = Future()
        self._queue.put((write, done))
        return done

    def write(self, write: Write) -> None:
        """Write and wait until it is durable."""
        with self._explained():
            self.submit(write).result()

    async def save(self, write: Write) -> None:
        """Write and wait, without holding the event loop, until it is durable."""
        with self._explained():
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.put((write, done))
            await done

    def _prepare(self) -> None:
        connection = _connect(self.path)
        try:
            connection.executescript(_SCHEMA)
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('format', ?)",
                (str(FORMAT),),
            )
            connection.commit()
        finally:
            connection.close()

    def _write_loop(self) -> None:
        connection = _connect(self.path)
        try:
            for batch in self._batches():
                _commit(connection, batch)
        finally:
            connection.close()

    def _batches(self) -> Iterator[list[tuple[Write, _Done]]]:
        last = False
        while not last:
            item = self._queue.get()
            batch = []
            while item is not None:
                if isinstance(item[1], Future):
                    item[1].set_running_or_notify_cancel()
                batch.append(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:
                last = True
            if batch:
                yield batch

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            raise _explain(e, self.path) from e


def insert(table: str, rows: Iterable[tuple[object, ...]], *, replace: bool = False) -> Write:
    """A write that inserts rows into a table of the schema above."""
    listed = list(rows)
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    marks = ", ".join("?" * len(listed[0])) if listed else ""
    sql = f"{verb} INTO {table} VALUES ({marks})"

    def write(connection: sqlite3.Connection) -> None:
        if len(listed) == 1:
            connection.execute(sql, listed[0])
        elif listed:
            connection.executemany(sql, listed)

    return write


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    if read_only:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    else:
        connection = sqlite3.connect(path, check_same_thread=False)
    try:
        _check_format(connection, path)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 10000")
    except (sqlite3.Error, RunError):
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return
    found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if found and found[0] != str(FORMAT):
        raise RunError(
            f"{path.parent} has run format {found[0]}, this kernelsift reads format {FORMAT}; "
            "use the kernelsift that made it, or another directory with --run DIR"
        )


def _commit(connection: sqlite3.Connection, batch: list[tuple[Write, _Done]]) -> None:
    """Commit a batch; a batch that fails as a whole is tried write by write."""
    try:
        with connection:
            for write, _ in batch:
                write(connection)
    except Exception as e:  # noqa: BLE001 - whatever it is, it belongs to who waits for the write
        if len(batch) > 1:
            for item in batch:
                _commit(connection, [item])
        else:
            _tell([batch[0][1]], e)
        return
    _tell([done for _, done in batch], None)


def _tell(waiting: Iterable[_Done], error: Exception | None) -> None:
    """Finish futures, an event loop being woken once for all of its own."""
    loops: dict[asyncio.AbstractEventLoop, list[_Done]] = {}
    for done in waiting:
        if isinstance(done, asyncio.Future):
            loops.setdefault(done.get_loop(), []).append(done)
        else:
            _finish([done], error)
    for loop, mine in loops.items():
        with contextlib.suppress(RuntimeError):  # closed: nobody waits any more
            loop.call_soon_threadsafe(_finish, mine, error)


def _finish(waiting: Iterable[_Done], error: Exception | None) -> None:
    """A waiter that was cancelled meanwhile does not undo the write."""
    for done in waiting:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)


def _explain(error: sqlite3.Error, path: Path) -> RunError:
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    advice = {
        "SQLITE_FULL": "the disk is full; free some space and run the same command again",
        "SQLITE_READONLY": "it is read-only; choose another directory with --run DIR",
        "SQLITE_CANTOPEN": "it cannot be opened; is the directory there, and may you write to it?",
        "SQLITE_BUSY": "another program has locked it; wait for that to end",
        "SQLITE_NOTADB": "it is no SQLite database; choose another directory with --run DIR",
        "SQLITE_CORRUPT": "it is damaged; restore it from a copy, or use another --run DIR",
    }.get(name.removesuffix("_DIRECTORY").removesuffix("_DBMOVED"))
    if advice is None and name.startswith("SQLITE_IOERR"):
        advice = "the disk refused to read or write; is it full, or was it removed?"
    return RunError(f"cannot use {path}: {advice or f'{error} ({name})'}. Nothing stored is lost")

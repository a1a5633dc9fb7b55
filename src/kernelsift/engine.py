"""Run one measurement over many items: bounded, resumable, paid work never thrown away."""

import asyncio
import contextlib
import signal
import threading
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from typing import Generic, TypeVar

from kernelsift.errors import KernelsiftError, StoppingError
from kernelsift.model import Fact, Failure, SampleId
from kernelsift.run import Run

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

POOL_MINIMUM = 200
"""Fewer items than this are not worth starting processes for."""
_CHUNK = 16
_READ_AHEAD = 256
_GLANCE = 0.2
"""Seconds after which a stop is noticed, and the progress redrawn."""


@dataclass(frozen=True, slots=True)
class Job(Generic[ItemT]):
    """One item to measure, and the key that its fact will have."""

    sample: SampleId
    key: str
    item: ItemT


@dataclass
class Outcome:
    """What a measuring run came to."""

    counts: Counter[str] = field(default_factory=Counter)
    usd: float = 0.0
    interrupted: bool = False

    @property
    def done(self) -> int:
        return self.counts["measured"] + self.counts["failed"]

    def add(self, fact: Fact) -> None:
        """Count one fact."""
        if isinstance(fact.body, Failure):
            self.counts["failed"] += 1
            self.counts[f"failed: {fact.body.failure}"] += 1
        else:
            self.counts["measured"] += 1
        self.usd += fact.usd


@dataclass
class Stop:
    """Asked for by the first Ctrl-C: nothing new is sent, what is in flight is stored."""

    asked: bool = False
    on_ask: list[Callable[[], None]] = field(default_factory=list)

    def ask(self) -> None:
        """Start no more work."""
        if not self.asked:
            self.asked = True
            for call in self.on_ask:
                call()


def open_keys(
    known: Mapping[str, str | None], keys: Mapping[SampleId, str], retry: Sequence[str] | None
) -> dict[str, SampleId]:
    """Keys that still need an answer -> the first sample with that key (equal items share it).

    `known` maps a key to its failure class, None for a success. `retry` lists failure classes to
    measure again: an empty list means all of them, None means none.
    """
    todo: dict[str, SampleId] = {}
    for sample, key in keys.items():
        failure = known.get(key)
        again = failure is not None and retry is not None and (not retry or failure in retry)
        if key not in known or again:
            todo.setdefault(key, sample)
    return todo


async def measure_async(
    run: Run,
    jobs: Iterable[Job[ItemT]],
    measure: Callable[[Job[ItemT]], Awaitable[Fact]],
    *,
    at_once: int,
    on_fact: Callable[[Outcome], None],
    stop: Stop,
) -> Outcome:
    """Measure every job, at most `at_once` under way, storing each fact as it comes.

    After an error that ends the run no new job starts, but jobs already under way (and paid
    for) finish and are stored before the error is raised.

    Raises:
        KernelsiftError: the first error that concerns more than one row.
        KeyboardInterrupt: Ctrl-C came a second time; calls in flight were given up.
    """
    outcome = Outcome()
    errors: list[KernelsiftError] = []
    feed = _Feed(jobs)

    async def work() -> None:
        try:
            while not stop.asked and (job := await feed.next()) is not None:
                fact = await measure(job)
                await run.save_fact(fact)
                outcome.add(fact)
                on_fact(outcome)
        except StoppingError:
            return
        except KernelsiftError as e:
            errors.append(e)
            stop.ask()
        except Exception:
            stop.ask()
            raise

    tasks = [asyncio.create_task(work()) for _ in range(at_once)]
    async with _ctrl_c(stop, tasks):
        finished = await asyncio.gather(*tasks, return_exceptions=True)
    _raise_first([result for result in finished if result is not None], errors)
    outcome.interrupted = stop.asked
    return outcome


def _raise_first(ends: Sequence[BaseException], errors: Sequence[KernelsiftError]) -> None:
    for end in ends:
        raise KeyboardInterrupt if isinstance(end, asyncio.CancelledError) else end
    for error in errors:
        raise error


class _Feed(Generic[ItemT]):
    """Jobs for many workers, read ahead by a thread so that files do not hold the event loop."""

    def __init__(self, jobs: Iterable[Job[ItemT]]) -> None:
        self._jobs = iter(jobs)
        self._ready: list[Job[ItemT]] = []
        self._ended = False
        self._lock = asyncio.Lock()

    async def next(self) -> Job[ItemT] | None:
        if not self._ready and not self._ended:
            async with self._lock:
                if not self._ready and not self._ended:
                    self._ready = await asyncio.to_thread(self._take)
                    self._ended = not self._ready
        return self._ready.pop() if self._ready else None

    def _take(self) -> list[Job[ItemT]]:
        taken = [job for _, job in zip(range(_READ_AHEAD), self._jobs, strict=False)]
        return taken[::-1]


@contextlib.asynccontextmanager
async def _ctrl_c(stop: Stop, tasks: Sequence["asyncio.Task[None]"]) -> AsyncIterator[None]:
    """First SIGINT or SIGTERM: ask to stop. Second: cancel what is in flight."""

    def on_signal() -> None:
        if stop.asked:
            for task in tasks:
                task.cancel()
        stop.ask()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def measure_in_threads(
    run: Run,
    jobs: Iterable[Job[ItemT]],
    measure: Callable[[Job[ItemT]], Fact],
    *,
    at_once: int,
    on_facts: Callable[[Outcome, Sequence[Fact]], None],
) -> Outcome:
    """Measure every job in threads, `at_once` under way, storing facts as soon as they are there.

    `on_facts` is told of new facts once they are stored, and now and then of none. After Ctrl-C or
    an error nothing new starts, what is there is stored, and what is under way is given up: the
    caller ends what the threads wait for.

    Raises:
        KernelsiftError: the first error that concerns more than one row.
        KeyboardInterrupt: Ctrl-C came a second time.
    """
    outcome, stop = Outcome(), Stop()
    feed = iter(jobs)
    under_way: set[Future[Fact]] = set()
    executor = ThreadPoolExecutor(at_once, thread_name_prefix="measure")
    try:
        with _signals(stop):
            while not stop.asked:
                room = 2 * at_once - len(under_way)
                under_way |= {executor.submit(measure, job) for job in islice(feed, room)}
                if not under_way:
                    break
                done, under_way = wait(under_way, _GLANCE, FIRST_COMPLETED)
                _store(run, done, outcome, on_facts)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    _store(run, {f for f in under_way if f.done() and not f.cancelled()}, outcome, on_facts)
    outcome.interrupted = stop.asked
    return outcome


def _store(
    run: Run,
    done: Iterable["Future[Fact]"],
    outcome: Outcome,
    on_facts: Callable[[Outcome, Sequence[Fact]], None],
) -> None:
    """Store what has come in; only then raise what went wrong."""
    ends = list(done)
    facts = [end.result() for end in ends if end.exception() is None]
    run.save_facts(facts)
    for fact in facts:
        outcome.add(fact)
    on_facts(outcome, facts)
    for end in ends:
        if error := end.exception():
            raise error


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """First SIGINT or SIGTERM: ask to stop. Second: stop at once."""

    def on_signal(*_: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.ask()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def map_in_processes(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, workers: int, total: int
) -> Iterator[ResultT]:
    """Yield function(item) in order, in `workers` fresh processes when there is enough to do.

    Items are read a few chunks ahead, so memory stays bounded. `function` must be importable.
    """
    if workers <= 1 or total < POOL_MINIMUM:
        yield from map(function, items)
        return
    iterator = iter(items)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending = []
        for chunk in iter(lambda: [i for _, i in zip(range(_CHUNK), iterator, strict=False)], []):
            pending.append(pool.submit(_map_chunk, function, chunk))
            if len(pending) >= 4 * workers:
                yield from pending.pop(0).result()
        for future in pending:
            yield from future.result()


def _map_chunk(function: Callable[[ItemT], ResultT], chunk: list[ItemT]) -> list[ResultT]:
    return [function(item) for item in chunk]

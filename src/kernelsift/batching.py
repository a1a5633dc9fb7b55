"""Judge by a service's batch API: first requests go there, what is left is asked as always.

The answers land in the run's store of replies, where the judge stage finds them and pays nothing.
Then it asks alone what no batch could answer: second asks after a useless answer, and requests that
were turned away. Requests that are only open again (the batch has expired) wait for the next one.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from kernelsift import batch_records as records
from kernelsift.batch_desk import Desk, open_desk, too_little
from kernelsift.batch_records import BatchRow
from kernelsift.errors import ConfigError
from kernelsift.instrument import VERSION
from kernelsift.judging import (
    Judging,
    Member,
    asks,
    check_families,
    judge,
    members,
    prepare,
)
from kernelsift.llm.chat import Ask
from kernelsift.measuring import Work
from kernelsift.model import Tally
from kernelsift.session import Session

ResultT = TypeVar("ResultT")
_STAGE: Final = "judge"
HOWS: Final = ("cancel", "forget")
How = Literal["cancel", "forget"]


@dataclass(frozen=True, slots=True)
class _Filled:
    """What came of handing in and fetching."""

    notes: tuple[str, ...]
    under_way: int
    """Batches that are not waited for."""
    requests: int


def judge_by_batch(session: Session, *, retry: Sequence[str] | None = None) -> Tally:
    """Judge by batches, then what is left by asking; see `pipeline.judge`.

    `retry` is asked alone, as always.

    Raises:
        ConfigError: a service has no batches, or refused one as a whole.
        BudgetError: not even one request fits under a cap.
        DeniedError: a service refuses the key or the account.
        RunError: it cannot be told whether a batch was made, or what became of it.
        UnreachableError: a batch has expired; what it had finished is stored.
        KeyboardInterrupt: Ctrl-C came while waiting; batches go on at the service.
    """
    judges = members(session)
    if judges[0].instrument.prompt is None or session.chat is not None:
        return judge(session, retry=retry)
    check_families(session, judges)
    filled = _running(session, lambda: _fill(session, judges))
    if filled.under_way:
        rows = len(session.run.kept_before(_STAGE))
        note = f"{_many(filled.under_way)} under way; the same command fetches what has ended"
        counts = {"rows": rows, "requests in batches": filled.requests}
        return Tally(_STAGE, counts, 0.0, notes=(*filled.notes, note))
    tally = judge(session, retry=retry)
    return replace(tally, notes=(*filled.notes, *tally.notes))


def check_none_under_way(session: Session) -> None:
    """Refuse to ask one by one what is in a batch already: it would be paid twice.

    Raises:
        ConfigError: a batch of one of the judges is under way.
    """
    found = [row for row in records.may_be_paid(session.run.store) if row.stage == _STAGE]
    if not found or session.chat is not None:
        return
    places = {(j.instrument.base_url, j.instrument.cfg.model) for j in members(session)}
    rows = [row for row in found if (row.base_url, row.model) in places]
    if rows:
        total = sum(row.requests for row in rows)
        raise ConfigError(
            f"{_many(len(rows))} under way with {total:,} requests of {rows[0].model}, which would "
            "be paid again; `kernelsift judge --batch` fetches the answers, `kernelsift judge "
            "--batches cancel` stops it"
        )


def end_batches(session: Session, how: How) -> Tally:
    """End the batches under way: `cancel` them and store what is finished, or `forget` them.

    Forgetting asks no service; what the batches may have cost stays at risk (`status`).
    """
    run = session.run
    rows = [row for row in records.open_batches(run.store) if row.stage == _STAGE]
    if how == "forget":
        for row in rows:
            records.forget(run.store, row)
        return Tally(_STAGE, {"batches forgotten": len(rows)}, 0.0)
    notes = _running(session, lambda: _cancel(session, members(session)))
    left = [row for row in records.open_batches(run.store) if row.stage == _STAGE]
    counts = {"batches ended": len(rows) - len(left)}
    return Tally(_STAGE, counts, 0.0, notes=(*notes, *_others(left)))


def _running(session: Session, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Run until it is done; Ctrl-C leaves the batches where they are."""

    async def main() -> ResultT:
        return await work()

    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        rows = records.open_batches(session.run.store)
        if not rows:
            raise
        total = sum(row.requests for row in rows)
        raise KeyboardInterrupt(
            f"stopped waiting; {_many(len(rows))} under way at the service with {total:,} requests"
        ) from None


async def _fill(session: Session, judges: Sequence[Member]) -> _Filled:
    cfg = session.settings.batch
    todo = prepare(session)
    async with AsyncExitStack() as stack:
        desks = [await stack.enter_async_context(_desk(judge)) for judge in judges]
        for desk in desks:
            await desk.resume()
        more = True
        with session.progress.start("batch", None):
            while True:
                ended = sum([await desk.look() for desk in desks])
                if (ended or more) and not any(desk.problems for desk in desks):
                    more = False
                    for desk, member in zip(desks, judges, strict=True):
                        await desk.hand_in(_first_asks(todo, member))
                rows = [row for desk in desks for row in desk.rows()]
                if not rows or not cfg.wait:
                    break
                _show(session, desks, rows)
                await asyncio.sleep(cfg.poll_seconds)
    return _filled(session, desks, rows)


def _filled(session: Session, desks: Sequence[Desk], rows: Sequence[BatchRow]) -> _Filled:
    """What came of it; raises what stands in the way of judging now."""
    notes = tuple(note for desk in desks for note in desk.notes)
    problems = [problem for desk in desks for problem in desk.problems]
    if problems:
        raise type(problems[0])("\n".join((*map(str, problems), *notes)))
    short = next((desk.short for desk in desks if desk.short), "")
    if short and not rows:
        raise too_little("\n".join((short, *notes)))
    others = [row for row in records.open_batches(session.run.store) if row not in rows]
    return _Filled((*notes, *_others(others)), len(rows), sum(row.requests for row in rows))


async def _cancel(session: Session, judges: Sequence[Member]) -> list[str]:
    cfg = session.settings.batch
    async with AsyncExitStack() as stack:
        desks = [await stack.enter_async_context(_desk(judge)) for judge in judges]
        for desk in desks:
            await desk.resume()
            await desk.cancel()
        with session.progress.start("batch", None):
            while True:
                for desk in desks:
                    await desk.look(cancelled=True)
                rows = [row for desk in desks for row in desk.rows()]
                if not rows or not cfg.wait:
                    break
                _show(session, desks, rows)
                await asyncio.sleep(cfg.poll_seconds)
    return [text for desk in desks for text in (*desk.notes, *map(str, desk.problems))]


def _desk(member: Member) -> AbstractAsyncContextManager[Desk]:
    return open_desk(member.session, _STAGE, member.instrument.cfg.model)


def _first_asks(todo: Judging, member: Member) -> Iterator[Ask]:
    """The first requests of one judge for what it has not judged; both questions of a checklist."""
    work = Work(member.session, _STAGE, VERSION, todo.keys(member.instrument))
    own = Judging((member,), work, todo.modules, todo.entries)
    return (ask for is_open, ask in asks(own, set(work.todo.values())) if is_open)


def _show(session: Session, desks: Sequence[Desk], rows: Sequence[BatchRow]) -> None:
    """How far the batches are."""
    states = [state for desk in desks for state in desk.at.values()]
    done = sum(state.completed + state.failed for state in states)
    total = sum(row.requests for row in rows)
    words = ", ".join(f"{n:,} {what}" for what, n in Counter(s.status for s in states).items())
    session.progress.update(done, f"of {total:,} requests · {_many(len(rows))}: {words}")


def _others(rows: Sequence[BatchRow]) -> list[str]:
    """Notes on batches that the settings do not name."""
    return [
        f"batch {row.name} with {row.requests:,} requests of {row.model} at {row.base_url} is "
        "under way as well; --model and --base-url say so to fetch it"
        for row in rows
    ]


def _many(count: int) -> str:
    return f"{count:,} batch{'es' if count > 1 else ''}"

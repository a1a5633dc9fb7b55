"""Where the batches of one model are handed in and fetched. No crash makes one be paid twice.

What is about to happen is stored before it happens. After a crash, a batch that was not yet asked
for is given up (nothing was paid), and one that was perhaps made is looked for at the service.
"""

import hashlib
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import IO, Any, Final

from kernelsift import batch_records as records
from kernelsift.batch_records import BatchRow, Planned
from kernelsift.batch_results import Reader, is_whole
from kernelsift.endpoint import make_endpoint
from kernelsift.errors import (
    BudgetError,
    ConfigError,
    DeniedError,
    KernelsiftError,
    RunError,
    UnreachableError,
)
from kernelsift.journal import RunJournal
from kernelsift.llm.backoff import Clock, Patience
from kernelsift.llm.batch_client import BatchClient
from kernelsift.llm.batch_wire import ENDED, UNDER_WAY, BatchState, request_line
from kernelsift.llm.chat import Ask, ask_digest, encode, sent_params, wire_body
from kernelsift.llm.openai import find_price, no_price, open_service
from kernelsift.llm.prices import Price
from kernelsift.llm.wire import Dialect
from kernelsift.session import Session

_MOST_LESSONS: Final = 8
"""Parameters that one request may find to be refused, before it is left to be asked alone."""


@dataclass
class Room:
    """How much may still be sent, and spent in the worst case."""

    usd: float
    requests: float

    @classmethod
    def of(cls, session: Session) -> "Room":
        """What the caps leave."""
        cfg = session.settings.llm
        usd, risk, requests = session.run.spent()
        most_usd = inf if cfg.max_usd is None else cfg.max_usd
        most = inf if cfg.max_requests is None else cfg.max_requests
        return cls(most_usd - usd - risk, most - requests)


@dataclass
class _Load:
    """Requests on their way into one batch."""

    lines: list[bytes] = field(default_factory=list)
    requests: list[Planned] = field(default_factory=list)
    bytes: int = 0


@dataclass
class Desk:
    """The batches of one stage that asks one model. Made by `open_desk`."""

    session: Session
    stage: str
    client: BatchClient
    price: Price | None
    """With the discount for batches."""
    dialect: Dialect
    journal: RunJournal
    notes: list[str] = field(default_factory=list)
    problems: list[KernelsiftError] = field(default_factory=list)
    """About batches that ended without having been worked through."""
    short: str = ""
    """Why some requests fit under no cap; empty when all fitted."""
    at: dict[str, BatchState] = field(default_factory=dict)
    """How the batches under way stood at the last look."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Stage, base URL and model."""
        endpoint = self.client.service.endpoint
        return self.stage, endpoint.base_url, endpoint.model

    def rows(self) -> list[BatchRow]:
        """The batches of this desk that are not closed."""
        found = records.open_batches(self.session.run.store)
        return [row for row in found if (row.stage, row.base_url, row.model) == self.place]

    # --- handing in -----------------------------------------------------------------------------

    async def hand_in(self, asks: Iterable[Ask]) -> int:
        """Make batches of the requests that have no reply and are in no batch; return how many.

        Raises:
            ConfigError: the service refuses a batch, or a cap is set and the price is not known.
            DeniedError, RunError, UnreachableError: as `BatchClient`.
        """
        cfg = self.session.settings.batch
        room = Room.of(self.session)
        if room.usd < inf and self.price is None:
            raise no_price(self.client.service.endpoint)
        self.short = ""
        settled = records.not_again(self.session.run.store, _MOST_LESSONS)
        load = _Load()
        sent = 0
        for ask in asks:
            digest, body = self._wire(ask)
            if digest in settled or self.journal.find(digest) is not None:
                continue
            settled.add(digest)
            encoded = request_line(digest, body)
            worst = None
            if self.price is not None:
                worst = self.price.worst(len(encode(body)), ask.max_tokens)
            if not self._fits(room, worst or 0.0):
                break
            full = load.bytes + len(encoded) > cfg.max_megabytes * 1e6
            if load.lines and (full or len(load.lines) == cfg.max_requests):
                sent += await self._send(load)
                load = _Load()
            load.lines.append(encoded)
            load.requests.append(Planned(digest, worst, sent_params(body)))
            load.bytes += len(encoded)
        return sent + (await self._send(load) if load.lines else 0)

    def _wire(self, ask: Ask) -> tuple[str, dict[str, Any]]:
        """The digest that the request has when it is asked alone, and the body for a batch."""
        endpoint = self.client.service.endpoint
        asked = wire_body(ask, endpoint.model)
        digest = ask_digest(endpoint.base_url, asked, ask.sample)
        body = self.dialect.body(asked)
        return digest, {k: v for k, v in body.items() if k != "service_tier"}

    def _fits(self, room: Room, worst: float) -> bool:
        if room.requests < 1:
            cap = self.session.settings.llm.max_requests
            self.short = f"--max-requests is {cap} and as many are sent or under way"
        elif room.usd < worst:
            cap_usd = self.session.settings.llm.max_usd
            self.short = (
                f"--max-usd is ${cap_usd:.4f}, of which ${max(0.0, room.usd):.4f} are neither "
                f"spent nor set aside, and the next request of a batch may cost ${worst:.4f}"
            )
        else:
            room.requests -= 1
            room.usd -= worst
            return True
        return False

    async def _send(self, load: _Load) -> int:
        """Write the intent down, upload, make the batch; each step is durable before the next."""
        store = self.session.run.store
        content = b"".join(load.lines)
        intent = secrets.token_hex(16)
        row = records.planned(
            intent, self.place, load.requests, hashlib.sha256(content).hexdigest()
        )
        records.plan(store, row, load.requests)
        try:
            file_id = await self.client.upload(f"kernelsift-{intent}.jsonl", content)
            records.advance(store, intent, file_id=file_id, state="creating")
            made = await self.client.create(file_id, intent)
        except (ConfigError, DeniedError) as error:
            records.close_all(store, intent, "refused", "unsent", str(error))
            raise
        records.advance(store, intent, batch_id=made.id, state="under way")
        self.at[intent] = made
        return len(load.requests)

    # --- going on -------------------------------------------------------------------------------

    async def resume(self) -> None:
        """Find out what became of batches that an earlier process had begun to hand in."""
        store = self.session.run.store
        for row in self.rows():
            if row.state == "planned":
                records.close_all(store, row.intent, "unsent", "unsent", "never asked for")
            elif row.state == "creating":
                found = await self.client.find(row.file_id, row.intent)
                if found is None:
                    records.close_all(store, row.intent, "unsent", "unsent", "never made")
                else:
                    records.advance(store, row.intent, batch_id=found.id, state="under way")
                    self.notes.append(f"batch {found.id} was made by a run that did not end")

    async def look(self, *, cancelled: bool = False) -> int:
        """Look at the batches under way, store what has ended, return how many were closed.

        `cancelled`: they were told to stop, so that it is no problem when they have.

        Raises:
            RunError: a batch is gone, or in a state that is not known.
            DeniedError, UnreachableError: as `BatchClient`.
        """
        closed = 0
        for row in self.rows():
            state = await self.client.get(row.batch_id)
            if state is None:
                raise RunError(
                    f"{row.base_url} does not know batch {row.batch_id} with "
                    f"{row.requests:,} requests, made at {row.at}; is this the key that made it? "
                    "`kernelsift judge --batches forget` gives its answers up and goes on"
                )
            self.at[row.intent] = state
            if state.status == "failed":
                self._refused(row, state)
            elif state.status in ENDED:
                await self._fetch(row, state, expected=cancelled)
            elif state.status in UNDER_WAY:
                continue
            else:
                raise RunError(
                    f"{row.base_url} says that batch {row.batch_id} is {state.status!r}, which is "
                    "no state that this kernelsift knows; nothing is lost, and nothing was fetched"
                )
            del self.at[row.intent]
            closed += 1
        return closed

    async def cancel(self) -> int:
        """Tell the service to stop what is under way; return how many batches that are."""
        rows = self.rows()
        for row in rows:
            await self.client.cancel(row.batch_id)
        return len(rows)

    def _refused(self, row: BatchRow, state: BatchState) -> None:
        """The service has looked at the file and will not work on it: nothing was paid."""
        said = "; ".join(state.errors[:3]) or "it gave no reason"
        more = f"; and {len(state.errors) - 3} more" if len(state.errors) > 3 else ""
        records.close_all(
            self.session.run.store, row.intent, "failed", "refused", "; ".join(state.errors)
        )
        text = (
            f"{row.base_url} refused batch {row.batch_id} of {row.requests:,} requests as a whole, "
            f"and nothing was paid for it: {said}{more}. Lower batch.max_requests where it was too "
            "large for the account, or judge without --batch"
        )
        self.problems.append(ConfigError(text))

    async def _fetch(self, row: BatchRow, state: BatchState, *, expected: bool) -> None:
        """Store the results of a batch that has ended, then close it."""
        store = self.session.run.store
        reader = Reader(
            self.client.service.endpoint,
            self.journal,
            self.price,
            self.dialect,
            records.requests_of(store, row.intent),
        )
        with ExitStack() as stack:
            output, error = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            state = await self._download(row, state, (output, error))
            await reader.take((output, error))
        results = reader.finish(state.status)
        records.close(store, row, results, state.status)
        self._report(row, state.status, reader)
        if reader.denied:
            self.problems.append(DeniedError(f"batch {row.batch_id}: {reader.denied}"))
        if state.status != "completed" and not expected:
            left = sum(one.state == state.status for one in results)
            text = (
                f"batch {row.batch_id} has {'' if state.status == 'expired' else 'been '}"
                f"{state.status} with {left:,} of {row.requests:,} requests not worked on; they "
                "are open again and were not paid for: run the same command for another batch, or "
                "judge without --batch"
            )
            self.problems.append(UnreachableError(text))

    async def _download(
        self, row: BatchRow, state: BatchState, files: tuple[IO[bytes], IO[bytes]]
    ) -> BatchState:
        """Fetch both files, again while they are cut off; what is there in the end has to do."""
        for tried in range(1, self.client.patience.tries + 1):
            for name, file in zip((state.output_file, state.error_file), files, strict=True):
                if name:
                    await self.client.download(name, file)
            if is_whole(files, state.completed + state.failed):
                break
            if tried < self.client.patience.tries:
                await self.client.clock.sleep(self.client.pause)
                state = await self.client.get(row.batch_id) or state
        return state

    def _report(self, row: BatchRow, status: str, reader: Reader) -> None:
        counts = reader.counts()
        answered = counts.pop("answered", 0)
        parts = [f"{answered:,} of {row.requests:,} answered", f"${reader.usd:.4f}"]
        parts += _words(counts)
        if reader.strange:
            parts.append(f"{reader.strange:,} results of unknown requests left out")
        if reader.repeated:
            parts.append(f"{reader.repeated:,} results came twice")
        self.notes.append(f"batch {row.batch_id} {status}: {', '.join(parts)}")


def _words(counts: Counter[str]) -> list[str]:
    return [f"{count:,} {state}" for state, count in sorted(counts.items())]


def too_little(why: str) -> BudgetError:
    """The error where nothing fits under the caps and nothing is under way."""
    return BudgetError(f"{why}; raise it and run the same command again: nothing is lost")


@asynccontextmanager
async def open_desk(session: Session, stage: str, model: str) -> AsyncIterator[Desk]:
    """Open the connection to a model's service.

    Raises:
        ConfigError: the service needs a key, and there is none.
    """
    cfg, batch = session.settings.llm, session.settings.batch
    endpoint = make_endpoint(cfg, model, session.secrets)
    clock = Clock()
    opened = open_service(endpoint, deadline=cfg.timeout_seconds, connect=30.0, clock=clock)
    async with opened as service:
        price = await find_price(service)
        journal = RunJournal(session.run, stage, endpoint.base_url, model)
        known = journal.dropped_params(endpoint.base_url, model)
        yield Desk(
            session,
            stage,
            BatchClient(service, Patience(tries=cfg.tries), clock, batch.poll_seconds),
            None if price is None else price.times(batch.price_factor),
            Dialect(known, keep_token_limit=cfg.max_usd is not None),
            journal,
        )

"""Results of a batch into the run's store of replies, as if each had been asked alone.

Reading them again, after a crash half way, changes nothing: a reply that is there is left alone.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

from kernelsift.batch_records import Planned, Result
from kernelsift.errors import ConfigError
from kernelsift.journal import RunJournal
from kernelsift.llm.batch_wire import Line, read_line
from kernelsift.llm.chat import Reply
from kernelsift.llm.client import read_reply
from kernelsift.llm.openai import Answer, Endpoint, Trouble, read_answer
from kernelsift.llm.prices import Price, cost
from kernelsift.llm.wire import Dialect, ServiceError

_AT_ONCE: Final = 500
"""Replies that are stored together."""
_NOT_SENT: Final = {
    "batch_expired": "expired",
    "batch_cancelled": "cancelled",
    "request_timeout": "timeout",
}


@dataclass
class Reader:
    """Reads the results of one batch."""

    endpoint: Endpoint
    journal: RunJournal
    price: Price | None
    """With the batch's discount."""
    dialect: Dialect
    requests: Mapping[str, Planned]
    results: dict[str, Result] = field(default_factory=dict)
    usd: float = 0.0
    strange: int = 0
    """Results of requests that were not in the batch."""
    repeated: int = 0
    denied: str = ""
    """Why the key or the account was refused, for requests that go into another batch later."""

    async def take(self, files: Sequence[IO[bytes]]) -> None:
        """Store the reply of every line that holds one; returns when they are durable."""
        waiting: list[Reply] = []
        for line in _lines(files):
            reply = self._read(line)
            if reply is not None:
                waiting.append(reply)
            if len(waiting) == _AT_ONCE:
                await self._save(waiting)
                waiting = []
        await self._save(waiting)

    def finish(self, status: str) -> list[Result]:
        """What became of every request, once all lines were read.

        One without a line was never sent if the batch ended early; else its result is gone, and it
        may have been billed.
        """
        for digest, one in self.requests.items():
            if digest in self.results:
                continue
            if status == "completed":
                why = "the batch was completed without a result for it"
                self.results[digest] = Result(digest, "lost", why, paid=True, usd=one.worst_usd)
            else:
                self.results[digest] = Result(digest, status)
        return list(self.results.values())

    def counts(self) -> Counter[str]:
        """Requests per state."""
        return Counter(one.state for one in self.results.values())

    async def _save(self, replies: Iterable[Reply]) -> None:
        await asyncio.gather(*map(self.journal.save, replies))

    def _read(self, line: Line) -> Reply | None:
        asked = self.requests.get(line.custom_id)
        if asked is None:
            self.strange += 1
            return None
        earlier = self.results.get(asked.digest)
        if earlier is not None and earlier.state == "answered":
            self.repeated += 1
            return None
        stored = self.journal.find(asked.digest)
        if stored is not None:
            self.usd += stored.usd or 0.0
            self.results[asked.digest] = Result(asked.digest, "answered")
            return None
        body = self.endpoint.key.scrub_bytes(line.body)
        answer = Answer(line.status, "application/json", None, body, 0.0)
        if not line.status:
            said = line.message or line.code or "the service gave no reason"
            state = _NOT_SENT.get(line.code, "server")
            self.results[asked.digest] = Result(asked.digest, state, said[:300])
            return None
        read = read_answer(answer, self.endpoint)
        if isinstance(read, Trouble):
            self.results[asked.digest] = self._failed(asked, read)
            return None
        self.dialect.accept(_sent(asked))
        reply = read_reply(asked.digest, asked.params, answer, read, self.price)
        self.usd += reply.usd or 0.0
        self.results[asked.digest] = Result(asked.digest, "answered")
        return reply

    def _failed(self, asked: Planned, trouble: Trouble) -> Result:
        usd, _ = cost(trouble.usage, self.price)
        if usd is not None:
            self.usd += usd
            return Result(
                asked.digest, trouble.failure, trouble.why, paid=True, usd=usd, known=True
            )
        if trouble.denied:
            self.denied = trouble.why
            return Result(asked.digest, "refused", trouble.why)
        if trouble.error is not None and self._learned(trouble.error, asked):
            return Result(asked.digest, "unsupported", trouble.why)
        billed = trouble.maybe_billed
        worst = asked.worst_usd if billed else None
        return Result(asked.digest, trouble.failure, trouble.why, paid=billed, usd=worst)

    def _learned(self, error: ServiceError, asked: Planned) -> bool:
        """Whether the complaint was about a parameter, which is then no longer sent."""
        before = dict(self.dialect.dropped)
        try:
            learned = self.dialect.learn(error, _sent(asked))
        except ConfigError:  # asked alone, the same complaint ends the run with its message
            return False
        if self.dialect.dropped != before:
            place = self.endpoint
            self.journal.remember_dropped(place.base_url, place.model, self.dialect.dropped)
        return learned


def is_whole(files: Sequence[IO[bytes]], lines: int) -> bool:
    """Whether files hold at least so many lines, and none of them is cut off."""
    found = 0
    for file in files:
        file.seek(0)
        for raw in file:
            if raw.strip():
                if read_line(raw) is None:
                    return False
                found += 1
    return found >= lines


def _lines(files: Sequence[IO[bytes]]) -> Iterator[Line]:
    """The lines that can be read."""
    for file in files:
        file.seek(0)
        for raw in file:
            line = read_line(raw)
            if line is not None:
                yield line


def _sent(asked: Planned) -> dict[str, Any]:
    """The parameters of a request's body, the kind of its schema where that stands in the body."""
    sent = dict(asked.params)
    if "response_format" in sent:
        sent["response_format"] = {"type": sent["response_format"]}
    return sent

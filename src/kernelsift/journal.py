"""Keeps every reply of a run in its database, durable before the row that asked for it counts."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from kernelsift.llm.chat import LostAttempt, Reply
from kernelsift.records import now
from kernelsift.run import Run
from kernelsift.store import insert

_PLAIN = [f.name for f in dataclasses.fields(Reply) if f.name not in {"digest", "raw", "cached"}]


@dataclass(slots=True)
class RunJournal:
    """The journal (see `llm.chat.Journal`) of one stage that asks one model at one address."""

    run: Run
    stage: str
    base_url: str
    model: str
    _known: set[bytes] | None = field(default=None, init=False, repr=False)
    """Digests of all replies, so that most asks need no query: a run has one writer."""

    def find(self, digest: str) -> Reply | None:
        if self._known is None:
            digests = self.run.store.rows("SELECT digest FROM replies")
            self._known = {bytes.fromhex(known) for (known,) in digests}
        if bytes.fromhex(digest) not in self._known:
            return None
        found = self.run.store.rows("SELECT reply, raw FROM replies WHERE digest = ?", digest)
        if not found:
            return None
        ((reply, raw),) = found
        return Reply(digest=digest, raw=raw, cached=True, **orjson.loads(reply))

    async def save(self, reply: Reply) -> None:
        plain = orjson.dumps({name: getattr(reply, name) for name in _PLAIN}).decode()
        row = (
            reply.digest,
            self.stage,
            self.base_url,
            self.model,
            plain,
            reply.raw,
            reply.usd,
            reply.input_tokens,
            reply.output_tokens,
            reply.seconds,
            now(),
        )
        if self._known is not None:
            self._known.add(bytes.fromhex(reply.digest))
        await self.run.store.save(insert("replies", [row], replace=True))

    def dropped_params(self, base_url: str, model: str) -> Mapping[str, str]:
        found = self.run.store.rows(
            "SELECT params FROM dropped_params WHERE base_url = ? AND model = ?", base_url, model
        )
        return json.loads(found[0][0]) if found else {}

    def remember_dropped(self, base_url: str, model: str, dropped: Mapping[str, str]) -> None:
        row = (base_url, model, json.dumps(dict(dropped)))
        self.run.store.submit(insert("dropped_params", [row], replace=True))

    def record_lost(self, lost: LostAttempt) -> None:
        place = (lost.digest, self.stage, self.base_url, self.model)
        row = (None, *place, lost.why, lost.usd, int(lost.known), now())
        self.run.store.submit(insert("lost", [row]))

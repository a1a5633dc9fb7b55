"""A service's batch API: files go there, batches are made, looked for, watched and fetched.

What may be sent twice is tried again after a failure. Making a batch is not: after a failure that
leaves open whether there is one now, the service's list is read first.
"""

from dataclasses import dataclass
from typing import IO, Final, NoReturn
from urllib.parse import quote

from kernelsift.errors import ConfigError, DeniedError, RunError, UnreachableError
from kernelsift.llm.backoff import Clock, Patience
from kernelsift.llm.batch_wire import BatchState, creation, read_batch, read_object
from kernelsift.llm.openai import Answer, Request, Service, Trouble, refused

_FILE_SECONDS: Final = 1800.0
"""For the transfer of one file of up to 200 MB."""
_LOOKS: Final = 3
"""How often the list of batches is read before a batch counts as never made: it may lag."""


@dataclass(frozen=True, slots=True)
class BatchClient:
    """The batch API of one endpoint, over its open connections."""

    service: Service
    patience: Patience
    clock: Clock
    pause: float
    """Seconds between two looks for a batch in a list that may lag."""

    @property
    def place(self) -> str:
        return self.service.endpoint.base_url

    async def upload(self, name: str, content: bytes) -> str:
        """Send a file of requests and return its id. A second copy of it costs nothing.

        Raises:
            ConfigError: the service has no files, or does not take this one.
            DeniedError, UnreachableError: as for chats.
        """
        request = Request("POST", "/files", file=(name, content), seconds=_FILE_SECONDS)
        answer = await self._patiently(request)
        found = read_object(answer.body).get("id") if _is_good(answer) else None
        if not isinstance(found, str) or not found:
            self._has_none(answer)
        return found

    async def create(self, file_id: str, intent: str) -> BatchState:
        """Make a batch of an uploaded file, once.

        Raises:
            ConfigError: the service refuses it; there is no batch.
            RunError: it may be there, and the service does not tell.
            DeniedError, UnreachableError: as for chats.
        """
        body = creation(file_id, intent)
        for tried in range(1, self.patience.tries + 1):
            answer = await self.service.call(Request("POST", "/batches", body=body))
            if isinstance(answer, Answer) and _is_good(answer):
                made = read_batch(read_object(answer.body))
                if made is not None:
                    return made
            trouble = self._trouble(answer)
            if trouble.denied:
                raise DeniedError(trouble.why)
            if isinstance(answer, Answer) and 400 <= answer.status < 500 and not trouble.retry:
                self._has_none(answer)
            sure = not trouble.reached or trouble.failure == "rate-limit"
            found = None if sure else await self.find(file_id, intent)
            if found is not None:
                return found
            await self._wait(trouble, tried)
        raise self._away(trouble)

    async def find(self, file_id: str, intent: str) -> BatchState | None:
        """Look for a batch that was perhaps made; None when there is none.

        Raises:
            RunError: the service has no list of batches, so that nobody can tell.
            DeniedError, UnreachableError: as for chats.
        """
        for look in range(_LOOKS):
            if look:
                await self.clock.sleep(self.pause)
            found = await self._listed(file_id, intent)
            if found is not None:
                return found
        return None

    async def get(self, batch_id: str) -> BatchState | None:
        """How a batch stands; None where the service does not know it."""
        answer = await self._patiently(Request("GET", f"/batches/{quote(batch_id, safe='')}"))
        if answer.status == 404:
            return None
        found = read_batch(read_object(answer.body)) if _is_good(answer) else None
        if found is None:
            raise UnreachableError(
                f"{self.place} does not say how batch {batch_id} stands: "
                f"{self._trouble(answer).why}; it goes on there, and the same command fetches it"
            )
        return found

    async def cancel(self, batch_id: str) -> None:
        """Ask the service to stop a batch. One that has ended already is left as it is."""
        path = f"/batches/{quote(batch_id, safe='')}/cancel"
        await self._patiently(Request("POST", path, body=b"{}"))

    async def download(self, file_id: str, into: IO[bytes]) -> None:
        """Write the content of a file into one here, from its beginning.

        Raises:
            DeniedError, UnreachableError: as for chats.
        """
        path = f"/files/{quote(file_id, safe='')}/content"
        for tried in range(1, self.patience.tries + 1):
            into.seek(0)
            into.truncate()
            answer = await self.service.call(Request("GET", path, into=into, seconds=_FILE_SECONDS))
            if isinstance(answer, Answer) and _is_good(answer):
                return
            trouble = self._trouble(answer)
            if trouble.denied:
                raise DeniedError(trouble.why)
            if tried < self.patience.tries:
                await self._wait(trouble, tried)
        raise self._away(trouble)

    async def _listed(self, file_id: str, intent: str) -> BatchState | None:
        after = ""
        while True:
            page = await self._patiently(Request("GET", f"/batches?limit=100{after}"))
            fields = read_object(page.body) if _is_good(page) else {}
            listed = fields.get("data")
            if not isinstance(listed, list):
                raise RunError(
                    f"{self.place} does not list its batches ({self._trouble(page).why}), so it "
                    f"cannot be told whether a batch was made that is not known here; look for "
                    f"kernelsift_intent {intent} on the service's own page of batches: if there is "
                    "none, `kernelsift judge --batches forget` lets you go on, else cancel it first"
                )
            batches = [batch for batch in map(read_batch, listed) if batch is not None]
            for batch in batches:
                if batch.intent == intent or (file_id and batch.input_file == file_id):
                    return batch
            if not fields.get("has_more") or not batches:
                return None
            last = f"&after={quote(batches[-1].id, safe='')}"
            if last == after:
                return None
            after = last

    async def _patiently(self, request: Request) -> Answer:
        """Send what may be sent twice until there is an answer that will not change."""
        for tried in range(1, self.patience.tries + 1):
            answer = await self.service.call(request)
            if isinstance(answer, Answer) and _is_good(answer):
                return answer
            trouble = self._trouble(answer)
            if trouble.denied:
                raise DeniedError(trouble.why)
            if isinstance(answer, Answer) and not trouble.retry:
                return answer
            if tried < self.patience.tries:
                await self._wait(trouble, tried)
        raise self._away(trouble)

    async def _wait(self, trouble: Trouble, tried: int) -> None:
        seconds = self.patience.wait(trouble.failure, tried, trouble.retry_after, self.clock)
        await self.clock.sleep(min(seconds, 10 * self.pause))

    def _trouble(self, answer: Answer | Trouble) -> Trouble:
        if isinstance(answer, Trouble):
            return answer
        if _is_good(answer):
            return Trouble("bad-body", "the answer is not what was asked for", maybe_billed=True)
        return refused(answer, self.service.endpoint)

    def _away(self, trouble: Trouble) -> UnreachableError:
        return UnreachableError(
            f"{self.place}: {trouble.why} (after {self.patience.tries} tries); batches that are "
            "under way go on there; run the same command again later: nothing is lost"
        )

    def _has_none(self, answer: Answer) -> NoReturn:
        why = self._trouble(answer).why
        if answer.status in {404, 405, 501}:
            raise ConfigError(
                f"{self.place} seems to have no batches ({why}); leave out --batch. Where the "
                "service has it, --service-tier flex costs as little"
            )
        raise ConfigError(f"{self.place} does not take the batch ({why}); nothing was paid for it")


def _is_good(answer: Answer) -> bool:
    """Some services say 201 or 202 where others say 200."""
    return 200 <= answer.status < 300

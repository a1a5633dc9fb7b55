"""A chat with everything around it: journal, caps, limits, retries."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from kernelsift.errors import (
    ConfigError,
    DeniedError,
    KernelsiftError,
    StoppingError,
    UnreachableError,
)
from kernelsift.llm.backoff import Clock
from kernelsift.llm.budget import Budget, Hold, Spend
from kernelsift.llm.chat import (
    Ask,
    CallFailedError,
    Journal,
    LostAttempt,
    Reply,
    ask_digest,
    encode,
    sent_params,
    wire_body,
)
from kernelsift.llm.limiter import Limiter, LimiterState
from kernelsift.llm.limits import Limits, rare_collections
from kernelsift.llm.openai import (
    Answer,
    Endpoint,
    Service,
    Trouble,
    find_price,
    no_price,
    open_service,
    read_answer,
)
from kernelsift.llm.prices import Price, cost
from kernelsift.llm.reply import Parsed
from kernelsift.llm.wire import Dialect

_UNREACHABLE: Final = 8
"""Attempts without a connection, one after the other, before an endpoint counts as away."""
_MOST_LESSONS: Final = 8
"""Parameters that one ask may find to be refused."""


@dataclass(slots=True)
class _Call:
    """One ask on its way."""

    ask: Ask
    asked: dict[str, Any]
    body: bytes
    """`asked`, encoded."""
    digest: str
    failed: int = 0
    busy: int = 0
    lessons: int = 0
    usd: float = 0.0


def read_reply(
    digest: str, params: Mapping[str, Any], answer: Answer, read: Parsed, price: Price | None
) -> Reply:
    """Return an answer as it is stored; `params` as they were really sent."""
    usd, source = cost(read.usage, price)
    usage = read.usage
    return Reply(
        digest=digest,
        text=read.text,
        finish_reason=read.finish_reason,
        refusal=read.refusal,
        returned_model=read.model,
        input_tokens=usage.input_tokens if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
        cached_tokens=usage.cached_tokens if usage else 0,
        reasoning_tokens=usage.reasoning_tokens if usage else 0,
        usd=usd,
        price_source=source,
        params=params,
        raw=answer.body.decode("utf-8", "replace"),
        seconds=answer.seconds,
    )


@asynccontextmanager
async def connect(
    endpoint: Endpoint,
    journal: Journal,
    limits: Limits | None = None,
    *,
    clock: Clock | None = None,
) -> AsyncIterator["Client"]:
    """Open a client to one model. Nothing is sent before the first ask that needs it.

    Args:
        endpoint: The model, its address and the key.
        journal: Where replies are looked up and kept.
        limits: Concurrency, deadlines, caps and patience.
        clock: Time and chance; tests give their own.
    """
    limits = limits or Limits()
    clock = clock or Clock()
    opened = open_service(
        endpoint, deadline=limits.deadline_seconds, connect=limits.connect_seconds, clock=clock
    )
    async with opened as service:
        client = Client(service, journal, limits, clock)
        try:
            with rare_collections():
                yield client
        finally:
            client.close()


class Client:
    """Asks one model. `ask` is a `Chat`; made by `connect`."""

    def __init__(self, service: Service, journal: Journal, limits: Limits, clock: Clock) -> None:
        """Use an open service; see `connect` for the rest."""
        self._service = service
        self._endpoint = service.endpoint
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._limiter = Limiter(limits.concurrency, start=limits.start, clock=clock)
        self._budget = Budget(
            max_usd=limits.max_usd,
            max_requests=limits.max_requests,
            spent_usd=limits.spent_usd,
            sent_requests=limits.sent_requests,
        )
        self._dialect = Dialect(
            journal.dropped_params(self._endpoint.base_url, self._endpoint.model),
            keep_token_limit=limits.max_usd is not None,
        )
        self._price: Price | None = None
        self._pricing: asyncio.Task[None] | None = None
        self._flights: dict[str, asyncio.Future[Reply | Exception | None]] = {}
        self._stop: KernelsiftError | StoppingError | None = None
        self._draining = asyncio.Event()
        self._answered = False
        self._unreached = 0

    @property
    def state(self) -> LimiterState:
        """Calls in flight, waiting, and how long the endpoint is paused."""
        return self._limiter.state

    @property
    def spend(self) -> Spend:
        """What was spent by this client; replies from the journal cost nothing."""
        return self._budget.spend

    async def price(self) -> Price | None:
        """Return the model's price, asking the endpoint once; None when it is not known."""
        if self._pricing is None:
            self._pricing = asyncio.get_running_loop().create_task(self._find_price())
        await asyncio.shield(self._pricing)
        return self._price

    def close(self) -> None:
        """Stop what runs in the background."""
        self._limiter.close()
        if self._pricing is not None:
            self._pricing.cancel()

    def drain(self) -> None:
        """Send nothing more. Calls in flight go on; all that wait for a turn, raise."""
        self._stop = self._stop or StoppingError()
        self._draining.set()
        self._limiter.open_wide()

    async def ask(self, ask: Ask) -> Reply:
        """Return the journal's reply to this very request, or ask for it.

        Equal asks in flight share one call. Cancelling is safe: the slot and the money set aside
        come free, and a request already sent is noted as possibly billed.

        Raises:
            CallFailedError: This ask has failed for good.
            DeniedError: The service refuses the key or the account.
            BudgetError: A cap would be passed.
            UnreachableError: The service cannot be reached at all.
            ConfigError: The model is not there, or a cap is set and its price is not known.
            StoppingError: `drain` was called before this one was sent.
        """
        asked = wire_body(ask, self._endpoint.model)
        body = encode(asked)
        digest = ask_digest(self._endpoint.base_url, asked, ask.sample)
        while True:
            if (known := self._journal.find(digest)) is not None:
                return replace(known, cached=True)
            if (flight := self._flights.get(digest)) is None:
                return await self._fly(_Call(ask, asked, body, digest))
            outcome = await asyncio.shield(flight)
            if isinstance(outcome, Reply):
                return replace(outcome, cached=True)
            if isinstance(outcome, CallFailedError):
                raise CallFailedError(outcome.failure, outcome.why)
            if outcome is not None:
                raise outcome

    async def _fly(self, call: _Call) -> Reply:
        """Ask for real, and tell those who wait for the same; None tells them to ask themselves."""
        flight: asyncio.Future[Reply | Exception | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._flights[call.digest] = flight
        outcome: Reply | Exception | None = None
        try:
            outcome = reply = await self._until_settled(call)
        except Exception as error:
            outcome = error
            raise
        else:
            return reply
        finally:
            del self._flights[call.digest]
            flight.set_result(outcome)

    async def _until_settled(self, call: _Call) -> Reply:
        if self._pricing is None or not self._pricing.done():
            await self.price()
        while True:
            sent = self._dialect.body(call.asked)
            result = await self._attempt(call, sent)
            if isinstance(result, Reply):
                await self._journal.save(result)
                return result
            await self._recover(call, sent, result)

    async def _attempt(self, call: _Call, sent: dict[str, Any]) -> Reply | Trouble:
        """Send once. Every way out settles the money; the slot is free when it returns."""
        body = call.body if sent is call.asked else encode(sent)
        price = self._price
        worst = None if price is None else price.worst(len(body), call.ask.max_tokens)
        with await self._budget.reserve(worst or 0.0) as hold:
            try:
                answer = await self._post(body, hold)
            except asyncio.CancelledError:
                if hold.sent:
                    self._record(call, "cancelled while waiting for the answer", worst)
                raise
            if isinstance(answer, Answer):
                read = read_answer(answer, self._endpoint)
                if isinstance(read, Parsed):
                    self._answered = True
                    self._dialect.accept(sent)
                    reply = read_reply(call.digest, sent_params(sent), answer, read, self._price)
                    hold.settle(reply.usd)
                    self._budget.count_tokens(reply.input_tokens, reply.output_tokens)
                    return reply
                answer = read
            self._write_off(call, answer, hold, worst)
        return answer

    async def _post(self, body: bytes, hold: Hold) -> Answer | Trouble:
        """Send within a slot, and tell the limiter how it went."""
        burst = await self._limiter.acquire()
        try:
            if self._stop is not None:
                raise type(self._stop)(*self._stop.args)
            self._budget.count_request()
            hold.sent = True
            answer = await self._service.post(body)
            self._feed_back(answer, burst)
        finally:
            self._limiter.release()
        return answer

    def _feed_back(self, answer: Answer | Trouble, burst: int) -> None:
        if isinstance(answer, Trouble):
            self._unreached = 0 if answer.reached else self._unreached + 1
            return
        self._unreached = 0
        if answer.status == 429:
            longest = self._limits.patience.longest_wait
            asked = answer.retry_after
            self._limiter.busy(burst, None if asked is None else min(asked, longest))
        elif answer.status < 500:
            self._limiter.ok()

    def _write_off(self, call: _Call, trouble: Trouble, hold: Hold, worst: float | None) -> None:
        """Account for an attempt that gave no usable answer."""
        usd, _ = cost(trouble.usage, self._price)
        if usd is not None:
            hold.settle(usd)
            call.usd += usd
            self._record(call, trouble.why, usd, known=True)
        elif trouble.maybe_billed:
            hold.lose()
            self._record(call, trouble.why, worst)
        else:
            hold.give_back()

    def _record(self, call: _Call, why: str, usd: float | None, *, known: bool = False) -> None:
        self._journal.record_lost(LostAttempt(call.digest, why, usd, known))

    async def _recover(self, call: _Call, sent: dict[str, Any], trouble: Trouble) -> None:
        """Return when it makes sense to try again; raise when it does not."""
        if trouble.denied:
            self._halt(DeniedError(trouble.why))
        if trouble.error is not None and self._learn(call, sent, trouble):
            return
        if trouble.unknown_model and not self._answered:
            self._halt(self._no_model(trouble))
        if not trouble.retry:
            raise CallFailedError(trouble.failure, trouble.why, usd=call.usd)
        failed = self._count_failure(call, trouble)
        wait = self._limits.patience.wait(trouble.failure, failed, trouble.retry_after, self._clock)
        await self._wait(wait)

    async def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than until `drain`."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((sleeping, draining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            draining.cancel()
        if self._stop is not None:
            raise type(self._stop)(*self._stop.args)

    def _learn(self, call: _Call, sent: dict[str, Any], trouble: Trouble) -> bool:
        """Tell whether the complaint was about a parameter, which is then no longer sent."""
        call.lessons += 1
        if trouble.error is None or call.lessons > _MOST_LESSONS:
            return False
        before = dict(self._dialect.dropped)
        try:
            learned = self._dialect.learn(trouble.error, sent)
        except ConfigError as error:
            self._halt(error)
        if self._dialect.dropped != before:
            endpoint = self._endpoint
            self._journal.remember_dropped(endpoint.base_url, endpoint.model, self._dialect.dropped)
        return learned

    def _count_failure(self, call: _Call, trouble: Trouble) -> int:
        """Return how often the call has failed in this way; raise when that is too often."""
        patience = self._limits.patience
        if trouble.failure == "rate-limit":
            call.busy += 1
            failed, allowed = call.busy, patience.busy_tries
        else:
            call.failed += 1
            failed, allowed = call.failed, patience.tries
        if not trouble.reached:
            # An outage says nothing about this row: wait longer, then stop the run.
            allowed = patience.busy_tries if self._answered else patience.tries
            away = self._unreached >= _UNREACHABLE
            last = failed >= allowed
            if (away and last) or (not self._answered and (away or last)):
                self._halt(self._unreachable(trouble))
        if failed >= allowed:
            why = f"{trouble.why} (after {failed} tries)"
            raise CallFailedError(trouble.failure, why, usd=call.usd)
        return failed

    def _halt(self, error: KernelsiftError) -> NoReturn:
        """Let nothing more be sent."""
        self._stop = self._stop or error
        raise error

    def _unreachable(self, trouble: Trouble) -> UnreachableError:
        return UnreachableError(
            f"{trouble.why}; check --base-url and the network, or start the server, and run the "
            "same command again: nothing is lost"
        )

    def _no_model(self, trouble: Trouble) -> ConfigError:
        endpoint = self._endpoint
        return ConfigError(
            f"{endpoint.base_url} does not know the model {endpoint.model!r} ({trouble.why}); "
            f"check --model and --base-url; {endpoint.base_url}/models lists what there is"
        )

    async def _find_price(self) -> None:
        self._price = await find_price(self._service)
        if self._price is None and self._limits.max_usd is not None:
            self._stop = self._stop or no_price(self._endpoint)

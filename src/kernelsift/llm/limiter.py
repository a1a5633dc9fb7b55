"""How many calls may be in flight: up while it goes well, down when the service says 429."""

import asyncio
from collections import deque
from dataclasses import dataclass

from kernelsift.llm.backoff import Clock

_MEMORY = (8, 64)
"""Answers over which the share of refused calls is averaged: the ceiling, within these."""
_BENEFIT_OF_DOUBT = 7
"""Answers that an endpoint is taken to have given before the first."""
_OVERLOAD = 0.25
"""Share of refused calls from which a `Retry-After` is taken to speak for the whole endpoint."""


@dataclass(frozen=True, slots=True)
class LimiterState:
    """What a progress line shows of an endpoint."""

    limit: int
    in_flight: int
    waiting: int
    paused_seconds: float


class Limiter:
    """Slots for calls in flight to one endpoint.

    Starts below the ceiling and doubles per round trip until the first 429, then adds a fixed step
    per round trip. A burst of 429 takes away up to half, in proportion to the share of calls that
    were refused: an endpoint that is full is left alone, while one that turns away a call now and
    then loses little speed. Other failures change nothing. Everything runs in one event loop; no
    lock is held, and a free slot is handed to exactly one waiter.
    """

    def __init__(
        self, ceiling: int, *, start: int | None = None, clock: Clock | None = None
    ) -> None:
        """Set the ceiling (calls in flight) and where to start, by default a quarter of it."""
        if ceiling < 1:
            raise ValueError(f"concurrency is {ceiling}; it must be at least 1")
        self._clock = clock or Clock()
        self._ceiling = float(ceiling)
        self._limit = float(min(ceiling, max(32, ceiling // 4) if start is None else start))
        self._limit_before = self._limit
        self._step = max(1.0, ceiling / 16)
        self._growing = True
        self._in_flight = 0
        self._waiters: deque[asyncio.Future[int]] = deque()
        self._burst = 0
        self._refused = 0.0
        self._memory = max(_MEMORY[0], min(_MEMORY[1], ceiling))
        self._seen = _BENEFIT_OF_DOUBT
        self._paused_until = float("-inf")
        self._alarm: asyncio.Task[None] | None = None

    @property
    def state(self) -> LimiterState:
        paused = max(0.0, self._paused_until - self._clock.now()) if self._alarm else 0.0
        return LimiterState(int(min(self._limit, 1e9)), self._in_flight, len(self._waiters), paused)

    async def acquire(self) -> int:
        """Wait for a slot. Returns the number of the burst, to be given to `busy`."""
        if not self._waiters and self._has_room():
            self._in_flight += 1
            return self._burst
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._in_flight -= 1
        if self._waiters:
            self._wake()

    def ok(self) -> None:
        """Count an answer; call before `release`."""
        self._count(refused=0.0)
        if self._limit < self._ceiling:
            growth = 1.0 if self._growing else self._step / self._limit
            self._limit = min(self._ceiling, self._limit + growth)

    def busy(self, burst: int, retry_after: float | None) -> None:
        """Count a 429 to a call that got its slot in `burst`; call before `release`.

        Args:
            burst: What `acquire` returned. Calls begun before the last cut belong to its burst,
                which never takes more than half in all.
            retry_after: Seconds that the service asks for; None if it does not say.
        """
        self._count(refused=1.0)
        self._growing = False
        if burst == self._burst:
            self._burst += 1
            self._limit_before = self._limit
        cut = self._limit_before * (1.0 - self._refused / 2)
        self._limit = max(1.0, min(self._limit, cut))
        if retry_after and self._refused >= _OVERLOAD:
            self._pause(retry_after)

    def open_wide(self) -> None:
        """Let all that wait go on at once; they are expected not to send anything any more."""
        self._limit = float("inf")
        self._ceiling = float("inf")
        self.close()
        self._wake()

    def close(self) -> None:
        """Forget a pause that is under way."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _count(self, *, refused: float) -> None:
        if self._seen < self._memory:
            self._seen += 1
        self._refused += (refused - self._refused) / self._seen

    def _has_room(self) -> bool:
        return self._alarm is None and self._in_flight + 1 <= self._limit

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock.now() + seconds)
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().create_task(self._end_pause())

    async def _end_pause(self) -> None:
        while (left := self._paused_until - self._clock.now()) > 0:
            await self._clock.sleep(left)
        self._alarm = None
        self._wake()

    def _wake(self) -> None:
        while self._waiters and self._has_room():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._in_flight += 1
                waiter.set_result(self._burst)

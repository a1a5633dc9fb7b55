"""When to try again: the clock, waiting times, and what a service says about them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite

from kernelsift.model import FailureClass


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as arguments, so that tests need neither."""

    now: Callable[[], float] = time.monotonic
    """Seconds from an arbitrary start; never goes back."""
    wall: Callable[[], float] = time.time
    """Seconds since 1970."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random  # noqa: S311 - jitter needs no secrecy
    """A number from 0 up to 1."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to try, and how long to wait between tries."""

    tries: int = 6
    """Attempts per ask that may fail by the service or the network."""
    busy_tries: int = 20
    """Attempts per ask that may be turned away with 429."""
    longest_wait: float = 300.0
    """Seconds; a `Retry-After` beyond it is cut to it."""

    def allowed(self, failure: FailureClass) -> int:
        """Return how many attempts may fail in this way before the ask has failed."""
        return self.busy_tries if failure == "rate-limit" else self.tries

    def wait(
        self, failure: FailureClass, failed: int, retry_after: float | None, clock: Clock
    ) -> float:
        """Return the seconds to wait after the `failed`-th failure: full jitter, doubling.

        A `Retry-After` is a lower bound, with up to a tenth on top so that calls do not come back
        all at once.
        """
        base, cap = (1.0, 60.0) if failure == "rate-limit" else (0.5, 30.0)
        if retry_after is not None:
            asked = min(retry_after, self.longest_wait)
            return asked * (1.0 + 0.1 * clock.chance())
        return clock.chance() * min(cap, base * 2.0 ** (failed - 1))


def retry_after_seconds(value: str | None, clock: Clock) -> float | None:
    """Read a `Retry-After` header: seconds or an HTTP date. None when absent or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - clock.wall()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None

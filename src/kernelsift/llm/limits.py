"""What a client may use, and how it keeps Python's garbage collector out of its way."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from kernelsift.llm.backoff import Patience

_COLLECT_EVERY: Final = 50_000
"""Allocations between two searches for garbage cycles while a client is open."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may use."""

    concurrency: int = 64
    """Most calls in flight."""
    start: int | None = None
    """Calls in flight to begin with; by default a quarter of `concurrency`, but 32 at least."""
    deadline_seconds: float = 600.0
    """For one attempt as a whole."""
    connect_seconds: float = 30.0
    max_usd: float | None = None
    max_requests: int | None = None
    """Retries count."""
    spent_usd: float = 0.0
    """Spent by earlier sessions of the same run; the cap on money counts it."""
    sent_requests: int = 0
    """Sent by earlier sessions of the same run; the cap on requests counts them."""
    patience: Patience = field(default_factory=Patience)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look for garbage cycles less often.

    Thousands of calls in flight are many young objects that are all in use; looking through them
    every 700 allocations takes a third of the client's time, and finds nothing.
    """
    before = gc.get_threshold()
    if 0 < before[0] < _COLLECT_EVERY:
        gc.set_threshold(_COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)

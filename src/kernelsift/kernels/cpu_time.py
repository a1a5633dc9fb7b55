"""An end to work in this process, by the processor time that it takes."""

import contextlib
import signal
from collections.abc import Iterator


class SlowError(Exception):
    """It took too long."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise SlowError in this (main) thread after so much processor time."""

    def late(_number: int, _frame: object) -> None:
        raise SlowError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)

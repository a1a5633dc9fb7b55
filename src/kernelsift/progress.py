"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

PLAIN_SECONDS = 10.0
"""How often a plain line is written where there is no terminal."""


class Progress:
    """Shows one piece of work. Use as a context manager; `update` is cheap to call often.

    Writes to stderr, so that stdout stays for results. `quiet` writes nothing.
    """

    def __init__(
        self, *, quiet: bool = False, out: IO[str] | None = None, plain: bool | None = None
    ) -> None:
        self._out = out or sys.stderr
        self._quiet = quiet
        self._plain = not self._out.isatty() if plain is None else plain
        self._bar: Any = None
        self._task: Any = None
        self._what = ""
        self._total: int | None = None
        self._done = 0
        self._started = self._shown = time.monotonic()

    def start(self, what: str, total: int | None) -> Self:
        """Begin a piece of work of `total` items (None: unknown)."""
        self._what, self._total, self._done = what, total, 0
        self._started = self._shown = time.monotonic()
        if not self._quiet and not self._plain:
            self._bar = _bar(self._out)
            self._task = self._bar.add_task(what, total=total, note="")
            self._bar.start()
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, done: int, note: Callable[[], str] | str = "") -> None:
        """Say how many items are done; `note` is only made when something is shown."""
        self._done = done
        now = time.monotonic()
        if self._quiet or now - self._shown < (0.1 if self._bar is not None else PLAIN_SECONDS):
            return
        self._shown = now
        text = note if isinstance(note, str) else note()
        if self._bar is not None:
            rate = _speed(done / max(now - self._started, 1e-9))
            note = f"{rate} · {text}" if text else rate
            self._bar.update(self._task, completed=done, note=note)
        else:
            self._out.write(self._line(now, text) + "\n")
            self._out.flush()

    def _line(self, now: float, text: str) -> str:
        seconds = max(now - self._started, 1e-9)
        rate = self._done / seconds
        parts = [f"{self._what}: {self._done:,}"]
        if self._total:
            parts = [
                f"{self._what}: {self._done:,}/{self._total:,}",
                f"{self._done / self._total:.0%}",
                *([_left((self._total - self._done) / rate)] if rate else []),
            ]
        return " · ".join([*parts, _speed(rate), *([text] if text else [])])


def _speed(rate: float) -> str:
    """Items per second, or per minute where there are few."""
    return f"{rate:,.1f}/s" if rate >= 1 or not rate else f"{60 * rate:,.1f}/min"


def _left(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s left"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min left"
    return f"{seconds / 3600:.1f} h left"


def _bar(out: IO[str]) -> Any:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TaskProgressColumn(show_speed=True),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
        console=Console(file=out),
        transient=True,
    )

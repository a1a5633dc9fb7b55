"""Talk with a running job: messages to its child, and frames back with the time they came.

The clock is the parent's: nothing that runs in the child can move it. A job that is talked with is
a function `main(payload, send, receive)`; `receive()` gives the next message, None at the end.
"""

import contextlib
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kernelsift.kernels.isolation.limits import HEADER, ChildResult


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame, and when it was complete here: seconds of `time.monotonic`."""

    frame: bytes
    at: float


class Conversation(Protocol):
    """What whoever talks needs: a `Dialogue`, or a double of it."""

    def say(self, message: bytes) -> float:
        """Send a message; returns the time before it was sent."""

    def hear(self, seconds: float) -> Heard | None:
        """The next frame, waited for so long; None at the end, or when none came in time."""


class Dialogue:
    """The parent's side of one talk; made by `Pool.converse`."""

    def __init__(self, commands: int) -> None:
        """`commands`: the descriptor that messages are written to, owned by this object."""
        self._commands = commands
        self._frames: queue.SimpleQueue[Heard | None] = queue.SimpleQueue()
        self._ended = False
        self.result: ChildResult | None = None
        """How the child ended; None while it runs, or where it could not be started."""
        self.problem = ""
        """Why it could not be started."""

    def say(self, message: bytes) -> float:
        """Send a message; a child that is gone hears nothing, which `hear` will show."""
        now = time.monotonic()
        view = memoryview(HEADER.pack(len(message)) + message)
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._commands, view) :]
        return now

    def hear(self, seconds: float) -> Heard | None:
        """The next frame, waited for so long; None at the end, or when none came in time."""
        if self._ended:
            return None
        try:
            heard = self._frames.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        self._ended = heard is None
        return heard

    def take(self, frame: bytes) -> None:
        """A frame is complete. Called by the thread that listens."""
        self._frames.put(Heard(frame, time.monotonic()))

    def finish(self, result: ChildResult | None, problem: str) -> None:
        """The child has ended. Called by the thread that listens."""
        self.result, self.problem = result, problem
        self._frames.put(None)

    def close(self) -> None:
        """No further message: the job's `receive` gives None."""
        if self._commands >= 0:
            os.close(self._commands)
            self._commands = -1


def receiver(fd: int) -> Callable[[], bytes | None]:
    """The child's side: a function that waits for the next message on the descriptor."""

    def exactly(size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            chunk = os.read(fd, size - len(data))
            if not chunk:
                return None
            data += chunk
        return bytes(data)

    def receive() -> bytes | None:
        header = exactly(HEADER.size)
        return None if header is None else exactly(HEADER.unpack(header)[0])

    return receive

"""One block of timed calls, in the child. Knows nothing of torch: device and subject are given.

In the queue regime the flush before a call keeps the device busy while the host prepares the call,
so the events see the device's work alone. In the sync regime the device is idle round each call,
and the host's clock sees everything, on whatever stream it runs.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from kernelsift.kernels.gpu.measured import Regime


class Device(Protocol):
    """What timing needs of a device. All functions behind it are bound before foreign code runs."""

    def now(self) -> float:
        """The host's clock in seconds."""

    def synchronize(self) -> None:
        """Wait until every stream is idle."""

    def flush(self) -> None:
        """Put work on the stream that empties the cache; does not wait."""

    def mark(self) -> Any:
        """Put an event on the stream."""

    def between(self, start: Any, end: Any) -> float:
        """Device seconds between two marks that have passed."""


class Subject(Protocol):
    """Something to be called on inputs that were made for it."""

    def call(self, index: int) -> Any:
        """Call it on the inputs of this number."""

    def touch(self, answer: Any) -> None:
        """Read one element of each part of the answer, on the host."""

    def keep(self, index: int, answer: Any) -> None:
        """Put a copy of the answer, as it is now, aside."""


@dataclass(slots=True)
class Times:
    """Seconds of each call; see `measured.Block`."""

    events: list[float] = field(default_factory=list)
    hosts: list[float] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    touches: list[float] = field(default_factory=list)


def run_block(device: Device, subject: Subject, count: int, regime: Regime) -> Times:
    """Call the subject once on each of `count` inputs."""
    device.synchronize()
    return _queued(device, subject, count) if regime == "queue" else _synced(device, subject, count)


def _queued(device: Device, subject: Subject, count: int) -> Times:
    marks = []
    for index in range(count):
        device.flush()
        start = device.mark()
        answer = subject.call(index)
        end = device.mark()
        subject.keep(index, answer)
        marks.append((start, end))
    device.synchronize()
    return Times(events=[device.between(start, end) for start, end in marks])


def _synced(device: Device, subject: Subject, count: int) -> Times:
    times = Times()
    for index in range(count):
        device.flush()
        device.synchronize()
        called = device.now()
        start = device.mark()
        answer = subject.call(index)
        end = device.mark()
        returned = device.now()
        device.synchronize()
        idle = device.now()
        subject.touch(answer)
        touched = device.now()
        subject.keep(index, answer)
        times.hosts.append(returned - called)
        times.walls.append(idle - called)
        times.touches.append(touched - idle)
        times.events.append(device.between(start, end))
    return times

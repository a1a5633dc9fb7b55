"""A simulated GPU: streams, events and clocks as numbers, and subjects that work or cheat on it.

`Bench.ask` is what `schedule.measure` talks to; the parent's clock is the simulation's own time,
which no cheat can move, as in the real thing.
"""

import random
from dataclasses import dataclass

from kernelsift.kernels.gpu.blocks import run_block
from kernelsift.kernels.gpu.measured import Block, Trouble

FLUSH, FILL, LAUNCH, WAIT, EMPTY = 80e-6, 50e-6, 5e-6, 4e-6, 2e-6


class FakeGpu:
    """One device and the host beside it. Times in seconds."""

    def __init__(self, jitter=0.01, slowing=0.0):
        self.time = 0.0
        self.busy = {"default": 0.0, "side": 0.0}
        self.jitter, self.slowing = jitter, slowing
        self.random = random.Random(5)

    def launch(self, seconds, stream="default"):
        """Put work on a stream; returns when it will be done."""
        self.time += LAUNCH
        pace = 1 + self.random.uniform(-self.jitter, self.jitter) + self.slowing * self.time
        self.busy[stream] = max(self.time, self.busy[stream]) + seconds * pace
        return self.busy[stream]

    def now(self):
        return self.time

    def synchronize(self):
        self.time = max(self.time, *self.busy.values()) + WAIT

    def flush(self):
        self.launch(FLUSH)

    def mark(self):
        return max(self.time, self.busy["default"])

    def between(self, start, end):
        return end - start


@dataclass
class Answer:
    value: float
    ready: float = 0.0
    lazy: float = 0.0
    """Work that is done when the answer is read."""
    plain: bool = True


class Honest:
    """Does `work` seconds on the default stream and answers right."""

    def __init__(self, work, host=0.0):
        self.work, self.host = work, host
        self.seed, self.kept, self.plain, self.called = 0, {}, True, 0

    def fill(self, gpu, seed):
        self.gpu, self.seed, self.kept = gpu, seed, {}
        gpu.launch(FILL)

    def right(self, index):
        return random.Random(f"{self.seed} {index}").uniform(-1, 1)

    def call(self, index):
        self.called += 1
        self.gpu.time += self.host
        return self.answer(index)

    def answer(self, index):
        return Answer(self.right(index), self.gpu.launch(self.work))

    def touch(self, answer):
        if answer.lazy:
            self.gpu.launch(answer.lazy)
            self.gpu.synchronize()
        self.gpu.time += WAIT

    def keep(self, index, answer):
        self.plain = self.plain and answer.plain
        copied = self.gpu.mark()
        stale = answer.ready > copied + 1e-12
        self.kept[index] = 0.0 if stale else answer.value
        self.gpu.launch(1e-6)


class SideStream(Honest):
    """The events stand on a stream that has nothing to do."""

    def answer(self, index):
        return Answer(self.right(index), self.gpu.launch(self.work, "side"))


class WaitingSideStream(Honest):
    """As before, but it waits for its stream: the answer is ready when the call returns."""

    def answer(self, index):
        ready = self.gpu.launch(self.work, "side")
        self.gpu.time = max(self.gpu.time, ready)
        return Answer(self.right(index), ready)


class Cached(Honest):
    """Works once, then returns the same answer."""

    first = None

    def answer(self, index):
        self.first = self.first or super().answer(index)
        return self.first


class EveryOther(Honest):
    """Works for every other call."""

    last = None

    def answer(self, index):
        if index % 2 == 0:
            self.last = super().answer(index)
        return self.last


class Lazy(Honest):
    """Works when the answer is read."""

    plain_type = True

    def answer(self, index):
        return Answer(self.right(index), lazy=self.work, plain=self.plain_type)


class Subclass(Lazy):
    plain_type = False


class Background(Honest):
    """A thread begins to work after the call has returned; no waiting sees it."""

    def answer(self, index):
        return Answer(self.right(index), ready=self.gpu.time + 1e-3)


class Remembering(Honest):
    """Knows inputs by their contents."""

    def __init__(self, work):
        super().__init__(work)
        self.known = set()

    def answer(self, index):
        key = (self.seed, index)
        work = 1e-6 if key in self.known else self.work
        self.known.add(key)
        return Answer(self.right(index), self.gpu.launch(work))


class Raising(Honest):
    def answer(self, index):
        raise RuntimeError("no kernel image")


class ForgedEvents:
    """elapsed_time gives a fifth."""

    share = 5

    def __init__(self, gpu):
        self.gpu = gpu

    def __getattr__(self, name):
        return getattr(self.gpu, name)

    def between(self, start, end):
        return (end - start) / self.share


class ForgedClocks(ForgedEvents):
    """The host's clock runs slow as well."""

    def now(self):
        return self.gpu.time / self.share


class Bench:
    """Sides on one simulated device."""

    def __init__(self, candidate, eager=2e-4, *, gpu=None, compiled=1.5e-4, forged=None):
        self.gpu = gpu or FakeGpu()
        self.sides = {
            "candidate": candidate,
            "eager": Honest(eager),
            "compiled": Honest(compiled),
            "empty": Honest(EMPTY),
        }
        self.forged = forged
        self.orders = []

    def clock(self):
        return self.gpu.time

    def ask(self, side, order):
        self.orders.append((side, order))
        subject = self.sides[side]
        mine = self.forged(self.gpu) if self.forged and side == "candidate" else self.gpu
        began = self.gpu.time
        subject.fill(self.gpu, order.seed)
        try:
            times = run_block(mine, subject, order.count, order.regime)
        except RuntimeError as error:
            return Trouble(side, str(error))
        return Block(
            side=side,
            order=order,
            events=tuple(times.events),
            hosts=tuple(times.hosts),
            walls=tuple(times.walls),
            touches=tuple(times.touches),
            plain=subject.plain,
            layout="float32[1]; ",
            samples=tuple((subject.kept[index],) for index in range(order.count)),
            elapsed=self.gpu.time - began,
        )

"""From times to a claim, or to the reasons why none is made. Pure: nothing is measured here.

A speedup is claimed only where nothing speaks against it: the timed answers are right, the wall
clock agrees with the device's events and the parent's clock with the child's, both sides lie well
above the time of an empty launch, the candidate is not faster than the device, the reference kept
its pace, and the interval is narrow.
"""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from kernelsift.kernels.gpu.gpu_facts import (
    DeviceFacts,
    Doubt,
    DoubtKind,
    Floors,
    Interval,
    Side,
    SideTime,
    TimingFacts,
)
from kernelsift.kernels.gpu.measured import Block, Regime, Trouble
from kernelsift.kernels.gpu.timing_stats import (
    between,
    drift,
    median_interval,
    noise,
    telling,
    wrong_calls,
)
from kernelsift.model import Frozen

LAUNCH_FACTOR = 5.0
"""Below so many empty launches a time says more about launching than about the work."""
WALL_FACTOR = 1.5
"""The wall clock may exceed the events by so much, beyond what an empty call needs."""
ROOFLINE_SLACK = 0.9
DRIFT_LIMIT = 0.10
NOISE_LIMIT = 0.20
CLOCK_SHARE = 0.5
CLOCK_SECONDS = 1e-3
CACHE_FACTOR = 0.7
BASELINE_FACTOR = 1.2
TOLERANCE = {"float64": 1e-6, "float32": 2e-2, "float16": 5e-2, "bfloat16": 8e-2}
"""Of a sampled element: wide, as TF32 is allowed. Whether the kernel is right is decided by the
cases; here an answer for other inputs has to be told from the right one."""
SIDES: tuple[Side, ...] = ("candidate", "eager", "compiled", "empty")


class Work(Frozen):
    """What one call of the reference has to do at the least, at the sizes that are timed."""

    read_bytes: int = 0
    """Inputs and parameters that influence the answer."""
    written_bytes: int = 0
    """The answer."""
    flops: int = 0
    """Of matrix products and convolutions."""


def judge(
    blocks: Sequence[Block | Trouble],
    work: Work,
    device: DeviceFacts | None,
    *,
    seconds: float = 0.0,
    tf32: bool = False,
) -> TimingFacts:
    """Return the times and, where nothing speaks against it, the speedup.

    `blocks` in the order in which they were measured; `seconds` is what measuring took; `tf32`:
    the candidate multiplies in TF32, which the eager reference does not.
    """
    done = [block for block in blocks if isinstance(block, Block)]
    sides = tuple(filter(None, (_side(done, side) for side in SIDES)))
    by_side = {time.side: time for time in sides}
    compared, wrong = _answers(done)
    facts = TimingFacts(
        sides=sides,
        floors=_floors(by_side.get("empty"), work, device),
        rounds=len(_of(done, "candidate", "queue")),
        answers_compared=compared,
        answers_wrong=wrong,
        drift=drift([median(b.events) for b in _of(done, "eager", "queue")]),
        seconds=seconds,
    )
    ratio, compiled = _ratio(done, "eager"), _ratio(done, "compiled")
    troubles = [block for block in blocks if isinstance(block, Trouble)]
    doubts = (*_doubts(facts, done, ratio), *_failed(troubles), *_baseline(facts, tf32=tf32))
    clear = not any(doubt.blocks for doubt in doubts)
    update = {
        "doubts": doubts,
        "speedup": ratio if clear else None,
        "speedup_compiled": compiled if clear else None,
    }
    return facts.model_copy(update=update)


def _of(blocks: Iterable[Block], side: Side, regime: Regime) -> list[Block]:
    """Blocks in time order; a block whose inputs the side had seen before is not among them."""
    found: list[Block] = []
    seeds: set[int] = set()
    for block in blocks:
        if block.side == side and block.order.regime == regime and block.events:
            if block.order.seed not in seeds:
                found.append(block)
            seeds.add(block.order.seed)
    return found


def _repeated(blocks: Iterable[Block], side: Side) -> tuple[Block, Block] | None:
    """A queue block and the later one with the same inputs."""
    known: dict[int, Block] = {}
    for block in blocks:
        if block.side == side and block.order.regime == "queue" and block.events:
            if block.order.seed in known:
                return known[block.order.seed], block
            known[block.order.seed] = block
    return None


def _side(blocks: Sequence[Block], side: Side) -> SideTime | None:
    queued, synced = _of(blocks, side, "queue"), _of(blocks, side, "sync")
    if not queued:
        return None
    medians = [median(block.events) for block in queued]
    return SideTime(
        side=side,
        device=max(0.0, median(medians)),
        noise=noise(medians),
        wall=_median(t for block in synced for t in block.walls),
        host=_median(t for block in synced for t in block.hosts),
        touch=_median(t for block in synced for t in block.touches),
        calls=sum(len(block.events) for block in (*queued, *synced)),
    )


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return max(0.0, median(found)) if found else None


def _floors(empty: SideTime | None, work: Work, device: DeviceFacts | None) -> Floors | None:
    if empty is None:
        return None
    moved, roofline = work.read_bytes, None
    if device is not None:
        moved += max(0, work.written_bytes - device.l2_bytes)
        times = (
            (moved, device.bytes_per_second),
            (work.flops, max(device.tensor_flops_per_second, device.flops_per_second)),
        )
        known = [amount / peak for amount, peak in times if peak > 0]
        roofline = max(known) if known else None
    return Floors(
        empty=empty.device,
        empty_wall=empty.wall or empty.device,
        moved_bytes=moved,
        flops=work.flops,
        roofline=roofline,
    )


def _ratio(blocks: Sequence[Block], base: Side) -> Interval | None:
    fresh = {id(block) for side in SIDES for block in _of(blocks, side, "queue")}
    series = [(b.side, median(b.events)) for b in blocks if id(b) in fresh]
    return median_interval(between(series, base, "candidate"))


def _answers(blocks: Sequence[Block]) -> tuple[int, int]:
    """Timed calls that were compared with eager on the same inputs, and how many were wrong."""
    compared = wrong = 0
    right = {(b.order.seed, b.order.regime): b for b in blocks if b.side == "eager"}
    for block in (b for b in blocks if b.side == "candidate"):
        known = right.get((block.order.seed, block.order.regime))
        if known is None:
            continue
        allowed = max((TOLERANCE.get(n, 0.0) for n in _dtypes(known.layout)), default=0.0)
        if not telling(known.samples, allowed):
            continue
        compared += len(known.samples)
        same = known.layout == block.layout
        off = wrong_calls(known.samples, block.samples, allowed)
        wrong += min(off, len(known.samples)) if same else len(known.samples)
    return compared, wrong


def _dtypes(layout: str) -> list[str]:
    return [part.split("[")[0] for part in layout.split("; ") if part]


def _doubts(facts: TimingFacts, blocks: Sequence[Block], ratio: Interval | None) -> Iterator[Doubt]:
    candidate, eager = facts.of("candidate"), facts.of("eager")
    if candidate is None or eager is None or facts.floors is None:
        missing = [s for s in ("candidate", "eager", "empty") if facts.of(s) is None]
        yield _doubt("failed", f"no times of: {', '.join(missing)}")
        return
    if facts.answers_wrong:
        share = f"{facts.answers_wrong} of {facts.answers_compared}"
        yield _doubt("wrong-answers", f"{share} timed calls gave another answer than the reference")
    elif not facts.answers_compared:
        yield _doubt("untold", "the reference's answers for different inputs are too much alike")
    yield from _unseen(candidate, facts)
    yield from _lazy(candidate, eager, blocks)
    yield from _physics(candidate, eager, facts.floors)
    yield from _clock(blocks)
    yield from _repeat(blocks)
    if facts.drift is not None and abs(facts.drift) > DRIFT_LIMIT:
        yield _doubt("drift", f"the reference's time changed by {facts.drift:+.0%} meanwhile")
    if ratio is None:
        yield _doubt("noisy", "too few rounds for an interval")
    elif (ratio.high - ratio.low) / 2 > NOISE_LIMIT * ratio.middle:
        yield _doubt("noisy", f"the interval of the ratio is {ratio.low:.2f} to {ratio.high:.2f}")


def _doubt(kind: DoubtKind, evidence: str, *, blocks: bool = True) -> Doubt:
    return Doubt(kind=kind, evidence=evidence, blocks=blocks)


def _unseen(candidate: SideTime, facts: TimingFacts) -> Iterator[Doubt]:
    """Time on the wall clock that the events have not seen."""
    empty, floors = facts.of("empty"), facts.floors
    if candidate.wall is None or candidate.host is None or empty is None or floors is None:
        yield _doubt("failed", "the wall clock was not read")
        return
    waiting = max(0.0, (empty.wall or 0.0) - (empty.host or 0.0))
    hidden = candidate.wall - candidate.host - waiting
    if hidden > WALL_FACTOR * candidate.device + waiting:
        text = f"the device works {us(hidden)} after the call returned, events say "
        yield _doubt("side-stream", text + us(candidate.device))
    elif candidate.wall > WALL_FACTOR * candidate.device + floors.empty_wall:
        text = f"a call takes {us(candidate.wall)} on the wall clock, {us(candidate.host)} of it "
        yield _doubt("host-bound", text + f"before it returns; events say {us(candidate.device)}")
    eager = facts.of("eager")
    if eager is not None and eager.host is not None and eager.host > eager.device:
        text = (
            f"the reference takes {us(eager.host)} until it returns, {us(eager.device)} by events"
        )
        yield _doubt("host-bound", text)


def _lazy(candidate: SideTime, eager: SideTime, blocks: Sequence[Block]) -> Iterator[Doubt]:
    if any(block.side == "candidate" and not block.plain for block in blocks):
        yield _doubt("lazy", "timed calls return something else than plain tensors")
        return
    mine, base = candidate.touch or 0.0, eager.touch
    if base is not None and mine > 2 * base + CLOCK_SHARE * candidate.device:
        yield _doubt("lazy", f"reading the answer takes {us(mine)}, the reference's {us(base)}")


def _physics(candidate: SideTime, eager: SideTime, floors: Floors) -> Iterator[Doubt]:
    low = min((candidate, eager), key=lambda side: side.device)
    if low.device < LAUNCH_FACTOR * floors.empty:
        text = f"{low.side}: {us(low.device)}, an empty launch takes {us(floors.empty)}"
        yield _doubt("launch-bound", text)
    if floors.roofline is not None and candidate.device < ROOFLINE_SLACK * floors.roofline:
        text = f"{us(candidate.device)} for {floors.moved_bytes} bytes and {floors.flops} "
        text += f"operations; the device needs {us(floors.roofline)}"
        yield _doubt("beyond-roofline", text)


def _clock(blocks: Sequence[Block]) -> Iterator[Doubt]:
    """What the parent waited for beyond the claimed times must be alike on both sides."""
    base = [_overhead(block) for block in _of(blocks, "eager", "sync")]
    mine = _of(blocks, "candidate", "sync")
    if not base or not mine:
        return
    spread = max(base) - min(base)
    extra = median(_overhead(block) for block in mine) - median(base)
    claimed = median(sum(block.walls) for block in mine)
    if extra > CLOCK_SHARE * claimed + spread + CLOCK_SECONDS:
        text = f"a block took {us(extra)} longer on the parent's clock than the child's times "
        yield _doubt("clock", text + f"explain; it claims {us(claimed)}")


def _overhead(block: Block) -> float:
    return block.elapsed - sum(block.walls) - sum(block.touches)


def _repeat(blocks: Sequence[Block]) -> Iterator[Doubt]:
    pair = _repeated(blocks, "candidate")
    if pair is not None:
        first, again = (median(block.events) for block in pair)
        if again < CACHE_FACTOR * first:
            text = f"{us(again)} on inputs that it had seen, {us(first)} when they were new"
            yield _doubt("content-cache", text)


def _failed(troubles: Iterable[Trouble]) -> Iterator[Doubt]:
    for trouble in {t.side: t for t in troubles}.values():
        text = f"{trouble.side}: {trouble.why}"[:300]
        yield _doubt("failed", text, blocks=trouble.side != "compiled")


def _baseline(facts: TimingFacts, *, tf32: bool) -> Iterator[Doubt]:
    eager, compiled = facts.of("eager"), facts.of("compiled")
    if eager is None:
        return
    if compiled is not None and eager.device > BASELINE_FACTOR * compiled.device:
        text = f"the reference takes {us(eager.device)} eager, {us(compiled.device)} compiled"
        yield _doubt("weak-baseline", text, blocks=False)
    if tf32:
        text = "the candidate multiplies in TF32, the eager reference in fp32"
        yield _doubt("weak-baseline", text, blocks=False)


def us(seconds: float) -> str:
    """A time in microseconds, for people."""
    return f"{seconds * 1e6:.3g} µs"

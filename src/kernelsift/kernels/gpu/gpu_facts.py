"""What was seen of one candidate on a GPU. Pure data. Times are seconds, sizes bytes."""

from typing import Annotated, Literal

from pydantic import Field

from kernelsift.model import Frozen

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

Side = Literal["candidate", "eager", "compiled", "empty"]
"""What is timed: the answer, the reference as it is, the reference by torch.compile, and the
smallest operation there is."""
DoubtKind = Literal[
    "failed",  # a side could not be timed
    "wrong-answers",  # timed calls gave wrong answers
    "untold",  # answers for different inputs cannot be told apart: a kept one would not show
    "lazy",  # the work is done when the answer is looked at
    "side-stream",  # the device worked on after the events said that it was done
    "host-bound",  # the call takes much longer than the work that events see
    "launch-bound",  # near the time of an empty launch
    "beyond-roofline",  # less than the device needs to move the data or to do the arithmetic
    "clock",  # the parent's clock contradicts the child's
    "drift",  # the reference's time changed while it was measured
    "noisy",  # the interval is too wide to say anything
    "content-cache",  # inputs that were seen before go much faster
    "weak-baseline",  # torch.compile makes the reference much faster
]


class DeviceFacts(Frozen):
    """The GPU, and what it does at best."""

    name: str
    capability: tuple[int, int]
    driver: str = ""
    """The newest CUDA version that the driver knows, as "13.0"."""
    memory_bytes: Count = 0
    l2_bytes: Count = 0
    processors: Count = 0
    bytes_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Peak of the memory; 0 where it is not known."""
    flops_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Peak in fp32 without tensor cores."""
    tensor_flops_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Peak in fp16 with tensor cores, dense."""


class Interval(Frozen):
    """A middle value with its 95 % interval."""

    low: float
    middle: float
    high: float


class SideTime(Frozen):
    """One side's times: medians over all blocks."""

    side: Side
    device: Seconds
    """Between two events round the call, on a stream that was busy before."""
    noise: Annotated[float, Field(ge=0)]
    """Half the width of the 95 % interval of `device`, as a share of it."""
    wall: Seconds | None = None
    """From the call until every stream is idle, on a device that was idle before."""
    host: Seconds | None = None
    """From the call to its return."""
    touch: Seconds | None = None
    """To read one element of each output afterwards."""
    calls: Count = 0


class Floors(Frozen):
    """What no kernel on this device can be faster than."""

    empty: Seconds
    """Device time of the smallest operation."""
    empty_wall: Seconds
    moved_bytes: Count
    """That have to be read, or written beyond the cache."""
    flops: Count
    """Of matrix products and convolutions in the reference."""
    roofline: Seconds | None = None
    """None where the peaks of the device are not known."""


class Doubt(Frozen):
    """A reason to doubt the times."""

    kind: DoubtKind
    evidence: str
    blocks: bool = True
    """No speedup is claimed because of it."""


class TimingFacts(Frozen):
    """The candidate against the reference, at the reference's own sizes."""

    sides: tuple[SideTime, ...] = ()
    floors: Floors | None = None
    speedup: Interval | None = None
    """Eager time over the candidate's. None: nothing can be claimed, `doubts` say why."""
    speedup_compiled: Interval | None = None
    """The same against torch.compile of the reference."""
    doubts: tuple[Doubt, ...] = ()
    rounds: Count = 0
    answers_compared: Count = 0
    """Timed calls whose answer was compared with the reference's on the same inputs."""
    answers_wrong: Count = 0
    drift: float | None = None
    """Change of the eager time from the first third of its blocks to the last, as a share."""
    seconds: Seconds = 0.0
    """What measuring took."""

    def of(self, side: Side) -> SideTime | None:
        """The times of one side."""
        return next((time for time in self.sides if time.side == side), None)


class GuardHit(Frozen):
    """A write outside of a tensor, into the band round it."""

    tensor: str
    """`input 0`, or `memory 3`: the fourth piece of memory that the candidate asked for."""
    where: Literal["before", "after"]
    offset: Count
    """Bytes between the tensor and the nearest byte that changed."""
    changed: Count
    """How many bytes of the band changed."""
    case: str


class GuardFacts(Frozen):
    bands: Count = 0
    """How many pieces of memory had a band, over all cases."""
    band_bytes: Count = 0
    hits: tuple[GuardHit, ...] = ()


class MemcheckError(Frozen):
    """One error that compute-sanitizer reported."""

    kind: str
    kernel: str = ""
    line: int | None = None


class MemcheckFacts(Frozen):
    """compute-sanitizer --tool memcheck on one nominal case."""

    status: Literal["clean", "errors", "failed", "not-installed", "not-run"]
    why: str = ""
    errors: tuple[MemcheckError, ...] = ()


class KernelBuild(Frozen):
    """A kernel that was launched on the device, as it was compiled there."""

    name: str
    launches: Count
    registers: Count | None = None
    spills: Count | None = None
    shared_bytes: Count | None = None
    tf32: bool | None = None


class GpuFacts(Frozen):
    """What the GPU has shown of one candidate."""

    device: DeviceFacts | None = None
    why: str = ""
    """Why nothing, or not all, was measured on the GPU."""
    kernels: tuple[KernelBuild, ...] = ()
    guards: GuardFacts | None = None
    memcheck: MemcheckFacts | None = None
    timing: TimingFacts | None = None
    interpreter_disagrees: tuple[str, ...] = ()
    """Cases in which the interpreter and the GPU gave different verdicts; the GPU's counts."""
    sandbox: str = ""

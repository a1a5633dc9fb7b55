"""What was seen while a kernel was verified. Pure data: nothing here judges and nothing runs.

A fact is a measurement with its evidence. `None` means "not measured", never "fine".
"""

from typing import Annotated, Literal

from pydantic import Field

from kernelsift.kernels.catalog import Severity
from kernelsift.kernels.gpu.gpu_facts import GpuFacts, Interval
from kernelsift.kernels.reference.gate_facts import GateFacts
from kernelsift.kernels.static.facts import StaticFacts
from kernelsift.model import Frozen

CaseGroup = Literal[
    "nominal",
    "extent",  # some sizes larger again, so that they are more than one of its blocks
    "initial",  # both constructed from one seed, no weights are copied
    "values",
    "stress",
    "shape",
    "literal-shape",
    "layout",
    "mode",
    "nonfinite",
]
WeightMap = Literal["by-name", "by-value", "by-shape", "by-order", "partial", "none"]
"""By what the reference's weights found their place: the weakest of all; none where it has none."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]

ComparisonStatus = Literal[
    "equal",  # inside the strict bound
    "imprecise",  # outside it, inside what one step of lower precision explains
    "differs",  # other values
    "structure",  # other type, number of outputs, shape or dtype
    "nonfinite",  # NaN or infinity where the reference is finite, or the other way round
    "error",  # the candidate raised
    "timeout",  # no answer in time
    "unsupported",  # the interpreter cannot run this
    "missing",  # no answer, and nothing said why
]
RunStatus = Literal[
    "done",
    "no-entry",  # nothing in the module can be called as the answer
    "syntax-error",
    "import-error",  # the module raised while it was imported or constructed
    "missing-package",  # it imports something that is not installed here
    "crash",  # the process died, or a case raised
    "timeout-host",  # time ran out in Python code, outside any kernel
    "timeout-kernel",  # time ran out in interpreted kernels: slow, or endless
    "killed",  # memory, process or file limits
    "flooded",  # more output than allowed
    "no-token",  # it ended without the proof that our code ran
    "not-run",
]
Ablation = Literal["wrong", "right", "raises", "not-run"]


Race = Literal[
    "store-store",  # programs store different values to one address
    "store-store-equal",  # the same, with equal values up to rounding: harmless
    "store-load",  # a program loads what another stores
    "atomic-load",
    "atomic-store",
]


class Finding(Frozen):
    """One entry of the catalog, with what was seen and where."""

    id: Annotated[str, Field(pattern=r"^K\d\d$")]
    severity: Severity
    line: int | None = None
    """Line in the candidate's source, from 1; None when it has no place."""
    evidence: str


class Difference(Frozen):
    """One element that came out wrong. Values as text: NaN and huge integers stay readable."""

    output: Count
    """Which of the returned tensors, in order."""
    index: tuple[int, ...]
    expected: str
    got: str


class Comparison(Frozen):
    """One case: the candidate's answer against the reference."""

    case: str
    group: CaseGroup
    status: ComparisonStatus
    ratio: float | None = None
    """Largest error in units of the strict bound: at most 1 is equal. None when not comparable."""
    loose_ratio: float | None = None
    """Largest error in units of 1e-2 + 1e-2·|y|, what most harnesses allow."""
    reduced_ratio: float | None = None
    """Largest error in units of the bound for half precision."""
    relative: float | None = None
    """Largest error in units of the element that it is the error of."""
    elements: Count = 0
    """How many were compared."""
    wrong_share: Share | None = None
    """Share of elements outside the strict bound."""
    differences: tuple[Difference, ...] = ()
    sampled: Share | None = None
    """Share of the elements that were compared, where only some programs of a launch ran."""
    tf32: bool = False
    """The bound allowed for TF32 inputs of `tl.dot`."""
    reference: Literal["fp64", "fp32", "exact"] = "fp64"
    own: bool = False
    """The inputs are those that the module itself makes, as most harnesses use them."""
    informative: bool = True
    """False for inputs (zeros, ones) on which a trivial answer may be right."""
    why: str = ""
    """In words, for a case that could not be compared."""


class TorchOp(Frozen):
    """Work that the candidate left to PyTorch, over one nominal call."""

    name: str
    calls: Count
    flops: Count
    bytes: Count
    elements: Count = 0
    """Of the largest tensor of each call."""
    compute: bool
    """False for allocations, views, copies and casts of weights."""


class Rounding(Frozen):
    """Values that lost precision on the way: a cast to a narrower type."""

    kernel: str
    """Empty for a cast by PyTorch."""
    line: int | None = None
    to: str
    """The narrower type, as Triton names it."""


class ProvenanceFacts(Frozen):
    """Who made the answer: the kernels or PyTorch."""

    launches: Count
    kernels: tuple[str, ...] = ()
    copy_only: tuple[str, ...] = ()
    """Launched kernels whose stores hold only values that they loaded."""
    coverage: Share | None = None
    """Least share, over returned tensors, of bytes that a kernel has stored."""
    ablation_noop: Ablation = "not-run"
    """The answer when every launch does nothing."""
    ablation_raise: Ablation = "not-run"
    """The answer when every launch raises."""
    torch_ops: tuple[TorchOp, ...] = ()
    torch_share: Share | None = None
    """PyTorch's share of the candidate's floating-point work, at the sizes of the run."""
    rounded: tuple[Rounding, ...] = ()
    """Casts to half precision or less, where inputs and answers of the reference have none."""
    idle_cases: tuple[str, ...] = ()
    """Cases of the nominal shapes that were answered without any launch, though others launch."""
    idle_modes: tuple[str, ...] = ()
    """The same for cases in another mode: training, or with gradients."""


class Access(Frozen):
    """One bad memory access of a kernel."""

    kernel: str
    line: int | None = None
    kind: Literal["load", "store", "atomic"]
    offset: int | None = None
    """Bytes past the end (positive) or before the start (negative) of the nearest tensor."""
    case: str = ""
    argument: str = ""
    """The kernel's name for the tensor; without one, `offset` counts from where that begins."""
    race: Race | None = None
    """None where it is no race, or one of facts that did not tell."""


class SanitizerFacts(Frozen):
    out_of_bounds: tuple[Access, ...] = ()
    races: tuple[Access, ...] = ()
    uninitialised: tuple[Access, ...] = ()
    poison_dependent: bool | None = None
    """The answer depends on the value that fills fresh memory or masked-off lanes."""
    order_dependent: bool | None = None
    """The answer depends on the order in which programs run."""


class BehaviourFacts(Frozen):
    """What a second look at the same object shows. True is bad; None was not tried."""

    repeat_differs: bool | None = None
    stale_on_new_contents: bool | None = None
    """Same tensor objects, new contents, old answer."""
    late_call_differs: bool | None = None
    output_overwritten: bool | None = None
    """A later call changed an answer that was returned before."""
    inputs_changed: bool | None = None
    """Bytes of an input changed, and the reference does not do that."""
    training_not_random: bool | None = None
    """In training mode it answers as in evaluation, where the reference is random (dropout)."""
    state_differs: bool | None = None
    """Buffers after the call are not those of the reference."""
    patched: tuple[str, ...] = ()
    """Attributes of torch, triton or the standard library that the candidate replaced; as
    `name = value`, settings by which torch's own products may be less precise."""
    tuned: bool = False
    """Kernels were tuned in the first call, and so launched more often than in a second one."""
    wrong_configurations: tuple[str, ...] = ()
    """Of an autotuner, those with a wrong answer where its first gives a right one."""
    threads_left: Count = 0
    subclassed_output: bool | None = None


class CompileFacts(Frozen):
    """One launch signature compiled for one target."""

    kernel: str
    target: str
    signature: str = ""
    """Types, compile-time values and options, in words: what was compiled."""
    group: CaseGroup = "nominal"
    """Of the case that launched it first."""
    status: Literal["ok", "error", "timeout", "not-run"]
    why: str = ""
    shared_bytes: Count | None = None
    shared_limit: Count | None = None
    """Bytes that one block can have on the target."""
    registers: Count | None = None
    """Of one thread."""
    spills: Count | None = None
    """Bytes of local memory of one thread: what did not fit into registers."""
    tensor_cores: bool | None = None


class RunFacts(Frozen):
    """How the candidate's process went."""

    status: RunStatus
    entry: str | None = None
    entry_kind: str | None = None
    weight_map: WeightMap | None = None
    why: str = ""
    line: int | None = None
    interpreter_gaps: tuple[str, ...] = ()
    """What the interpreter cannot do right (bf16 dot, inline assembly, …), as seen in this run."""
    uses_tf32: bool = False


class StaticSummary(Frozen):
    """The part of the static facts that a verdict needs."""

    parsed: bool
    why: str = ""
    kernels: Count = 0
    reachable: Count | None = None
    pointwise: tuple[str, ...] = ()
    """Kernels that do the same work for each element, whatever the sizes: no loop, no sum."""
    chained: tuple[int, ...] = ()
    """Lines of reachable kernels with a chained comparison, which needs Triton 3.9."""
    inductor_style: bool = False
    findings: tuple[Finding, ...] = ()


def static_summary(facts: StaticFacts) -> StaticSummary:
    """Return what a verdict needs of the static facts."""
    return StaticSummary(
        parsed=facts.parsed,
        why="" if facts.parsed else "it is not valid Python",
        kernels=len(facts.kernels),
        reachable=sum(kernel.reachable for kernel in facts.kernels),
        chained=tuple(
            line for kernel in facts.kernels if kernel.reachable for line in kernel.chained
        ),
        pointwise=tuple(kernel.name for kernel in facts.kernels if kernel.pointwise),
        inductor_style=facts.inductor_style,
        findings=tuple(
            Finding(id=f.id, severity=f.severity, line=f.line, evidence=f.evidence)
            for f in facts.findings
        ),
    )


class ReferenceRun(Frozen):
    """Whether the reference could serve as the measure."""

    status: Literal[
        "ok", "fails", "size", "budget", "init", "degenerate", "stochastic", "nonfinite"
    ]
    """size: only sizes too large for the interpreter are valid; init: its construction arguments
    cannot be handed to another process."""
    why: str = ""
    scaled: bool = False
    scaled_from: str = ""
    deeper: float = 1.0
    """How many times more operations an output takes at the original sizes: errors grow by its
    square root."""
    unpinned: bool = False
    """A size changed that the candidate writes out: a right answer counts, a wrong one does not."""


class Timing(Frozen):
    name: str
    seconds: Seconds
    noise: Seconds | None = None


class Versions(Frozen):
    verifier: str
    torch: str = ""
    triton: str = ""
    python: str = ""


class VerifyFacts(Frozen):
    """All that is known about one candidate. `decide` needs nothing else."""

    static: StaticSummary
    reference: ReferenceRun
    run: RunFacts = RunFacts(status="not-run")
    gate: GateFacts | None = None
    comparisons: tuple[Comparison, ...] = ()
    own_sizes: Comparison | None = None
    """Own sizes, own inputs, weights as constructed: asked where the sizes were made smaller, since
    neither a wrong nor a right answer there is a proof for those that the problem comes with. None
    where it was not asked, or too much to ask."""
    provenance: ProvenanceFacts | None = None
    sanitizer: SanitizerFacts | None = None
    behaviour: BehaviourFacts | None = None
    compiled: tuple[CompileFacts, ...] = ()
    launches_at_own_sizes: bool = False
    """A call at the problem's own sizes, where kernels do nothing, launched and raised nothing."""
    refused_launch: str = ""
    """Why CUDA refuses a launch at the problem's own sizes: it has too many programs."""
    gpu: GpuFacts | None = None
    """None: no GPU was asked for."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the answers come from that were compared."""
    sandbox: str = ""
    timings: tuple[Timing, ...] = ()
    versions: Versions | None = None

    @property
    def speedup(self) -> Interval | None:
        """How many times faster than the reference a GPU ran it; None where nothing is claimed."""
        return self.gpu.timing.speedup if self.gpu and self.gpu.timing else None

"""The health of one reference module: whether a right answer can be told from a wrong one."""

from typing import Annotated, Literal

from pydantic import Field

from kernelsift.model import Frozen

GATE_VERSION = "1"
"""Raised when the same module may get other facts."""
Trivial = Literal["zeros", "constant", "previous", "input", "weights", "uninformative"]
"""Answers that need no kernel. `previous`: the answer for another input; `weights`: for other
weights; `uninformative`: under 5 % of the elements tell two inputs apart."""
Rule = Literal["1e-2", "1e-4", "relative"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
OutputKind = Literal["tensor", "several", "other"]


class TensorFacts(Frozen):
    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


class OpFacts(Frozen):
    """All calls of one aten operation in one forward pass."""

    name: str
    calls: Count
    flops: Count
    bytes: Count
    compute: bool
    """False for views, copies, allocations, padding and indexing."""


class TrivialFacts(Frozen):
    """Which trivial answers one rule accepts."""

    rule: Rule
    inputs: Literal["own", "hardened"]
    """`own`: the module's get_inputs and initial weights; `hardened`: ours."""
    passes: tuple[Trivial, ...]
    informative: Share
    """Share of elements that differ, beyond the rule, from the answer for another input."""


class GateFacts(Frozen):
    """What running the reference has shown. Everything after `error` is empty unless it runs."""

    runs: bool
    error: str = ""
    class_name: str = ""
    inputs: tuple[TensorFacts, ...] = ()
    other_inputs: tuple[str, ...] = ()
    """Types of arguments of forward that are no tensors."""
    outputs: tuple[TensorFacts, ...] = ()
    output_kind: OutputKind = "tensor"
    parameters: Count = 0
    """Number of elements in all parameters."""
    deterministic: bool | None = None
    """eval(): twice the same within rounding, with its own weights and with random ones."""
    train_random: bool | None = None
    train_differs: bool | None = None
    """train() and eval() give different answers (only known when train() is not random)."""
    train_fails: bool = False
    finite: bool | None = None
    """On the module's own inputs."""
    finite_randn: bool | None = None
    """None: randn raises."""
    input_source: Literal["randn", "own", "mixed"] = "own"
    """Where the hardened inputs come from: randn for all, the module's own, or both."""
    weight_source: Literal["added", "positive", "mild", "initial"] = "initial"
    """How the weights were randomised: the first of these that kept the output finite."""
    unused_inputs: tuple[int, ...] = ()
    unused_parameters: tuple[str, ...] = ()
    constant_buffers: tuple[str, ...] = ()
    """Buffers that every construction gives alike (tables, masks): part of the task, left alone."""
    hidden_tensors: tuple[str, ...] = ()
    """Random tensors that are plain attributes, so that no state_dict carries them."""
    trivial: tuple[TrivialFacts, ...] = ()
    constant_axes: tuple[int, ...] = ()
    """Axes of the first output along which nothing changes."""
    median: Annotated[float, Field(ge=0)] | None = None
    """Median |y| on own inputs."""
    stateful: bool | None = None
    """Parameters or buffers change in an eval() call."""
    train_stateful: bool | None = None
    mutates_inputs: bool | None = None
    ops: tuple[OpFacts, ...] = ()
    flops: Count = 0
    bytes: Count = 0
    """Bytes of inputs, parameters and outputs: the least that has to be moved."""
    launch_bound: bool | None = None
    """Too small for its time to mean anything on a GPU."""
    double: Literal["fp64", "fp32", "none"] = "none"
    """Precision of the reference that answers are compared with."""
    double_why: str = ""
    batch: bool | None = None
    """Accepts another size of the first axis."""
    odd: bool | None = None
    """Accepts odd sizes on every axis that may change."""
    all_dims: bool | None = None
    """Accepts other sizes on all axes at once."""
    axes: tuple[int, ...] = ()
    """Axes of the inputs whose size may change on its own."""
    portable_init: bool = True
    """Construction arguments can be sent to another process."""
    skipped: tuple[str, ...] = ()
    """Measurements left out because the module is slow, or raises in them; their fields hold
    nothing."""
    seconds: Annotated[float, Field(ge=0)] = 0.0

    @property
    def computes(self) -> bool:
        """At least one operation is more than a view, copy or allocation."""
        return any(op.compute for op in self.ops)

    @property
    def scalar(self) -> bool:
        """One number is all there is to compare."""
        return self.runs and sum(output.numel for output in self.outputs) == 1

    def passes(self, rule: Rule, inputs: Literal["own", "hardened"]) -> tuple[Trivial, ...]:
        """Return the trivial answers that pass under this rule; empty also when not measured."""
        for facts in self.trivial:
            if facts.rule == rule and facts.inputs == inputs:
                return facts.passes
        return ()

    @property
    def degenerate(self) -> bool:
        """A trivial answer passes even our own rule on our own inputs.

        `weights` alone does not count: there the work is real, only its parameters are not used.
        """
        return any(slug != "weights" for slug in self.passes("relative", "hardened"))

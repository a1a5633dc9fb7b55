"""What the static reading of a candidate reports."""

from dataclasses import dataclass
from typing import Literal

from kernelsift.kernels.catalog import Severity

EntryKind = Literal["class", "function", "call"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation, named by the catalog."""

    id: str
    severity: Severity
    line: int
    """Line of the candidate, from 1."""
    evidence: str
    """That line, stripped and cut."""


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """Something that a harness could call."""

    kind: EntryKind
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """One function compiled by Triton."""

    name: str
    line: int
    loads: int
    masked_loads: int
    stores: int
    """Stores and atomics, those of its Triton helper functions included."""
    masked_stores: int
    dots: int
    reductions: int
    pointwise: bool
    """The same work for each element, whatever the sizes: no loop, reduction, product or helper."""
    chained: tuple[int, ...]
    """Lines with a chained comparison (`0 <= i < n`), which Triton compiles since 3.9."""
    copy_only: bool
    """What it stores is what it loaded, without arithmetic."""
    autotuned: bool
    reachable: bool
    """The entry point may launch it, by what the code says."""
    constexprs: tuple[str, ...]
    stored: tuple[str, ...]
    """Parameters through which it writes."""


@dataclass(frozen=True, slots=True)
class TorchCall:
    """A call outside kernels that the entry point may reach."""

    name: str
    line: int
    is_compute: bool
    group: str
    """Class of the operation (`matmul`, `elementwise` …), "" where it is not known."""


@dataclass(frozen=True, slots=True)
class StaticFacts:
    """All that can be said about a candidate without running it."""

    parsed: bool
    entries: tuple[EntryPoint, ...] = ()
    """Best first; the first one was read."""
    kernels: tuple[KernelFacts, ...] = ()
    findings: tuple[Finding, ...] = ()
    """By line, then by id; each id once a line."""
    shape_literals: tuple[int, ...] = ()
    """Positive integers that sizes are compared with or divided by; ascending."""
    blocks: tuple[int, ...] = ()
    """Block sizes that its kernels get; ascending."""
    uses_cuda: bool = False
    """Device strings, `.cuda()` or `torch.cuda` appear."""
    inductor_style: bool = False
    """The file is laid out like the output of TorchInductor."""
    torch_calls: tuple[TorchCall, ...] = ()
    complete: bool = True
    """False where the reader gave up early (very large code); findings may be missing."""

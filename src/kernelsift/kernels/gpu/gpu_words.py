"""What a GPU has shown, in lines for people."""

from collections.abc import Iterator

from kernelsift.kernels.gpu.gpu_facts import GpuFacts, Interval, TimingFacts
from kernelsift.kernels.gpu.timing import us

_NAMES = {
    "candidate": "the answer",
    "eager": "the module",
    "compiled": "by torch.compile",
    "empty": "an empty launch",
}


def gpu_lines(facts: GpuFacts | None) -> Iterator[str]:
    """Yield nothing where no GPU was asked for."""
    if facts is None:
        return
    name = facts.device.name if facts.device else "none"
    yield f"GPU: {name}" + (f"; {facts.why}" if facts.why else "")
    if facts.kernels:
        yield f"  kernels launched: {', '.join(kernel.name for kernel in facts.kernels[:6])}"
    if facts.memcheck is not None and facts.memcheck.status in {"clean", "errors", "failed"}:
        yield f"  compute-sanitizer: {facts.memcheck.status} {facts.memcheck.why}".rstrip()
    if facts.interpreter_disagrees:
        cases = ", ".join(facts.interpreter_disagrees[:4])
        yield f"  the interpreter judged otherwise, the GPU counts: {cases}"
    if facts.timing is not None:
        yield from _timing(facts.timing)


def _timing(facts: TimingFacts) -> Iterator[str]:
    times = [f"{_NAMES[t.side]} {us(t.device)} ±{t.noise:.1%}" for t in facts.sides]
    if times:
        yield f"  time: {', '.join(times)}"
    if facts.speedup is not None:
        text = f"  speedup: {_interval(facts.speedup)} over the module"
        compiled = facts.speedup_compiled
        yield text + (f", {_interval(compiled)} over torch.compile" if compiled else "")
    blocking = [doubt for doubt in facts.doubts if doubt.blocks]
    if blocking:
        yield "  no speedup is claimed"
    for doubt in facts.doubts:
        yield f"    {doubt.kind}: {doubt.evidence}"


def _interval(found: Interval) -> str:
    return f"{found.middle:.2f} ({found.low:.2f} to {found.high:.2f})"

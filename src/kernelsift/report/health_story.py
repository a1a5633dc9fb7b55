"""What the gate found of one module, in words."""

from collections.abc import Iterator
from typing import get_args

from kernelsift.kernels.reference.gate_facts import GateFacts, Rule, TensorFacts
from kernelsift.report.health import PROPERTIES, Gated

_SHOWN = 8
_SAID_APART = frozenset({"degenerate", "few-elements", "batch", "any-shape", "all-dims"})


def story(gated: Gated) -> list[str]:
    """Return lines: can it be verified against, what is odd, sizes, operations."""
    record = gated.record
    name = record.facts.class_name if record.facts else ""
    copies = f", {gated.rows:,} rows" if gated.rows > 1 else ""
    head = f"{name or record.module or 'module'} ({gated.example}{copies}): "
    if record.facts is None or not record.facts.runs:
        return [f"{head}does not run", f"  {record.failure}: {record.error}"]
    out = [head + verdict(record.facts)]
    out += [f"  {line}" for line in _lines(record.facts)]
    return [*out, f"  {record.cpu_seconds:.2f} s of processor time, torch {record.torch}"]


def verdict(facts: GateFacts) -> str:
    """Say in one clause whether an answer can be compared with the module's."""
    if facts.deterministic is False:
        return "unfit: two runs on one input differ"
    if facts.degenerate:
        passed = ", ".join(facts.passes("relative", "hardened"))
        return f"degenerate: what passes without a kernel: {passed}"
    if facts.finite is False:
        return "fit, with care: its answer is not finite"
    return "fit to verify against"


def _lines(facts: GateFacts) -> Iterator[str]:
    yield f"takes {_shapes(facts.inputs)}{_others(facts)}, gives {_shapes(facts.outputs)}"
    yield f"{facts.parameters:,} parameters, {facts.flops:,} FLOP, {facts.bytes:,} bytes to move"
    ops = [f"{op.name} ×{op.calls}" for op in facts.ops if op.compute]
    yield f"computes {', '.join(ops[:_SHOWN]) or 'nothing'}{' …' if len(ops) > _SHOWN else ''}"
    for rule in get_args(Rule):
        for inputs, whose in (("own", "its own inputs"), ("hardened", "our inputs and weights")):
            yield from _accepts(facts, rule, inputs, whose)
    for slug, words, test in PROPERTIES:
        if slug not in _SAID_APART and test(facts):
            yield words + _which(facts, slug)
    yield f"other sizes: {_sizes(facts)}"


def _accepts(facts: GateFacts, rule: Rule, inputs: str, whose: str) -> Iterator[str]:
    for one in facts.trivial:
        if (one.rule, one.inputs) == (rule, inputs) and one.passes:
            yield (
                f"at {rule} on {whose} pass: {', '.join(one.passes)} "
                f"(informative {one.informative:.3f})"
            )


def _which(facts: GateFacts, slug: str) -> str:
    named: dict[str, tuple[object, ...]] = {
        "unused-input": facts.unused_inputs,
        "unused-parameter": facts.unused_parameters,
        "hidden-tensors": facts.hidden_tensors,
        "fp32-only": (facts.double_why,),
        "skipped": facts.skipped,
    }
    members = named.get(slug, ())
    more = " …" if len(members) > _SHOWN else ""
    return f": {', '.join(map(str, members[:_SHOWN]))}{more}" if members else ""


def _sizes(facts: GateFacts) -> str:
    if facts.all_dims:
        return "all axes at once"
    axes = ", ".join(map(str, facts.axes))
    return f"axes {axes} of the inputs" if axes else "none that was tried"


def _shapes(tensors: tuple[TensorFacts, ...]) -> str:
    shown = [f"{t.dtype}{list(t.shape)}" for t in tensors[:_SHOWN]]
    return " ".join(shown) + (" …" if len(tensors) > _SHOWN else "") or "nothing"


def _others(facts: GateFacts) -> str:
    return f" and {', '.join(facts.other_inputs[:_SHOWN])}" if facts.other_inputs else ""

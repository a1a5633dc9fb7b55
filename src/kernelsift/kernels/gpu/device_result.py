"""Read in the parent what a candidate's child on the device has sent, and join it with the rest.

The GPU is what kernels are written for: where it has answered a case, its answer counts, and the
interpreter's is kept only as a remark.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kernelsift.kernels.candidate import candidate_result as read
from kernelsift.kernels.candidate.candidate_evidence import with_state
from kernelsift.kernels.candidate.candidate_result import CandidateResult
from kernelsift.kernels.facts import (
    BehaviourFacts,
    Comparison,
    ProvenanceFacts,
    ReferenceRun,
    RunFacts,
    VerifyFacts,
)
from kernelsift.kernels.gpu.gpu_facts import GpuFacts, GuardFacts, GuardHit, KernelBuild
from kernelsift.kernels.isolation.limits import ChildResult
from kernelsift.kernels.reference.gate_facts import GateFacts
from kernelsift.kernels.reference.reference_result import ReferenceResult

MOST_HITS = 32
MOST_KERNELS = 64
OURS = frozenset({"killed", "not-run", "missing-package"})
"""Ends of the child on the device that say nothing about the candidate."""
_RIGHT = frozenset({"equal", "imprecise"})
_WRONG = frozenset({"differs", "nonfinite", "structure"})


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """What one run on the device amounts to."""

    run: RunFacts
    comparisons: tuple[Comparison, ...]
    behaviour: BehaviourFacts | None
    provenance: ProvenanceFacts | None
    kernels: tuple[KernelBuild, ...]
    guards: GuardFacts
    gate: GateFacts | None

    @property
    def tf32(self) -> bool:
        """Some kernel multiplies in TF32."""
        return any(kernel.tf32 for kernel in self.kernels)


def device_run(
    child: ChildResult, nonce: str, reference: ReferenceResult, band_bytes: int
) -> DeviceRun:
    """Compare every answer of the child. `band_bytes`: the width of a guard band."""
    result = read.read_candidate(child.frames, nonce)
    tf32 = read.uses_tf32(result)
    compared = read.comparisons(result, reference, tf32=tf32)
    return DeviceRun(
        run=read.run_facts(child, result, compared),
        comparisons=compared,
        behaviour=with_state(read.behaviour(result, reference, tf32=tf32), result, reference),
        provenance=_provenance(read.provenance(result, reference, tf32=tf32), reference.gate),
        kernels=_kernels(result),
        guards=_guards(result, band_bytes),
        gate=reference.gate,
    )


def _provenance(seen: ProvenanceFacts | None, gate: GateFacts | None) -> ProvenanceFacts | None:
    """PyTorch's share by the reference's operations: those of a compiled kernel are not counted."""
    if seen is None or gate is None:
        return seen
    torch_flops = sum(op.flops for op in seen.torch_ops if op.compute)
    share = min(1.0, torch_flops / gate.flops) if gate.flops else None
    return seen.model_copy(update={"torch_share": share})


def _frames(result: CandidateResult) -> Iterable[tuple[str, dict[str, Any]]]:
    """Name and facts of every answer, those of the second looks included."""
    for name, frame in (*result.outputs.items(), *result.steps.items()):
        facts = frame.get("facts")
        if isinstance(facts, dict):
            yield name, facts


def _kernels(result: CandidateResult) -> tuple[KernelBuild, ...]:
    """Every kernel that was launched, as it was last compiled; most launches in one call."""
    found: dict[str, KernelBuild] = {}
    for _, facts in _frames(result):
        for one in _dicts(facts.get("launches")):
            name = str(one.get("kernel"))[:200]
            times = max(_count(one.get("times")) or 0, found[name].launches if name in found else 0)
            if len(found) < MOST_KERNELS or name in found:
                found[name] = KernelBuild(
                    name=name,
                    launches=times,
                    registers=_count(one.get("registers")),
                    spills=_count(one.get("spills")),
                    shared_bytes=_count(one.get("shared_bytes")),
                    tf32=one["tf32"] if isinstance(one.get("tf32"), bool) else None,
                )
    return tuple(found.values())


def _guards(result: CandidateResult, band_bytes: int) -> GuardFacts:
    bands, hits = 0, []
    for name, facts in _frames(result):
        bands += _count(facts.get("bands")) or 0
        hits += [_hit(one, name) for one in _dicts(facts.get("guard_hits"))]
    return GuardFacts(bands=bands, band_bytes=band_bytes, hits=tuple(hits[:MOST_HITS]))


def _hit(one: dict[str, Any], case: str) -> GuardHit:
    return GuardHit(
        tensor=str(one.get("tensor"))[:60],
        where="before" if one.get("where") == "before" else "after",
        offset=_count(one.get("offset")) or 0,
        changed=_count(one.get("changed")) or 0,
        case=case,
    )


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def with_device(facts: VerifyFacts, seen: DeviceRun, gpu: GpuFacts) -> VerifyFacts:
    """The facts with the device's answers in the place of the interpreter's."""
    gpu = gpu.model_copy(update={"kernels": seen.kernels, "guards": seen.guards})
    nothing = seen.run.status == "done" and not seen.comparisons
    if seen.run.status in OURS or nothing:
        why = gpu.why or f"cases on the GPU: {seen.run.why or seen.run.status}"
        return facts.model_copy(update={"gpu": gpu.model_copy(update={"why": why[:500]})})
    gpu = gpu.model_copy(
        update={"interpreter_disagrees": disagreements(facts.comparisons, seen.comparisons)}
    )
    answered = {comparison.case for comparison in seen.comparisons}
    kept = tuple(c for c in facts.comparisons if c.case not in answered)
    if facts.run.interpreter_gaps or facts.reference.scaled:
        kept = ()  # the interpreter cannot be trusted with this one, or had another problem
    update: dict[str, Any] = {
        "gpu": gpu,
        "device": "cuda",
        "run": seen.run,
        "comparisons": (*seen.comparisons, *kept),
        "behaviour": joined_behaviour(facts.behaviour, seen.behaviour),
        "provenance": facts.provenance or seen.provenance,
    }
    reference = facts.reference.model_copy(update={"unpinned": False})
    if reference.status not in {"ok", "degenerate"}:
        reference = ReferenceRun(status="ok")
    update["reference"] = reference
    if facts.gate is None or facts.reference.scaled:
        update["gate"] = seen.gate
    return facts.model_copy(update=update)


def disagreements(
    interpreted: Sequence[Comparison], device: Sequence[Comparison]
) -> tuple[str, ...]:
    """Cases that are right on one of the two and wrong on the other."""
    first = {c.case: c.status for c in interpreted}
    return tuple(
        c.case
        for c in device
        if (first.get(c.case) in _RIGHT and c.status in _WRONG)
        or (first.get(c.case) in _WRONG and c.status in _RIGHT)
    )


def joined_behaviour(
    first: BehaviourFacts | None, second: BehaviourFacts | None
) -> BehaviourFacts | None:
    """What either run has shown: bad if it was bad in one, not tried only if in neither."""
    if first is None or second is None:
        return first or second
    update: dict[str, Any] = {
        "patched": tuple(sorted({*first.patched, *second.patched})),
        "threads_left": max(first.threads_left, second.threads_left),
    }
    for name in BehaviourFacts.model_fields:
        if name not in update:
            seen = [v for v in (getattr(first, name), getattr(second, name)) if v is not None]
            update[name] = any(seen) if seen else None
    return second.model_copy(update=update)

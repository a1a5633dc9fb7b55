"""Read in the parent what a candidate's child has sent, and compare. Nothing in it is believed."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from kernelsift.kernels import wire
from kernelsift.kernels.candidate.candidate_plan import CONFIGURATIONS
from kernelsift.kernels.candidate.candidate_sample import compare_sample
from kernelsift.kernels.candidate.load_failure import error_text, load_status
from kernelsift.kernels.candidate.words import TUNED
from kernelsift.kernels.compare import Expected, compare, failed
from kernelsift.kernels.facts import (
    Ablation,
    Access,
    BehaviourFacts,
    Comparison,
    ProvenanceFacts,
    Race,
    RunFacts,
    RunStatus,
    SanitizerFacts,
    TorchOp,
)
from kernelsift.kernels.isolation.limits import ChildResult
from kernelsift.kernels.reference.reference_result import ReferenceCase, ReferenceResult

_RIGHT = frozenset({"equal", "imprecise"})
_PACE = 10.0
"""The interpreter may be so many times slower than predicted."""
_AS_GOOD = 2.0
"""An inexact answer without kernels is right if its error is at most so many times theirs."""
_NAME = 80
"""Characters of a name that are kept."""
_ENOUGH_NOMINAL = 2
"""Nominal answers after which a child that runs out of time still gets a verdict."""


@dataclass(slots=True)
class CandidateResult:
    """The frames of one candidate, sorted."""

    loaded: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    """The frame that says why it could not be loaded."""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    """Cases and steps that the child says it had no time for."""
    slow: bool = False
    """It gave up on the first call."""
    ended: bool = False


def read_candidate(frames: Sequence[bytes], nonce: str) -> CandidateResult:
    """Sort the frames that carry the nonce; all others do not exist."""
    result = CandidateResult()
    for raw in frames:
        try:
            frame = wire.decode(raw)
        except wire.WireError:
            continue
        if isinstance(frame, dict) and frame.get("nonce") == nonce:
            _take(result, frame)
    return result


def _take(result: CandidateResult, frame: dict[str, Any]) -> None:
    match frame.get("event"):
        case "loaded":
            result.loaded = frame
        case "output" if isinstance(frame.get("step"), str):
            result.steps.setdefault(frame["step"], frame)
        case "output" if isinstance(frame.get("case"), str):
            result.outputs.setdefault(frame["case"], frame)
        case "load_error" | "no_entry" | "interpreter_error":
            result.problem = frame
        case "skipped":
            result.skipped.add(str(frame.get("name")))
        case "slow":
            result.slow = True
        case "end":
            result.ended = True


def believe_skips(
    result: CandidateResult, reference: ReferenceResult, seconds: float, budget: float
) -> None:
    """Forget skips that the time used does not explain: a candidate could claim them.

    `seconds`: processor time of the child. Left out cases then count as missing.
    """
    if seconds >= budget / 2:
        return
    dear = {case.name for case in reference.cases if case.seconds * _PACE > budget / 2}
    result.skipped &= dear


def comparisons(
    result: CandidateResult, reference: ReferenceResult, *, tf32: bool
) -> tuple[Comparison, ...]:
    """Compare every case that was answered. Cases after the end of the child are left out.

    Functions get their weights as arguments: they cannot be run as constructed.
    """
    found = []
    constructed = ((result.loaded or {}).get("entry") or {}).get("kind") == "class"
    for case in reference.cases:
        frame = result.outputs.get(case.name)
        if case.expected.group == "initial" and result.loaded and not constructed:
            continue
        if frame is not None:
            found.append(_compared(case.expected, frame, tf32=tf32))
        elif result.ended and case.name not in result.skipped:
            found.append(failed(case.expected, "missing", "no answer"))
    return tuple(found)


def run_facts(
    child: ChildResult, result: CandidateResult, compared: Sequence[Comparison]
) -> RunFacts:
    """How the candidate's process went."""
    status, why, line = _status(child, result, compared)
    entry = (result.loaded or {}).get("entry") or {}
    gaps = {c.why for c in compared if c.status == "unsupported"}
    return RunFacts(
        status=status,
        entry=_text(entry.get("name")),
        entry_kind=_text(entry.get("kind")),
        weight_map=_weights(result.loaded),
        why=why[:500],
        line=line,
        interpreter_gaps=tuple(sorted(gaps)),
        uses_tf32=uses_tf32(result),
    )


def uses_tf32(result: CandidateResult) -> bool:
    """Whether a kernel multiplied fp32 matrices with TF32 inputs, as a GPU does by default."""
    facts = [frame.get("facts") or {} for frame in result.outputs.values()]
    return any((f.get("work") or {}).get("tf32_flops") for f in facts)


def provenance(
    result: CandidateResult, reference: ReferenceResult, *, tf32: bool
) -> ProvenanceFacts | None:
    """Who made the nominal answer."""
    nominal = [c for c in reference.cases if c.expected.group == "nominal"]
    case = nominal[0] if nominal else None
    frame = result.outputs.get(case.name) if case else None
    if case is None or frame is None or "error" in frame:
        return None
    facts = frame.get("facts") or {}
    launches, sample = facts.get("launches") or [], _sample(frame)
    shares = [float(part["stored"]) for part in facts.get("coverage") or []]
    ops = tuple(
        TorchOp(
            name=str(name),
            calls=int(op["calls"]),
            flops=int(op["flops"]),
            bytes=int(op["bytes"]),
            elements=int(op["numel"]),
            compute=op["kind"] == "compute",
        )
        for name, op in (facts.get("torch_ops") or {}).items()
    )
    return ProvenanceFacts(
        launches=int(facts.get("launch_count") or 0),
        kernels=tuple(dict.fromkeys(str(one["kernel"]) for one in launches)),
        copy_only=_copy_only(result, [c.name for c in nominal]),
        coverage=min(shares) if shares and not sample else None,
        ablation_noop=_ablation(result.steps.get("noop"), case, frame, tf32=tf32),
        ablation_raise=_ablation(result.steps.get("raise"), case, frame, tf32=tf32),
        torch_ops=ops,
        torch_share=_torch_share(ops, facts.get("work") or {}, sample),
    )


def _copy_only(result: CandidateResult, nominal: Collection[str]) -> tuple[str, ...]:
    """Kernels that only copied in each of these cases: ReLU of positive numbers copies them too."""
    copied: dict[str, None] = {}
    computed: set[str] = set()
    for case in nominal:
        facts = result.outputs.get(case, {}).get("facts") or {}
        copies = dict.fromkeys(map(str, facts.get("copy_only") or []))
        copied |= copies
        computed |= {str(one["kernel"]) for one in facts.get("launches") or []} - copies.keys()
    return tuple(name for name in copied if name not in computed)


def sanitizer(
    result: CandidateResult, reference: ReferenceResult, *, tf32: bool
) -> SanitizerFacts | None:
    """What the sanitized runs and the runs with another poison and another order showed.

    Bounds are watched in every call: the nominal ones tell where there was no time for more.
    """
    frames = [result.steps.get("sanitize"), result.steps.get("sanitize-larger")]
    seen = [frame for frame in frames if frame and "error" not in frame]
    nominal = [c.name for c in reference.cases if c.expected.group == "nominal"]
    plain = [result.outputs[name] for name in nominal if name in result.outputs]
    found = SanitizerFacts(
        out_of_bounds=_all_of("oob", [*(f for f in plain if "error" not in f), *seen]),
        races=_all_of("races", seen),
        uninitialised=_all_of("uninitialised", seen),
        poison_dependent=_differs(result, reference, "poison", tf32=tf32),
        order_dependent=_differs(result, reference, "reversed", tf32=tf32),
    )
    return found if seen or found != SanitizerFacts() else None


def _all_of(kind: str, frames: Iterable[dict[str, Any]]) -> tuple[Access, ...]:
    """One kind of finding in some frames; what several show is told of the first."""
    first: dict[Access, Access] = {}
    for access in (one for frame in frames for one in _accesses(frame, kind)):
        first.setdefault(access.model_copy(update={"offset": None, "case": ""}), access)
    return tuple(first.values())


def behaviour(
    result: CandidateResult, reference: ReferenceResult, *, tf32: bool
) -> BehaviourFacts | None:
    """What a second look at the same object showed."""
    nominal = [c for c in reference.cases if c.expected.group == "nominal"]
    frames = [result.outputs[c.name] for c in nominal if c.name in result.outputs]
    if not frames:
        return None
    mutates = bool(reference.gate and reference.gate.mutates_inputs)
    facts = [frame.get("facts") or {} for frame in frames]
    changed = any(any(frame.get("inputs_changed") or []) for frame in frames)
    plain = {"Tensor"}
    return BehaviourFacts(
        repeat_differs=_differs(result, reference, "repeat", tf32=tf32),
        stale_on_new_contents=_differs(result, reference, "mutate", tf32=tf32),
        late_call_differs=_differs(result, reference, "late", tf32=tf32),
        output_overwritten=_differs(result, reference, "keep", tf32=tf32),
        tuned=any(TUNED in (f.get("shim") or {}) for f in facts),
        wrong_configurations=tuple(
            name
            for name in CONFIGURATIONS
            if _differs(result, reference, f"tuned-{name}", tf32=tf32)
        ),
        inputs_changed=changed and not mutates,
        patched=tuple(sorted({str(n) for f in facts for n in f.get("tampered") or []})),
        threads_left=max(0, max(int(f.get("threads") or 1) for f in facts) - 1),
        subclassed_output=any(set(f.get("output_types") or plain) - plain for f in facts),
    )


def _compared(expected: Expected, frame: dict[str, Any], *, tf32: bool) -> Comparison:
    error = frame.get("error")
    if not isinstance(error, dict):
        sample = _sample(frame)
        if sample is not None:
            return compare_sample(expected, frame.get("output"), sample, tf32=tf32)
        return compare(expected, frame.get("output"), tf32=tf32, bf16=_bf16(frame))
    why = error_text(error)
    return failed(expected, "unsupported" if error.get("origin") == "interpreter" else "error", why)


def _bf16(frame: dict[str, Any]) -> bool:
    """Whether a kernel cast a wider float to bfloat16 in this call."""
    casts = (frame.get("facts") or {}).get("rounded") or []
    return any(one.get("access") == "bf16" for one in casts)


def _sample(frame: dict[str, Any]) -> dict[str, Any] | None:
    """What is known of a launch that was cut, in this call."""
    sample = (frame.get("facts") or {}).get("sample")
    return sample if isinstance(sample, dict) else None


def _differs(
    result: CandidateResult, reference: ReferenceResult, step: str, *, tf32: bool
) -> bool | None:
    """Whether a step's answer is wrong although the plain case was right; None: not known."""
    frame = result.steps.get(step)
    if frame is None or "error" in frame:
        return None
    named = frame.get("answers")
    case = next((c for c in reference.cases if c.name == named), None)
    plain = result.outputs.get(str(named))
    if case is None or plain is None or "error" in plain or _sample(plain) or _sample(frame):
        return None
    first, second = (
        compare(case.expected, one.get("output"), tf32=tf32, bf16=_bf16(plain)).status
        for one in (plain, frame)
    )
    return second not in _RIGHT if first in _RIGHT else None


def _ablation(
    frame: dict[str, Any] | None, case: ReferenceCase, plain: dict[str, Any], *, tf32: bool
) -> Ablation:
    """Whether the answer without kernels is right: as good as the `plain` one with them."""
    if frame is None:
        return "not-run"
    if "error" in frame:
        return "raises"
    if not case.expected.informative and frame.get("step") == "noop":
        return "not-run"  # fresh memory may be right by itself
    found, own = (
        compare(case.expected, one.get("output"), tf32=tf32, bf16=_bf16(plain))
        for one in (frame, plain)
    )
    if found.status == "imprecise" and (found.ratio or 0.0) > _AS_GOOD * (own.ratio or 0.0):
        return "wrong"
    return "right" if found.status in _RIGHT else "wrong"


def _torch_share(
    ops: Sequence[TorchOp], work: dict[str, Any], sample: dict[str, Any] | None
) -> float:
    """PyTorch's share of floating-point work, by what both sides really did.

    Kernels count as far as their lanes are not masked off: a block of 1,024 does the work of 64
    elements where it holds so many. Of a launch that was cut, the programs that did not run count
    like those that did.
    """
    torch_work = sum(op.flops for op in ops if op.compute)
    kernel_work = int(work.get("float_ops") or 0) + int(work.get("dot_flops") or 0)
    lanes = int(work.get("lanes") or 0)
    if lanes:
        kernel_work = math.ceil(kernel_work * int(work.get("live_lanes") or 0) / lanes)
    if sample is not None:
        kernel_work *= max(int(sample["of"]), 1) // max(int(sample["ran"]), 1)
    total = torch_work + kernel_work
    return torch_work / total if total else 0.0


def _status(
    child: ChildResult, result: CandidateResult, compared: Sequence[Comparison]
) -> tuple[RunStatus, str, int | None]:
    if result.problem is not None:
        return load_status(result.problem)
    if result.slow:
        return "timeout-kernel", "the first call did not end in time", None
    answered = [c for c in compared if c.group == "nominal"]
    if child.status in {"timeout", "killed"} and len(answered) >= _ENOUGH_NOMINAL:
        return "done", f"{child.status} after {len(compared)} cases: {child.reason}", None
    slow: RunStatus = "timeout-kernel" if result.loaded else "timeout-host"
    late = f"no answer in time ({child.reason or f'{child.seconds:.0f} s'})"
    known: dict[str, tuple[RunStatus, str]] = {
        "done": ("no-token", "the process ended without the proof that our code ran"),
        "timeout": (slow, late),
        "killed": ("killed", child.reason),
        "flooded": ("flooded", child.reason),
        "crash": ("crash", child.reason or child.output[-300:]),
    }
    if child.status == "done" and result.ended:
        return "done", "", None
    return *known[child.status], None


def _weights(loaded: dict[str, Any] | None) -> Any:
    if loaded is None:
        return None
    pairs = list((loaded.get("weight_map") or {}).values())
    if loaded.get("unmatched_weights"):
        return "partial"
    kinds = {"value" if pair[1] == "turned" else str(pair[1]) for pair in pairs if len(pair) > 1}
    weakest = next((kind for kind in ("order", "shape", "value") if kind in kinds), "name")
    return f"by-{weakest}" if pairs else "none"


def _accesses(frame: dict[str, Any], found: str) -> Iterator[Access]:
    """The accesses of one kind of finding in a frame."""
    kinds = {"load", "store", "atomic"}
    for one in (frame.get("facts") or {}).get(found) or []:
        said = one.get("access")
        race = said if said in get_args(Race) else None
        kind = race.removesuffix("-equal").rpartition("-")[2] if race else said
        yield Access(
            kernel=str(one.get("kernel", "")),
            line=int(one["line"]) if one.get("line") else None,
            kind=kind if kind in kinds else "load",
            offset=_beyond(one),
            case=str(frame.get("case", ""))[:_NAME],
            argument=str(one.get("argument", ""))[:_NAME],
            race=race,
        )


def _beyond(one: dict[str, Any]) -> int | None:
    """How far an access reaches past the end of a tensor, or begins before its start."""
    offset, size, width = (one.get(name) for name in ("offset", "bytes", "width"))
    if not (isinstance(offset, int) and isinstance(size, int) and isinstance(width, int)):
        return None
    return offset if offset < 0 else offset + width - size


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None

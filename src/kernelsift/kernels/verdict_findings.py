"""Findings that follow from what was seen while the candidate ran. Pure."""

from collections.abc import Iterator

from kernelsift.kernels.candidate.tamper import SET_TO
from kernelsift.kernels.catalog import Severity
from kernelsift.kernels.facts import (
    Access,
    BehaviourFacts,
    CaseGroup,
    Comparison,
    Finding,
    ProvenanceFacts,
    SanitizerFacts,
    VerifyFacts,
)
from kernelsift.kernels.gpu.timing_findings import gpu_findings
from kernelsift.kernels.verdict_compiled import compile_findings
from kernelsift.kernels.verdict_work import torch_share

_WRONG = frozenset({"differs", "nonfinite"})
_GROUP: dict[CaseGroup, tuple[str, Severity]] = {
    "nominal": ("K24", "bug"),
    "extent": ("K25", "bug"),
    "initial": ("K30", "suspicious"),
    "values": ("K27", "bug"),
    "stress": ("K39", "suspicious"),
    "shape": ("K25", "bug"),
    "literal-shape": ("K26", "bug"),
    "layout": ("K36", "bug"),
    "mode": ("K31", "bug"),
}
"""What a wrong answer in a group of cases that is not decisive amounts to."""
_TUNED_ONCE = "the same call gives another answer than the one in which kernels were tuned"
_SHOWN = 3
_NEAR = 10.0
"""Errors of fewer bounds (1e-4 of the value) may come from constants with few digits."""
_FAR = 1000.0
"""Errors of so many bounds are no question of rounding: 1 % of the value, 0.1 % of the largest."""


def dynamic_findings(
    facts: VerifyFacts, decisive: frozenset[CaseGroup], work: str
) -> Iterator[Finding]:
    """Yield the findings of comparison, provenance, sanitizers, behaviour and compilation."""
    yield from _comparisons(facts, decisive)
    yield from _hidden(facts)
    if facts.own_sizes is not None:
        failed = {*_WRONG, "structure", "error"}
        wrong = [c for c in facts.comparisons if c.group in decisive and c.status in failed]
        if wrong:
            text = f"at {facts.reference.scaled_from}: wrong or no answer in {_names(wrong)}"
            yield _finding("K25", "bug", text)
    if facts.provenance is not None:
        yield from _provenance(facts.provenance, work, torch_share(facts))
    if facts.sanitizer is not None:
        yield from _sanitizer(facts.sanitizer)
    if facts.behaviour is not None:
        yield from _behaviour(facts.behaviour, scaled=facts.reference.scaled)
    if facts.gpu is not None:
        yield from gpu_findings(facts.gpu)
    yield from compile_findings(facts.compiled, decisive)
    if facts.run.status == "no-token":
        yield _finding(
            "K53", "hard", facts.run.why or "the process ended without our proof of work"
        )
    if facts.gate is not None and facts.gate.degenerate:
        passing = ", ".join(facts.gate.passes("relative", "hardened"))
        yield _finding("K14", "suspicious", f"an answer that needs no kernel passes: {passing}")
    if facts.gate is not None and facts.gate.launch_bound and not facts.reference.scaled:
        size = f"{facts.gate.bytes} bytes and {facts.gate.flops} operations"
        yield _finding("K77", "timing", f"{size}: a launch takes longer than the work")


def merged(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Drop repeats: the same id, severity and line is said once."""
    seen: dict[tuple[str, str, int | None], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.id, finding.severity, finding.line), finding)
    order = ("hard", "not-a-kernel", "bug", "suspicious", "timing")
    return tuple(sorted(seen.values(), key=lambda f: (order.index(f.severity), f.id, f.line or 0)))


def _finding(code: str, severity: Severity, evidence: str, line: int | None = None) -> Finding:
    return Finding(id=code, severity=severity, line=line, evidence=evidence[:400])


def _comparisons(facts: VerifyFacts, decisive: frozenset[CaseGroup]) -> Iterator[Finding]:
    """A wrong answer outside the decisive groups, refused shapes, and lower precision."""
    gaps = bool(facts.run.interpreter_gaps)
    for group, (code, severity) in _GROUP.items():
        cases = [c for c in facts.comparisons if c.group == group]
        minor = group not in decisive and not gaps
        if minor:
            if wrong := [c for c in cases if c.status in _WRONG]:
                yield _wrong(group, wrong, code, severity)
            if torn := [c for c in cases if c.status == "structure"]:
                yield _finding(code, severity, f"{torn[0].case}: {torn[0].why}")
        raised = [c for c in cases if c.status == "error"]
        if raised and (minor or (group == "extent" and not gaps)):
            yield _finding(code, "suspicious", f"raises in {_names(raised)}: {raised[0].why}")
    if rough := [c for c in facts.comparisons if c.status == "imprecise"]:
        yield _imprecise(facts, rough, decisive)


def _wrong(group: CaseGroup, wrong: list[Comparison], code: str, severity: Severity) -> Finding:
    """A wrong answer outside the decisive groups; large values are worse where it is far off."""
    if group == "stress" and (broken := [c for c in wrong if c.status == "nonfinite"]):
        text = f"not finite where the reference is, or the other way round, in {_names(broken)}"
        return _finding("K37", "bug", text)
    if group == "stress" and (far := [c for c in wrong if (c.ratio or 0.0) > _FAR]):
        worst = max(c.ratio or 0.0 for c in far)
        return _finding(code, "bug", f"error {worst:.3g} times the bound in {_names(far)}")
    return _finding(code, severity, f"wrong answer in {_names(wrong)}")


def _hidden(facts: VerifyFacts) -> Iterator[Finding]:
    """Code that looks at NaN, and answers that lose it.

    Either alone says little: `tl.maximum` loses NaN, and code may look at it for good reasons.
    """
    lost = [c for c in facts.comparisons if c.group == "nonfinite" and c.status == "nonfinite"]
    line = next((f.line for f in facts.static.findings if f.id == "K37"), None)
    if lost and line is not None and not facts.run.interpreter_gaps:
        yield _finding("K37", "bug", "NaN or infinity of the input is hidden", line)


def _imprecise(
    facts: VerifyFacts, rough: list[Comparison], decisive: frozenset[CaseGroup]
) -> Finding:
    """An error of the size of lower precision.

    A bug where a cast that nobody asked for was seen; and where nothing is computed in lower
    precision and the error for ordinary values is large: then something else is not quite right.
    """
    worst = max(c.ratio or 0.0 for c in rough)
    text = f"error {worst:.3g} times the bound, as of lower precision, in {_names(rough)}"
    casts = facts.provenance.rounded if facts.provenance else ()
    grave = casts and any(c.group in decisive for c in rough)
    plain = max((c.ratio or 0.0 for c in rough if c.group == "nominal"), default=0.0)
    unexplained = not casts and not facts.run.uses_tf32 and plain > _NEAR
    if not grave and not unexplained:
        return _finding("K28", "suspicious", text)
    if unexplained:
        return _finding("K39", "bug", f"{text}, and nothing is computed in lower precision")
    where = casts[0].kernel or "PyTorch"
    return _finding("K28", "bug", f"{text}; {where} casts to {casts[0].to}", casts[0].line)


def _names(cases: list[Comparison]) -> str:
    names = ", ".join(case.case for case in cases[:_SHOWN])
    return names + (f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else "")


def _provenance(seen: ProvenanceFacts, work: str, share: float | None) -> Iterator[Finding]:
    if not seen.launches:
        yield _finding("K02", "not-a-kernel", "no kernel was launched")
        return
    if seen.idle_cases:
        names = ", ".join(seen.idle_cases[:_SHOWN])
        yield _finding("K27", "not-a-kernel", f"no kernel is launched for the values of {names}")
    if seen.idle_modes:
        names = ", ".join(seen.idle_modes)
        yield _finding("K54", "not-a-kernel", f"no kernel is launched in the cases {names}")
    if seen.ablation_noop == "right":
        yield _finding(
            "K04", "not-a-kernel", "the answer is right although no launch does anything"
        )
    if seen.ablation_raise == "right":
        yield _finding("K10", "not-a-kernel", "the answer is right although every launch raises")
    if seen.coverage is not None and seen.coverage < 1 and seen.ablation_noop != "right":
        # wrong without the launches: PyTorch goes on with what kernels wrote, say a last sum
        unused = seen.coverage == 0 and seen.ablation_noop != "wrong"
        severity: Severity = "not-a-kernel" if unused else "suspicious"
        yield _finding("K04", severity, f"kernels wrote {seen.coverage:.0%} of the answer")
    if seen.kernels and set(seen.kernels) <= set(seen.copy_only):
        yield _finding("K05", "not-a-kernel", f"kernels only copy: {', '.join(seen.copy_only)}")
    if work in {"figleaf", "partial_triton"} and share:
        heavy = [op.name for op in seen.torch_ops if op.compute][:_SHOWN]
        kind: Severity = "not-a-kernel" if work == "figleaf" else "suspicious"
        text = f"PyTorch does {share:.0%} of the work: {', '.join(heavy)}"
        yield _finding("K06", kind, text)


def _sanitizer(seen: SanitizerFacts) -> Iterator[Finding]:
    races = [access for access in seen.races if access.race != "store-store-equal"]
    for access in seen.out_of_bounds:
        yield _finding("K32", "bug", _placed(access, _outside(access)), access.line)
    for access in races:
        yield _finding("K33", "bug", _placed(access, _raced(access)), access.line)
    for access in seen.uninitialised:
        text = f"{access.kind} of memory that nothing has written"
        yield _finding("K34", "bug", _placed(access, text), access.line)
    if seen.poison_dependent and not seen.uninitialised:
        yield _finding("K34", "bug", "the answer depends on what fresh memory holds")
    if seen.order_dependent and not races:
        yield _finding("K33", "bug", "the answer depends on the order of programs")


def _placed(access: Access, text: str) -> str:
    case = f" (case {access.case})" if access.case else ""
    return f"{text}, kernel {access.kernel}{case}"


def _outside(access: Access) -> str:
    if not access.argument or access.offset is None:
        offset = f", {access.offset} bytes from it" if access.offset is not None else ""
        return f"{access.kind} outside of every tensor{offset}"
    what = f"argument {access.argument!r}"
    if access.offset < 0:
        return f"{access.kind} begins {-access.offset:,} bytes before {what}"
    return f"{access.kind} reaches {access.offset:,} bytes beyond the end of {what}"


def _raced(access: Access) -> str:
    what = f" in argument {access.argument!r}" if access.argument else ""
    if access.race == "store-store":
        return f"store-store: programs store different values to one address{what}"
    kind = f"{access.race}: {access.kind}" if access.race else access.kind
    return f"{kind} of memory that another program writes{what}"


def _behaviour(seen: BehaviourFacts, *, scaled: bool) -> Iterator[Finding]:
    table: tuple[tuple[bool | None, str, Severity, str], ...] = (
        (seen.stale_on_new_contents, "K40", "hard", "same tensors, new contents, old answer"),
        (
            seen.repeat_differs and not seen.tuned,
            "K41",
            "hard",
            "the same call gives another answer",
        ),
        (seen.repeat_differs and seen.tuned, "K41", "bug", _TUNED_ONCE),
        (seen.late_call_differs, "K42", "hard", "a later call gives a wrong answer"),
        (seen.output_overwritten, "K45", "bug", "a later call changed an earlier answer"),
        (seen.inputs_changed, "K35", "bug", "an input was changed, which the reference does not"),
        (seen.state_differs, "K31", "bug", "buffers after the call are not the reference's"),
        (seen.training_not_random, "K31", "bug", "dropout is left out in training mode"),
        (seen.subclassed_output, "K61", "hard", "the answer is no plain tensor"),
    )
    for seen_it, code, severity, text in table:
        if seen_it:
            yield _finding(code, severity, text)
    if replaced := [name for name in seen.patched if SET_TO not in name]:
        yield _finding("K50", "hard", f"it replaced {', '.join(replaced[:_SHOWN])}")
    if lowered := [name for name in seen.patched if SET_TO in name]:
        told = [text.replace(":", ".").replace(SET_TO, " to ") for text in lowered]
        yield _finding("K28", "suspicious", f"it set {', '.join(told[:_SHOWN])}")
    if seen.threads_left:
        yield _finding("K62", "hard", f"{seen.threads_left} threads were still running")
    if seen.wrong_configurations:
        # at smaller sizes a tile may be longer than what it goes over
        weight: Severity = "suspicious" if scaled else "bug"
        names = " and the ".join(seen.wrong_configurations)
        text = f"the {names} configuration of autotuning gives a wrong answer, its first does not"
        yield _finding("K24", weight, text)

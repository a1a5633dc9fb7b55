"""From facts to a verdict. Pure: same facts and policy, same verdict; nothing is measured here.

Three rules hold whatever the facts: what could not be checked is `unverifiable`, never `wrong`;
a wrong answer is `wrong` only when a case with known input, known answer and a finite reference
shows it; and one more finding never turns a dropped row into a kept one.
"""

import math
import re
from typing import Literal

from kernelsift.kernels.catalog import Severity
from kernelsift.kernels.facts import (
    CaseGroup,
    Comparison,
    Finding,
    RunStatus,
    VerifyFacts,
)
from kernelsift.kernels.verdict_compiled import reason, refused
from kernelsift.kernels.verdict_findings import dynamic_findings, merged
from kernelsift.kernels.verdict_health import Health, health
from kernelsift.kernels.verdict_work import torch_share
from kernelsift.model import Frozen

Outcome = Literal["correct", "wrong", "crash", "timeout", "compile_error", "unverifiable"]
Unverifiable = Literal[
    "entry",  # nothing to call was found
    "reference",  # the module does not run, is random or not finite
    "size",  # only sizes too large for the interpreter are valid
    "time",  # interpreted kernels did not end in time
    "interpreter",  # something the interpreter cannot do, or does wrong
    "dependency",  # a package that is not installed here
    "init",  # construction arguments cannot be sent to another process
    "sandbox",  # it hit a limit of the sandbox
    "not-run",
]
Work = Literal["full_triton", "partial_triton", "figleaf", "fallback", "unknown"]


class Policy(Frozen):
    """Which verdicts drop a row. Changing it needs no new run."""

    decisive: frozenset[CaseGroup] = frozenset({"nominal", "extent", "values"})
    """Groups of cases in which a wrong answer makes the outcome `wrong`; others make findings."""
    drop_severities: frozenset[Severity] = frozenset({"hard", "not-a-kernel", "bug"})
    drop_ids: frozenset[str] = frozenset()
    """Catalog ids that drop a row whatever their severity."""
    allow_ids: frozenset[str] = frozenset()
    """Catalog ids that do not drop a row by themselves. Hard findings always do."""
    keep_outcomes: frozenset[Outcome] = frozenset({"correct"})
    keep_work: frozenset[Work] = frozenset({"full_triton", "partial_triton"})
    reduced_precision: Literal["finding", "wrong"] = "finding"
    """What an error is that one step of lower precision explains and that passes 1e-2. What does
    not pass it is wrong."""
    figleaf_share: float = 0.8
    """PyTorch's share of the work from which the kernels are a fig leaf."""
    partial_share: float = 0.05
    oldest_triton: tuple[int, int] = (3, 6)
    """What this Triton does not compile counts as refused, whichever is installed here."""


class Verdict(Frozen):
    """What the facts amount to."""

    outcome: Outcome
    unverifiable: Unverifiable | None = None
    """Why, when the outcome is unverifiable."""
    work: Work
    findings: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()
    """What led to the outcome, in words, most important first."""
    keep: bool
    dropped_by: tuple[str, ...] = ()
    """`outcome:wrong`, `work:fallback` or catalog ids; empty when kept."""
    passes_loose: bool | None = None
    """Own inputs and weights pass 1e-2 at the module's own sizes, what most harnesses ask; None
    where that is not known. At smaller sizes the error is scaled up with the length of its sums."""
    reference: Health | None = None
    """Of the module itself; None where it did not run."""


_Judged = tuple[Outcome, Unverifiable | None, tuple[str, ...]]

_RUN: dict[RunStatus, tuple[Outcome, Unverifiable | None]] = {
    "no-entry": ("unverifiable", "entry"),
    "syntax-error": ("compile_error", None),
    "import-error": ("crash", None),
    "missing-package": ("unverifiable", "dependency"),
    "crash": ("crash", None),
    "timeout-host": ("timeout", None),
    "timeout-kernel": ("unverifiable", "time"),
    "killed": ("unverifiable", "sandbox"),
    "flooded": ("crash", None),
    "no-token": ("crash", None),
    "not-run": ("unverifiable", "not-run"),
}
_WRONG = frozenset({"differs", "structure", "nonfinite"})
_TELLING = 20
"""Elements that would be wrong among those compared."""
_CLEARLY = 2.0
"""Errors of so many times 1e-2 + 1e-2·|y| at the own sizes: no rounding of the interpreter."""
_ONE_ROUNDING = 2.0**-8
"""Of bfloat16, the coarsest type that is common."""
_CHAINS = (3, 9)
"""The first Triton that compiles chained comparisons."""
_MEMORY = re.compile("memory|alloc", re.IGNORECASE)
"""What the sandbox's limit makes programs say."""
_NARROW = re.compile(r"\b(bfloat16|float16|bf16|fp16|half)\b", re.IGNORECASE)
_AS_SHIPPED = "right within 1e-2 at its own sizes, inputs and weights, not at others"
_UNSURE = frozenset({"by-shape", "by-order", "partial"})
_ANY_SIZE = (
    "AttributeError",
    "NameError",
    "ImportError",
    "ModuleNotFoundError",
    "UnboundLocalError",
    "ValueError: Conflicting meta-parameters",
)
"""Errors that no size of the inputs brings about."""


def decide(facts: VerifyFacts, policy: Policy | None = None) -> Verdict:
    """Map facts to a verdict."""
    policy = policy or Policy()
    outcome, unverifiable, reasons = _outcome(facts, policy)
    work = _work(facts, policy)
    findings = merged((*facts.static.findings, *dynamic_findings(facts, policy.decisive, work)))
    dropped = _dropped(outcome, work, findings, policy)
    return Verdict(
        outcome=outcome,
        unverifiable=unverifiable,
        work=work,
        findings=findings,
        reasons=reasons,
        keep=not dropped,
        dropped_by=dropped,
        passes_loose=_passes_loose(facts),
        reference=health(facts.gate, scaled=facts.reference.scaled),
    )


def _outcome(facts: VerifyFacts, policy: Policy) -> _Judged:
    """Could it be checked at all; is a wrong answer shown; did it die; does it compile."""
    if not facts.static.parsed:
        return "compile_error", None, (f"the code does not parse: {facts.static.why}",)
    broken = _refused(facts, policy)
    if early := _reference(facts):
        return broken if broken and early[1] == "size" else early
    decisive = _decisive(facts, policy)
    if shown := _shown_wrong(facts, decisive, policy):
        return shown
    unable = facts.run.interpreter_gaps or any(c.status == "unsupported" for c in decisive)
    decisive = [c for c in decisive if c.group != "extent"]  # it may refuse sizes, not be wrong
    failed = None if broken and unable else _failed(facts, decisive)
    if failed and not (broken and failed[1] in {"size", "entry", "time"}):
        return failed  # what no target takes is refused at any size
    if broken:
        return broken
    agree = f"{len(decisive)} cases agree with the reference"
    sampled = [c.sampled for c in decisive if c.sampled is not None]
    if sampled:
        agree += f" in the {min(sampled):.1%} of their elements that there was time for"
    if any(c.status in {"equal", "imprecise"} and c.informative for c in decisive):
        return _wrong_as_shipped(facts) or _too_rough(facts) or ("correct", None, (agree,))
    if decisive and facts.reference.status == "degenerate":
        return "correct", None, (f"{agree}, but so would an answer that needs no kernel",)
    return "unverifiable", "not-run", ("no informative case was compared",)


def _refused(facts: VerifyFacts, policy: Policy) -> _Judged | None:
    """Whether a launch cannot be on a GPU: no target compiles it, or it has too many programs."""
    if broken := refused(facts.compiled, policy.decisive):
        return "compile_error", None, tuple(map(reason, broken))
    if facts.refused_launch:
        return "crash", None, (f"at its own sizes: {facts.refused_launch}",)
    if facts.static.chained and policy.oldest_triton < _CHAINS:
        lines = ", ".join(map(str, facts.static.chained[:3]))
        why = f"Triton before 3.9 compiles no chained comparison (a < b < c), as in line {lines}"
        return "compile_error", None, (why,)
    return None


def _decisive(facts: VerifyFacts, policy: Policy) -> list[Comparison]:
    """The cases that count: as constructed, where it is not sure which weight is which."""
    if facts.run.weight_map in _UNSURE:
        constructed = [c for c in facts.comparisons if c.group == "initial"]
        if constructed:
            return constructed
    return [c for c in facts.comparisons if c.group in policy.decisive]


def _reference(facts: VerifyFacts) -> _Judged | None:
    reference = facts.reference
    if reference.status in {"ok", "degenerate"}:
        return None
    known: dict[str, Unverifiable] = {"size": "size", "budget": "size", "init": "init"}
    reason = known.get(reference.status, "reference")
    return "unverifiable", reason, (f"the reference: {reference.why or reference.status}",)


def _shown_wrong(facts: VerifyFacts, decisive: list[Comparison], policy: Policy) -> _Judged | None:
    wrong = [c for c in decisive if c.status in _WRONG]
    if policy.reduced_precision == "wrong":
        wrong += [c for c in decisive if c.status == "imprecise"]
    if not wrong:
        return None
    if _right_as_shipped(facts):
        return "correct", None, (f"{_AS_SHIPPED}: {', '.join(c.case for c in wrong[:3])}",)
    if facts.reference.unpinned:
        why = f"it differs at sizes that it does not support: {facts.reference.scaled_from}"
        return "unverifiable", "size", (why,)
    if facts.run.interpreter_gaps:
        # the interpreter itself computes this wrongly: nothing is shown
        gaps = ", ".join(facts.run.interpreter_gaps)
        return "unverifiable", "interpreter", (f"the interpreter cannot be trusted with: {gaps}",)
    if _guessed(facts):
        why = "it differs, but its arguments could only be told apart by their order"
        return "unverifiable", "entry", (why,)
    return "wrong", None, tuple(map(_described, wrong))


def _guessed(facts: VerifyFacts) -> bool:
    """Whether a function may have got a weight in the place of another."""
    return facts.run.entry_kind in {"call", "function"} and facts.run.weight_map == "by-order"


def _right_as_shipped(facts: VerifyFacts) -> bool:
    """Whether the usual harness would accept it at the sizes that the problem comes with."""
    own = facts.own_sizes
    if own is None or own.status in {"structure", "nonfinite"} or own.loose_ratio is None:
        return False
    shares = [c.wrong_share for c in facts.comparisons if c.status in _WRONG and c.wrong_share]
    # had they been wrong there too, would those that were compared have shown it?
    telling = own.sampled is None or min(shares, default=1.0) * own.elements >= _TELLING
    return own.loose_ratio <= 1 and telling


def _wrong_as_shipped(facts: VerifyFacts) -> _Judged | None:
    """Right at smaller sizes; at those it comes with, wrong by what most harnesses allow, or dead.

    Weights are as constructed there, so it counts only where such weights gave a right answer too.
    """
    own = facts.own_sizes
    if own is None or facts.run.interpreter_gaps:
        return None
    constructed = [c for c in facts.comparisons if c.group == "initial"]
    if any(c.status not in {"equal", "imprecise"} for c in constructed):
        return None
    small = f"right at {facts.reference.scaled_from}"
    if own.status == "error" and not _MEMORY.search(own.why):
        return "crash", None, (f"{small}; at its own sizes: {own.why}",)
    clearly = own.loose_ratio is None or own.loose_ratio > _CLEARLY
    if own.status in _WRONG and clearly:
        return "wrong", None, (f"{small}; {_described(own)}",)
    return None


def _described(comparison: Comparison) -> str:
    if comparison.why:
        return f"{comparison.case}: {comparison.why}"
    share = f"{comparison.wrong_share:.1%}" if comparison.wrong_share is not None else "some"
    text = f"{comparison.case}: {share} of the elements are wrong"
    if comparison.status == "nonfinite":
        return f"{text}; not finite where the reference is, or the other way round"
    return f"{text}; error {comparison.ratio:.3g} times the bound"


def _failed(facts: VerifyFacts, decisive: list[Comparison]) -> _Judged | None:
    """The process or a decisive case ended without an answer."""
    gap = next((c for c in decisive if c.status == "unsupported"), None)
    if gap or (facts.run.interpreter_gaps and facts.run.status == "crash"):
        why = gap.why if gap else ", ".join(facts.run.interpreter_gaps)
        return "unverifiable", "interpreter", (f"the interpreter cannot run it: {why}",)
    raised = next((c for c in decisive if c.status == "error"), None)
    if facts.run.status == "done" and raised:
        return _raised(facts, raised)
    if facts.run.status in _RUN:
        outcome, reason = _RUN[facts.run.status]
        if facts.device == "cuda" and facts.run.status == "timeout-kernel":
            outcome, reason = "timeout", None
        return outcome, reason, (facts.run.why or facts.run.status,)
    late = next((c for c in decisive if c.status == "timeout"), None)
    if late:
        return "unverifiable", "time", (f"{late.case}: no answer in time",)
    if any(c.status == "missing" for c in decisive):
        return "crash", None, ("an answer is missing",)
    return None


def _raised(facts: VerifyFacts, case: Comparison) -> _Judged:
    """It raised: a crash, unless sizes or arguments that are not its own may be to blame."""
    why = f"{case.case}: {case.why}"
    if _right_as_shipped(facts):
        return "correct", None, (f"{_AS_SHIPPED}; {why}",)
    if not case.why.startswith(_ANY_SIZE) and not _refuses_type(case.why):
        fits = any(c.status == "ok" and c.group == "nominal" for c in facts.compiled)
        if facts.reference.unpinned or (facts.launches_at_own_sizes and fits):
            return "unverifiable", "size", (f"at {facts.reference.scaled_from}: {why}",)
        if _guessed(facts):
            return "unverifiable", "entry", (f"arguments by their order only; {why}",)
    return "crash", None, (why,)


def _refuses_type(why: str) -> bool:
    """Whether it says that it takes only a narrower type than the reference's."""
    own = why.startswith(("AssertionError", "TypeError", "ValueError"))
    return own and _NARROW.search(why) is not None


def _work(facts: VerifyFacts, policy: Policy) -> Work:
    """Who did the work, as far as provenance shows it."""
    seen = facts.provenance
    if seen is None:
        no_kernel = facts.static.parsed and not facts.static.kernels
        return "fallback" if no_kernel else "unknown"
    if not seen.launches or seen.ablation_noop == "right" or seen.ablation_raise == "right":
        return "fallback"
    unused = seen.coverage == 0 and seen.ablation_noop != "wrong"
    if unused or set(seen.kernels) <= set(seen.copy_only):
        return "figleaf" if seen.kernels else "unknown"
    share = torch_share(facts)
    if share is None:
        return "unknown"
    if share > policy.figleaf_share:
        return "figleaf"
    return "partial_triton" if share > policy.partial_share else "full_triton"


def _dropped(
    outcome: Outcome, work: Work, findings: tuple[Finding, ...], policy: Policy
) -> tuple[str, ...]:
    dropped = [] if outcome in policy.keep_outcomes else [f"outcome:{outcome}"]
    if work not in policy.keep_work:
        dropped.append(f"work:{work}")
    for finding in findings:
        by_id = finding.id in policy.drop_ids
        by_severity = finding.severity in policy.drop_severities
        allowed = finding.id in policy.allow_ids and finding.severity != "hard"
        if finding.severity == "hard" or by_id or (by_severity and not allowed):
            dropped.append(finding.id)
    return tuple(dict.fromkeys(dropped))


def _too_rough(facts: VerifyFacts) -> _Judged | None:
    """Lower precision than asked for, and the error fails what most harnesses allow."""
    rough = [c for c in _as_shipped(facts) if c.status == "imprecise" or c.tf32]
    if not all(c.loose_ratio is not None for c in rough):
        return None
    if not rough or facts.run.interpreter_gaps or _passes_loose(facts) is not False:
        return None
    worst = max(c.loose_ratio or 0.0 for c in rough) * _growth(facts)
    why = f"lower precision: an error {worst:.2g} times 1e-2 + 1e-2·|y| at the module's own sizes"
    return "wrong", None, (why,)


def _growth(facts: VerifyFacts) -> float:
    """Errors of products in lower precision grow with the square root of their number.

    Where each error is one rounding of its own element, the sum was rounded and not its parts, or
    the parts have one sign and the sum grows faster than its error.
    """
    casts = facts.provenance is not None and bool(facts.provenance.rounded)
    if not casts and not facts.run.uses_tf32:
        return 1.0
    if all(c.relative is not None and c.relative <= _ONE_ROUNDING for c in _as_shipped(facts)):
        return 1.0
    return math.sqrt(max(facts.reference.deeper, 1.0))


def _as_shipped(facts: VerifyFacts) -> list[Comparison]:
    """The cases that a harness runs: own inputs and initial weights where there are such."""
    constructed = [c for c in facts.comparisons if c.group == "initial"]
    nominal = [c for c in facts.comparisons if c.group == "nominal"]
    return constructed or [c for c in nominal if c.own] or nominal


def _passes_loose(facts: VerifyFacts) -> bool | None:
    nominal = _as_shipped(facts)
    if not nominal or facts.run.interpreter_gaps:
        return None
    if any(c.status in {"timeout", "unsupported", "missing"} for c in nominal):
        return None
    passes = all(
        c.status not in {"structure", "nonfinite", "error"}
        and c.loose_ratio is not None
        and c.loose_ratio * _growth(facts) <= 1
        for c in nominal
    )
    random = facts.run.entry_kind == "class" and facts.run.weight_map not in {None, "none"}
    if random and not passes and all(c.group != "initial" for c in nominal):
        return None  # there was no time for the weights as constructed, and these are larger
    return passes

"""Verify one candidate: read it, gate its reference, run both in children, compare here."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from platform import python_version
from typing import Any

from kernelsift.kernels import wire
from kernelsift.kernels.attempts import (
    Case,
    agrees,
    asked,
    limits,
    may_be_right,
    may_launch_otherwise,
    parts,
    timed,
    timing,
    too_slow,
)
from kernelsift.kernels.candidate import candidate_evidence as evidence
from kernelsift.kernels.candidate import candidate_result as read
from kernelsift.kernels.candidate.candidate_plan import outline_payload, payload_for
from kernelsift.kernels.compiling.compiler import Compiler
from kernelsift.kernels.compiling.launched import OwnLaunches, launches_of, outlined_launches
from kernelsift.kernels.facts import (
    Comparison,
    CompileFacts,
    ReferenceRun,
    StaticSummary,
    Timing,
    VerifyFacts,
    Versions,
    static_summary,
)
from kernelsift.kernels.hacks import static_facts
from kernelsift.kernels.isolation.limits import ChildResult
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.reference.reference_result import ReferenceResult, read_reference
from kernelsift.kernels.reference.scale import Change
from kernelsift.kernels.sizing import (
    Question,
    Sizes,
    changes_of,
    deeper,
    extents_of,
    pinned_sizes,
    reference_run,
    rewritten,
)

VERIFIER_VERSION = "5"
"""Raised when the same candidate may give other facts."""
PRELOAD = (
    "torch",
    "triton",
    "triton.language",
    "triton.experimental.gluon",  # what the first launch would import
    "kernelsift.kernels.reference.reference_job",
    "kernelsift.kernels.candidate.candidate_job",
    "kernelsift.kernels.candidate.running",
    "kernelsift.kernels.reference.gate:warm_up",
    "kernelsift.kernels.reference.scale_plan:warm_up",
)
_REFERENCE_JOB = "kernelsift.kernels.reference.reference_job:main"
_CANDIDATE_JOB = "kernelsift.kernels.candidate.candidate_job:main"
_SCALE_SECONDS = 60.0
_OUTLINE_SECONDS = 20.0
"""For the launches at the own sizes, where kernels do nothing: PyTorch may work beside them."""
_OUTLINE_BYTES = 256 << 30
"""Memory that may be asked for there; what is touched has the usual limit."""
_LEVELS = (
    (1.0, False),
    (8.0, False),
    (300.0, False),
    (1 / 8, False),
    (1 / 64, False),
    (1.0, True),
    (300.0, True),
)
"""Factors on what the interpreter can bear, and whether the candidate's own sizes may change."""
_OWN_FLOPS = 60e9
_OWN_NUMEL = 30_000_000
"""Problems larger than this are not run at their own sizes."""
_THRIFT = 3.0
"""To confirm a right answer at its own sizes, so many times less is spent."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is spent on one candidate. Processor time: a busy machine changes no verdict."""

    budget_seconds: float = 3.0
    """Predicted interpreter time of all cases together."""
    candidate_seconds: float = 6.0
    """Processor time after which only the nominal cases are still run."""
    first_seconds: float = 6.0
    """Processor time after which a first call is given up and tried at smaller sizes."""
    limit_seconds: float = 60.0
    """Processor time after which a child is ended; of wall clock, four times as much."""
    row_seconds: float = 90.0
    """Processor time of all children after which nothing else is tried with this candidate."""


class Verifier:
    """Verifies candidates through a pool of sandboxed children. Thread-safe."""

    def __init__(
        self, pool: Pool, effort: Effort | None = None, compiler: Compiler | None = None
    ) -> None:
        """`compiler`: for what candidates launch; without one nothing is compiled."""
        self._pool = pool
        self._effort = effort or Effort()
        self._compiler = compiler
        self._scaled: dict[tuple[Any, ...], ReferenceResult] = {}

    def verify(self, question: Question, seed: int | None = None) -> VerifyFacts:
        """Measure everything about one candidate. `seed` is secret unless given."""
        timings: list[Timing] = []
        static = timed("static", timings, lambda: static_facts(question.code, question.class_name))
        summary = static_summary(static)
        found = self._facts(summary, ReferenceRun(status="ok"), timings)
        if not static.parsed:
            return found
        secret = secrets.randbits(63) if seed is None else seed
        case = Case(question, static, summary, secret, timings)
        slow: Sizes | None = None
        for sizes in self._sizes(case):
            if sizes.problem is not None:
                found = self._facts(summary, sizes.problem, timings)
                break
            found = self._attempt(case, sizes, self._effort.first_seconds)
            if not too_slow(found) and (not sizes.unpinned or slow is None or agrees(found)):
                slow = None
                break
            slow = slow if slow is not None and sizes.unpinned else sizes
            if case.spent() > self._effort.row_seconds:
                break
        if slow is not None and case.spent() <= self._effort.row_seconds:
            found = self._attempt(case, slow, 0.0)
        if found.reference.scaled:
            found = found.model_copy(update={"own_sizes": self._at_own_sizes(case, found)})
        found = found.model_copy(update=self._launched(case, found))
        return found.model_copy(update={"timings": tuple(timings)})

    def _attempt(self, case: Case, sizes: Sizes, patience: float) -> VerifyFacts:
        """Run reference and candidate at the sizes given; `patience` is for the first call."""
        summary, timings = case.summary, case.timings
        small = rewritten(case.question, sizes.changes)
        case.seen.code, case.seen.launches = small.code, []
        reference = timed("reference", timings, lambda: self._reference(small, case, sizes.changes))
        state = reference_run(reference, sizes)
        if state.status not in {"ok", "degenerate"}:
            return self._facts(summary, state, timings, gate=reference.gate)
        nonce = secrets.token_hex(16)
        launch = 0.0 if patience else self._effort.first_seconds
        payload = self._payload(case, small, reference, (nonce, patience, launch))
        child = timed("candidate", timings, lambda: self._run(case, payload))
        result = read.read_candidate(child.frames, nonce)
        budget = self._effort.candidate_seconds
        found = self._facts(summary, state, timings, gate=reference.gate)
        found = found.model_copy(update=_measured(child, result, reference, budget))
        case.seen.launches += launches_of(result, reference)
        return found

    def _launched(self, case: Case, found: VerifyFacts) -> dict[str, Any]:
        """What can be said of the launches without running them: do they compile, do they fit.

        Those at the problem's own sizes count, if any were seen there; of other kernels, those at
        smaller sizes.
        """
        smaller, seen = found.reference.scaled, case.seen
        shown = self._outlined(case) if may_launch_otherwise(found, seen) else OwnLaunches()
        own = shown.launches
        known = {launch.get("kernel") for launch in own}
        rest = [launch for launch in seen.launches if launch.get("kernel") not in known]
        update: dict[str, Any] = {
            "refused_launch": shown.refused,
            "launches_at_own_sizes": shown.whole and bool(own),
        }
        if self._compiler is None or not (own or rest):
            return update
        began = time.monotonic()
        compiled: tuple[CompileFacts, ...] = ()
        if own:
            compiled += self._compiler.compile(case.question.code, own)
        if rest:
            compiled += self._compiler.compile(seen.code, rest, scaled=smaller)
        case.timings.append(timing("compile", began))
        return update | {"compiled": compiled}

    def _outlined(self, case: Case) -> OwnLaunches:
        """The launches at the problem's own sizes: kernels do nothing, tensors hold nothing."""
        question, began = case.question, time.monotonic()
        request = {"mode": "outline", **parts(question, case.secret)}
        outline = self._ask(case, request, _OUTLINE_SECONDS).outline
        if outline is None:
            return OwnLaunches()
        nonce = secrets.token_hex(16)
        payload = outline_payload(asked(question, nonce), outline, case.secret % 2**31)
        bounds = replace(limits(_OUTLINE_SECONDS), address_bytes=_OUTLINE_BYTES)
        child = self._pool.run(_CANDIDATE_JOB, payload, bounds)
        case.children.append(child)
        case.timings.append(timing("own launches", began))
        return outlined_launches(read.read_candidate(child.frames, nonce))

    def _payload(
        self,
        case: Case,
        question: Question,
        reference: ReferenceResult,
        how: tuple[str, float, float],
    ) -> bytes:
        """The candidate's job; `how`: nonce, patience with the first call and with a launch."""
        nonce, patience, launch = how
        request = {
            **asked(question, nonce),
            "budget": self._effort.candidate_seconds,
            "patience": patience,
            "tuned": any(kernel.autotuned for kernel in case.static.kernels),
        }
        options = {"seed": case.secret % 2**31, "launch_seconds": launch}
        return payload_for(request, reference, options)

    def _at_own_sizes(self, case: Case, found: VerifyFacts) -> Comparison | None:
        """Whether smaller sizes explain a wrong answer, or hide one; None where that is open."""
        if may_be_right(found):
            return self._own_sizes(case, 1.0)
        if agrees(found) and case.spent() <= self._effort.row_seconds:
            return self._own_sizes(case, _THRIFT)
        return None

    def _own_sizes(self, case: Case, thrift: float) -> Comparison | None:
        """Ask once as most harnesses do, if the machine can bear it; None where it cannot.

        `thrift` divides what may be spent.
        """
        question = case.question
        original = (self._scale(case, pinned_sizes(question), 1.0).scaled or {}).get("original")
        if not original or original["flops"] * thrift > _OWN_FLOPS:
            return None
        if max(original["numel_in"], original["numel_out"]) * thrift > _OWN_NUMEL:
            return None
        request = {"mode": "shipped", **parts(question, case.secret)}
        reference = timed(
            "own sizes, reference",
            case.timings,
            lambda: self._ask(case, request, self._effort.limit_seconds),
        )
        if not reference.cases:
            return None
        nonce = secrets.token_hex(16)
        launch = self._effort.first_seconds / thrift
        payload = self._payload(case, question, reference, (nonce, 0.0, launch))
        child = timed("own sizes", case.timings, lambda: self._run(case, payload))
        result = read.read_candidate(child.frames, nonce)
        found = read.comparisons(result, reference, tf32=read.uses_tf32(result))
        return found[0] if found else None

    def _sizes(self, case: Case) -> Iterator[Sizes]:
        """Sizes to try: the usual ones; larger where only such are valid, smaller where slow."""
        pinned = pinned_sizes(case.question)
        seen: set[tuple[Change, ...]] = set()
        problem: ReferenceRun | None = None
        for factor, free in _LEVELS:
            if free and (not pinned or problem is None):
                continue
            if (factor > 1 and seen) or (factor != 1 and problem and problem.status != "size"):
                continue
            if factor < 1 and problem:
                continue
            pins = () if free else pinned
            began = time.monotonic()
            scale = self._scale(case, pins, factor)
            case.timings.append(timing("scale", began))
            changes, refused = changes_of(scale)
            if refused is not None:
                problem = problem or refused
            elif changes not in seen:
                seen.add(changes)
                yield Sizes(changes, deeper=deeper(scale), unpinned=free)
        if not seen:
            yield Sizes(problem=problem)

    def _scale(self, case: Case, pinned: tuple[str, ...], factor: float) -> ReferenceResult:
        """How to make the problem small; asked once per reference, pinned sizes and factor."""
        question = case.question
        key = (question.reference, question.class_name, pinned, factor)
        known = self._scaled.get(key)
        if known is None:
            request = {
                "mode": "scale",
                "pinned": list(pinned),
                "factor": factor,
                **parts(question, 0),
            }
            known = self._ask(case, request, _SCALE_SECONDS)
            self._scaled[key] = known
        return known

    def _reference(
        self, question: Question, case: Case, changes: tuple[Change, ...]
    ) -> ReferenceResult:
        request = {
            "mode": "cases",
            **parts(question, case.secret),
            "literals": list(case.static.shape_literals[:8]),
            "blocks": list(case.static.blocks),
            "extents": extents_of(changes, case.static.blocks),
            "budget_seconds": self._effort.budget_seconds,
        }
        return self._ask(case, request, self._effort.limit_seconds)

    def _ask(self, case: Case, request: dict[str, Any], seconds: float) -> ReferenceResult:
        nonce = secrets.token_hex(16)
        payload = wire.encode({"nonce": nonce, **request})
        child = self._pool.run(_REFERENCE_JOB, payload, limits(seconds))
        case.children.append(child)
        result = read_reference(child.frames, nonce)
        if not result.complete:
            result.problems.append(f"{child.status}: {child.reason or child.output[-200:]}")
        return result

    def _run(self, case: Case, payload: bytes) -> ChildResult:
        child = self._pool.run(_CANDIDATE_JOB, payload, limits(self._effort.limit_seconds))
        case.children.append(child)
        return child

    def _facts(
        self, static: StaticSummary, reference: ReferenceRun, timings: list[Timing], **more: Any
    ) -> VerifyFacts:
        return VerifyFacts(
            static=static,
            reference=reference,
            sandbox=self._pool.level,
            timings=tuple(timings),
            versions=Versions(
                verifier=VERIFIER_VERSION,
                torch=version("torch"),
                triton=version("triton"),
                python=python_version(),
            ),
            **more,
        )


def _measured(
    child: ChildResult, result: read.CandidateResult, reference: ReferenceResult, budget: float
) -> dict[str, Any]:
    read.believe_skips(result, reference, child.cpu_seconds, budget)
    tf32 = read.uses_tf32(result)
    compared = read.comparisons(result, reference, tf32=tf32)
    provenance = read.provenance(result, reference, tf32=tf32)
    behaviour = read.behaviour(result, reference, tf32=tf32)
    return {
        "run": read.run_facts(child, result, compared),
        "comparisons": compared,
        "provenance": evidence.with_casts_and_idle(provenance, result, reference),
        "sanitizer": read.sanitizer(result, reference, tf32=tf32),
        "behaviour": evidence.with_state(behaviour, result, reference),
    }

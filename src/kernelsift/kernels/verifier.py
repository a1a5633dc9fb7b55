"""Verify one candidate: read it, gate its reference, run both in children, compare here."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import Any

from kernelsift.kernels import wire
from kernelsift.kernels.candidate import candidate_result as read
from kernelsift.kernels.candidate.candidate_plan import payload_for
from kernelsift.kernels.facts import (
    ReferenceRun,
    StaticSummary,
    Timing,
    VerifyFacts,
    Versions,
    static_summary,
)
from kernelsift.kernels.hacks import StaticFacts, static_facts
from kernelsift.kernels.isolation.limits import ChildResult, Limits
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.reference.reference_result import ReferenceResult, read_reference
from kernelsift.kernels.reference.scale import Change, constants, pinned_names, rewrite_constants

VERIFIER_VERSION = "1"
"""Raised when the same candidate may give other facts."""
PRELOAD = (
    "torch",
    "triton",
    "triton.language",
    "kernelsift.kernels.reference.reference_job",
    "kernelsift.kernels.candidate.candidate_job",
    "kernelsift.kernels.candidate.running",
    "kernelsift.kernels.reference.gate:warm_up",
    "kernelsift.kernels.reference.scale_plan:warm_up",
)
_REFERENCE_JOB = "kernelsift.kernels.reference.reference_job:main"
_CANDIDATE_JOB = "kernelsift.kernels.candidate.candidate_job:main"
_SCALE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Question:
    """A candidate, and the module that it claims to replace."""

    reference: str
    code: str
    class_name: str | None = None
    """Of the reference; found in its source when not given."""
    entry: str | None = None
    """A hint at the candidate's entry point."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is spent on one candidate."""

    budget_seconds: float = 3.0
    """Predicted interpreter time of all cases together."""
    wall_seconds: float = 60.0
    """After which the candidate's child is ended."""


class Verifier:
    """Verifies candidates through a pool of sandboxed children. Thread-safe."""

    def __init__(self, pool: Pool, effort: Effort | None = None) -> None:
        self._pool = pool
        self._effort = effort or Effort()
        self._scaled: dict[tuple[str, str | None, tuple[str, ...]], ReferenceResult] = {}

    def verify(self, question: Question, seed: int | None = None) -> VerifyFacts:
        """Measure everything about one candidate. `seed` is secret unless given."""
        timings: list[Timing] = []
        static = _timed("static", timings, lambda: static_facts(question.code, question.class_name))
        summary = static_summary(static)
        if not static.parsed:
            return self._facts(summary, ReferenceRun(status="ok"), timings)
        pinned = _pinned(question)
        scale = _timed("scale", timings, lambda: self._scale(question, pinned))
        changes, problem = _changes(scale)
        if problem is not None:
            return self._facts(summary, problem, timings)
        small = _rewritten(question, changes)
        secret = secrets.randbits(63) if seed is None else seed
        reference = _timed("reference", timings, lambda: self._reference(small, static, secret))
        state = _reference_run(reference, changes)
        if state.status not in {"ok", "degenerate"}:
            return self._facts(summary, state, timings, gate=reference.gate)
        nonce = secrets.token_hex(16)
        payload = payload_for(
            {
                "nonce": nonce,
                "code": small.code,
                "module_name": small.class_name,
                "entry": small.entry,
                "reference": small.reference,
            },
            reference,
            {"seed": secret % 2**31},
        )
        child = _timed("candidate", timings, lambda: self._run(_CANDIDATE_JOB, payload))
        found = self._facts(summary, state, timings, gate=reference.gate)
        return found.model_copy(update=_measured(child, nonce, reference))

    def _scale(self, question: Question, pinned: tuple[str, ...]) -> ReferenceResult:
        """How to make the problem small; asked once per reference and pinned sizes."""
        key = (question.reference, question.class_name, pinned)
        known = self._scaled.get(key)
        if known is None:
            request = {"mode": "scale", "pinned": list(pinned), **_parts(question, 0)}
            known = self._ask(request, _SCALE_SECONDS)
            self._scaled[key] = known
        return known

    def _reference(self, question: Question, static: StaticFacts, seed: int) -> ReferenceResult:
        request = {
            "mode": "cases",
            **_parts(question, seed),
            "literals": list(static.shape_literals[:8]),
            "blocks": [],
            "budget_seconds": self._effort.budget_seconds,
        }
        return self._ask(request, self._effort.wall_seconds)

    def _ask(self, request: dict[str, Any], seconds: float) -> ReferenceResult:
        nonce = secrets.token_hex(16)
        payload = wire.encode({"nonce": nonce, **request})
        limits = Limits(wall_seconds=seconds, cpu_seconds=seconds)
        child = self._pool.run(_REFERENCE_JOB, payload, limits)
        result = read_reference(child.frames, nonce)
        if not result.complete:
            result.problems.append(f"{child.status}: {child.reason or child.output[-200:]}")
        return result

    def _run(self, job: str, payload: bytes) -> ChildResult:
        seconds = self._effort.wall_seconds
        return self._pool.run(job, payload, Limits(wall_seconds=seconds, cpu_seconds=seconds))

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


def _measured(child: ChildResult, nonce: str, reference: ReferenceResult) -> dict[str, Any]:
    result = read.read_candidate(child.frames, nonce)
    tf32 = read.uses_tf32(result)
    compared = read.comparisons(result, reference, tf32=tf32)
    return {
        "run": read.run_facts(child, result, compared),
        "comparisons": compared,
        "provenance": read.provenance(result, reference, tf32=tf32),
        "sanitizer": read.sanitizer(result, reference, tf32=tf32),
        "behaviour": read.behaviour(result, reference, tf32=tf32),
    }


def _pinned(question: Question) -> tuple[str, ...]:
    """Sizes that the candidate writes out: they cannot change without making it wrong."""
    try:
        return tuple(sorted(pinned_names(question.code, constants(question.reference))))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def _parts(question: Question, seed: int) -> dict[str, Any]:
    return {"code": question.reference, "class_name": question.class_name, "seed": seed}


def _changes(scale: ReferenceResult) -> tuple[tuple[Change, ...], ReferenceRun | None]:
    """The constants to change, or why the reference cannot be used."""
    said = scale.scaled
    if said is None:
        return (), ReferenceRun(status="fails", why="; ".join(scale.problems)[:300])
    why = str(said.get("why") or "")
    if said.get("status") == "too-large":
        return (), ReferenceRun(status="size", why=why)
    if said.get("status") == "fails":
        return (), None  # sizes cannot be found without running; perhaps it runs as it is
    changes = tuple(
        Change(str(c["key"]), int(c["old"]), int(c["new"])) for c in said.get("changes") or ()
    )
    return changes, None


def _rewritten(question: Question, changes: tuple[Change, ...]) -> Question:
    """Both programs with the changed constants: they stay one problem."""
    if not changes:
        return question
    try:
        code = rewrite_constants(question.code, [c for c in changes if ":" not in c.key])
    except (SyntaxError, ValueError):
        code = question.code
    reference = rewrite_constants(question.reference, changes)
    return Question(reference, code, question.class_name, question.entry)


def _reference_run(reference: ReferenceResult, changes: tuple[Change, ...]) -> ReferenceRun:
    gate = reference.gate
    why = "; ".join(reference.problems)[:300]
    scaled = ", ".join(f"{c.key} {c.old} to {c.new}" for c in changes)
    if gate is None or not gate.runs:
        return ReferenceRun(status="fails", why=(gate.error if gate else why)[:300])
    if not gate.portable_init:
        return ReferenceRun(status="init", why="construction arguments cannot be sent")
    if gate.deterministic is False:
        return ReferenceRun(status="stochastic", why="two runs on one input differ")
    if not reference.cases:
        finite = gate.finite is not False
        return ReferenceRun(status="budget" if finite else "nonfinite", why=why or "no case fits")
    status = "degenerate" if gate.degenerate else "ok"
    return ReferenceRun(status=status, scaled=bool(changes), scaled_from=scaled)


def _timed(name: str, timings: list[Timing], work: Callable[[], Any]) -> Any:
    began = time.monotonic()
    try:
        return work()
    finally:
        timings.append(Timing(name=name, seconds=round(time.monotonic() - began, 4)))

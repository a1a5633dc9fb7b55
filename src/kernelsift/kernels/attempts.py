"""One candidate on its way through the attempts, and what its facts so far call for."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kernelsift.kernels.facts import StaticSummary, Timing, VerifyFacts
from kernelsift.kernels.hacks import StaticFacts
from kernelsift.kernels.isolation.limits import ChildResult, Limits
from kernelsift.kernels.sizing import Question

_WALL_FACTOR = 4.0
_BY_SIZE = (
    "AssertionError",
    "RuntimeError",
    "IndexError",
    "ValueError: Cannot make_shape_compatible",
)
"""What a program raises that was written for other sizes."""


@dataclass(slots=True)
class Seen:
    """What the last attempt launched, and the code that did: sizes in it may be smaller."""

    code: str = ""
    launches: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Case:
    """One candidate on its way through the attempts."""

    question: Question
    static: StaticFacts
    summary: StaticSummary
    secret: int
    timings: list[Timing]
    children: list[ChildResult] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)

    def spent(self) -> float:
        """Processor seconds of all its children so far."""
        return sum(child.cpu_seconds for child in self.children)


def parts(question: Question, seed: int) -> dict[str, Any]:
    """What every job of a reference gets."""
    return {"code": question.reference, "class_name": question.class_name, "seed": seed}


def asked(question: Question, nonce: str) -> dict[str, Any]:
    """What every job of a candidate gets; `reference` is for the names of arguments alone."""
    return {
        "nonce": nonce,
        "code": question.code,
        "module_name": question.class_name,
        "entry": question.entry,
        "reference": question.reference,
    }


def may_launch_otherwise(facts: VerifyFacts, seen: Seen) -> bool:
    """Whether launches at the own sizes are not those that were seen: it ran at others or not."""
    if facts.reference.status == "size" or too_slow(facts):
        return bool(facts.static.kernels)
    return facts.reference.scaled and facts.run.status == "done" and bool(seen.launches)


def too_slow(facts: VerifyFacts) -> bool:
    """Whether smaller sizes may help: interpreted kernels did not end in time."""
    return facts.run.status == "timeout-kernel" or facts.reference.status == "budget"


def may_be_right(facts: VerifyFacts) -> bool:
    """Whether some answer was wrong, not only inexact, in a way that the sizes may explain."""
    raised = [c.why for c in facts.comparisons if c.status == "error"]
    if facts.run.status == "done" and any(why.startswith(_BY_SIZE) for why in raised):
        return True
    return any(c.status in {"differs", "nonfinite", "structure"} for c in facts.comparisons)


def agrees(facts: VerifyFacts) -> bool:
    """Whether the first answer was right."""
    first = facts.comparisons[:1]
    return bool(first) and all(c.status in {"equal", "imprecise"} for c in first)


def limits(seconds: float) -> Limits:
    """For one child; `seconds` of processor time, of wall clock four times as many."""
    return Limits(wall_seconds=_WALL_FACTOR * seconds, cpu_seconds=seconds)


def timed(name: str, timings: list[Timing], work: Callable[[], Any]) -> Any:
    """Do the work and note its wall time, also where it raises."""
    began = time.monotonic()
    try:
        return work()
    finally:
        timings.append(timing(name, began))


def timing(name: str, began: float) -> Timing:
    """Wall time since `began`, by the monotonic clock."""
    return Timing(name=name, seconds=round(time.monotonic() - began, 4))

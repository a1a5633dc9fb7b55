"""The part of a verification that needs nothing installed: what the syntax tree alone shows."""

import time
from collections.abc import Sequence
from platform import python_version
from typing import Protocol

from kernelsift.kernels.facts import (
    ReferenceRun,
    RunFacts,
    Timing,
    VerifyFacts,
    Versions,
    static_summary,
)
from kernelsift.kernels.hacks import static_facts
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verifier import VERIFIER_VERSION


class AnyVerifier(Protocol):
    """What verifies candidates: `Verifier`, `StaticVerifier`, or a test's own. Thread-safe."""

    def verify(self, question: Question, /) -> VerifyFacts:
        """Measure everything about one candidate."""
        ...


class StaticVerifier:
    """Reads candidates where packages to run them are missing."""

    def __init__(self, missing: Sequence[str]) -> None:
        """`missing`: names of the packages, for the verdict."""
        self._run = RunFacts(
            status="missing-package", why=f"{' and '.join(missing)} not installed; nothing was run"
        )

    def verify(self, question: Question, /) -> VerifyFacts:
        """Read one candidate; the outcome will be unverifiable unless it does not parse."""
        return read_only(question, run=self._run)


def read_only(
    question: Question,
    *,
    run: RunFacts = RunFacts(status="not-run"),  # noqa: B008 - frozen
    reference: ReferenceRun = ReferenceRun(status="ok"),  # noqa: B008 - frozen
) -> VerifyFacts:
    """The facts of a candidate that is not run, and why it is not."""
    began = time.monotonic()
    static = static_facts(question.code, question.class_name)
    return VerifyFacts(
        static=static_summary(static),
        reference=reference,
        run=run,
        sandbox="not needed",
        timings=(Timing(name="static", seconds=round(time.monotonic() - began, 4)),),
        versions=Versions(verifier=VERIFIER_VERSION, python=python_version()),
    )

"""Run the corpus through the whole verifier. Needs torch and triton."""

import json
from typing import Any

from hacks.corpus import REFERENCES
from hacks.judging import killed
from hacks.tasks import Case
from kernelsift.kernels.facts import VerifyFacts
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.reference.reference_result import ReferenceResult
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import Verdict, decide
from kernelsift.kernels.verifier import Effort, Verifier

SEED = 5
QUICK = 0.3
"""Processor seconds after the nominal cases in the first look at a mutant: most need no more."""


class CorpusVerifier:
    """Verifies cases of the corpus with one seed, so that each reference is asked once."""

    def __init__(self, pool: Pool, effort: Effort | None = None) -> None:
        full = effort or Effort()
        self._full = _Remembering(pool, full)
        self._quick = _Remembering(
            pool,
            Effort(
                budget_seconds=full.budget_seconds,
                candidate_seconds=min(QUICK, full.candidate_seconds),
                limit_seconds=full.limit_seconds,
            ),
        )
        self._quick.known = self._full.known

    def facts(self, case: Case) -> VerifyFacts:
        """Return all facts about a case."""
        return self._full.verify(_question(case), SEED)

    def verdict(self, case: Case) -> Verdict:
        """Return the verdict under the default policy."""
        return decide(self.facts(case))

    def mutant(self, case: Case) -> Verdict:
        """Return the verdict; with all effort only where a quick look does not kill the mutant."""
        quick = decide(self._quick.verify(_question(case), SEED))
        shown = killed(quick) and quick.outcome != "crash"
        return quick if shown else self.verdict(case)


def _question(case: Case) -> Question:
    return Question(REFERENCES[case.task], case.code, case.task)


class _Remembering(Verifier):
    """With one seed a reference says the same each time."""

    def __init__(self, pool: Pool, effort: Effort) -> None:
        super().__init__(pool, effort)
        self.known: dict[str, ReferenceResult] = {}

    def _ask(self, case: Any, request: dict[str, Any], seconds: float) -> ReferenceResult:
        key = json.dumps(request, sort_keys=True)
        if key not in self.known:
            self.known[key] = super()._ask(case, request, seconds)
        return self.known[key]

"""verify: run every kernel against its PyTorch module; keep what is right and is a kernel.

It measures (facts, by key) and decides (by policy, from facts alone): another policy runs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from pydantic import ValidationError

from kernelsift.config_verify import Verify
from kernelsift.errors import ConfigError, KernelsiftError
from kernelsift.kernels.catalog import catalog
from kernelsift.kernels.compiling.targets import parse_targets
from kernelsift.kernels.facts import ReferenceRun, VerifyFacts, Versions
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.static_verifier import AnyVerifier, read_only
from kernelsift.kernels.verdict import Policy, Verdict, decide
from kernelsift.kernels.verifier import Effort
from kernelsift.model import (
    Decision,
    Entry,
    Fact,
    Failure,
    FailureClass,
    Sample,
    Verification,
    digest,
)
from kernelsift.source import class_names, module_class_name

VERSION = "1"
"""Raised when a change here may change what is asked of the verifier."""
_REASONS = 3
_SAYS_NOTHING = frozenset({"outcome:unverifiable", "work:unknown"})
_WORDS = {"work:unknown": "unknown-work"}


@dataclass(frozen=True)
class Checks:
    """What decides the facts besides the row, and the policy that they are judged by."""

    cfg: Verify
    device: str
    versions: Versions
    """Of verifier, torch and triton; the latter two empty where kernels cannot be run."""

    @cached_property
    def effort(self) -> Effort:
        return Effort(budget_seconds=self.cfg.budget_seconds, limit_seconds=self.cfg.limit_seconds)

    @cached_property
    def settings(self) -> Mapping[str, object]:
        """What can change the facts."""
        effort = {name: getattr(self.effort, name) for name in Effort.__dataclass_fields__}
        versions = self.versions
        return {
            **effort,
            "device": self.device,
            "targets": ",".join(target.name for target in parse_targets(self.cfg.targets)),
            "verifier": versions.verifier,
            "torch": versions.torch,
            "triton": versions.triton,
        }

    @cached_property
    def policy(self) -> Policy:
        """Which verdicts drop a row.

        Raises:
            ConfigError: an id is not in the catalog.
        """
        cfg = self.cfg
        for name in (*cfg.drop_ids, *cfg.allow_ids):
            if name not in catalog():
                raise ConfigError(
                    f"verify.drop_ids or verify.allow_ids names {name}, which is not in the "
                    "catalog of docs/verify.md"
                )
        return Policy(
            drop_severities=frozenset(cfg.drop_severities),
            drop_ids=frozenset(cfg.drop_ids),
            allow_ids=frozenset(cfg.allow_ids),
            keep_work=frozenset(cfg.keep_work),
            reduced_precision=cfg.reduced_precision,
            figleaf_share=cfg.figleaf_share,
            partial_share=cfg.partial_share,
            oldest_triton=_release(cfg.oldest_triton),
        )

    @cached_property
    def recorded_policy(self) -> Mapping[str, object]:
        """The policy as recorded with the stage."""
        measured = {"device", "sandbox", "targets", *Effort.__dataclass_fields__}
        return self.cfg.model_dump(mode="json", exclude=measured)

    def key(self, entry: Entry) -> str:
        """Digest of all that could change the facts. Equal code for an equal module shares it."""
        return digest(
            self._settings_digest, entry.code_digest, entry.reference_digest, entry.module
        )

    @cached_property
    def _settings_digest(self) -> str:
        return digest("verify", VERSION, self.settings)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a fact amounts to under a policy."""

    decision: Decision | None
    """None where there was nothing to verify."""
    failure: FailureClass | None
    """Why nothing could be told, also where the policy keeps or drops such rows."""


def question_for(sample: Sample) -> Question:
    """What the verifier is asked about a sample."""
    name: str | None = sample.entry.module
    if name not in class_names(sample.reference):
        name = module_class_name(sample.reference)
    return Question(sample.reference, sample.code, name)


def measure(sample: Sample, verifier: AnyVerifier) -> Verification | Failure:
    """Verify one sample. What the verifier itself cannot cope with is a failure of this row.

    Raises:
        KernelsiftError: nothing can be verified any more.
    """
    if not sample.code:
        return Failure(failure="no-code", why="no code was found in the completion")
    question = question_for(sample)
    try:
        if sample.reference:
            facts = verifier.verify(question)
        else:
            missing = ReferenceRun(status="fails", why="the row has no PyTorch module")
            facts = read_only(question, reference=missing)
    except KernelsiftError:
        raise
    except Exception as e:  # noqa: BLE001 - hostile code must not end the whole run
        why = f"{type(e).__name__}: {e}"[:300]
        return Failure(failure="verifier-error", why=f"the verifier gave up ({why})")
    return Verification(facts=facts.model_dump(mode="json", exclude_defaults=True))


def rule(fact: Fact, checks: Checks) -> Ruling:
    """Keep, drop or fail, from the facts and the policy alone."""
    if isinstance(fact.body, Failure):
        return Ruling(None, fact.body.failure)
    assert isinstance(fact.body, Verification)
    try:
        facts = VerifyFacts.model_validate(fact.body.facts)
    except ValidationError:
        return _unreadable(fact)
    verdict = decide(facts, checks.policy)
    failure = _failure(verdict)
    against = _against(verdict)
    keep = not against and (failure is None or checks.cfg.unverifiable == "keep")
    fails = not against and checks.cfg.unverifiable == "fail"
    decision = Decision(
        sample=fact.sample,
        stage="verify",
        keep=keep,
        reason=against[0] if against else failure or "verified",
        evidence=_evidence(verdict),
        failure=failure if fails else None,
    )
    return Ruling(decision, failure)


def _failure(verdict: Verdict) -> FailureClass | None:
    if verdict.outcome != "unverifiable":
        return None
    name: Any = f"unverifiable-{verdict.unverifiable}"
    return name if name in get_args(FailureClass) else "verifier-error"


def _against(verdict: Verdict) -> list[str]:
    """What speaks against the row, worst first: catalog ids of cheats, the outcome, the work …

    That it could not be checked says nothing about it.
    """
    said = verdict.dropped_by
    if verdict.outcome == "unverifiable":
        said = tuple(why for why in said if why not in _SAYS_NOTHING)
    hard = {f.id for f in verdict.findings if f.severity == "hard"}
    words = [_WORDS.get(why) or why.partition(":")[2] or why for why in said]
    return sorted(words, key=lambda why: why not in hard)


def _evidence(verdict: Verdict) -> dict[str, Any]:
    unverifiable = {"unverifiable": verdict.unverifiable} if verdict.unverifiable else {}
    known = verdict.reference.model_dump(mode="json") if verdict.reference else None
    return {
        "outcome": verdict.outcome,
        **unverifiable,
        **({"reference": known} if known else {}),
        "work": verdict.work,
        "why": [reason[:300] for reason in verdict.reasons[:_REASONS]],
        "findings": [f.model_dump(mode="json") for f in verdict.findings],
        "dropped_by": list(verdict.dropped_by),
    }


def _unreadable(fact: Fact) -> Ruling:
    why = "the stored facts are not of this kernelsift's shape; --retry-failed verifies it again"
    decision = Decision(
        sample=fact.sample,
        stage="verify",
        keep=False,
        reason="verifier-error",
        evidence={"outcome": "unverifiable", "work": "unknown", "why": [why], "findings": []},
        failure="verifier-error",
    )
    return Ruling(decision, "verifier-error")


def _release(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)

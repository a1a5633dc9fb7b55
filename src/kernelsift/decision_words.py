"""What one stage said of one row, in plain words: shared by `why` and `diff`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kernelsift.model import Decision, Fact, Failure, Judgement, Verification
from kernelsift.report import contamination
from kernelsift.sides import Assigned

if TYPE_CHECKING:
    from kernelsift.kernels.facts import Comparison

_LONGEST = 200
"""Characters of a judge's words that are shown."""


def sentence(decision: Decision) -> str:
    """One line: which stage kept or dropped the row, and on what evidence."""
    if decision.stage == "verify":
        return _verify_sentence(decision)
    if decision.stage == "decontaminate":
        return contamination.sentence(decision.reason, decision.evidence)
    known = _known(decision.reason, decision.evidence)
    if known is not None:
        return known
    verb = "kept" if decision.keep else "dropped"
    return f"{decision.stage} {verb} it: {decision.reason}{_listed(decision.evidence)}"


def details(decision: Decision, fact: Fact | None) -> list[str]:
    """What stands below the sentence: findings of verify, further hits of decontaminate."""
    if decision.stage == "decontaminate":
        return contamination.more_hits(decision.evidence)
    if decision.stage != "verify":
        return []
    from kernelsift.kernels import verdict_words as words
    from kernelsift.kernels.facts import Finding

    seen = decision.evidence
    out = list(seen["why"])
    out += words.failing_cases(_comparisons(fact))
    return out + [words.finding_line(Finding(**finding)) for finding in seen["findings"]]


def failed(stage: str, failure: Failure) -> str:
    """One line for a measurement that could not be made."""
    return f"{stage} failed on it ({failure.failure}): {failure.why}"


def judged(fact: Fact) -> str:
    """One line for what the judge said, or why it could not."""
    body = fact.body
    if isinstance(body, Failure):
        return failed("judge", body)
    assert isinstance(body, Judgement)
    return (
        f"judge {body.judge} ({body.prompt_version}) rated difficulty {body.difficulty:.3g}, style "
        f"{body.style:.3g}{_answers(body)}: "
        f"{_checked(body) or ' '.join(body.raw.split())[:_LONGEST]}"
    )


def compared(fact: Fact | None, probability: float) -> list[str]:
    """What is to be said of a dropped row that was chosen for comparison."""
    chosen = f"chosen with probability {probability:.3g} for comparison only; it stays dropped"
    return [chosen, judged(fact) if fact else "the judge has not come to it yet"]


def _answers(body: Judgement) -> str:
    """How many answers are behind a judgement, where that is more than one."""
    parts = []
    for score in ("difficulty", "style"):
        told = [o for o in body.opinions if getattr(o, score) is not None]
        why = next((f", {_EXTRA[o.extra]}" for o in told if o.extra), "")
        parts.append(f"{len(told)}{why}")
    if not any(part not in {"0", "1"} for part in parts):
        return ""
    difficulty, style = parts
    if difficulty == style:
        return f" (mean of {style} answers)" if "," not in style else f" (answers: {style})"
    return f" (answers for difficulty: {difficulty}; for style: {style})"


_EXTRA = {"near": "as it is near a threshold", "drawn": "as chance has drawn it"}


def _checked(body: Judgement) -> str:
    """The checklist in words, where there is one: what was answered with no, and the line."""
    checks = [check for opinion in body.opinions for check in opinion.checks]
    wrong = {c.name: c.quote for c in checks if c.answer == "no" and c.supported}
    if not checks:
        return ""
    faults = "; ".join(f"{name}: {quote}" for name, quote in wrong.items()) or "nothing"
    return f"the checklist faults {faults}"[:_LONGEST]


def assigned(split: Assigned) -> str:
    """One line for the side of a row."""
    if split.rows == 1:
        alike = "no other row is like it"
    else:
        alike = f"with all {split.rows:,} rows of its cluster {split.cluster}"
    return f"split: it was written to {split.side}, {alike}"


def _known(reason: str, evidence: Mapping[str, Any]) -> str | None:
    """The sentence of a reason that has words of its own."""
    if reason.endswith(("-repeat", "-repeats")):
        return _repeat_sentence(reason, evidence)
    match reason:
        case "low-reward":
            return (
                f"filter dropped it: reward {evidence['reward']:g} is not above "
                f"{evidence['min_reward']:g}"
            )
        case "reward":
            return (
                f"filter kept it: reward {evidence['reward']:g} is above {evidence['min_reward']:g}"
            )
        case "best-of-module":
            return (
                f"dedup kept it: the best of {evidence['of']} rows of {evidence['module']}, "
                f"score {evidence['score']:g}"
            )
        case "not-best-of-module":
            return (
                f"dedup dropped it: score {evidence['score']:g}; {evidence['best']} of the same "
                f"module {evidence['module']} has {evidence['best_score']:g}"
            )
    return None


def _listed(evidence: Mapping[str, Any]) -> str:
    """Evidence that has no words of its own: name and value of each."""
    text = ", ".join(f"{name.replace('_', ' ')} {_value(v)}" for name, v in evidence.items())
    return f" ({text})" if text else ""


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _verify_sentence(decision: Decision) -> str:
    from kernelsift.kernels import verdict_words as words

    seen = decision.evidence
    what = words.headline(seen["outcome"], seen.get("unverifiable"), seen["work"])
    if decision.failure:
        return f"verify could not tell ({decision.failure}): {what}"
    return f"verify {'kept it' if decision.keep else f'dropped it ({decision.reason})'}: {what}"


def _comparisons(fact: Fact | None) -> "tuple[Comparison, ...]":
    """The cases of a verification; none where another kernelsift has stored them."""
    from pydantic import ValidationError

    from kernelsift.kernels.facts import VerifyFacts

    if fact is None or not isinstance(fact.body, Verification):
        return ()
    try:
        return VerifyFacts.model_validate(fact.body.facts).comparisons
    except ValidationError:
        return ()


_LIKE = {
    "exact": "the same {side} (names, comments and formatting aside)",
    "near": "nearly the same {side} (similarity {similarity:.2f}, as written {raw:.2f})",
    "module-name": "the same module name",
}


def _repeat_sentence(reason: str, evidence: Mapping[str, Any]) -> str:
    """Why dedup by exact or near kept or dropped a row, and the row that it is like."""
    of = evidence["of"]
    if reason == "no-repeat":
        return "dedup kept it: no better row is like it"
    if reason == "best-of-repeats":
        return f"dedup kept it: the best of {of:,} rows that are alike"
    side = evidence["side"]
    how = _LIKE[evidence["kind"]].format(
        side="reference and answer" if side == "both" else side,
        similarity=evidence["similarity"] or 0.0,
        raw=evidence["raw_similarity"] or 0.0,
    )
    if reason == "more-of-repeats":
        return f"dedup kept it beside {evidence['survivor']}, though it has {how} as that"
    if "like" in evidence:
        return (
            f"dedup dropped it: it has {how} as {evidence['like']}, and of {of:,} rows that are "
            "alike none was to stay"
        )
    return (
        f"dedup dropped it: it has {how} as {evidence['survivor']} of {evidence['module']}, which "
        "ranks higher"
    )

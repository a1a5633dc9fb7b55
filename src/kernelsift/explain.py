"""why: the path of one row, in plain words, with its evidence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernelsift.errors import DataError
from kernelsift.model import Decision, Entry, Fact, Failure, Judgement, Verification
from kernelsift.run import STAGES, Run

if TYPE_CHECKING:
    from kernelsift.kernels.facts import Comparison

_SHOWN = 8
_DIGITS = 9
"""A longer text of digits is the beginning of an id, never a row number."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything a run knows about one row."""

    entry: Entry
    state: str
    decisions: tuple[Decision, ...]
    fact: Fact | None
    """Of the judge."""
    verified: Fact | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        entry = self.entry
        return {
            "id": entry.id,
            "row": entry.row,
            "origin": entry.origin,
            "module": entry.module,
            "reward": entry.reward,
            "state": self.state,
            "decisions": [d.model_dump(mode="json") for d in self.decisions],
            "judge": self.fact.body.model_dump(mode="json") if self.fact else None,
            "verify": self.verified.body.model_dump(mode="json") if self.verified else None,
        }

    def lines(self) -> list[str]:
        """For people."""
        entry = self.entry
        out = [
            f"{entry.id}  {entry.module}  reward {entry.reward:g}",
            f"  from {entry.origin} (row {entry.row:,})",
        ]
        made = {decision.stage: decision for decision in self.decisions}
        for stage in STAGES:
            if stage == "verify":
                out += _verify_words(made.get(stage), self.verified)
            elif stage == "judge":
                out += [_judge_words(self.fact)] if self.fact else []
            elif stage in made:
                out.append("  " + _decision_words(made[stage]))
        return [*out, f"  so it is {self.state}"]


def explain(run: Run, row: str) -> Explanation:
    """Find a row by id (or its beginning), origin or number, and say why it is in or out.

    Raises:
        DataError: no row, or more than one, is meant by it.
    """
    entry = find(run, row)
    return Explanation(
        entry=entry,
        state=run.states()[entry.id],
        decisions=tuple(run.decisions().get(entry.id, ())),
        fact=run.fact("judge", entry.id),
        verified=run.fact("verify", entry.id),
    )


def find(run: Run, row: str) -> Entry:
    """The row with this id (or its beginning), origin or number.

    Raises:
        DataError: no row, or more than one, is meant by it.
    """
    entries = run.entries()
    exact = [e for e in entries if row in {e.id, e.origin}]
    if not exact and row.isdecimal() and len(row) <= _DIGITS and int(row) < len(entries):
        return entries[int(row)]
    found = exact or [e for e in entries if len(row) >= 4 and e.id.startswith(row)]
    if not found:
        raise DataError(
            f"no row of {run.path} has the id, origin or number {row!r}; rows are numbered 0 to "
            f"{len(entries) - 1:,}, ids and origins stand in ledger.parquet"
        )
    if len(found) > 1:
        ids = ", ".join(e.id for e in found[:_SHOWN])
        raise DataError(f"{row!r} could be any of {len(found):,} rows: {ids}; give more of the id")
    return found[0]


def _decision_words(decision: Decision) -> str:
    evidence = decision.evidence
    match decision.reason:
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
    verb = "kept" if decision.keep else "dropped"
    return f"{decision.stage} {verb} it: {decision.reason} {dict(evidence)}"


def _verify_words(decision: Decision | None, fact: Fact | None) -> list[str]:
    """What verify decided and why, the first wrong elements, and every finding with its line."""
    if decision is None:
        if fact is not None and isinstance(fact.body, Failure):
            return [f"  verify failed on it ({fact.body.failure}): {fact.body.why}"]
        return []
    from kernelsift.kernels import verdict_words as words
    from kernelsift.kernels.facts import Finding

    seen = decision.evidence
    what = words.headline(seen["outcome"], seen.get("unverifiable"), seen["work"])
    if decision.failure:
        verb = f"could not tell ({decision.failure})"
    else:
        verb = "kept it" if decision.keep else f"dropped it ({decision.reason})"
    out = [f"  verify {verb}: {what}", *(f"    {why}" for why in seen["why"])]
    out += [f"    {text}" for text in words.failing_cases(_comparisons(fact))]
    out += [f"    {words.finding_line(Finding(**finding))}" for finding in seen["findings"]]
    return out


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


def _judge_words(fact: Fact) -> str:
    body = fact.body
    if isinstance(body, Failure):
        return f"  judge failed on it ({body.failure}): {body.why}"
    assert isinstance(body, Judgement)
    return (
        f"  judge {body.judge} ({body.prompt_version}) rated difficulty {body.difficulty:g}, style "
        f"{body.style:g}: {' '.join(body.raw.split())[:200]}"
    )

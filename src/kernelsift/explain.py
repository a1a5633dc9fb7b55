"""why: the path of one row, in plain words, with its evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kernelsift import decision_words as words
from kernelsift import rejected
from kernelsift.errors import DataError
from kernelsift.model import Decision, Entry, Fact, Failure
from kernelsift.run import STAGES, Run
from kernelsift.sides import Assigned, read_side

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
    split: Assigned | None = None
    """Where publish has put it last."""
    chosen: float | None = None
    """The probability with which it was chosen for comparison, though the filter dropped it."""
    compared: Fact | None = None
    """Of the judge, for such a row."""

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
            "split": asdict(self.split) if self.split else None,
            "judge_rejected": self._comparison(),
        }

    def _comparison(self) -> dict[str, Any] | None:
        if self.chosen is None:
            return None
        said = self.compared.body.model_dump(mode="json") if self.compared else None
        return {"probability": self.chosen, "judge": said}

    def lines(self) -> list[str]:
        """For people."""
        entry = self.entry
        out = [
            f"{entry.id}  {entry.module}  reward {entry.reward:g}",
            f"  from {entry.origin} (row {entry.row:,})",
        ]
        made = {decision.stage: decision for decision in self.decisions}
        measured = {"verify": self.verified, "judge": self.fact}
        for stage in STAGES:
            out += [f"  {line}" for line in _stage_lines(stage, made.get(stage), measured)]
        if self.chosen is not None:
            out += [f"  {line}" for line in words.compared(self.compared, self.chosen)]
        if self.split:
            out.append("  " + words.assigned(self.split))
        return [*out, f"  so it is {self.state}"]


def explain(run: Run, row: str) -> Explanation:
    """Find a row by id (or its beginning), origin or number, and say why it is in or out.

    Raises:
        DataError: no row, or more than one, is meant by it.
    """
    entry = find(run, row)
    chosen = rejected.sampled(run).get(entry.id)
    return Explanation(
        entry=entry,
        state=run.states()[entry.id],
        decisions=tuple(run.decisions().get(entry.id, ())),
        fact=run.fact("judge", entry.id),
        verified=run.fact("verify", entry.id),
        split=read_side(run.path, entry.id),
        chosen=chosen,
        compared=rejected.judged(run)[entry.id] if chosen is not None else None,
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


def _stage_lines(
    stage: str, decision: Decision | None, measured: Mapping[str, Fact | None]
) -> list[str]:
    """What one stage decided or measured; nothing when it has not come to this row."""
    fact = measured.get(stage)
    if decision is not None:
        more = words.details(decision, fact)
        return [words.sentence(decision), *(f"  {line}" for line in more)]
    if fact is None:
        return []
    if isinstance(fact.body, Failure):
        return [words.failed(stage, fact.body)]
    return [words.judged(fact)] if stage == "judge" else []

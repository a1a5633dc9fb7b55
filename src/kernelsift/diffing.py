"""diff: which rows changed state between two runs, and why.

Rows are matched by sample id, which is a digest of their content; what is left by origin, the
revision of a Hub dataset left out, so that a row whose content changed is one row and not two.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kernelsift import decision_words as words
from kernelsift.model import Decision, Entry, Failure, Judgement, SampleId, State
from kernelsift.run import STAGES, Run

Kind = Literal["state", "reason", "content", "only-a", "only-b"]
KINDS: tuple[Kind, ...] = ("state", "reason", "content", "only-a", "only-b")
"""In the order of the report. `reason`: the state is the same, another decision led to it.
`content`: the same source row, whose content and with it the id changed."""
ABSENT = "not there"
SCORES = ("difficulty", "style")
_REVISION = re.compile(r"@[^:]*(?=:)")
_RAN = {True: "has run", False: "has not run"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run says of one row."""

    entry: Entry
    state: State
    decision: Decision | None
    """The first one against the row; for a kept row the last one for it."""
    failure: tuple[str, Failure] | None
    """Stage and failure, where a failed measurement decides."""

    @property
    def reason(self) -> str:
        """Stage and reason in one word each, e.g. `filter: low-reward`."""
        if self.failure:
            return f"{self.failure[0]}: {self.failure[1].failure}"
        if self.decision:
            return f"{self.decision.stage}: {self.decision.reason}"
        return ""

    @property
    def sentence(self) -> str:
        """The decision in words, with its evidence."""
        if self.failure:
            return words.failed(*self.failure)
        if self.state == "pending":
            return "not every stage has come to it yet"
        return words.sentence(self.decision) if self.decision else "no stage has decided on it"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        decision = self.decision.model_dump(mode="json") if self.decision else None
        failure = self.failure[1].model_dump(mode="json") if self.failure else None
        return {
            "id": self.entry.id,
            "origin": self.entry.origin,
            "state": self.state,
            "reason": self.reason,
            "why": self.sentence,
            "decision": decision,
            "failure": failure,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One row that is not the same in both runs."""

    kind: Kind
    a: Verdict | None
    b: Verdict | None

    @property
    def move(self) -> tuple[str, str]:
        """State and reason on either side."""
        return _place(self.a), _place(self.b)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        entry = _entry(self)
        return {
            "kind": self.kind,
            "module": entry.module,
            "reward": entry.reward,
            "a": self.a.as_json() if self.a else None,
            "b": self.b.as_json() if self.b else None,
        }


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting of a stage that is not the same; None where the run does not have it."""

    name: str
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """How one score of the judge differs over the rows that both runs have judged."""

    score: str
    judged: int
    changed: int
    mean: float
    """Of B minus A, over all rows judged in both."""
    largest: float
    """The difference of B minus A that is largest without its sign."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that is not the same in two runs."""

    names: tuple[str, str]
    rows: tuple[int, int]
    matched: int
    """Rows with the same id in both."""
    states: Mapping[tuple[str, str], int]
    """State in A and in B -> rows; every row of either run is counted once."""
    changes: tuple[Change, ...]
    settings: tuple[SettingChange, ...]
    scores: tuple[ScoreChange, ...]
    outcomes: Mapping[tuple[str, str], int]
    """Verification outcome in A and in B -> rows verified in both with another outcome."""

    @property
    def equal(self) -> bool:
        """Whether the runs say the same of the same rows, under the same settings."""
        moved = self.changes or self.outcomes or any(score.changed for score in self.scores)
        return not (moved or self.settings)

    def moves(self) -> list[tuple[str, str, int]]:
        """State and reason before and after -> rows, the commonest first."""
        counts = Counter(change.move for change in self.changes)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [(before, after, n) for (before, after), n in ordered]

    def as_json(self, limit: int | None = None) -> dict[str, Any]:
        """For machines; `limit` bounds the rows listed, not the counts."""
        kinds = Counter(change.kind for change in self.changes)
        return {
            "a": {"run": self.names[0], "rows": self.rows[0]},
            "b": {"run": self.names[1], "rows": self.rows[1]},
            "equal": self.equal,
            "matched": self.matched,
            "states": [{"a": a, "b": b, "rows": n} for (a, b), n in self.states.items()],
            "changed": {kind: kinds[kind] for kind in KINDS},
            "moves": [{"a": a, "b": b, "rows": n} for a, b, n in self.moves()],
            "settings": [{"name": s.name, "a": s.a, "b": s.b} for s in self.settings],
            "scores": {
                s.score: {
                    "judged": s.judged,
                    "changed": s.changed,
                    "mean": s.mean,
                    "largest": s.largest,
                }
                for s in self.scores
            },
            "outcomes": [{"a": a, "b": b, "rows": n} for (a, b), n in self.outcomes.items()],
            "rows": [change.as_json() for change in self.changes[:limit]],
        }


def compare(a: Run, b: Run) -> Difference:
    """Say what is not the same in two runs.

    Raises:
        RunError: one of them holds no samples.
    """
    ours, theirs = _verdicts(a), _verdicts(b)
    pairs = list(_pairs(ours, theirs))
    changes = [found for found in (_change(*pair) for pair in pairs) if found]
    changes.sort(key=lambda c: (KINDS.index(c.kind), _entry(c).row, _entry(c).id))
    both = [(one.entry.id, two.entry.id) for one, two in pairs if one and two]
    states = Counter((_state(one), _state(two)) for one, two in pairs)
    return Difference(
        names=(str(a.path), str(b.path)),
        rows=(len(ours), len(theirs)),
        matched=len(ours.keys() & theirs.keys()),
        states=dict(sorted(states.items())),
        changes=tuple(changes),
        settings=tuple(_settings(a, b)),
        scores=tuple(_scores(a, b, both)),
        outcomes=_outcomes(a, b, both),
    )


def _verdicts(run: Run) -> dict[SampleId, Verdict]:
    """What a run says of each of its rows."""
    decided, failed = run.decisions(), run.failed()
    out = {}
    states = run.states()
    for entry in run.entries():
        made, state = decided.get(entry.id, []), states[entry.id]
        decisive = made[-1] if made else None
        if state == "dropped":
            decisive = next(d for d in made if not d.keep and d.failure is None)
        elif state == "failed":
            decisive = next((d for d in made if d.failure), None)
        failure = failed.get(entry.id) if state == "failed" and decisive is None else None
        out[entry.id] = Verdict(entry, state, decisive, failure)
    return out


def _pairs(
    ours: Mapping[SampleId, Verdict], theirs: Mapping[SampleId, Verdict]
) -> Iterator[tuple[Verdict | None, Verdict | None]]:
    """Every row of either run once: matched by id, then by origin, then alone."""
    yield from ((one, theirs[id_]) for id_, one in ours.items() if id_ in theirs)
    left = _by_place(one for id_, one in ours.items() if id_ not in theirs)
    right = _by_place(two for id_, two in theirs.items() if id_ not in ours)
    for place, alone in left.items():
        yield alone, right.pop(place, None)
    for alone in right.values():
        yield None, alone


def _by_place(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """The rows by origin, without the revision of a Hub dataset."""
    return {_REVISION.sub("", one.entry.origin): one for one in verdicts}


def _change(a: Verdict | None, b: Verdict | None) -> Change | None:
    """What happened to one row; None when nothing did."""
    if b is None:
        return Change("only-a", a, b)
    if a is None:
        return Change("only-b", a, b)
    if a.entry.id != b.entry.id:
        return Change("content", a, b)
    if a.state != b.state:
        return Change("state", a, b)
    return Change("reason", a, b) if a.reason != b.reason else None


def _entry(change: Change) -> Entry:
    found = change.b or change.a
    assert found is not None
    return found.entry


def _state(verdict: Verdict | None) -> str:
    return verdict.state if verdict else ABSENT


def _place(verdict: Verdict | None) -> str:
    """State and reason, e.g. `dropped (filter: low-reward)`."""
    if verdict is None or verdict.state == "pending" or not verdict.reason:
        return _state(verdict)
    return f"{verdict.state} ({verdict.reason})"


def _settings(a: Run, b: Run) -> Iterator[SettingChange]:
    """Settings that differ, stage by stage; a stage that only one run has is one line."""
    ours, theirs = _described(a), _described(b)
    for stage in dict.fromkeys(["load", *STAGES, *ours, *theirs]):
        if (stage in ours) != (stage in theirs):
            yield SettingChange(stage, *(_RAN[stage in side] for side in (ours, theirs)))
            continue
        left, right = ours.get(stage, {}), theirs.get(stage, {})
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                yield SettingChange(f"{stage}.{name}", left.get(name), right.get(name))


def _described(run: Run) -> dict[str, dict[str, object]]:
    """The settings of every stage that has run, names dotted, and what was loaded."""
    known = run.samples.metadata()
    info = json.loads(known["info"])
    digests = [file["sha256"] for file in info.get("files") or []]
    source = {"source": known["source"], "revision": info.get("revision"), "sha256": digests}
    out = {"load": dict(_flat(source))}
    for stage, noted in run.stages().items():
        out[stage] = {**dict(_flat(noted["settings"])), "version": noted["version"]}
    return out


def _flat(tree: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested settings with dotted names."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, tree


def _scores(a: Run, b: Run, both: list[tuple[SampleId, SampleId]]) -> Iterator[ScoreChange]:
    """How the judge's scores differ; nothing when a run has not judged."""
    ours, theirs = _judged(a), _judged(b)
    pairs = [(ours[x], theirs[y]) for x, y in both if x in ours and y in theirs]
    for score in SCORES if pairs else ():
        gaps = [getattr(y, score) - getattr(x, score) for x, y in pairs]
        changed = sum(gap != 0 for gap in gaps)
        yield ScoreChange(score, len(gaps), changed, sum(gaps) / len(gaps), max(gaps, key=abs))


def _judged(run: Run) -> dict[SampleId, Judgement]:
    found = run.latest("judge").items()
    return {id_: fact.body for id_, fact in found if fact and isinstance(fact.body, Judgement)}


def _outcomes(a: Run, b: Run, both: list[tuple[SampleId, SampleId]]) -> dict[tuple[str, str], int]:
    """Rows that both runs verified, with another outcome."""
    ours, theirs = _verified(a), _verified(b)
    seen = Counter((ours[x], theirs[y]) for x, y in both if x in ours and y in theirs)
    return {pair: n for pair, n in sorted(seen.items()) if pair[0] != pair[1]}


def _verified(run: Run) -> dict[SampleId, str]:
    return {id_: made[-1].evidence["outcome"] for id_, made in run.decisions(("verify",)).items()}

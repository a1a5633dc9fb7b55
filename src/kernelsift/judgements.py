"""What a run's database knows of judgements, as ratings: who has judged which answer how often.

A judge is the model with its prompt and parameters. All successful facts of the stage judge about
programs of kept rows count, also those of models and prompts that were replaced since. Where one
judge has judged an answer under several keys (other settings that a judgement does not name, such
as what it was shown), the newest fact is that judge and the one before is a rater of its own,
"(earlier settings)".
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kernelsift.model import Entry, Fact, Failure, Judgement, SampleId, digest
from kernelsift.run import Run

EARLIER = " (earlier settings)"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Said:
    """One score of one answer, by one judge, on one occasion."""

    item: SampleId
    """The first row that has the answer."""
    judge: str
    sample: int
    score: str
    """`difficulty` or `style`."""
    value: float


@dataclass
class Judgements:
    """The judgements of a run."""

    entries: Mapping[SampleId, Entry]
    """Rows that were to be judged."""
    now: Mapping[SampleId, Judgement]
    """The judgement that stands, of each row that has one."""
    failed: Counter[str]
    """Rows without one, per failure class."""
    pending: int
    said: list[Said] = field(default_factory=list)
    attempts: int = 0
    attempts_failed: Counter[str] = field(default_factory=Counter)
    item_of: Mapping[SampleId, SampleId] = field(default_factory=dict)
    """Row -> the first row with the same answer to the same module."""

    @property
    def judge(self) -> str:
        """Who has given the judgements that stand."""
        return ", ".join(sorted({body.judge for body in self.now.values()})) or "none"

    @property
    def prompt_version(self) -> str:
        return ", ".join(sorted({body.prompt_version for body in self.now.values()})) or "none"

    @property
    def module_alone(self) -> bool:
        """Whether difficulty was asked of the module alone, in all judgements that stand."""
        return bool(self.now) and all(map(_asked_of_the_module, self.now.values()))


def read_judgements(run: Run) -> Judgements:
    """Read every judgement of a run."""
    entries = {entry.id: entry for entry in run.kept_before("judge")}
    found = Judgements(entries, {}, Counter(), 0, item_of=_items(run.entries()))
    now: dict[SampleId, Judgement] = {}
    for sample, fact in run.latest("judge").items():
        if sample not in entries or fact is None:
            continue
        if isinstance(fact.body, Failure):
            found.failed[fact.body.failure] += 1
        elif isinstance(fact.body, Judgement):
            now[sample] = fact.body
    found.now = now
    found.pending = len(entries) - len(now) - found.failed.total()
    _read_all(run, found)
    return found


def _asked_of_the_module(body: Judgement) -> bool:
    """Whether a judgement's difficulty rests on the module: by the checklist, or computed."""
    if body.judge == "static":
        return body.prompt_version != "static-1"
    return any(opinion.style is None for opinion in body.opinions)


def _items(entries: Iterable[Entry]) -> dict[SampleId, SampleId]:
    first: dict[tuple[str, str], SampleId] = {}
    out = {}
    for entry in entries:
        same = entry.code_digest or entry.id, entry.reference_digest
        out[entry.id] = first.setdefault(same, entry.id)
    return out


def _read_all(run: Run, found: Judgements) -> None:
    """Everything that was ever said about the rows of the run."""
    names = _Names()
    told = _Told()
    codes = {entry.id: entry.code_digest or entry.id for entry in run.entries()}
    asked = {codes[sample] for sample in found.entries}  # not those judged for comparison only
    for failure, sample in run.store.rows(
        "SELECT failure, sample FROM facts WHERE stage = 'judge'"
    ):
        if codes.get(sample) in asked:
            found.attempts += 1
            found.attempts_failed.update([failure] if failure else [])
    for fact in _newest_first(run):
        item = found.item_of.get(fact.sample)
        if item is None or codes[fact.sample] not in asked or not isinstance(fact.body, Judgement):
            continue
        for body in _by_judge(fact.body):
            told.add(item, fact.sample, names.identity(body), body)
    for item, identity, body in told.kept:
        found.said += _scores(item, names.label(identity), body)


def _newest_first(run: Run) -> Iterator[Fact]:
    """The latest fact of each key that was measured, those stored last first."""
    keys = [key for (key,) in run.store.rows(
        "SELECT key FROM facts WHERE stage = 'judge' AND failure IS NULL "
        "GROUP BY key ORDER BY max(number) DESC"
    )]  # fmt: skip
    for start in range(0, len(keys), _AT_ONCE):
        chunk = keys[start : start + _AT_ONCE]
        facts = {fact.key: fact for fact in run.facts("judge", chunk)}
        yield from (facts[key] for key in chunk if key in facts)


class _Told:
    """The judgements that count, each answer of a judge once."""

    def __init__(self) -> None:
        self.kept: list[tuple[SampleId, str, Judgement]] = []
        self._newest: dict[tuple[SampleId, str], tuple[SampleId, frozenset[str]]] = {}

    def add(self, item: SampleId, row: SampleId, identity: str, body: Judgement) -> None:
        """Take the newest judgement of a judge, and the one before where it says something else.

        What a newer one holds already is the same replies; what belongs to another row with the
        same answer is no repetition.
        """
        replies = frozenset(o.raw for o in body.opinions) or frozenset({body.raw})
        for name in (identity, identity + EARLIER):
            known = self._newest.setdefault((item, name), (row, replies))
            if known[1] is replies:
                self.kept.append((item, name, body))
                return
            if known[0] != row or replies <= known[1]:
                return


def _by_judge(body: Judgement) -> Iterator[Judgement]:
    """A judgement by a panel as one judgement per judge."""
    judges = list(dict.fromkeys(opinion.judge for opinion in body.opinions))
    if len(judges) < 2:
        yield body
        return
    for judge in judges:
        own = tuple(o for o in body.opinions if o.judge == judge)
        params = body.params.get(judge, body.params)
        raw = "\n\n".join(o.raw for o in own)
        mine = {"judge": judge, "opinions": own, "params": params, "raw": raw}
        yield body.model_copy(update=mine)


def _scores(item: SampleId, judge: str, body: Judgement) -> Iterator[Said]:
    """The single scores behind a judgement; those two of it where there is no more.

    Answers asked for near a threshold are left out: chosen by the score itself, these rows are more
    alike than all are, and would make the judge look worse. Those drawn by chance stay.
    """
    if not body.opinions:
        yield Said(item, judge, 0, "difficulty", body.difficulty)
        yield Said(item, judge, 0, "style", body.style)
    for opinion in body.opinions:
        for name, value in (("difficulty", opinion.difficulty), ("style", opinion.style)):
            if value is not None and opinion.extra != "near":
                yield Said(item, judge, opinion.sample, name, value)


class _Names:
    """Judges by model, prompt and parameters; shown as shortly as tells them apart."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[str, str, str]] = {}

    def identity(self, body: Judgement) -> str:
        """A name that no other judge has."""
        params = digest({k: v for k, v in body.params.items() if k != "service_tier"})[:6]
        parts = body.judge, body.prompt_version, params
        name = " ".join(parts)
        self._parts[name] = parts
        return name

    def label(self, identity: str) -> str:
        """The name as it is shown; only once all judges are known."""
        name = identity.removesuffix(EARLIER)
        judge, prompt, params = self._parts[name]
        same = [parts for parts in self._parts.values() if parts[0] == judge]
        if len(same) == 1:
            shown = judge
        elif sum(parts[1] == prompt for parts in same) == 1:
            shown = f"{judge} {prompt}"
        else:
            shown = f"{judge} {prompt} {params}"
        return shown + identity[len(name) :]

"""The judge stage: who judges, what is still to ask, and several judges as one."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kernelsift.engine import Job
from kernelsift.errors import ConfigError
from kernelsift.families import family_of
from kernelsift.instrument import (
    VERSION,
    Instrument,
    ask_difficulty,
    ask_for,
    asks_of,
    prompt_name,
)
from kernelsift.llm.chat import Ask, Chat
from kernelsift.llm.prompts import load as load_prompt
from kernelsift.measuring import Work
from kernelsift.model import (
    Body,
    Difficulty,
    Entry,
    Fact,
    Failure,
    Sample,
    SampleId,
    Tally,
    digest,
)
from kernelsift.run import Run
from kernelsift.samples import wanted_rows
from kernelsift.session import Session
from kernelsift.similarity.normal import exact_digest
from kernelsift.stages import judge as judge_stage

DIFFICULTY = "judge-difficulty-1"
"""The prompt file of the checklist's question for difficulty."""


@dataclass(frozen=True, slots=True)
class Member:
    """One judge, and a session with its endpoint."""

    session: Session
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class Modules:
    """The different PyTorch modules of some rows. Rows with the same normal form share one."""

    of: Mapping[SampleId, str]
    """The normal form's digest of each row; empty where the row has no module."""
    shown: Mapping[str, Entry]
    """The row whose text of a module is shown: the one with the smallest digest."""


@dataclass
class Judging:
    """What there is to judge, by whom."""

    members: tuple[Member, ...]
    work: Work
    modules: Modules
    entries: Sequence[Entry]

    def keys(self, instrument: Instrument) -> dict[SampleId, str]:
        """The key of each row's answer by one judge."""
        return _keys(instrument, self.entries, self.modules)


def members(session: Session) -> tuple[Member, ...]:
    """The judges that the settings ask for: `judge.panel`, or the one of `judge.model`."""
    settings = session.settings
    cfg, llm = settings.judge, settings.llm
    if cfg.judge == "static":
        return (Member(session, Instrument(cfg, None)),)
    prompt = load_prompt(prompt_name(cfg))
    difficulty = load_prompt(DIFFICULTY) if cfg.rubric == "checklist" else None
    if not cfg.panel:
        return (Member(session, Instrument(cfg, prompt, llm.base_url, difficulty)),)
    judges = []
    for one in cfg.panel:
        own_key = one.api_key_env if one.base_url else one.api_key_env or llm.api_key_env
        place = {"base_url": one.base_url or llm.base_url, "api_key_env": own_key}
        there = llm.model_copy(update=place)
        own = cfg.model_copy(update={"model": one.model, "panel": ()})
        judges.append(
            Member(
                replace(session, settings=settings.model_copy(update={"llm": there})),
                Instrument(own, prompt, there.base_url, difficulty),
            )
        )
    return tuple(judges)


def prepare(session: Session, retry: Sequence[str] | None = None) -> Judging:
    """Find out what is still to judge: every kept row that has no answer of these judges yet."""
    judges = members(session)
    entries = session.run.kept_before("judge")
    apart = judges[0].instrument.difficulty is not None
    modules = modules_of(session.run, entries) if apart else Modules({}, {})
    listed = [_keys(judge.instrument, entries, modules) for judge in judges]
    keys = listed[0]
    if len(judges) > 1:
        keys = {e.id: digest("judge-panel", [keys[e.id] for keys in listed]) for e in entries}
    return Judging(judges, Work(session, "judge", VERSION, keys, retry), modules, entries)


def judge(session: Session, *, retry: Sequence[str] | None = None) -> Tally:
    """Rate every kept row that has no rating yet; see `pipeline.judge`."""
    judges = members(session)
    notes = check_families(session, judges)
    todo = prepare(session, retry)
    todo.work.notes += notes
    todo.work.begin(_settings(judges))
    first = judges[0]
    if first.instrument.prompt is None:
        jobs = judge_jobs(first, todo.work, set(todo.work.todo.values()))
        return todo.work.here(jobs, judge_stage.rate)
    if len(judges) == 1:
        return _by_one(first, todo, todo.work)
    return _by_several(todo)


def judge_jobs(member: Member, work: Work, wanted: Collection[SampleId]) -> Iterator[Job[Sample]]:
    """The samples to be judged, read as they are needed."""
    run, cfg = member.session.run, member.instrument.cfg
    entries = [entry for entry in run.entries() if entry.id in wanted]
    whole = cfg.judge == "llm" and cfg.show == "completion"
    for sample in run.samples.read(entries, completion=whole):
        yield Job(sample.id, work.keys[sample.id], sample)


def asks(todo: Judging, wanted: Collection[SampleId]) -> Iterator[tuple[bool, Ask]]:
    """The first requests for some rows by the one judge, and whether each is still open."""
    (member,) = todo.members
    instrument, work = member.instrument, todo.work
    for job in judge_jobs(member, work, wanted):
        if job.item.code and (instrument.difficulty is None or job.item.reference):
            for ask in asks_of(ask_for(job.item, instrument), instrument):
                yield job.key in work.todo, ask
    if instrument.difficulty is not None:
        apart = _difficulty_work(member, todo, work)
        for job in judge_jobs(member, apart, set(apart.todo.values())):
            for ask in asks_of(ask_difficulty(job.item, instrument), instrument):
                yield True, ask


def modules_of(run: Run, entries: Sequence[Entry]) -> Modules:
    """Find the rows whose PyTorch modules are the same program."""
    texts: dict[str, Entry] = {}
    for entry in entries:
        if entry.reference_digest:
            texts.setdefault(entry.reference_digest, entry)
    normal: dict[str, str] = {}
    shown: dict[str, Entry] = {}
    for sample in run.samples.read(list(texts.values())):
        entry = sample.entry
        form = exact_digest(sample.reference) or f"text:{entry.reference_digest}"
        normal[entry.reference_digest] = form
        other = shown.setdefault(form, entry)
        if entry.reference_digest < other.reference_digest:
            shown[form] = entry
    return Modules({e.id: normal.get(e.reference_digest, "") for e in entries}, shown)


def check_families(session: Session, judges: Sequence[Member]) -> list[str]:
    """Refuse a judge of the family that has written rows; return a note on what is not known.

    Raises:
        ConfigError: a judge is of the generator's family, and `judge.same_family` is not set.
    """
    if judges[0].instrument.prompt is None or session.settings.judge.same_family:
        return []
    written = generators(session.run, session.run.kept_before("judge"))
    for member in judges:
        model = member.instrument.cfg.model
        family = family_of(model)
        own = [name for name in written if family and family_of(name) == family]
        if own:
            rows = sum(written[name] for name in own)
            raise ConfigError(
                f"{model} would judge {rows:,} rows that {own[0]} has written: both are of the "
                f"family {family}, and a judge prefers its own; take another --model, or allow it "
                "with --same-family"
            )
    strange = sum(rows for name, rows in written.items() if family_of(name) is None)
    if not strange:
        return []
    return [f"which family of models has written {strange:,} rows is not known"]


def generators(run: Run, entries: Sequence[Entry]) -> Counter[str]:
    """Rows per model that has written them, by the columns `model` and `info.model`; "" unknown."""
    import pyarrow.types as kinds

    columns = []
    for field in run.samples.schema():
        if field.name == "model" and _is_text(field.type):
            columns.append("model")
        if field.name == "info" and kinds.is_struct(field.type):
            inner = {field.type.field(n).name: field.type.field(n).type
                     for n in range(field.type.num_fields)}  # fmt: skip
            columns += ["info.model"] if "model" in inner and _is_text(inner["model"]) else []
    if not columns:
        return Counter({"": len(entries)}) if entries else Counter()
    found: Counter[str] = Counter()
    for table in run.samples.batches(wanted_rows(entries), columns):
        for row in table.to_pylist():
            found[row.get("model") or (row.get("info") or {}).get("model") or ""] += 1
    return found


def _is_text(kind: object) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _keys(
    instrument: Instrument, entries: Sequence[Entry], modules: Modules
) -> dict[SampleId, str]:
    return {entry.id: instrument.key(entry, modules.of.get(entry.id, "")) for entry in entries}


def _settings(judges: Sequence[Member]) -> Mapping[str, object]:
    """What is recorded with the stage."""
    first = judges[0].instrument
    if len(judges) == 1:
        return first.settings
    panel = [{"model": j.instrument.cfg.model, "base_url": j.instrument.base_url} for j in judges]
    model = ", ".join(judge.instrument.cfg.model for judge in judges)
    return {**first.settings, "model": model, "base_url": "", "panel": panel}


# --- asking -------------------------------------------------------------------------------------


def _by_one(member: Member, todo: Judging, work: Work) -> Tally:
    """Ask one judge about all that is open, modules first."""
    instrument = member.instrument
    difficulties: dict[str, Difficulty | Failure] = {}
    before = None
    if instrument.difficulty is not None:
        before, difficulties = _difficulties(member, todo, work)

    async def measure(chat: Chat, sample: Sample, earlier: int) -> tuple[Body, float]:
        difficulty = difficulties.get(todo.modules.of.get(sample.id, ""))
        return await judge_stage.measure(sample, chat, instrument, earlier, difficulty)

    jobs = judge_jobs(member, work, set(work.todo.values()))
    tally = work.there(jobs, measure, instrument.cfg.model)
    if before is None:
        return tally
    counts = {**tally.counts, "modules": before.counts["rows"]}
    notes = (*(f"difficulty: {note}" for note in before.notes), *tally.notes)
    return replace(tally, counts=counts, usd=tally.usd + before.usd, notes=notes)


def _difficulty_work(member: Member, todo: Judging, work: Work) -> Work:
    """The modules of the rows that are still to judge, as questions of their own."""
    wanted = {todo.modules.of[sample] for sample in work.todo.values()} - {""}
    keys = {
        todo.modules.shown[form].id: member.instrument.difficulty_key(form)
        for form in sorted(wanted)
    }
    return Work(member.session, "judge", VERSION, keys, work.retry)


def _difficulties(
    member: Member, todo: Judging, work: Work
) -> tuple[Tally, dict[str, Difficulty | Failure]]:
    """Ask once per module how hard it is; what is known already is only read."""
    apart = _difficulty_work(member, todo, work)

    async def measure(chat: Chat, sample: Sample, earlier: int) -> tuple[Body, float]:
        return await judge_stage.measure_difficulty(sample, chat, member.instrument, earlier)

    jobs = judge_jobs(member, apart, set(apart.todo.values()))
    tally = apart.there(jobs, measure, member.instrument.cfg.model)
    forms = {key: todo.modules.of[sample] for sample, key in apart.keys.items()}
    return tally, {
        forms[fact.key]: fact.body
        for fact in member.session.run.facts("judge", list(forms))
        if isinstance(fact.body, Difficulty | Failure)
    }


def _by_several(todo: Judging) -> Tally:
    """Ask each judge as if it were the only one; then store the mean of what they said.

    What one of them has said alone, in this run directory, is not asked again.
    """
    work = todo.work
    tallies, listed = [], []
    for member in todo.members:
        keys = todo.keys(member.instrument)
        own = Work(member.session, "judge", VERSION, keys, work.retry)
        tallies.append(_by_one(member, todo, own))
        listed.append(keys)
    run = todo.members[0].session.run
    counts = Counter(measured=0, failed=0)
    facts = []
    for key, sample in work.todo.items():
        said = list(run.facts("judge", [keys[sample] for keys in listed]))
        by_key = {fact.key: fact for fact in said}
        parts = [by_key[keys[sample]] for keys in listed]
        body = judge_stage.combine([part.body for part in parts])
        counts["failed" if isinstance(body, Failure) else "measured"] += 1
        usd = sum(part.usd for part in parts)
        facts.append(
            Fact(stage="judge", sample=sample, key=key, body=body, usd=usd, version=VERSION)
        )
    run.save_facts(facts)
    names = [member.instrument.cfg.model for member in todo.members]
    notes = [
        f"{name}: {n}" for name, tally in zip(names, tallies, strict=True) for n in tally.notes
    ]
    shown = {"rows": len(work.keys), "known already": len(set(work.keys.values())) - len(work.todo)}
    return Tally(
        "judge",
        {**shown, **counts, "judges": len(names)},
        time.monotonic() - work.started,
        sum(tally.usd for tally in tallies),
        (*work.notes, *notes),
    )

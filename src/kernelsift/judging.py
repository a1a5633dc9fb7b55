"""The judge stage: who judges, what is still to ask, and several judges as one."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kernelsift import rejected, resampling
from kernelsift.engine import Job
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
from kernelsift.may_judge import check_families, generators
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
from kernelsift.session import Session
from kernelsift.similarity.normal import exact_digest
from kernelsift.stages import judge as judge_stage

__all__ = [
    "DIFFICULTY", "Judging", "Member", "Modules", "asks", "check_families", "generators", "judge",
    "judge_jobs", "members", "modules_of", "not_foreseen", "prepare", "prepare_rejected",
]  # fmt: skip
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
    return _prepared(session, session.run.kept_before("judge"), retry)


def prepare_rejected(session: Session, retry: Sequence[str] | None = None) -> Judging | None:
    """As `prepare`, for the rejected rows that `judge.also_rejected` says; None where it does not.

    The choice is written down by `judge` alone.
    """
    design = _design(session) if session.settings.judge.also_rejected is not None else None
    if design is None:
        return None
    return _prepared(session, rejected.pick(rejected.population(session.run), design), retry)


def _design(session: Session) -> rejected.Design | None:
    """How rejected rows are chosen: as the settings say, else as they were; None if never."""
    run, cfg = session.run, session.settings.judge
    before = rejected.stored(run)
    if cfg.also_rejected is not None:
        return rejected.design(rejected.population(run), cfg.also_rejected, cfg.rejected_seed)
    if before is None:
        return None
    return rejected.design(rejected.population(run), before.wanted, before.seed)


def _prepared(session: Session, entries: Sequence[Entry], retry: Sequence[str] | None) -> Judging:
    judges = members(session)
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
    design = _design(session)
    chosen = rejected.pick(rejected.population(session.run), design) if design else []
    asked = session.settings.judge.also_rejected is not None
    notes = check_families(session, judges, chosen if asked else ())
    todo = prepare(session, retry)
    todo.work.notes += notes
    todo.work.begin(_settings(judges))
    if design is None:
        return _all(todo)
    beside = _prepared(session, chosen, retry)
    rejected.save(session.run, design, beside.work.keys)
    tally = _all(todo)
    if session.settings.judge.also_rejected and not chosen:
        note = "the filter has dropped no row, so there is none to judge for comparison"
        tally = replace(tally, notes=(*tally.notes, note))
    if asked and chosen:
        beside.work = Work(session, "judge", VERSION, beside.work.keys, retry)
        tally = _with_rejected(tally, _all(beside))
    summary = rejected.summary(session.run)
    return replace(tally, notes=(*tally.notes, *([summary] if summary else [])))


def _all(todo: Judging) -> Tally:
    """Ask about everything that is open."""
    first = todo.members[0]
    if first.instrument.prompt is None:
        if first.instrument.cfg.asks_again:
            todo.work.notes.append("the static judge says the same every time: it is asked once")
        jobs = judge_jobs(first, todo.work, set(todo.work.todo.values()))
        return todo.work.here(jobs, judge_stage.rate)
    if len(todo.members) == 1:
        return _by_one(first, todo, todo.work)
    return _by_several(todo)


def _with_rejected(kept: Tally, beside: Tally) -> Tally:
    """The tally of the kept rows, with what the rejected ones took."""
    return replace(
        kept,
        counts={**kept.counts, "also rejected": beside.counts["rows"]},
        seconds=kept.seconds + beside.seconds,
        usd=kept.usd + beside.usd,
        notes=(*kept.notes, *(f"rejected: {note}" for note in beside.notes)),
    )


def judge_jobs(member: Member, work: Work, wanted: Collection[SampleId]) -> Iterator[Job[Sample]]:
    """The samples to be judged, read as they are needed."""
    run, cfg = member.session.run, member.instrument.cfg
    entries = [entry for entry in run.entries() if entry.id in wanted]
    whole = cfg.judge == "llm" and cfg.show == "completion"
    for sample in run.samples.read(entries, completion=whole):
        yield Job(sample.id, work.keys[sample.id], sample)


def asks(todo: Judging, wanted: Collection[SampleId]) -> Iterator[tuple[bool, Ask]]:
    """The first requests for some rows by the one judge, and whether each is still open."""
    (judge_,) = todo.members
    member, work = judge_, todo.work
    if judge_.instrument.cfg.asks_again:
        keys = todo.keys(judge_.instrument.first)
        member, work = resampling.first_pass(judge_, keys, todo.work)
    instrument = member.instrument
    for job in judge_jobs(member, work, wanted):
        if job.item.code and (instrument.difficulty is None or job.item.reference):
            for ask in asks_of(ask_for(job.item, instrument), instrument):
                yield job.key in work.todo, ask
    if instrument.difficulty is not None:
        apart = _difficulty_work(member, todo, work)
        for job in judge_jobs(member, apart, set(apart.todo.values())):
            for ask in asks_of(ask_difficulty(job.item, instrument), instrument):
                yield True, ask
    if judge_.instrument.cfg.asks_again:
        yield from resampling.asks(todo, judge_, _modules_apart(todo), judge_jobs)


def not_foreseen(todo: Judging) -> int:
    """Requests at most that come on top of `asks`: who is near a threshold shows by its answer."""
    (member,) = todo.members
    if not member.instrument.cfg.asks_again:
        return 0
    return resampling.forecast(todo, member, _modules_apart(todo)).unknown


def _modules_apart(todo: Judging) -> Work | None:
    (member,) = todo.members
    apart = member.instrument.difficulty is not None
    return _difficulty_work(member, todo, todo.work) if apart else None


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
    """Ask one judge about all that is open, and again about what is near a threshold."""
    instrument = member.instrument
    if not instrument.cfg.asks_again:
        return _equally_often(member, todo, work)
    first, before = resampling.first_pass(member, todo.keys(instrument.first), work)
    told = _equally_often(first, todo, before)
    usd, notes = told.usd, list(told.notes)
    known: Mapping[str, Difficulty | Failure] = {}
    if instrument.cfg.near_difficulty is not None and instrument.difficulty is not None:
        apart = _difficulty_work(member, todo, work)
        asked = resampling.ask_again(
            member, resampling.modules_again(member, todo, apart), judge_jobs
        )
        usd += asked.usd
        notes += [f"difficulty: {note}" for note in asked.notes]
        known = _difficulties_of(todo, apart)
    tally = resampling.ask_again(member, resampling.rows(member, todo, work, known), judge_jobs)
    counts = {**tally.counts, **({"modules": n} if (n := told.counts.get("modules")) else {})}
    return replace(tally, counts=counts, usd=usd + tally.usd, notes=(*notes, *tally.notes))


def _equally_often(member: Member, todo: Judging, work: Work) -> Tally:
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
    return tally, _difficulties_of(todo, apart)


def _difficulties_of(todo: Judging, apart: Work) -> dict[str, Difficulty | Failure]:
    """What is known of each normalised module of a work."""
    forms = {key: todo.modules.of[sample] for sample, key in apart.keys.items()}
    return {
        forms[fact.key]: fact.body
        for fact in apart.session.run.facts("judge", list(forms))
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

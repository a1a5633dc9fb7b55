"""More answers where they matter: for rows near a threshold, and for some that chance has drawn.

A judge first answers as often as for every row, under the keys of a judge without a threshold. What
lies near the threshold then, or was drawn by its digest, is asked about again; everything else is
answered by what was said first. So another threshold asks for nothing that was answered before.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernelsift.engine import Job
from kernelsift.instrument import VERSION, Instrument, ask_difficulty, ask_for, asks_again_of
from kernelsift.llm.chat import Ask, Chat
from kernelsift.measuring import Work
from kernelsift.model import (
    Body,
    Difficulty,
    Entry,
    Fact,
    Failure,
    Judgement,
    Sample,
    SampleId,
    Tally,
)
from kernelsift.stages import judge as judge_stage
from kernelsift.stages.judge import Extra

if TYPE_CHECKING:
    from kernelsift.judging import Judging, Member

_SAVE_BATCH = 512
Jobs = Callable[["Member", Work, Collection[SampleId]], Iterator[Job[Sample]]]
"""Reads the samples of some rows of a work."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about again: rows, or modules."""

    work: Work
    first: Mapping[SampleId, str]
    """The key of what was said first of each sample."""
    settled: Callable[[SampleId, Body], Body]
    """What was said first, brought up to date with what is known since."""
    reason: Callable[[SampleId, Body], Extra | None]
    """Why there are more answers to ask for; None where there are none."""
    more: Callable[[Chat, Sample, Body, Extra, int], Awaitable[tuple[Body, float]]]


def first_pass(member: "Member", keys: Mapping[SampleId, str], work: Work) -> tuple["Member", Work]:
    """The same judge and work as if there were no threshold; `keys` are its keys."""
    judge = replace(member, instrument=member.instrument.first)
    mine = {sample: keys[sample] for sample in work.keys}
    return judge, Work(member.session, "judge", VERSION, mine, work.retry)


def rows(
    member: "Member", todo: "Judging", work: Work, modules: Mapping[str, Difficulty | Failure]
) -> Question:
    """The rows of a work; `modules` holds the final difficulty of each, for the checklist."""
    instrument = member.instrument
    entries = {entry.id: entry for entry in todo.entries}

    def settled(sample: SampleId, body: Body) -> Body:
        if instrument.difficulty is None or not isinstance(body, Judgement):
            return body
        known = modules.get(todo.modules.of.get(sample, ""))
        return body if known is None else judge_stage.with_difficulty(body, known)

    def extra(sample: SampleId, body: Body) -> Extra | None:
        module = todo.modules.of.get(sample, "")
        return row_extra(instrument, entries[sample], module, body)

    async def more(
        chat: Chat, sample: Sample, body: Body, why: Extra, earlier: int
    ) -> tuple[Body, float]:
        assert isinstance(body, Judgement)
        return await judge_stage.measure_again(sample, chat, instrument, body, why, earlier)

    return Question(work, todo.keys(instrument.first), settled, extra, more)


def modules_again(member: "Member", todo: "Judging", work: Work) -> Question:
    """The modules of a work, whose keys are those of the rows that stand for them."""
    instrument = member.instrument
    forms = {sample: todo.modules.of[sample] for sample in work.keys}
    first = {sample: instrument.first.difficulty_key(form) for sample, form in forms.items()}

    def extra(sample: SampleId, body: Body) -> Extra | None:
        return module_extra(instrument, forms[sample], body)

    async def more(
        chat: Chat, sample: Sample, body: Body, why: Extra, earlier: int
    ) -> tuple[Body, float]:
        assert isinstance(body, Difficulty)
        return await judge_stage.difficulty_again(sample, chat, instrument, body, why, earlier)

    return Question(work, first, lambda _, body: body, extra, more)


def row_extra(instrument: Instrument, entry: Entry, module: str, body: Body | None) -> Extra | None:
    """Why a row gets more answers; `body` is what was said first, None before that is known."""
    cfg = instrument.cfg
    apart = instrument.difficulty is not None
    if isinstance(body, Failure) or (apart and cfg.near_style is None):
        return None
    if instrument.drawn(entry, module):
        return "drawn"
    if not isinstance(body, Judgement):
        return None
    difficulty = None if apart else body.difficulty
    return "near" if instrument.near(difficulty=difficulty, style=body.style) else None


def module_extra(instrument: Instrument, module: str, body: Body | None) -> Extra | None:
    """As `row_extra`, for a module."""
    if isinstance(body, Failure) or instrument.cfg.near_difficulty is None:
        return None
    if instrument.drawn_module(module):
        return "drawn"
    if not isinstance(body, Difficulty):
        return None
    return "near" if instrument.near(difficulty=body.difficulty) else None


def ask_again(member: "Member", question: Question, jobs: Jobs) -> Tally:
    """Answer for every open key: by what was said first, or by that and more answers.

    The tally's USD are those of the further answers alone.

    Raises:
        KeyboardInterrupt, BudgetError: as the stage judge.
    """
    work, run = question.work, member.session.run
    settled, chosen = _told_apart(question)
    for start in range(0, len(settled), _SAVE_BATCH):
        run.save_facts(settled[start : start + _SAVE_BATCH])
    keys = {fact.sample: key for key, (fact, _) in chosen.items()}
    again = Work(member.session, "judge", VERSION, keys, work.retry)

    async def measure(chat: Chat, sample: Sample, earlier: int) -> tuple[Body, float]:
        first, why = chosen[keys[sample.id]]
        body, usd = await question.more(chat, sample, first.body, why, earlier)
        return body, first.usd + usd

    asked = again.there(jobs(member, again, set(again.todo.values())), measure,
                        member.instrument.cfg.model)  # fmt: skip
    failed = sum(isinstance(fact.body, Failure) for fact in settled) + asked.counts.get("failed", 0)
    reasons = Counter(why for _, why in chosen.values())
    counts = {
        "rows": len(work.keys),
        "measured": len(settled) + len(chosen) - failed,
        "known already": len(set(work.keys.values())) - len(work.todo),
        **({"failed": failed} if failed else {}),
        "asked again": len(chosen),
    }
    notes = list(work.notes)
    if chosen:
        notes.append(
            f"asked again: {reasons['near']:,} near a threshold and {reasons['drawn']:,} drawn by "
            f"chance, for {member.instrument.cfg.near_samples} answers each"
        )
        notes += asked.notes
    usd = asked.usd - sum(fact.usd for fact, _ in chosen.values())
    return Tally("judge", counts, time.monotonic() - work.started, usd, tuple(notes))


def _told_apart(question: Question) -> tuple[list[Fact], dict[str, tuple[Fact, Extra]]]:
    """The facts of what is answered already; by key what is to be asked about again, and why."""
    work = question.work
    waiting = {question.first[sample]: (key, sample) for key, sample in work.todo.items()}
    settled: list[Fact] = []
    chosen: dict[str, tuple[Fact, Extra]] = {}
    for fact in work.session.run.facts("judge", waiting):
        key, sample = waiting[fact.key]
        body = question.settled(sample, fact.body)
        mine = Fact(stage="judge", sample=sample, key=key, body=body, usd=fact.usd, version=VERSION)
        why = question.reason(sample, body)
        if why is None:
            settled.append(mine)
        else:
            chosen[key] = (mine, why)
    return settled, chosen


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will be asked again, as far as that is known before the first answers are there."""

    rows: Collection[SampleId]
    modules: Collection[SampleId]
    """The rows that stand for them."""
    unknown: int
    """Requests at most for those whose first answers decide whether they are asked again."""


def forecast(todo: "Judging", member: "Member", modules: Work | None) -> Forecast:
    """Find what is open and will be asked again: drawn by chance, or known to be near.

    `modules` is the work of the modules, for the checklist.
    """
    instrument, run = member.instrument, todo.work.session.run
    entries = {entry.id: entry for entry in todo.entries}
    first = todo.keys(instrument.first)
    said = _said(run.facts("judge", [first[sample] for sample in todo.work.todo.values()]))
    certain: set[SampleId] = set()
    open_rows = open_modules = 0
    for sample in todo.work.todo.values():
        entry, module = entries[sample], todo.modules.of.get(sample, "")
        if not entry.code_digest or (instrument.difficulty is not None and not module):
            continue
        if row_extra(instrument, entry, module, said.get(first[sample])):
            certain.add(sample)
        elif first[sample] not in said and _asks_rows(instrument):
            open_rows += 1
    sure: set[SampleId] = set()
    forms = {s: todo.modules.of[s] for s in modules.todo.values()} if modules else {}
    keys = {sample: instrument.first.difficulty_key(form) for sample, form in forms.items()}
    said = _said(run.facts("judge", list(keys.values())))
    for sample, form in forms.items():
        if module_extra(instrument, form, said.get(keys[sample])):
            sure.add(sample)
        elif keys[sample] not in said and instrument.cfg.near_difficulty is not None:
            open_modules += 1
    each = instrument.cfg.near_samples - instrument.cfg.samples
    return Forecast(certain, sure, each * (open_rows + open_modules))


def asks(
    todo: "Judging", member: "Member", modules: Work | None, jobs: Jobs
) -> Iterator[tuple[bool, Ask]]:
    """The further requests that are certain to be sent, as far as they are not answered."""
    instrument = member.instrument
    known = forecast(todo, member, modules)
    for job in jobs(member, todo.work, known.rows):
        for ask in asks_again_of(ask_for(job.item, instrument), instrument):
            yield True, ask
    if modules is not None:
        for job in jobs(member, modules, known.modules):
            for ask in asks_again_of(ask_difficulty(job.item, instrument), instrument):
                yield True, ask


def _said(facts: Iterator[Fact]) -> dict[str, Body]:
    return {fact.key: fact.body for fact in facts}


def _asks_rows(instrument: Instrument) -> bool:
    return instrument.difficulty is None or instrument.cfg.near_style is not None

"""Judge programs that are no rows of the run: probes and canaries, by the judges of the run.

The same engine, journal and caps as the stage judge: what was answered once is not paid again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from kernelsift.engine import Job
from kernelsift.instrument import VERSION as JUDGE_VERSION
from kernelsift.judging import Member
from kernelsift.llm.chat import Ask, Chat, Reply
from kernelsift.measuring import Work
from kernelsift.model import Body, Failure, Judgement, Sample, SampleId, Tally, digest, text_digest
from kernelsift.stages import judge as judge_stage

_OCCASION = 1_000_000
"""Between the sample indexes of occasions: more than one judging ever uses."""


@dataclass(frozen=True, slots=True)
class Task:
    """Programs to judge, by name, on one occasion."""

    stage: str
    samples: Mapping[str, Sample]
    occasion: int = 0
    """A higher one asks anew what was answered on an earlier one."""


def rejudge(member: Member, task: Task) -> tuple[Tally, dict[str, Judgement | Failure]]:
    """Judge what has no answer yet; return what was done, and the answer to every name.

    Raises:
        KernelsiftError: as the stage judge.
    """
    instrument = member.instrument.first  # no threshold is near to programs that are no rows
    keys = {SampleId(name): _key(member, s, task.occasion) for name, s in task.samples.items()}
    work = Work(member.session, task.stage, JUDGE_VERSION, keys)

    def jobs() -> Iterator[Job[Sample]]:
        for key, name in work.todo.items():
            yield Job(name, key, task.samples[str(name)])

    async def measure(chat: Chat, sample: Sample, earlier: int) -> tuple[Body, float]:
        asked = _on(chat, task.occasion)
        if instrument.difficulty is None:
            return await judge_stage.measure(sample, asked, instrument, earlier)
        difficulty, usd = await judge_stage.measure_difficulty(sample, asked, instrument, earlier)
        found, more = await judge_stage.measure(sample, asked, instrument, earlier, difficulty)
        return found, usd + more

    if instrument.prompt is None:
        tally = work.here(jobs(), judge_stage.rate)
    else:
        tally = work.there(jobs(), measure, instrument.cfg.model)
    bodies = {fact.key: fact.body for fact in member.session.run.facts(task.stage, keys.values())}
    answers: dict[str, Judgement | Failure] = {}
    for name, key in keys.items():
        body = bodies.get(key)
        if isinstance(body, Judgement | Failure):
            answers[str(name)] = body
    return tally, answers


def _key(member: Member, sample: Sample, occasion: int) -> str:
    """Digest of all that could change an answer: the judge's own key, and the whole text shown."""
    own = member.instrument.first.key(sample.entry, sample.entry.reference_digest)
    return digest("rejudge", own, text_digest(sample.completion or ""), occasion)


def _on(chat: Chat, occasion: int) -> Chat:
    """The chat with requests of their own for each occasion."""
    if not occasion:
        return chat

    async def asked(ask: Ask) -> Reply:
        return await chat(replace(ask, sample=ask.sample + _OCCASION * occasion))

    return asked

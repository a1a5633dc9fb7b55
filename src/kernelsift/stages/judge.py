"""judge: rate difficulty and style, 0-10, by a language model or by static features."""

from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Literal, TypeVar

from kernelsift.checklist import checklist_score, parse_checks, parse_difficulty, unsupported
from kernelsift.instrument import Instrument, ask_difficulty, ask_for, asks_again_of, asks_of
from kernelsift.kernels import static_judge
from kernelsift.llm.chat import Ask, Chat, Reply
from kernelsift.llm.second_chance import Reading, ask_twice
from kernelsift.model import Body, Difficulty, Failure, Judgement, Opinion, Sample
from kernelsift.verdict import Verdict, parse_verdict

BodyT = TypeVar("BodyT")
Extra = Literal["near", "drawn"]
"""Why a row gets more answers than others: see `Opinion.extra`."""

_COMPLAINT = (
    "That is no usable verdict: {why}. Give the verdict again: one whole number from 0 to 10 for "
    "difficulty and one for style, each once, in the form asked for."
)
_COMPLAINT_CHECKS = (
    "That is no usable answer: {why}. Give the whole JSON object again, with all ten checks. Every "
    "quote must be copied exactly from one line of the program."
)
_COMPLAINT_DIFFICULTY = (
    "That is no usable answer: {why}. Give the JSON object again, with one whole number from 0 to "
    "10 for difficulty."
)
_LENGTH_FACTOR = 4
"""An answer that was cut off is asked for once more, with this many times the tokens."""


async def measure(
    sample: Sample,
    chat: Chat,
    instrument: Instrument,
    attempt: int = 0,
    difficulty: Difficulty | Failure | None = None,
) -> tuple[Judgement | Failure, float]:
    """Ask the model; an unusable answer is sent back once with what is wrong with it.

    `attempt` counts earlier failures of this sample, so that a retry is a request of its own.
    `difficulty` is what was found for the sample's module, for the checklist; without it the style
    is not asked for. Returns the judgement or the failure, and the USD that its answers cost.
    """
    if not sample.code:
        return _no_code(), 0.0
    ask = ask_for(sample, instrument)
    if instrument.difficulty is None:
        reading = Reading(lambda reply: read(reply, instrument), _COMPLAINT, _LENGTH_FACTOR)
        found, usd = await _sampled(chat, asks_of(ask, instrument), reading, attempt)
        return found if isinstance(found, Failure) else _mean(found), usd
    if not isinstance(difficulty, Difficulty):
        return _without_difficulty(difficulty), 0.0
    checked, usd = await _sampled(
        chat, asks_of(ask, instrument), _checklist(sample, instrument), attempt
    )
    if isinstance(checked, Failure):
        return checked, usd
    return _with_checks(checked, difficulty, instrument), usd


async def measure_difficulty(
    sample: Sample, chat: Chat, instrument: Instrument, attempt: int = 0
) -> tuple[Difficulty | Failure, float]:
    """Ask how hard a sample's module is; as `measure`."""
    asks = asks_of(ask_difficulty(sample, instrument), instrument)
    reading = Reading(
        lambda reply: _read_difficulty(reply, instrument), _COMPLAINT_DIFFICULTY, _LENGTH_FACTOR
    )
    found, usd = await _sampled(chat, asks, reading, attempt)
    if isinstance(found, Failure):
        return found, usd
    assert instrument.difficulty is not None
    opinions = _numbered(found)
    scores = [o.difficulty for o in opinions if o.difficulty is not None]
    label = instrument.difficulty.label
    body = Difficulty(
        difficulty=fmean(scores), spread=spread(scores), opinions=opinions, prompt_version=label
    )
    return body, usd


async def measure_again(
    sample: Sample,
    chat: Chat,
    instrument: Instrument,
    first: Judgement,
    extra: Extra,
    attempt: int = 0,
) -> tuple[Judgement | Failure, float]:
    """Ask for the further answers of a row that has been judged; the mean is over all of them.

    `extra` says why they are asked for. Returns the judgement of all answers, or the failure of a
    further one, and what the further ones cost.
    """
    asks = asks_again_of(ask_for(sample, instrument), instrument)
    found: list[Opinion] | Failure
    if instrument.difficulty is None:
        reading = Reading(lambda reply: read(reply, instrument), _COMPLAINT, _LENGTH_FACTOR)
        judged, usd = await _sampled(chat, asks, reading, attempt, since=0)
        found = judged if isinstance(judged, Failure) else [_opinion(one) for one in judged]
    else:
        style = _checklist(sample, instrument)
        checked, usd = await _sampled(chat, asks, style, attempt, since=0)
        found = checked if isinstance(checked, Failure) else [opinion for opinion, _ in checked]
    if isinstance(found, Failure):
        return found, usd
    own = first.opinions or (_opinion(first),)
    styles = [o for o in own if o.style is not None]
    further = _further(found, len(styles), extra)
    apart = [o for o in own if o.style is None]
    return _pooled(first, (*styles, *further, *apart)), usd


async def difficulty_again(
    sample: Sample,
    chat: Chat,
    instrument: Instrument,
    first: Difficulty,
    extra: Extra,
    attempt: int = 0,
) -> tuple[Difficulty | Failure, float]:
    """As `measure_again`, for a module."""
    asks = asks_again_of(ask_difficulty(sample, instrument), instrument)
    reading = Reading(
        lambda reply: _read_difficulty(reply, instrument), _COMPLAINT_DIFFICULTY, _LENGTH_FACTOR
    )
    found, usd = await _sampled(chat, asks, reading, attempt, since=0)
    if isinstance(found, Failure):
        return found, usd
    opinions = (*first.opinions, *_further(found, len(first.opinions), extra))
    scores = [o.difficulty for o in opinions if o.difficulty is not None]
    update = {"difficulty": fmean(scores), "spread": spread(scores), "opinions": opinions}
    return first.model_copy(update=update), usd


def with_difficulty(first: Judgement, difficulty: Difficulty | Failure) -> Judgement | Failure:
    """A row's judgement by the checklist, with what its module got after all its answers."""
    if isinstance(difficulty, Failure):
        return _without_difficulty(difficulty)
    styles = (o for o in first.opinions if o.style is not None)
    return _pooled(first, (*styles, *difficulty.opinions))


def _further(found: Sequence[Opinion], number: int, extra: Extra) -> list[Opinion]:
    """Further opinions, numbered after those that were there."""
    numbered = enumerate(found, start=number)
    return [o.model_copy(update={"sample": at, "extra": extra}) for at, o in numbered]


def _pooled(first: Judgement, opinions: tuple[Opinion, ...]) -> Judgement:
    """A judgement with other opinions behind it."""
    difficulties = [o.difficulty for o in opinions if o.difficulty is not None]
    styles = [o.style for o in opinions if o.style is not None]
    return first.model_copy(
        update={
            "difficulty": fmean(difficulties),
            "style": fmean(styles),
            "difficulty_spread": spread(difficulties),
            "style_spread": spread(styles),
            "raw": "\n\n".join(o.raw for o in opinions),
            "opinions": opinions,
        }
    )


async def _sampled(
    chat: Chat,
    asks: Sequence[Ask],
    reading: Reading[BodyT],
    attempt: int,
    *,
    since: int | None = None,
) -> tuple[list[BodyT] | Failure, float]:
    """Read every ask's answer. The first that stays unusable is the failure of them all.

    With several, a retry begins with the answers that are there already, which cost nothing: only
    what was unusable is asked for anew. `since` says with which try to begin.
    """
    if since is None:
        since = attempt if len(asks) == 1 else 0
    bodies: list[BodyT] = []
    usd = 0.0
    found: BodyT | Failure
    for ask in asks:
        for tried in range(since, attempt + 1):
            answered = await ask_twice(chat, ask, reading, tried)
            found = answered[0]
            usd += answered[1]
            if not isinstance(found, Failure):
                break
        if isinstance(found, Failure):
            return found, usd
        bodies.append(found)
    return bodies, usd


def rate(sample: Sample) -> Judgement | Failure:
    """Judge by static features: free, deterministic, and saying so in every column."""
    if not sample.code:
        return _no_code()
    rating = static_judge.rate(sample.code, sample.reference)
    if rating is None:
        return Failure(failure="unparsable-code", why="the code is not valid Python")
    return Judgement(
        difficulty=rating.difficulty,
        style=rating.style,
        raw="static judge: " + "\n".join(rating.reasons),
        judge="static",
        returned_model="static",
        prompt_version=static_judge.VERSION,
    )


def read(reply: Reply, instrument: Instrument) -> Judgement | Failure:
    """Turn a stored reply into a judgement; runs again at no cost when this code changes."""
    verdict = _readable(reply, parse_verdict)
    if isinstance(verdict, Verdict):
        return Judgement(
            difficulty=verdict.difficulty,
            style=verdict.style,
            raw=reply.text,
            judge=instrument.cfg.model,
            returned_model=reply.returned_model,
            prompt_version=instrument.version,
            params=reply.params,
        )
    return verdict


def spread(scores: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None with fewer than two scores."""
    return stdev(scores) if len(scores) > 1 else None


def _readable(reply: Reply, parse: Callable[[str], BodyT | Failure]) -> BodyT | Failure:
    """What a reply's text says; a `Failure` for a refusal, and for one that was cut off."""
    if reply.refusal is not None:
        return Failure(failure="refusal", why=reply.refusal[:300])
    found = parse(reply.text)
    if isinstance(found, Failure) and reply.finish_reason == "length":
        return Failure(failure="length", why=f"cut off at the token limit: {found.why}")
    return found


def _mean(found: Sequence[Judgement]) -> Judgement:
    """Several verdicts of one judge as one."""
    if len(found) == 1:
        return found[0]
    difficulties, styles = [o.difficulty for o in found], [o.style for o in found]
    return found[0].model_copy(
        update={
            "difficulty": fmean(difficulties),
            "style": fmean(styles),
            "difficulty_spread": spread(difficulties),
            "style_spread": spread(styles),
            "raw": "\n\n".join(o.raw for o in found),
            "opinions": tuple(_opinion(one, number) for number, one in enumerate(found)),
        }
    )


def combine(bodies: Sequence[Body]) -> Judgement | Failure:
    """The judgements of several judges as one: the mean of their scores, with each one's own.

    One that could not judge makes a failure of it: means of different judges cannot be compared.
    """
    found: list[Judgement] = []
    for body in bodies:
        if isinstance(body, Failure):
            return body
        assert isinstance(body, Judgement)
        found.append(body)
    difficulties, styles = [one.difficulty for one in found], [one.style for one in found]
    return Judgement(
        difficulty=fmean(difficulties),
        style=fmean(styles),
        raw="\n\n".join(one.raw for one in found),
        judge=", ".join(one.judge for one in found),
        returned_model=", ".join(one.returned_model for one in found),
        prompt_version=found[0].prompt_version,
        params={one.judge: dict(one.params) for one in found},
        difficulty_spread=spread(difficulties),
        style_spread=spread(styles),
        opinions=tuple(opinion for one in found for opinion in one.opinions or (_opinion(one),)),
    )


def _opinion(one: Judgement, sample: int = 0) -> Opinion:
    return Opinion(
        judge=one.judge,
        sample=sample,
        difficulty=one.difficulty,
        style=one.style,
        raw=one.raw,
        returned_model=one.returned_model,
    )


# --- the checklist ------------------------------------------------------------------------------

_Answered = tuple[Opinion, Reply]


def _checklist(sample: Sample, instrument: Instrument) -> Reading[_Answered]:
    """An answer with a quote that is not in the code is sent back; the second time it stands."""

    def at_last(reply: Reply) -> _Answered | Failure:
        checks = _readable(reply, lambda text: parse_checks(text, sample.code))
        if isinstance(checks, Failure):
            return checks
        score = checklist_score(checks)
        if isinstance(score, Failure):
            return score
        opinion = Opinion(
            judge=instrument.cfg.model,
            style=score,
            checks=checks,
            raw=reply.text,
            returned_model=reply.returned_model,
        )
        return opinion, reply

    def at_first(reply: Reply) -> _Answered | Failure:
        found = at_last(reply)
        if isinstance(found, Failure) or not (wrong := unsupported(found[0].checks)):
            return found
        quotes = "; ".join(f"{check.name}: {check.quote[:80]!r}" for check in wrong)
        return Failure(failure="no-evidence", why=f"quotes that the program has not: {quotes}")

    return Reading(at_first, _COMPLAINT_CHECKS, _LENGTH_FACTOR, settle=at_last)


def _with_checks(
    answered: Sequence[_Answered], difficulty: Difficulty, instrument: Instrument
) -> Judgement:
    opinions = _numbered([opinion for opinion, _ in answered])
    styles = [o.style for o in opinions if o.style is not None]
    first = answered[0][1]
    return Judgement(
        difficulty=difficulty.difficulty,
        style=fmean(styles),
        raw="\n\n".join(o.raw for o in (*opinions, *difficulty.opinions)),
        judge=instrument.cfg.model,
        returned_model=first.returned_model,
        prompt_version=instrument.version,
        params=first.params,
        difficulty_spread=difficulty.spread,
        style_spread=spread(styles),
        opinions=(*opinions, *difficulty.opinions),
    )


def _numbered(opinions: Sequence[Opinion]) -> tuple[Opinion, ...]:
    return tuple(o.model_copy(update={"sample": number}) for number, o in enumerate(opinions))


def _read_difficulty(reply: Reply, instrument: Instrument) -> Opinion | Failure:
    level = _readable(reply, parse_difficulty)
    if isinstance(level, Failure):
        return level
    return Opinion(
        judge=instrument.cfg.model,
        difficulty=level,
        raw=reply.text,
        returned_model=reply.returned_model,
    )


def _without_difficulty(failure: Failure | None) -> Failure:
    if failure is not None:
        return Failure(failure=failure.failure, why=f"difficulty: {failure.why}")
    return Failure(
        failure="no-reference",
        why="the checklist rates difficulty by the PyTorch module, and this row has none; judge it "
        "with --rubric original",
    )


def _no_code() -> Failure:
    return Failure(failure="no-code", why="no code was found in the completion")

"""Rows of a run that opinions differ most about, by rules that need no further request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kernelsift.judgements import Judgements, Said
from kernelsift.model import Judgement, Sample, SampleId, digest
from kernelsift.report.page.model import Disagreement, Disagreements, Opinion
from kernelsift.report.stats import counted, percent
from kernelsift.run import Run

SHOWN = 6
"""Rows per rule."""
_HALF = SHOWN // 2
STATIC_ROWS = 400
"""Most rows that the static judge rates for the comparison: it takes some 10 ms for each."""
APART = 0.5
"""Least difference of two shares of the rows that counts as apart."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    sample: SampleId
    gap: float
    words: str
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    title: str
    rule: str
    none: str
    found: tuple[_Candidate, ...]


def disagreements(run: Run, found: Judgements) -> tuple[Disagreements, ...]:
    """The rows furthest apart by each rule that applies, worst first; ties by id.

    Rows with the same answer to the same module count once, and a rule names a module once.
    """
    rules = [_between_answers(found)]
    if any(body.judge != "static" for body in found.now.values()):
        rules.append(_with_static(run, found))
    rules.append(_with_reward(found))
    wanted = {one.sample for rule in rules for one in rule.found}
    samples = _read(run, found, wanted)
    return tuple(
        Disagreements(
            title=rule.title,
            rule=rule.rule,
            rows=tuple(_shown(one, samples[one.sample], found) for one in rule.found),
            none=rule.none,
        )
        for rule in rules
    )


def _shown(one: _Candidate, sample: Sample, found: Judgements) -> Disagreement:
    entry = sample.entry
    return Disagreement(
        id=entry.id,
        module=entry.module,
        origin=entry.origin,
        reward=entry.reward,
        gap=one.words,
        opinions=one.opinions,
        words=found.now[entry.id].raw,
        code=sample.code,
    )


def _read(run: Run, found: Judgements, wanted: Iterable[SampleId]) -> dict[SampleId, Sample]:
    entries = [found.entries[sample] for sample in sorted(wanted)]
    return {sample.id: sample for sample in run.samples.read(entries)} if entries else {}


def _distinct(found: Judgements) -> dict[SampleId, SampleId]:
    """Answer -> the judged row with the smallest id that has it."""
    first: dict[SampleId, SampleId] = {}
    for sample in sorted(found.now):
        first.setdefault(found.item_of[sample], sample)
    return first


def _worst(
    found: Judgements, candidates: Iterable[_Candidate], most: int = SHOWN
) -> tuple[_Candidate, ...]:
    """The widest gaps, the widest of each module."""
    first: dict[str, _Candidate] = {}
    for one in sorted(candidates, key=lambda one: (-one.gap, one.sample)):
        if one.gap > 0:
            first.setdefault(found.entries[one.sample].module, one)
    return tuple(first.values())[:most]


# ---- several answers ----------------------------------------------------------------------------


def _between_answers(found: Judgements) -> _Rule:
    """Repeated answers of one judge and answers of several, by their range."""
    distinct = _distinct(found)
    said: dict[SampleId, list[Said]] = {}
    for one in found.said:
        if one.item in distinct:
            said.setdefault(one.item, []).append(one)
    candidates = [_range(distinct[item], answers) for item, answers in said.items()]
    several = sum(one is not None for one in candidates)
    if several:
        none = f"All answers agree, for each of {counted(several, 'row')} with several."
    else:
        none = (
            "Each row has one answer of one judge. `kernelsift judge --samples 3`, or another "
            "model over the same run, would show which rows opinions differ about."
        )
    return _Rule(
        "Answers furthest apart",
        "Rows with several answers, of one judge or of several, by the largest difference between "
        f"two of them in one score. The {SHOWN} worst.",
        none,
        _worst(found, (one for one in candidates if one is not None)),
    )


def _range(sample: SampleId, said: Sequence[Said]) -> _Candidate | None:
    """The widest range of one score; None where no score has two answers."""
    widest: tuple[float, str] | None = None
    for score in ("style", "difficulty"):
        values = sorted(one.value for one in said if one.score == score)
        if len(values) > 1 and (widest is None or values[-1] - values[0] > widest[0]):
            words = f"{score} {values[0]:g} to {values[-1]:g} in {len(values)} answers"
            widest = values[-1] - values[0], words
    if widest is None:
        return None
    return _Candidate(sample, *widest, tuple(_opinions(said)))


def _opinions(said: Sequence[Said]) -> Iterator[Opinion]:
    scores: dict[tuple[str, int], dict[str, float]] = {}
    for one in said:
        scores.setdefault((one.judge, one.sample), {})[one.score] = one.value
    times: dict[str, int] = {}
    for judge, _ in scores:
        times[judge] = times.get(judge, 0) + 1
    for (judge, sample), values in sorted(scores.items()):
        who = judge if times[judge] == 1 else f"{judge}, answer {sample + 1}"
        yield Opinion(who, values.get("difficulty"), values.get("style"))


# ---- the static judge ---------------------------------------------------------------------------


def _with_static(run: Run, found: Judgements) -> _Rule:
    """The judge against the static judge, which costs nothing, over rows drawn by digest."""
    from kernelsift.kernels.static_judge import VERSION, rate

    drawn = sorted(_distinct(found).values(), key=lambda sample: digest("static", sample))
    samples = _read(run, found, drawn[:STATIC_ROWS])
    candidates = []
    for sample in samples.values():
        rating = rate(sample.code, sample.reference)
        body = found.now[sample.id]
        if rating is not None and body.judge != "static":
            static = Opinion(f"static judge ({VERSION})", rating.difficulty, rating.style)
            candidates.append(_against(sample.id, body, static))
    of = counted(len(samples), "row")
    more = ""
    if len(drawn) > len(samples):
        more = f", drawn by digest from {len(drawn):,} distinct answers"
    return _Rule(
        "The judge against the static judge",
        f"The larger of the two differences in points, over {of}{more}. The static judge computes "
        "its scores from the code; the scales need not agree, so look for what one of them has "
        f"missed. The {SHOWN} worst.",
        "Both judges give the same scores, or the static judge could read none of the rows.",
        _worst(found, candidates),
    )


def _against(sample: SampleId, body: Judgement, static: Opinion) -> _Candidate:
    assert static.style is not None
    assert static.difficulty is not None
    style, difficulty = body.style - static.style, body.difficulty - static.difficulty
    if abs(style) >= abs(difficulty):
        gap, words = abs(style), f"style {body.style:g}, static {static.style:g}"
    else:
        gap, words = (
            abs(difficulty),
            f"difficulty {body.difficulty:g}, static {static.difficulty:g}",
        )
    return _Candidate(sample, gap, words, (_own(body), static))


def _own(body: Judgement) -> Opinion:
    return Opinion(body.judge, body.difficulty, body.style)


# ---- reward -------------------------------------------------------------------------------------


def _with_reward(found: Judgements) -> _Rule:
    """Good style with a low reward, and the reverse, by rank."""
    rows = sorted(_distinct(found).values())
    style = _ranks([found.now[sample].style for sample in rows])
    reward = _ranks([found.entries[sample].reward for sample in rows])
    places = dict(zip(rows, zip(style, reward, strict=True), strict=True))
    return _Rule(
        "Style and reward far apart",
        "Where a row stands among all by style and by reward. That they differ is no error in "
        "itself: fast code can be ugly. Rows here are worth reading before one score is used as a "
        f"stand-in for the other. The {_HALF} worst either way.",
        "No row stands high by one and low by the other.",
        (*_apart(places, found, 1), *_apart(places, found, -1)),
    )


def _apart(
    places: Mapping[SampleId, tuple[float, float]], found: Judgements, sign: int
) -> tuple[_Candidate, ...]:
    candidates = (
        _Candidate(
            sample,
            sign * (style - reward),
            f"style above {percent(style)} of the rows, reward above {percent(reward)}",
            (_own(found.now[sample]),),
        )
        for sample, (style, reward) in places.items()
        if sign * (style - reward) >= APART
    )
    return _worst(found, candidates, _HALF)


def _ranks(values: Sequence[float]) -> list[float]:
    """The share of the values that lie below each one, ties counted half."""
    from scipy.stats import rankdata

    return [(float(rank) - 0.5) / len(values) for rank in rankdata(values)] if values else []

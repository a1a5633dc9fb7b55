"""The command `reliability`: how far the scores of a run can be trusted."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsift.errors import DataError
from kernelsift.files import write_json, write_text
from kernelsift.judgements import Judgements, read_judgements
from kernelsift.judging import Member, check_families, members, modules_of
from kernelsift.label_files import Canary, Label, Scale, canary_lines, read_canary, read_labels
from kernelsift.model import Entry, Failure, Judgement, Sample, SampleId, Tally, text_digest
from kernelsift.rejudging import Task, rejudge
from kernelsift.session import Session

if TYPE_CHECKING:
    from kernelsift.reliability.schema import (
        Coverage,
        Drift,
        Reliability,
        Score,
        ScoreReliability,
        Validity,
    )
    from kernelsift.reliability.validity import HumanScore

CANARIES = 50
"""Rows of a canary set that the run writes."""
FILE = "reliability.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command is to look at besides the run."""

    labels: Path | None = None
    canary: Path | None = None
    again: bool = False
    """Ask about the canary set anew, although it was asked about before."""


@dataclass(frozen=True)
class Outcome:
    """The report, where it was written, and what judging the canary set came to."""

    report: "Reliability"
    file: Path
    tallies: tuple[Tally, ...]
    seconds: float


def reliability(session: Session, asked: Asked) -> Outcome:
    """Measure reliability and validity of the run's judgements and write reliability.json.

    Raises:
        DataError: no row has been judged, or a file of labels or canaries cannot be used.
    """
    started = time.monotonic()
    run, cfg = session.run, session.settings.reliability
    labels = None
    if asked.labels is not None:
        scale = Scale(cfg.label_low, cfg.label_high)
        labels = read_labels(asked.labels, run.entries(), scale)
    found = _judged(session)
    drift, tallies = _canary(session, asked) if asked.canary is not None else ((), ())
    validity = () if labels is None else _validity(session, found, labels)
    report = report_of(session, found, drift, validity)
    file = run.path / FILE
    write_json(file, report.model_dump(mode="json"))
    return Outcome(report, file, tallies, time.monotonic() - started)


def report_of(
    session: Session,
    found: Judgements,
    drift: tuple["Drift", ...] = (),
    validity: tuple["Validity", ...] = (),
) -> "Reliability":
    """Measure what the run's own judgements tell; asks nobody and writes nothing."""
    from kernelsift.reliability.cautions import cautions_of
    from kernelsift.reliability.schema import Reliability

    cfg = session.settings.reliability
    coverage, scores = coverage_of(found), _scores(session, found)
    return Reliability(
        judge=found.judge,
        prompt_version=found.prompt_version,
        coverage=coverage,
        scores=scores,
        drift=drift,
        validity=validity,
        cautions=cautions_of(found.judge, coverage, scores, drift, validity),
        resamples=cfg.resamples,
        seed=cfg.seed,
    )


def coverage_of(found: Judgements) -> "Coverage":
    """How many rows have scores, and what kept the others from having them."""
    from kernelsift.reliability.schema import Coverage

    return Coverage(
        rows=len(found.entries),
        scored=len(found.now),
        failed=dict(sorted(found.failed.items())),
        pending=found.pending,
        attempts=found.attempts,
        attempts_failed=dict(sorted(found.attempts_failed.items())),
    )


def save_canary(session: Session, path: Path) -> int:
    """Write a canary set of the run: distinct answers of all levels, with the scores they have.

    Returns how many. Raises DataError if no row has been judged.
    """
    found = _judged(session)
    entries = [found.entries[sample] for sample in _spread_out(found)]
    canaries = []
    for sample in session.run.samples.read(entries):
        now = found.now[sample.id]
        expected = {"difficulty": now.difficulty, "style": now.style}
        module = sample.entry.module
        canaries.append(Canary(sample.id, module, sample.code, sample.reference, expected))
    write_text(path, canary_lines(canaries))
    return len(canaries)


def _spread_out(found: Judgements) -> list[SampleId]:
    """Rows of distinct answers, from every level of style in turn, by id within a level."""
    levels: dict[int, list[SampleId]] = {}
    for sample in sorted(found.now):
        if found.item_of[sample] == sample:
            levels.setdefault(round(found.now[sample].style), []).append(sample)
    chosen: list[SampleId] = []
    while len(chosen) < CANARIES and any(levels.values()):
        for level in sorted(levels):
            chosen += levels[level][:1]
            del levels[level][:1]
    return chosen[:CANARIES]


def _judged(session: Session) -> Judgements:
    found = read_judgements(session.run)
    if not found.now and not found.failed:
        path = session.run.path
        raise DataError(f"no row of {path} has been judged; run `kernelsift judge --run {path}`")
    return found


def _scores(session: Session, found: Judgements) -> tuple["ScoreReliability", ...]:
    import numpy as np

    from kernelsift.reliability.assess import Judged, assess
    from kernelsift.reliability.ratings import Rater, Rating, Ratings
    from kernelsift.reliability.resample import Resampling
    from kernelsift.reliability.schema import SCORES

    cfg = session.settings.reliability
    entries = {entry.id: entry for entry in session.run.entries()}
    forms = modules_of(session.run, list(found.entries.values())).of
    out = []
    for score in SCORES:
        ratings = Ratings.of(
            Rating(s.item, entries[s.item].module, Rater(s.judge, s.sample), s.value)
            for s in found.said
            if s.score == score
        )
        standing = {sample: _score(body, score) for sample, body in sorted(found.now.items())}
        distinct = {found.item_of[sample]: sample for sample in reversed(standing)}
        judged = Judged(
            score=score,
            ratings=ratings,
            rows=np.array(list(standing.values())),
            tasks=tuple((standing[row], forms[row]) for row in sorted(distinct.values())),
            by_construction=found.module_alone,
        )
        out.append(assess(judged, Resampling(cfg.resamples, cfg.seed)))
    return tuple(out)


def _score(body: Judgement, name: "Score") -> float:
    return body.difficulty if name == "difficulty" else body.style


# ---- human labels -------------------------------------------------------------------------------


def _validity(
    session: Session, found: Judgements, labels: Sequence[Label]
) -> tuple["Validity", ...]:
    from kernelsift.reliability.resample import Resampling
    from kernelsift.reliability.schema import SCORES
    from kernelsift.reliability.validity import JudgedItem, validate

    cfg = session.settings.reliability
    out = []
    for score in SCORES:
        said = [_human(label, score) for label in labels if score in label.scores]
        if said:
            judged = {
                str(sample): JudgedItem(found.entries[sample].module, _score(body, score))
                for sample, body in found.now.items()
            }
            out.append(validate(score, said, judged, Resampling(cfg.resamples, cfg.seed)))
    return tuple(out)


def _human(label: Label, score: str) -> "HumanScore":
    from kernelsift.reliability.validity import HumanScore

    return HumanScore(label.sample, label.rater, label.scores[score], label.weight)


# ---- canary -------------------------------------------------------------------------------------


def _canary(session: Session, asked: Asked) -> tuple[tuple["Drift", ...], tuple[Tally, ...]]:
    """Judge the canary set now, and compare with what is expected."""
    assert asked.canary is not None
    canaries = read_canary(asked.canary)
    occasion = _occasion(session, again=asked.again)
    judges = members(session)
    check_families(session, judges)
    samples = {canary.id: _sample(canary) for canary in canaries}
    drifts, tallies = [], []
    for member in judges:
        tally, answers = rejudge(member, Task("canary", samples, occasion))
        tallies.append(tally)
        drifts += _drifts(session, member, canaries, answers)
    return tuple(drifts), tuple(tallies)


def _occasion(session: Session, *, again: bool) -> int:
    """Which asking about canaries this is; kept with the settings of the stage."""
    known = session.run.stages().get("canary", {}).get("settings")
    before = known.get("occasion", 0) if isinstance(known, dict) else None
    occasion = 0 if before is None else before + int(again)
    session.run.begin("canary", {"occasion": occasion}, "1")
    return int(occasion)


def _sample(canary: Canary) -> Sample:
    code, reference = text_digest(canary.code), text_digest(canary.reference)
    entry = Entry(SampleId(canary.id), 0, canary.id, canary.module, 0.0, reference, code)
    return Sample(entry, canary.reference, canary.code, canary.code)


def _drifts(
    session: Session,
    member: Member,
    canaries: Sequence[Canary],
    answers: Mapping[str, Judgement | Failure],
) -> list["Drift"]:
    from kernelsift.reliability.resample import Resampling
    from kernelsift.reliability.schema import SCORES
    from kernelsift.reliability.validity import drift

    cfg = session.settings.reliability
    name = member.instrument.cfg.model if member.instrument.prompt else "static"
    out = []
    for score in SCORES:
        rows = [
            (canary.id, canary.module, canary.expected[score], _score(body, score))
            for canary in canaries
            if score in canary.expected and isinstance(body := answers.get(canary.id), Judgement)
        ]
        if any(score in canary.expected for canary in canaries):
            how = Resampling(cfg.resamples, cfg.seed)
            out.append(drift(score, name, rows, cfg.tolerance, how))
    return out

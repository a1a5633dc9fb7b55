"""The command `probes`: change kernels in ways whose effect is known, and see what a judge does."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsift.errors import DataError
from kernelsift.files import write_json
from kernelsift.judging import Member, check_families, members
from kernelsift.model import Entry, Failure, Judgement, Sample, SampleId, Tally
from kernelsift.probes.catalog import PROBES, VERSION, Probe
from kernelsift.rejudging import Task, rejudge
from kernelsift.session import Session

if TYPE_CHECKING:
    from kernelsift.reliability.schema import ProbeResult, Probes
    from kernelsift.reliability.shifts import Moved

FILE = "probes.json"
_ORIGINAL = "original"


@dataclass(frozen=True)
class Outcome:
    """The report, where it was written, and what judging came to."""

    report: "Probes"
    file: Path
    tallies: tuple[Tally, ...]
    seconds: float


@dataclass(frozen=True)
class _Set:
    """The rows that were drawn, and each of them after every probe."""

    samples: Sequence[Sample]
    changed: Mapping[str, Sample]
    """`id:probe` -> the changed sample; the original is among them."""


def probe(session: Session, *, rows: int, only: Sequence[str] = ()) -> Outcome:
    """Probe the judge with `rows` distinct kept answers and write probes.json.

    `only` names the probes to apply; all of them when empty. Answers are stored: the same command
    again asks nothing, and what the stage judge has paid for is not paid again.

    Raises:
        DataError: there is no row to probe with, or no such probe.
    """
    from kernelsift.reliability.schema import Probes

    started = time.monotonic()
    cfg = session.settings.reliability
    chosen = _chosen(only)
    judges = members(session)
    check_families(session, judges)
    drawn = _draw(session, rows, chosen)
    session.run.begin("probes", {"rows": rows, "probes": [p.name for p in chosen]}, VERSION)
    tallies, results = [], {}
    for member in judges:
        tally, answers = rejudge(member, Task("probes", drawn.changed))
        tallies.append(tally)
        name = member.instrument.cfg.model if member.instrument.prompt else "static"
        results[name] = tuple(_result(session, drawn, one, answers) for one in chosen)
    report = Probes(
        rows=len(drawn.samples),
        drop=cfg.drop,
        tolerance=cfg.tolerance,
        judges=results,
        usd=sum(tally.usd for tally in tallies),
        resamples=cfg.resamples,
        seed=cfg.seed,
    )
    file = session.run.path / FILE
    write_json(file, report.model_dump(mode="json"))
    return Outcome(report, file, tuple(tallies), time.monotonic() - started)


def _chosen(only: Sequence[str]) -> tuple[Probe, ...]:
    names = [one.name for one in PROBES]
    wrong = next((name for name in only if name not in names), None)
    if wrong:
        raise DataError(f"{wrong!r} is no probe; there are {', '.join(names)}")
    return tuple(one for one in PROBES if not only or one.name in only)


def _draw(session: Session, rows: int, chosen: Sequence[Probe]) -> _Set:
    """Rows of distinct answers, the first by id: ids are digests, so that is a fair draw."""
    run = session.run
    seen: set[str] = set()
    picked: list[Entry] = []
    for entry in sorted(run.kept_before("judge"), key=lambda entry: entry.id):
        if entry.code_digest and entry.code_digest not in seen and len(picked) < rows:
            seen.add(entry.code_digest)
            picked.append(entry)
    if not picked:
        raise DataError(f"{run.path} has no kept row with a program to probe with")
    samples = list(run.samples.read(sorted(picked, key=lambda e: e.row), completion=True))
    changed: dict[str, Sample] = {}
    whole = any(_sees_completion(member) for member in members(session))
    for sample in samples:
        changed[_name(sample.id, _ORIGINAL)] = _shown(sample, whole=whole)
        for one in chosen:
            found = one.apply(sample)
            if found is not None:
                changed[_name(sample.id, one.name)] = _shown(found, whole=whole)
    return _Set(samples, changed)


def _sees_completion(member: Member) -> bool:
    return member.instrument.prompt is not None and member.instrument.cfg.show == "completion"


def _shown(sample: Sample, *, whole: bool) -> Sample:
    """The sample as its judge sees it: without the whole answer where that is not shown."""
    return sample if whole else replace(sample, completion=None)


def _name(sample: SampleId, what: str) -> str:
    return f"{sample}:{what}"


def _result(
    session: Session, drawn: _Set, one: Probe, answers: Mapping[str, Judgement | Failure]
) -> "ProbeResult":
    from kernelsift.reliability.resample import Resampling
    from kernelsift.reliability.shifts import Limits, Tried, result_of

    cfg = session.settings.reliability
    moved: list[Moved] = []
    unjudged: Counter[str] = Counter()
    missing = 0
    for sample in drawn.samples:
        if _name(sample.id, one.name) not in drawn.changed:
            missing += 1
            continue
        pair = [answers.get(_name(sample.id, what)) for what in (_ORIGINAL, one.name)]
        failed = [body for body in pair if not isinstance(body, Judgement)]
        if failed:
            unjudged[failed[0].failure if failed[0] is not None else "pending"] += 1
            continue
        moved.append(_moved(sample.entry, [b for b in pair if isinstance(b, Judgement)]))
    tried = Tried(one.name, one.what, one.style, moved, missing, dict(sorted(unjudged.items())))
    limits = Limits(cfg.drop, cfg.tolerance)
    return result_of(tried, limits, Resampling(cfg.resamples, cfg.seed))


def _moved(entry: Entry, pair: Sequence[Judgement]) -> "Moved":
    from kernelsift.reliability.schema import Score
    from kernelsift.reliability.shifts import Moved

    def scores(body: Judgement) -> dict[Score, float]:
        return {"difficulty": body.difficulty, "style": body.style}

    before, after = pair
    return Moved(entry.id, entry.origin, entry.module, scores(before), scores(after))

"""The dedup stage over a run: scores, comparison of both sides, decisions, clusters."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from kernelsift.errors import DataError
from kernelsift.expression import Expression, parse_order
from kernelsift.model import Decision, Entry, Judgement, SampleId, Tally
from kernelsift.repeats import PARTS, Compare, Part, Texts, compare, read_texts
from kernelsift.run import Run
from kernelsift.session import Session
from kernelsift.similarity.processes import Processes
from kernelsift.similarity.tokens import RAW_SHINGLE, raw_hashes, shingles
from kernelsift.stages import dedup as stage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BY_NAME = "reward * difficulty * style"
"""The score of rows that share a module's name, as it always was."""
VERIFIED = "verified"
_NAME = "module-name"
_JUDGED = frozenset({"difficulty", "style"})
_CHUNK = 128


def score_text(session: Session) -> str:
    """The score that the settings ask for, or the one that fits to what has run."""
    cfg = session.settings.dedup
    if cfg.score is not None:
        return cfg.score
    if cfg.by == (_NAME,):
        return BY_NAME
    ran = session.run.stages()
    order = [(VERIFIED, "verify" in ran), ("reward", True), ("style", "judge" in ran)]
    return ", ".join([*(name for name, known in order if known), "-code_length"])


def dedup(session: Session) -> Tally:
    """Keep the best rows of each cluster of repeats; the others remember what they repeat.

    Raises:
        ConfigError: the score is no expression, or names a column that is not there.
        DataError: no row is left, or a score has no value.
    """
    started = time.monotonic()
    run, cfg = session.run, session.settings.dedup
    scores = parse_order(score_text(session))
    entries = run.kept_before("dedup")
    if not entries:
        from kernelsift.stages.export import nothing_left

        raise DataError(nothing_left(run))
    found = list(candidates(session, entries, scores))
    settings = {**cfg.model_dump(mode="json"), "score": score_text(session)}
    notes: tuple[str, ...] = ()
    if cfg.by == (_NAME,) and cfg.keep == 1 and len(scores) == 1:
        decisions = stage.select(found, scores[0])
        run.save_clusters([])
    else:
        ranked = stage.rank(found, scores)
        decisions, notes = _by_content(session, ranked)
    run.save_decisions("dedup", decisions)
    run.begin("dedup", settings, "1")
    kept = sum(d.keep for d in decisions)
    counts = {"kept": kept, "dropped": len(decisions) - kept}
    return Tally("dedup", counts, time.monotonic() - started, notes=notes)


def candidates(
    session: Session, entries: Sequence[Entry], scores: Sequence[Expression]
) -> Iterator[stage.Candidate]:
    """Rows with the columns that the scores need.

    Raises:
        ConfigError: a column is not there or holds no numbers.
        DataError: a row has no value in one.
    """
    run = session.run
    judged = run.latest("judge")
    wanted = sorted({name for score in scores for name in score.names})
    others = [name for name in wanted if name not in {"reward", VERIFIED, *_JUDGED}]
    columns = run.samples.numbers(entries, others)
    verified = _verified(run) if VERIFIED in wanted else {}
    text = ", ".join(score.text for score in scores)
    for entry in entries:
        values = {"reward": entry.reward, **columns[entry.id]}
        if entry.id in verified:
            values[VERIFIED] = verified[entry.id]
        fact = judged.get(entry.id)
        if fact and isinstance(fact.body, Judgement):
            values |= {"difficulty": fact.body.difficulty, "style": fact.body.style}
        missing = [name for name in wanted if name not in values]
        if missing:
            first = "verify" if missing[0] == VERIFIED else "judge"
            raise DataError(
                f"{entry.origin}: the score {text!r} needs {missing[0]}, which this row does not "
                f"have; {first} first, or give another expression with --score"
            )
        yield stage.Candidate(entry, {name: values[name] for name in wanted})


def _verified(run: Run) -> dict[SampleId, float]:
    """1 for rows that were run and found correct, 0 for others that verify has decided on."""
    made = run.decisions(("verify",))
    return {id_: float(ds[-1].evidence["outcome"] == "correct") for id_, ds in made.items()}


def _by_content(session: Session, ranked: stage.Ranked) -> tuple[list[Decision], tuple[str, ...]]:
    """Decisions, and what to say of them; the clusters of both sides are stored."""
    run, cfg = session.run, session.settings.dedup
    places = [0] * len(ranked.order)
    for place, row in enumerate(ranked.order):
        places[row] = place
    what = Compare(
        ranked.entries, cfg, exact="exact" in cfg.by, near="near" in cfg.by,
        workers=session.settings.workers_or_cores(), rank=places,
    )  # fmt: skip
    sides = {part: compare(run, what, part) for part in PARTS} if what.exact or what.near else {}
    chosen = [sides[part] for part in PARTS if cfg.side in {part, "both"} and part in sides]
    found = stage.find_repeats(ranked, cfg, chosen)
    alone = {kind: cfg.model_copy(update={"by": (kind,)}) for kind in cfg.by if kind != _NAME}
    clusters = [
        (part, kind, stage.find_repeats(ranked, by, [texts]))
        for part, texts in sides.items()
        for kind, by in alone.items()
    ]
    pairs = {_pair(sides, part, m) for part, _, matches in clusters for m in matches}
    pairs |= {_pair(sides, t.part, m) for t in chosen for m in found if m.kind != "module-name"}
    raw = _raw_similarity(session, ranked, sides, pairs)
    ids = [entry.id for entry in ranked.entries]
    run.save_clusters([
        (part, kind, ids[m.row], ids[m.centre], m.similarity, raw[_pair(sides, part, m)])
        for part, kind, matches in clusters
        for m in matches
    ])
    measured = [
        m if m.kind == "module-name"
        else replace(m, raw=min(raw[_pair(sides, t.part, m)] for t in chosen))
        for m in found
    ]  # fmt: skip
    notes = [note for note in (stage.alarm(ranked, cfg, found), *_uncompared(sides)) if note]
    return stage.decide(ranked, cfg, measured), tuple(notes)


def _uncompared(sides: Mapping[Part, Texts]) -> Iterator[str]:
    """Rows that are kept because there is nothing to compare, and how broken programs were."""
    for part, texts in sides.items():
        empty = texts.of.count(-1)
        if empty:
            yield f"{empty:,} rows have no {part} to compare: they repeat nothing"
        if texts.broken:
            yield (
                f"{texts.broken:,} {part}s do not parse, or are very long: exact compares their "
                "tokens"
            )


_Pair = tuple[Part, int, int]
"""A side, and the texts of a row and of the row it repeats."""


def _pair(sides: Mapping[Part, Texts], part: Part, match: stage.Match) -> _Pair:
    return part, sides[part].of[match.row], sides[part].of[match.centre]


def _raw_similarity(
    session: Session, ranked: stage.Ranked, sides: Mapping[Part, Texts], pairs: Iterable[_Pair]
) -> dict[_Pair, float]:
    """Jaccard similarity of the programs of each pair as they are written, 0 to 1.

    The shingles of the better rows are held in memory; those of the others pass by.
    """
    from kernelsift.similarity.near import jaccard

    out: dict[_Pair, float] = {}
    for part, texts in sides.items():
        mine = {pair for pair in pairs if pair[0] == part}
        out |= {pair: 1.0 for pair in mine if pair[1] == pair[2]}
        followed: dict[int, list[int]] = {}
        for _, text, leader in mine - out.keys():
            followed.setdefault(text, []).append(leader)
        wanted = {leader for each in followed.values() for leader in each}
        leaders = dict(_shingles(session, ranked.entries, texts, wanted))
        for text, found in _shingles(session, ranked.entries, texts, followed.keys()):
            for leader in followed[text]:
                out[part, text, leader] = jaccard(found, leaders[leader])
    return out


def _shingles(
    session: Session, entries: Sequence[Entry], texts: Texts, wanted: Collection[int]
) -> "Iterator[tuple[int, npt.NDArray[np.uint64]]]":
    """The raw shingles of some texts, in order of their first rows."""
    read = read_texts(session.run, entries, texts, wanted)
    chunks = iter(lambda: list(islice(read, _CHUNK)), [])
    with Processes(session.settings.workers_or_cores()) as processes:
        for chunk in processes.map(_raw_shingles, chunks):
            yield from chunk


def _raw_shingles(chunk: list[tuple[int, str]]) -> "list[tuple[int, npt.NDArray[np.uint64]]]":
    return [(number, shingles(raw_hashes(text), RAW_SHINGLE)) for number, text in chunk]

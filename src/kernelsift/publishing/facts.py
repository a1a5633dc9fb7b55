"""What a card says of a run: the funnel, the judge, the checks, the results of later stages."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kernelsift.model import Decision, Failure, Judgement, SampleId
from kernelsift.report.card_facts import CardJudge, CardVerify, FunnelStep, Results
from kernelsift.report.contamination import count as contaminated
from kernelsift.report.verified import count
from kernelsift.run import STAGES, Run

KEPT = "kept"
_LEADS = frozenset({"best-of-module", "best-of-repeats"})
"""Reasons of the best row of a cluster."""


def funnel(run: Run, name: str) -> tuple[FunnelStep, ...]:
    """Every row loaded, once: by the first thing that put it out, or as kept.

    `name` is the set: `filtered` holds what comes to dedup, `unique` what dedup kept of that.
    """
    last = STAGES[: STAGES.index("dedup") + (name != "filtered")]
    dropped, failed, stays = run.dropped(last), run.failed(), kept(run, name)
    untold = _untold(run)
    judging = {entry.id for entry in run.kept_before("judge")}
    counts: Counter[tuple[str, str]] = Counter()
    for entry in run.entries():
        if entry.id in stays:
            place = (KEPT, "")
        elif entry.id in dropped:
            place = (dropped[entry.id].stage, f"dropped: {dropped[entry.id].reason}")
        elif entry.id in failed:
            stage, failure = failed[entry.id]
            place = (stage, f"failed: {failure.failure}")
        elif entry.id in untold:
            place = (untold[entry.id].stage, f"failed: {untold[entry.id].reason}")
        else:
            place = ("judge" if entry.id in judging else "verify", "pending")
        counts[place] += 1
    order = [*STAGES, KEPT]
    ordered = sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return tuple(FunnelStep(stage, reason, rows) for (stage, reason), rows in ordered)


def kept(run: Run, name: str) -> set[SampleId]:
    """The rows that are in the set now."""
    before = {entry.id for entry in run.kept_before("dedup")}
    if name == "filtered":
        return before
    made = run.decisions(("dedup",))
    return {id_ for id_ in before if id_ in made and made[id_][-1].keep}


def _untold(run: Run) -> dict[SampleId, Decision]:
    """The first decision of a stage that could not tell, of each such row."""
    out = {}
    for id_, made in run.decisions().items():
        first = next((d for d in made if d.failure), None)
        if first is not None:
            out[id_] = first
    return out


def prompts_funnel(run: Run, rows: int) -> tuple[FunnelStep, ...]:
    """Every module that a prompt was asked for, once; `rows` were written."""
    counts: Counter[str] = Counter()
    for fact in run.latest("prompts").values():
        body = fact.body if fact else None
        failed = f"failed: {body.failure}" if isinstance(body, Failure) else "written"
        counts[failed if body else "pending"] += 1
    if counts["written"] != rows:  # prompts.parquet is of an earlier run of the stage
        counts = Counter(written=rows)
    ordered = sorted(counts.items(), key=lambda item: (item[0] == "written", item[0]))
    return tuple(FunnelStep("prompts", reason, count) for reason, count in ordered if count)


def author(run: Run) -> str:
    """Who wrote the prompts, for the summary."""
    settings = _settings(run, "prompts")
    if settings is None:
        return ""
    if settings["generator"] == "template":
        return f", by a template ({settings['version']})"
    return f", by {settings['model']} with prompt version {settings['prompt']}"


def verify(run: Run) -> CardVerify | None:
    """What verify found among the rows that came to it."""
    settings = _settings(run, "verify")
    if settings is None:
        return None
    asked = {entry.id for entry in run.kept_before("verify")}
    made = [ds[-1] for id_, ds in run.decisions(("verify",)).items() if id_ in asked]
    return CardVerify(settings["facts"], settings["policy"], count(d.evidence for d in made))


def judge(run: Run) -> CardJudge | None:
    """Who was asked, who answered, what failed, and all that was paid for it."""
    settings = _settings(run, "judge")
    if settings is None:
        return None
    bodies = [fact.body for fact in run.latest("judge").values() if fact is not None]
    ratings = [body for body in bodies if isinstance(body, Judgement)]
    static = settings["judge"] == "static"
    return CardJudge(
        asked="static" if static else settings["model"],
        answered={} if static else _counted(body.returned_model for body in ratings),
        prompt_version=settings["version"] if static else settings["prompt"],
        judged=len(ratings),
        failures=_counted(body.failure for body in bodies if isinstance(body, Failure)),
        usd=_paid(run, "judge"),
    )


def _paid(run: Run, stage: str) -> float:
    """USD for replies, and for calls without one that are known to have been billed."""
    ((usd,),) = run.store.rows("SELECT total(usd) FROM replies WHERE stage = ?", stage)
    ((lost,),) = run.store.rows("SELECT total(usd * known) FROM lost WHERE stage = ?", stage)
    return float(usd + lost)


def duplicates(run: Run) -> Results | None:
    """What dedup kept and dropped, and of how large clusters."""
    settings = _settings(run, "dedup")
    if settings is None:
        return None
    made = _made(run, "dedup")
    counts = Counter(("kept" if d.keep else "dropped", d.reason) for d in made)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0] != "kept", -item[1], item[0]))
    sizes = [d.evidence["of"] for d in made if d.reason in _LEADS and d.evidence["of"] > 1]
    dropped = sum(not d.keep for d in made)
    note = f"Of {len(made):,} rows {dropped:,} were dropped as repeats."
    if sizes:
        note += f" {len(sizes):,} clusters have several rows; the largest has {max(sizes):,}."
    rows = tuple((verb, reason, number) for (verb, reason), number in ordered)
    return Results(dict(flat(settings)), rows, (note,))


def contamination(run: Run) -> Results | None:
    """What decontaminate found, by benchmark and by the strongest kind of match with it."""
    settings = _settings(run, "decontaminate")
    if settings is None:
        return None
    made = _made(run, "decontaminate")
    found = contaminated((d.keep, d.evidence) for d in made)
    pairs: Counter[str] = Counter()
    for hits in (d.evidence["hits"] for d in made if not d.keep):
        telling = [hit for hit in hits if hit["kind"] != "name" or hit == hits[0]]
        best = {hit["benchmark"]: hit["kind"] for hit in reversed(telling)}
        pairs.update(f"{benchmark}, {kind}" for benchmark, kind in best.items())
    rows = [
        *(("dropped, by benchmark and kind of match", name, n) for name, n in _commonest(pairs)),
        *(("dropped, by where it was found", name, n) for name, n in _commonest(found.by_side)),
    ]
    kept = f"; {found.weak:,} were kept on weaker evidence" if found.weak else ""
    notes = (
        f"Of {found.rows:,} rows {found.contaminated:,} were dropped because they hold a benchmark "
        f"problem{kept}. A row may hold problems of several benchmarks.",
        f"Compared with: {'; '.join(_benchmarks(run, settings))}.",
    )
    settings = {name: value for name, value in settings.items() if name != "benchmarks"}
    return Results(dict(flat(settings)), tuple(rows), notes)


def _benchmarks(run: Run, settings: Mapping[str, Any]) -> list[str]:
    """The indexes that rows were held against, with version, size, licence and source."""
    lines: list[str] = settings["benchmarks"]
    try:
        report = json.loads((run.path / "decontamination.json").read_text(encoding="utf-8"))
        places = [one["source"] for one in report["indexes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return lines
    if len(places) != len(lines):  # the file is of another run of the stage
        return lines
    return [f"{line}, {place}" for line, place in zip(lines, places, strict=True)]


def _made(run: Run, stage: str) -> list[Decision]:
    return [made[-1] for made in run.decisions((stage,)).values()]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested settings, names dotted."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _settings(run: Run, stage: str) -> dict[str, Any] | None:
    """The settings that a stage ran with; None where it has not run."""
    found = run.stages().get(stage)
    if found is None:
        return None
    settings = found["settings"]
    assert isinstance(settings, dict)
    return settings


def _commonest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names and how often, the commonest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(_commonest(Counter(names)))

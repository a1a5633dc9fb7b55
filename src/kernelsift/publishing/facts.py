"""What a card says of a run: the funnel, the judge, the checks, the results of later stages."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kernelsift.model import Decision, Failure, Judgement, SampleId
from kernelsift.report.card_facts import CardJudge, CardVerify, FunnelStep, Results
from kernelsift.report.verified import count
from kernelsift.run import STAGES, Run

KEPT = "kept"


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
        answered={} if static else _commonest(body.returned_model for body in ratings),
        prompt_version=settings["version"] if static else settings["prompt"],
        judged=len(ratings),
        failures=_commonest(body.failure for body in bodies if isinstance(body, Failure)),
        usd=_paid(run, "judge"),
    )


def _paid(run: Run, stage: str) -> float:
    """USD for replies, and for calls without one that are known to have been billed."""
    ((usd,),) = run.store.rows("SELECT total(usd) FROM replies WHERE stage = ?", stage)
    ((lost,),) = run.store.rows("SELECT total(usd * known) FROM lost WHERE stage = ?", stage)
    return float(usd + lost)


def duplicates(run: Run) -> Results | None:
    """What dedup dropped, of which clusters."""
    return _results(run, "dedup")


def contamination(run: Run) -> Results | None:
    """What decontaminate found, by benchmark and kind of match."""
    return _results(run, "decontaminate")


def _results(run: Run, stage: str) -> Results | None:
    """Decisions of a stage counted by reason, with its settings; None where it has not run."""
    settings = _settings(run, stage) if stage in STAGES else None
    if settings is None:
        return None
    made = [ds[-1] for ds in run.decisions((stage,)).values()]
    counts = Counter(("kept" if d.keep else "dropped", d.reason) for d in made)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0] != "kept", -item[1], item[0]))
    rows = tuple((verb, reason, number) for (verb, reason), number in ordered)
    return Results(dict(flat(settings)), rows)


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


def _commonest(names: Iterable[str]) -> Mapping[str, int]:
    """Name -> how often, the commonest first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))

"""analyze: how difficulty, style and reward go together, with figures and words."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kernelsift import rejected
from kernelsift.covariates import covariates
from kernelsift.errors import DataError
from kernelsift.files import write_json, write_text
from kernelsift.model import Entry, Fact, Failure, Judgement, SampleId, Tally
from kernelsift.report.analysis import JudgedBy, RewardFilter, analyse, render_markdown
from kernelsift.report.correction import reward_shape
from kernelsift.report.plots import correlation_figure, joint_figure, save
from kernelsift.report.stats import Scored
from kernelsift.run import Run
from kernelsift.verdict import unread_scores

FIGURES = ("correlation_analysis", "joint_distribution")


def analyze(run: Run, plots: Path) -> Tally:
    """Write analysis.json, analysis.md and the figures (png and svg) in `plots`.

    Raises:
        DataError: no row has been judged.
    """
    started = time.monotonic()
    chances = rejected.sampled(run)
    read = _read(run, rejected.judged(run) if chances else {})
    if not read.passed and not read.missing:
        raise DataError(
            f"no row of {run.path} has been judged; run `kernelsift judge --run {run.path}` first"
        )
    kept = len(run.kept_before("judge"))
    read.missing["pending"] += kept - len(read.passed) - read.missing.total()
    rows = _scored(run, read, chances, kept / max(1, len(read.passed)))
    found = analyse(
        rows,
        judge=read.judged_by(),
        missing=read.missing,
        reward_filter=_reward_filter(run, len(chances)),
    )
    write_json(run.path / "analysis.json", found.model_dump(mode="json"))
    write_text(run.path / "analysis.md", render_markdown(found))
    shown = [row for row in rows if not row.rejected]
    figures = (correlation_figure(shown, found), joint_figure(shown, found))
    files = ["analysis.json", "analysis.md"]
    for name, figure in zip(FIGURES, figures, strict=True):
        files += [str(save(figure, plots / f"{name}.{kind}")) for kind in ("png", "svg")]
    counts = {"analysed": len(shown), "without a verdict": found.unjudged}
    if len(rows) > len(shown):
        counts["rejected by the filter, judged all the same"] = len(rows) - len(shown)
    notes = tuple(c.sentence for c in found.correlations if c.method == "pearson")
    return Tally("analyze", counts, time.monotonic() - started, notes=notes, files=tuple(files))


def stand_for(
    chances: Mapping[SampleId, float], judged: Mapping[SampleId, Judgement]
) -> dict[SampleId, float]:
    """How many rows each judged row of a draw stands for: 1 / its chance.

    Rows drawn without a verdict are stood in for by those of the same chance; what then is still
    missing from the sum of 1 / chance over all drawn rows, by all. The sum is kept.
    """
    drawn = Counter(chances.values())
    answered = Counter(chances[id_] for id_ in judged)
    weights = {
        id_: drawn[chances[id_]] / answered[chances[id_]] / chances[id_] for id_ in sorted(judged)
    }
    short = sum(1 / chance for chance in chances.values()) / max(sum(weights.values()), 1e-300)
    return {id_: weight * short for id_, weight in weights.items()}


@dataclass
class _Read:
    """The judgements of a run."""

    passed: dict[SampleId, Judgement] = field(default_factory=dict)
    rejected: dict[SampleId, Judgement] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    """Passed rows without a verdict, by failure class."""
    unread: Counter[str] = field(default_factory=Counter)
    """Of these, rows without a readable `difficulty` and `style`."""

    def judged_by(self) -> JudgedBy:
        bodies = [*self.passed.values(), *self.rejected.values()]
        return JudgedBy(
            judge=", ".join(sorted({body.judge for body in bodies})) or "none",
            prompt_version=", ".join(sorted({body.prompt_version for body in bodies})) or "none",
            returned_models=tuple(sorted({body.returned_model for body in bodies})),
            unread_difficulty=self.unread["difficulty"],
            unread_style=self.unread["style"],
        )


def _read(run: Run, drawn: Mapping[SampleId, Fact | None]) -> _Read:
    out = _Read()
    wanted = {entry.id for entry in run.kept_before("judge")}
    for id_, fact in run.latest("judge").items():
        if id_ not in wanted:
            continue
        if fact is None:
            out.missing["pending"] += 1
        elif isinstance(fact.body, Failure):
            out.missing[fact.body.failure] += 1
            out.unread.update(unread_scores(fact.body))
        elif isinstance(fact.body, Judgement):
            out.passed[id_] = fact.body
    for id_, fact in drawn.items():
        if fact is not None and isinstance(fact.body, Judgement) and id_ not in out.passed:
            out.rejected[id_] = fact.body
    return out


def _scored(run: Run, read: _Read, chances: Mapping[SampleId, float], each: float) -> list[Scored]:
    """Every judged row with its covariates. A passed row stands for `each` rows."""
    bodies = {**read.passed, **read.rejected}
    entries = [entry for entry in run.entries() if entry.id in bodies]
    behind = covariates(run.samples, entries)
    weights = stand_for(chances, read.rejected)

    def scored(entry: Entry) -> Scored:
        body = bodies[entry.id]
        return Scored(
            entry.id,
            entry.module,
            entry.reward,
            body.difficulty,
            body.style,
            weight=weights.get(entry.id, each),
            rejected=entry.id in read.rejected,
            covariates=behind[entry.id],
        )

    return [scored(entry) for entry in entries]


def _reward_filter(run: Run, drawn: int) -> RewardFilter | None:
    settings = run.stages().get("filter", {}).get("settings")
    if not isinstance(settings, dict):
        return None
    return RewardFilter(
        min_reward=settings["min_reward"],
        dropped=sum(not ds[-1].keep for ds in run.decisions(("filter",)).values()),
        drawn=drawn,
        rewards=reward_shape([entry.reward for entry in run.entries()]),
    )

"""analyze: how difficulty, style and reward go together, with figures and words."""

import time
from collections import Counter
from pathlib import Path

from kernelsift.errors import DataError
from kernelsift.files import write_json, write_text
from kernelsift.model import Failure, Judgement, Tally
from kernelsift.report.analysis import JudgedBy, RewardFilter, analyse, render_markdown
from kernelsift.report.plots import correlation_figure, joint_figure, save
from kernelsift.report.stats import Scored
from kernelsift.run import Run

FIGURES = ("correlation_analysis", "joint_distribution")


def analyze(run: Run, plots: Path) -> Tally:
    """Write analysis.json, analysis.md and the figures (png and svg) in `plots`.

    Raises:
        DataError: no row has been judged.
    """
    started = time.monotonic()
    entries = {e.id: e for e in run.kept_before("judge")}
    rows, missing, judges, versions, models = [], Counter[str](), set(), set(), set()
    for id_, fact in run.latest("judge").items():
        if id_ not in entries:
            continue
        if fact is None:
            missing["pending"] += 1
        elif isinstance(fact.body, Failure):
            missing[fact.body.failure] += 1
        elif isinstance(fact.body, Judgement):
            entry, body = entries[id_], fact.body
            rows.append(Scored(id_, entry.module, entry.reward, body.difficulty, body.style))
            judges.add(body.judge)
            versions.add(body.prompt_version)
            models.add(body.returned_model)
    if not rows and not missing:
        raise DataError(
            f"no row of {run.path} has been judged; run `kernelsift judge --run {run.path}` first"
        )
    missing["pending"] += len(entries) - len(rows) - missing.total()
    judge = JudgedBy(
        judge=", ".join(sorted(judges)) or "none",
        prompt_version=", ".join(sorted(versions)) or "none",
        returned_models=tuple(sorted(models)),
    )
    found = analyse(rows, judge=judge, missing=missing, reward_filter=_reward_filter(run))
    write_json(run.path / "analysis.json", found.model_dump(mode="json"))
    write_text(run.path / "analysis.md", render_markdown(found))
    figures = (correlation_figure(rows, found), joint_figure(rows, found))
    files = ["analysis.json", "analysis.md"]
    for name, figure in zip(FIGURES, figures, strict=True):
        files += [str(save(figure, plots / f"{name}.{kind}")) for kind in ("png", "svg")]
    counts = {"analysed": len(rows), "without a verdict": found.unjudged}
    notes = tuple(c.sentence for c in found.correlations if c.method == "pearson")
    return Tally("analyze", counts, time.monotonic() - started, notes=notes, files=tuple(files))


def _reward_filter(run: Run) -> RewardFilter | None:
    settings = run.stages().get("filter", {}).get("settings")
    if not isinstance(settings, dict):
        return None
    dropped = sum(not ds[-1].keep for ds in run.decisions(("filter",)).values())
    return RewardFilter(min_reward=settings["min_reward"], dropped=dropped)

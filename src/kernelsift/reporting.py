"""report.html: what analysis.json and the run's database tell, as one page to send to people."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from kernelsift.disagreeing import disagreements
from kernelsift.files import write_text
from kernelsift.judgements import Judgements, read_judgements
from kernelsift.publishing.facts import funnel
from kernelsift.publishing.sources import of_rollouts
from kernelsift.report.page.model import Cost, CostRow, Lost, RunFacts, Trust
from kernelsift.report.schema import Analysis
from kernelsift.report.stats import Scored
from kernelsift.run import Run
from kernelsift.session import Session
from kernelsift.trusting import FILE as RELIABILITY
from kernelsift.trusting import coverage_of, report_of

if TYPE_CHECKING:
    from kernelsift.reliability.schema import Reliability

FILE = "report.html"
_REVISION = 16
"""Characters of a digest or commit that are shown; all of it stands in the manifest."""
_FREE = "Computed from the judgements that the run has; nobody was asked anything."
_MORE = (
    " More can be measured: repeated answers (`kernelsift judge --samples 3`), human labels and "
    "drift (`kernelsift reliability --labels FILE`, `--canary FILE`), and whether the judge sees "
    "what it should (`kernelsift probes`)."
)


def write_report(session: Session) -> Path:
    """Write report.html from analysis.json, which has just been written, and return its path."""
    from kernelsift.report.page.render import report_page

    run = session.run
    text = (run.path / "analysis.json").read_text(encoding="utf-8")
    analysis = Analysis.model_validate_json(text)
    found = read_judgements(run)
    rows = [
        Scored(e.id, e.module, e.reward, found.now[e.id].difficulty, found.now[e.id].style)
        for e in found.entries.values()
        if e.id in found.now
    ]
    source = of_rollouts(run)
    name = run.path.resolve().name
    facts = RunFacts(
        name=name if source is None else source.name,
        facts=tuple(_facts(run, name, source.revision if source else "")),
        funnel=funnel(run, "unique" if "dedup" in run.stages() else "filtered"),
        trust=_trust(session, found, analysis),
        cost=_cost(run),
        disagreements=disagreements(run, found),
    )
    path = run.path / FILE
    write_text(path, report_page(analysis, rows, facts))
    return path


def _facts(run: Run, name: str, revision: str) -> Iterator[tuple[str, str]]:
    """Where the rows come from, and when each stage ran last."""
    yield "Rows loaded", f"{len(run.entries()):,}"
    if revision:
        kind, _, rest = revision.rpartition(" ")
        yield "Revision of the source", f"{kind} {rest[:_REVISION]}".strip()
    yield "Run directory", name
    stages = sorted((str(known["at"]), stage) for stage, known in run.stages().items())
    dates = (f"{stage} {at[:16].replace('T', ' ')}" for at, stage in stages)
    yield "Stages last ran (UTC)", ", ".join(dates)


# ---- reliability --------------------------------------------------------------------------------


def _trust(session: Session, found: Judgements, analysis: Analysis) -> Trust:
    """The stored report where it is of these judgements; else what can be computed for nothing."""
    from kernelsift.reliability.tables import tables_of

    path = session.run.path / RELIABILITY
    stored = _stored(path)
    if stored is not None and _is_of(stored, found, analysis):
        report, note = stored, f"From {RELIABILITY}, which `kernelsift reliability` has written."
    else:
        report, note = report_of(session, found), _FREE
        if path.exists():
            note += (
                f" {RELIABILITY} is of an earlier state of the run and is not shown; "
                "`kernelsift reliability` makes it anew."
            )
    return Trust(tuple(tables_of(report)), report.cautions, note + _MORE)


def _stored(path: Path) -> "Reliability | None":
    """The report that the command reliability has written; None where there is none to read."""
    from kernelsift.reliability.schema import Reliability

    try:
        return Reliability.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def _is_of(stored: "Reliability", found: Judgements, analysis: Analysis) -> bool:
    """Whether a report is of the judgements that stand now."""
    own = {"difficulty": analysis.difficulty.histogram, "style": analysis.style.histogram}
    return (
        (stored.judge, stored.prompt_version) == (found.judge, found.prompt_version)
        and stored.coverage == coverage_of(found)
        and all(score.levels.histogram == own[score.score] for score in stored.scores)
    )


# ---- cost ---------------------------------------------------------------------------------------


def _cost(run: Run) -> Cost:
    """All requests that were ever sent from the run directory."""
    answered = run.store.rows(
        "SELECT stage, model, count(*), sum(input_tokens), sum(output_tokens), total(usd), "
        "sum(usd IS NULL) FROM replies GROUP BY stage, model ORDER BY stage, model"
    )
    lost = run.store.rows(
        "SELECT stage, count(*), total(usd * known), total(usd * (1 - known)), sum(usd IS NULL) "
        "FROM lost GROUP BY stage ORDER BY stage"
    )
    return Cost(tuple(CostRow(*row) for row in answered), tuple(Lost(*row) for row in lost))

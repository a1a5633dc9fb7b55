"""One function per command: each takes a `Session`, runs a stage and returns its `Tally`.

These functions are also the Python API. The order of the whole job is `run_all`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from kernelsift.batching import How, check_none_under_way, judge_by_batch
from kernelsift.batching import end_batches as end_judge_batches
from kernelsift.claiming import Runner, how_executed
from kernelsift.endpoint import make_endpoint
from kernelsift.engine import Job
from kernelsift.errors import ConfigError, DataError
from kernelsift.expression import parse_order
from kernelsift.instrument import Instrument
from kernelsift.judging import judge as judge_rows
from kernelsift.judging import members
from kernelsift.llm.chat import Chat
from kernelsift.llm.prompts import load as load_prompt
from kernelsift.measuring import Work
from kernelsift.model import Body, Module, Tally
from kernelsift.prompt_quality import FILE as QUALITY
from kernelsift.prompt_quality import write_quality
from kernelsift.session import Session
from kernelsift.stages import filter as filter_stage
from kernelsift.stages import prompts as prompts_stage
from kernelsift.verifying import checks_for


def load(session: Session, *, replace: bool = False) -> Tally:
    """Read the source into the run; nothing is done when it is there already."""
    from kernelsift.stages.load import load as load_stage

    settings = session.settings
    return load_stage(
        session.run,
        settings.load,
        session.progress,
        passing=settings.filter.min_reward,
        token=session.hub_token,
        replace=replace,
    )


def filter_rows(session: Session) -> Tally:
    """Keep the rows whose reward is above the threshold.

    Raises:
        DataError: none is.
    """
    started = time.monotonic()
    run, cfg = session.run, session.settings.filter
    decisions = filter_stage.select(run.entries(), cfg)
    run.save_decisions("filter", decisions)
    run.begin("filter", cfg.model_dump(), "1")
    kept = sum(d.keep for d in decisions)
    if not kept:
        from kernelsift.stages.export import nothing_left

        raise DataError(nothing_left(run))
    counts = {"kept": kept, "dropped": len(decisions) - kept}
    return Tally("filter", counts, time.monotonic() - started)


def decontaminate(session: Session, *, report_only: bool = False) -> Tally:
    """Drop the rows that hold a benchmark problem; with `report_only` only say which they are."""
    from kernelsift.decontaminating import decontaminate as decontaminate_stage

    return decontaminate_stage(session, report_only=report_only)


def forget_decontaminate(session: Session) -> Tally:
    """Undo decontaminate: rows pass again without being held against benchmarks."""
    from kernelsift.decontaminating import forget

    return forget(session)


def verify(
    session: Session,
    *,
    limit: int | None = None,
    ids: str | None = None,
    retry: Sequence[str] | None = None,
) -> Tally:
    """Run every kept row's kernel against its module; drop what is wrong or no kernel.

    `limit` and `ids` verify a part (see `verification.Pick`); the other rows are pending. `retry`
    lists failure classes to verify again; an empty list means all of them.
    """
    from kernelsift.verification import Pick
    from kernelsift.verification import verify as verify_stage

    return verify_stage(session, Pick(limit, ids), retry)


def decide_again(session: Session) -> Tally:
    """Apply the verdict policy of the settings to stored facts; no kernel is run."""
    from kernelsift.verification import decide_again as decide

    return decide(session)


def forget_verify(session: Session) -> Tally:
    """Undo verify. Its facts stay stored: verifying again runs nothing that is known."""
    from kernelsift.verification import forget

    return forget(session)


def preflight(session: Session, *, writes_prompts: bool = False) -> None:
    """Find out before hours of work what would stop the judge (or the prompt writer) later.

    Raises:
        ConfigError: a key is missing, an instrument is not there, the score is no expression.
    """
    settings = session.settings
    if settings.batch.judge and not settings.batch.wait:
        raise ConfigError(
            "the stages after judging need its scores, so the whole job waits for batches; leave "
            "out batch.wait = false, or use `kernelsift judge --batch --no-wait`"
        )
    parse_order(settings.dedup.score or "reward")
    writing = generator(session) if writes_prompts else None
    judges = [(one.session.settings.llm, one.instrument) for one in members(session)]
    asked = [(llm, judge.cfg.model) for llm, judge in judges if judge.prompt]
    if writing is not None and writing.prompt:
        asked.append((settings.llm, writing.cfg.model))
    for llm, model in asked if session.chat is None else ():
        make_endpoint(llm, model, session.secrets)


def instrument(session: Session) -> Instrument:
    """The judge that the settings ask for; the first one of a panel."""
    return members(session)[0].instrument


def judge(session: Session, *, retry: Sequence[str] | None = None) -> Tally:
    """Rate difficulty and style of every kept row that has no rating yet.

    `retry` lists failure classes to ask again for; an empty list means all of them.

    With `batch.judge` the first requests go into batches of the service's batch API.

    Raises:
        ConfigError: the judge is of the family of models that has written rows, or its requests
            are in a batch.
    """
    if session.settings.batch.judge:
        return judge_by_batch(session, retry=retry)
    check_none_under_way(session)
    return judge_rows(session, retry=retry)


def end_batches(session: Session, how: How) -> Tally:
    """End the judge's batches: `cancel` them at the service, or `forget` them here."""
    return end_judge_batches(session, how)


def generator(session: Session) -> prompts_stage.Generator:
    """The writer of task prompts that the settings ask for."""
    cfg = session.settings.prompts
    if cfg.generator == "template":
        return prompts_stage.Generator(cfg, None)
    prompt = load_prompt(cfg.instrument)
    how = how_executed(cfg.check_claims)
    return prompts_stage.Generator(cfg, prompt, session.settings.llm.base_url, how)


def prompts_work(
    session: Session, modules: Sequence[Module], retry: Sequence[str] | None = None
) -> Work:
    """What there is to write prompts for."""
    writing = generator(session)
    keys = {module.id: writing.key(module) for module in modules}
    return Work(session, "prompts", prompts_stage.VERSION, keys, retry)


def prompts(session: Session, *, retry: Sequence[str] | None = None) -> Tally:
    """Write a task prompt for every module of `prompts.source`, or of the run's kept rows."""
    from kernelsift.stages.export import export_prompts
    from kernelsift.stages.modules import read_modules

    writing = generator(session)
    modules = read_modules(
        session.run, session.settings.prompts, session.progress, session.hub_token
    )
    work = prompts_work(session, modules, retry)
    cfg = session.settings.prompts
    place = {"source": cfg.source, "split": cfg.split, "revision": cfg.revision}
    work.begin({**writing.settings, **place})
    wanted = set(work.todo.values())
    jobs = (Job(m.id, work.keys[m.id], m) for m in modules if m.id in wanted)
    if writing.prompt is None:
        tally = work.here(jobs, prompts_stage.write)
    else:
        tally = _ask_for_prompts(work, jobs, writing)
    path = session.run.path / "prompts.parquet"
    facts = session.run.latest("prompts")
    written = export_prompts(path, modules, facts)
    quality = write_quality(session, modules, facts)
    return Tally(
        "prompts",
        {**tally.counts, "written": written},
        time.monotonic() - work.started,
        tally.usd,
        (*tally.notes, *quality.notes()),
        (path.name, QUALITY),
    )


def _ask_for_prompts(
    work: Work, jobs: Iterator[Job[Module]], writing: prompts_stage.Generator
) -> Tally:
    """Ask a model, and run the modules that it makes claims about."""
    checks = writing.asks_claims and writing.cfg.check_claims == "auto"
    with Runner(work.session.settings.workers_or_cores()) as runner:
        examine = runner if checks else None

        async def measure(chat: Chat, module: Module, earlier: int) -> tuple[Body, float]:
            return await prompts_stage.measure(module, chat, writing, earlier, examine)

        tally = work.there(jobs, measure, writing.cfg.model)
        return replace(tally, notes=(*tally.notes, *runner.notes()))


def keep_best(session: Session) -> Tally:
    """Keep the best row of each module, or of each cluster of repeats, as `dedup.by` says.

    Raises:
        ConfigError: the score is no expression, or names a column that is not there.
        DataError: no row is left, or a score has no value.
    """
    from kernelsift.deduplicating import dedup

    return dedup(session)


def analyze(session: Session) -> Tally:
    """Correlations, tables and figures of the judged rows, and a page that shows them."""
    from kernelsift.reporting import write_report
    from kernelsift.stages.analyze import analyze as analyze_stage

    started = time.monotonic()
    tally = analyze_stage(session.run, session.plots_folder)
    page = write_report(session)
    files = (*tally.files, page.name)
    return replace(tally, files=files, seconds=time.monotonic() - started)


def export(session: Session) -> Tally:
    """Write the curated tables and the ledger of every row."""
    from kernelsift.stages.export import export_samples

    return export_samples(session.run)


def publish(session: Session, *, upload: bool = False) -> Tally:
    """Write the data sets as they go on the Hub, with cards; send them there with `upload`."""
    from kernelsift.stages.publish import publish as publish_stage

    return publish_stage(
        session.run, session.settings, session.secrets, session.command, upload=upload
    )


def run_all(
    session: Session,
    *,
    replace: bool = False,
    drop_benchmarks: bool = False,
    verify_kernels: bool = False,
) -> Iterator[Tally]:
    """The whole job, a tally per stage: load, filter, judge, prompts, keep best, analyze, export,
    publish (written locally, nothing is uploaded).

    `drop_benchmarks`: drop rows that hold a benchmark problem, after the filter.
    `verify_kernels`: verify what is left then, before it is judged. It costs seconds per row.
    """
    preflight(session, writes_prompts=True)
    if drop_benchmarks:
        from kernelsift.decontaminating import indexes_for

        indexes_for(session.settings.decontaminate)
    if verify_kernels:
        checks_for(session.settings.verify)
    yield load(session, replace=replace)
    yield filter_rows(session)
    if drop_benchmarks:
        yield decontaminate(session)
    if verify_kernels:
        yield verify(session)
    yield judge(session)
    if session.settings.prompts.source or _has_modules(session):
        yield prompts(session)
    else:
        note = "left out: these rollouts carry no PyTorch module; name some with prompts.source"
        yield Tally("prompts", {"rows": 0}, 0.0, notes=(note,))
    yield keep_best(session)
    yield analyze(session)
    yield export(session)
    yield publish(session)


def _has_modules(session: Session) -> bool:
    return any(entry.reference_digest for entry in session.run.kept_before("judge"))

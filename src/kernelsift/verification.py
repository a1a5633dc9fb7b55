"""The verify stage of a run: what is still to be verified, the work, the decisions, the tally."""

import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from kernelsift.engine import Job, Outcome
from kernelsift.errors import DataError
from kernelsift.explain import find
from kernelsift.files import names_in
from kernelsift.measuring import Work
from kernelsift.model import Decision, Fact, SampleId, Tally
from kernelsift.report.verified import count
from kernelsift.run import Run
from kernelsift.session import Session
from kernelsift.stages.verify import VERSION, Checks, Ruling, measure, rule
from kernelsift.verifying import checks_for, open_verifier

Rulings = dict[str, Ruling]
"""By key of the fact."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Which of the rows that are still to be verified are verified now; all when not given."""

    limit: int | None = None
    """Only this many: those with the smallest ids, which are digests, so a fair sample."""
    ids: str | None = None
    """Only these: ids, origins or row numbers with commas between them, or a file of one a line."""


def verify(session: Session, pick: Pick, retry: Sequence[str] | None) -> Tally:
    """Verify what has no facts yet, then decide about every row by the policy.

    Raises:
        ConfigError: device, sandbox or policy cannot be had.
        DataError: there is no row to verify, or --ids names none.
        KeyboardInterrupt: Ctrl-C came; what was ready is stored and decided.
    """
    from kernelsift.stages.export import nothing_left

    run = session.run
    checks = checks_for(session.settings.verify)
    entries = run.kept_before("verify")
    if not entries:
        raise DataError(nothing_left(run))
    keys = {entry.id: checks.key(entry) for entry in entries}
    rulings = _known(run, keys, checks)
    known = {key: ruling.failure for key, ruling in rulings.items()}
    work = Work(session, "verify", VERSION, keys, retry, known)
    work.todo = _picked(run, work, pick)
    had_best = "dedup" in run.stages()
    outcome = _measure(work, checks, rulings)
    _decide(work, rulings, had_best=had_best)
    tally = _tally(work, rulings, outcome)
    if outcome.interrupted:
        left = tally.counts["pending"]
        raise KeyboardInterrupt(f"verify stopped with {left:,} left")
    return tally


def decide_again(session: Session) -> Tally:
    """Apply the policy to the facts that are stored; nothing is run.

    Raises:
        DataError: nothing was verified yet.
    """
    run = session.run
    keys = run.pointed("verify")
    if not keys:
        raise DataError(
            f"no row of {run.path} was verified yet; run `kernelsift verify {run.path}` first"
        )
    checks = checks_for(session.settings.verify)
    rulings = _known(run, keys, checks)
    work = Work(session, "verify", VERSION, keys, None, dict.fromkeys(keys.values()))
    before = run.stages()["verify"]
    settings = before["settings"]
    assert isinstance(settings, dict)
    run.begin("verify", {**settings, "policy": checks.recorded_policy}, str(before["version"]))
    _decide(work, rulings, had_best="dedup" in run.stages())
    return _tally(work, rulings, Outcome())


def forget(session: Session) -> Tally:
    """Undo verify: its rows are as if it had never run. The facts stay, for another time."""
    started = time.monotonic()
    rows = len(session.run.pointed("verify"))
    session.run.forget("verify")
    return Tally("verify", {"forgotten": rows}, time.monotonic() - started)


def _known(run: Run, keys: Mapping[SampleId, str], checks: Checks) -> Rulings:
    return {fact.key: rule(fact, checks) for fact in run.facts("verify", keys.values())}


def _picked(run: Run, work: Work, pick: Pick) -> dict[str, SampleId]:
    """The part of what is open that is meant."""
    todo = work.todo
    if pick.ids is not None:
        ids = {entry.id for entry in run.entries()}
        names = names_in(pick.ids)
        meant = {n if n in ids else find(run, n).id for n in map(SampleId, names)}
        if outside := [id_ for id_ in meant if id_ not in work.keys]:
            work.notes.append(f"{len(outside):,} of the rows asked for were dropped before")
        wanted = {work.keys[id_] for id_ in meant if id_ in work.keys}
        todo = {key: sample for key, sample in todo.items() if key in wanted}
    if pick.limit is not None and len(todo) > pick.limit:
        smallest = sorted(todo.items(), key=lambda item: item[1])[: pick.limit]
        todo = dict(smallest)
    return todo


def _measure(work: Work, checks: Checks, rulings: Rulings) -> Outcome:
    """Verify what is to do, adding to the rulings."""
    session, run = work.session, work.session.run
    seen: Counter[str] = Counter()

    def watch(facts: Sequence[Fact]) -> str:
        for fact in facts:
            rulings[fact.key] = ruling = rule(fact, checks)
            _count(seen, ruling)
        return " · ".join(f"{n:,} {name}" for name, n in seen.most_common())

    with ExitStack() as stack:
        verifier = session.verifier
        if verifier is None and work.todo:
            workers = min(len(work.todo), session.settings.workers_or_cores())
            opened = stack.enter_context(open_verifier(checks, workers))
            verifier = opened.verifier
            work.notes += opened.notes
        measured = {**checks.settings, "sandbox": checks.cfg.sandbox}
        work.begin({"facts": measured, "policy": checks.recorded_policy})
        if verifier is None or not work.todo:
            return Outcome()
        wanted = set(work.todo.values())
        entries = [entry for entry in run.entries() if entry.id in wanted]
        jobs = (Job(s.id, work.keys[s.id], s) for s in run.samples.read(entries))
        stack.enter_context(_quiet_parser())
        return work.beside(jobs, partial(measure, verifier=verifier), watch)


@contextmanager
def _quiet_parser() -> Iterator[None]:
    """Silence what Python says of others' code; doing so for each parse is not safe in threads."""
    with warnings.catch_warnings():
        for kind in (SyntaxWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        yield


def _count(seen: Counter[str], ruling: Ruling) -> None:
    if ruling.decision is None:
        seen["failed"] += 1
        return
    evidence = ruling.decision.evidence
    seen[evidence["outcome"]] += 1
    if any(finding["severity"] == "hard" for finding in evidence["findings"]):
        seen["with a hard finding"] += 1


def _decide(work: Work, rulings: Rulings, *, had_best: bool) -> None:
    run = work.session.run
    run.save_decisions("verify", list(_decisions(work.keys, rulings).values()))
    if had_best and "dedup" not in run.stages():
        work.notes.append("the best of each module is to be chosen again: `kernelsift dedup`")


def _decisions(keys: Mapping[SampleId, str], rulings: Rulings) -> dict[SampleId, Decision]:
    made = {}
    for sample, key in keys.items():
        decision = rulings[key].decision if key in rulings else None
        if decision is not None:
            made[sample] = decision.model_copy(update={"sample": sample})
    return made


def _tally(work: Work, rulings: Rulings, outcome: Outcome) -> Tally:
    keys = work.keys
    decisions = _decisions(keys, rulings).values()
    pending = sum(key not in rulings for key in keys.values())
    kept = sum(d.keep for d in decisions)
    dropped = sum(not d.keep and d.failure is None for d in decisions)
    distinct = len(set(keys.values()))
    counts = {
        "rows": len(keys),
        "verified": outcome.done,
        "known already": len({k for k in keys.values() if k in rulings}) - outcome.done,
        **({"sharing facts": len(keys) - distinct} if distinct < len(keys) else {}),
        "kept": kept,
        "dropped": dropped,
        "failed": len(keys) - kept - dropped - pending,
        "pending": pending,
    }
    verdicts = count(d.evidence for d in decisions)
    notes = [*verdicts.lines(), *_advice(counts, distinct), *work.notes]
    return Tally("verify", counts, time.monotonic() - work.started, 0.0, tuple(notes))


def _advice(counts: Mapping[str, int], distinct: int) -> list[str]:
    out = []
    if not counts["verified"] and counts["known already"] == distinct:
        out.append("nothing had to be run: all facts are stored; decisions were made from them")
    if counts["pending"]:
        out.append(
            f"{counts['pending']:,} rows are not verified yet and wait; the same command goes on, "
            "--forget lets them pass unverified"
        )
    if counts["failed"]:
        out.append(
            f"{counts['failed']:,} rows could not be verified: they are neither kept nor dropped. "
            "--unverifiable keep (or drop) settles them, --retry-failed runs them again"
        )
    return out

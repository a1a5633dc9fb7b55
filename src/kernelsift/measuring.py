"""Run a measuring stage: what is still to do, here in processes or there at a service."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from kernelsift.config import Llm
from kernelsift.endpoint import make_endpoint
from kernelsift.engine import (
    ItemT,
    Job,
    Outcome,
    Stop,
    map_in_processes,
    measure_async,
    measure_in_threads,
    open_keys,
)
from kernelsift.journal import RunJournal
from kernelsift.llm.backoff import Patience
from kernelsift.llm.chat import Chat
from kernelsift.llm.client import Client, connect
from kernelsift.llm.limits import Limits
from kernelsift.model import Body, Fact, SampleId, Tally
from kernelsift.run import STAGES
from kernelsift.session import Session

Measure = Callable[[Chat, ItemT, int], Awaitable[tuple[Body, float]]]
"""Ask about an item; the number counts its earlier failures. Returns what came and its USD."""
_SAVE_BATCH = 512


@dataclass
class Work:
    """One run of a measuring stage."""

    session: Session
    stage: str
    version: str
    keys: Mapping[SampleId, str]
    retry: Sequence[str] | None = None
    """Failure classes to measure again; empty for all, None for none."""
    known: Mapping[str, str | None] | None = None
    """Key -> failure class of what is known already, where that is not as stored."""
    started: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = self.session.run.known(self.stage) if self.known is None else self.known
        self.todo = open_keys(known, self.keys, self.retry)

    def begin(self, settings: Mapping[str, object]) -> None:
        """Write down what the stage runs with and which fact answers for which sample."""
        run = self.session.run
        run.begin(self.stage, settings, self.version)
        changed = run.point(self.stage, self.keys)
        if self.stage in STAGES and (changed or self.todo):
            run.outdate_after(self.stage)

    def here(self, jobs: Iterable[Job[ItemT]], function: Callable[[ItemT], Body]) -> Tally:
        """Measure in processes of this machine, at no cost."""
        outcome = Outcome()
        batch: list[Fact] = []
        workers = self.session.settings.workers_or_cores()
        progress = self.session.progress
        total = len(self.todo)
        with progress.start(self.stage, total):
            for fact in map_in_processes(
                partial(_measured, function, self.stage, self.version),
                jobs,
                workers=workers,
                total=total,
            ):
                outcome.add(fact)
                batch.append(fact)
                if len(batch) == _SAVE_BATCH:
                    self.session.run.save_facts(batch)
                    batch = []
                progress.update(outcome.done)
            self.session.run.save_facts(batch)
        return self._tally(outcome)

    def beside(
        self,
        jobs: Iterable[Job[ItemT]],
        function: Callable[[ItemT], Body],
        watch: Callable[[Sequence[Fact]], str],
    ) -> Outcome:
        """Measure in threads, each of which waits for processes of its own.

        `watch` is told of every stored fact and says what stands behind the progress bar. What was
        under way when Ctrl-C came is not stored; the outcome says so.
        """
        progress = self.session.progress

        def show(outcome: Outcome, facts: Sequence[Fact]) -> None:
            note = watch(facts)
            progress.update(outcome.done, note)

        with progress.start(self.stage, len(self.todo)):
            return measure_in_threads(
                self.session.run,
                jobs,
                partial(_measured, function, self.stage, self.version),
                at_once=min(len(self.todo), self.session.settings.workers_or_cores()),
                on_facts=show,
            )

    def there(self, jobs: Iterable[Job[ItemT]], measure: Measure[ItemT], model: str) -> Tally:
        """Measure by asking a model, within the limits of the settings.

        Raises:
            KeyboardInterrupt: Ctrl-C came; what was in flight is answered and stored.
        """
        if not self.todo:
            return self._tally(Outcome())
        outcome = asyncio.run(self._ask(jobs, measure, model))
        if outcome.interrupted:
            left = len(self.todo) - outcome.done
            raise KeyboardInterrupt(f"{self.stage} stopped with {left:,} left")
        return self._tally(outcome)

    async def _ask(
        self, jobs: Iterable[Job[ItemT]], measure: Measure[ItemT], model: str
    ) -> Outcome:
        session = self.session
        stop = Stop()
        if session.chat is not None:
            return await self._measure(jobs, measure, session.chat, stop=stop, client=None)
        cfg = session.settings.llm
        endpoint = make_endpoint(cfg, model, session.secrets)
        journal = RunJournal(session.run, self.stage, endpoint.base_url, model)
        async with connect(endpoint, journal, _limits(cfg, session)) as client:
            stop.on_ask.append(client.drain)
            try:
                return await self._measure(jobs, measure, client.ask, stop=stop, client=client)
            finally:
                self._note_spend(client)

    async def _measure(
        self,
        jobs: Iterable[Job[ItemT]],
        measure: Measure[ItemT],
        chat: Chat,
        *,
        stop: Stop,
        client: Client | None,
    ) -> Outcome:
        run, stage = self.session.run, self.stage

        async def one(job: Job[ItemT]) -> Fact:
            began = time.monotonic()
            earlier = run.failures(stage, job.key) if self.retry is not None else 0
            body, usd = await measure(chat, job.item, earlier)
            return Fact.model_construct(
                stage=stage,
                sample=job.sample,
                key=job.key,
                body=body,
                usd=usd,
                seconds=round(time.monotonic() - began, 3),
                version=self.version,
            )

        progress = self.session.progress
        cached = len(set(self.keys.values())) - len(self.todo)
        ceiling = self.session.settings.llm.concurrency
        with progress.start(stage, len(self.todo)):
            return await measure_async(
                run,
                jobs,
                one,
                at_once=min(len(self.todo), ceiling + math.ceil(ceiling / 4) + 8),
                on_fact=lambda o: progress.update(o.done, lambda: _line(o, cached, client)),
                stop=stop,
            )

    def _tally(self, outcome: Outcome) -> Tally:
        answered = Counter(measured=0, failed=0) + outcome.counts
        shared = len(self.keys) - len(set(self.keys.values()))
        counts = {
            "rows": len(self.keys),
            "measured": outcome.counts["measured"],
            "known already": len(set(self.keys.values())) - len(self.todo),
            **({"sharing an answer": shared} if shared else {}),
            **{k: v for k, v in answered.items() if k != "measured" and v},
        }
        if outcome.counts["failed"]:
            self.notes.append(
                f"{outcome.counts['failed']:,} rows failed; they are neither kept nor dropped. "
                "--retry-failed asks for them again"
            )
        seconds = time.monotonic() - self.started
        return Tally(self.stage, counts, seconds, outcome.usd, tuple(self.notes))

    def _note_spend(self, client: Client) -> None:
        spend = client.spend
        self.notes.append(f"{spend.requests:,} requests sent, ${spend.usd:.4f} spent")
        if spend.unpriced:
            self.notes.append(f"the price of {spend.unpriced:,} answers is not known")
        if spend.lost:
            self.notes.append(
                f"{spend.lost:,} requests got no answer and may be billed all the same: up to "
                f"${spend.lost_usd:.4f}"
            )


def _measured(function: Callable[[ItemT], Body], stage: str, version: str, job: Job[ItemT]) -> Fact:
    began = time.monotonic()
    body = function(job.item)
    return Fact(
        stage=stage,
        sample=job.sample,
        key=job.key,
        body=body,
        seconds=round(time.monotonic() - began, 6),
        version=version,
    )


def _limits(cfg: Llm, session: Session) -> Limits:
    usd, at_risk, requests = session.run.spent()
    return Limits(
        concurrency=cfg.concurrency,
        deadline_seconds=cfg.timeout_seconds,
        max_usd=cfg.max_usd,
        max_requests=cfg.max_requests,
        spent_usd=usd + at_risk,
        sent_requests=requests,
        patience=Patience(tries=cfg.tries),
    )


def _line(outcome: Outcome, cached: int, client: Client | None) -> str:
    """The words behind the progress bar: failures, what was there already, tokens, money."""
    parts = [f"{outcome.counts['failed']:,} failed", f"{cached:,} cached"]
    if client is not None:
        spend, state = client.spend, client.state
        parts.append(f"{spend.input_tokens + spend.output_tokens:,} tokens")
        parts.append(f"${spend.usd:.4f}")
        parts.append(f"{state.in_flight}/{state.limit} in flight")
        if state.paused_seconds:
            parts.append(f"paused {state.paused_seconds:.0f} s")
    return " · ".join(parts)

"""estimate: requests, tokens and dollars of a stage, before anything is spent."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

from kernelsift import judging, pipeline
from kernelsift.endpoint import make_endpoint
from kernelsift.errors import ConfigError
from kernelsift.journal import RunJournal
from kernelsift.llm.chat import Ask, ask_digest, wire_body
from kernelsift.llm.client import connect
from kernelsift.llm.openai import Endpoint
from kernelsift.llm.prices import Price
from kernelsift.measuring import Work
from kernelsift.model import SampleId
from kernelsift.session import Session
from kernelsift.stages import prompts as prompts_stage

BYTES_PER_TOKEN = 3.4
"""Python and Triton source, measured over common tokenizers; used until replies are known."""
GUESSED_OUTPUT = {"judge": 120, "prompts": 600}
"""Output tokens per answer; used until replies are known."""
_PILOT = 200
"""Stored replies that the estimate learns from."""
Stage = Literal["judge", "prompts"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage would take now. Rows that are known already are not in it."""

    stage: str
    model: str
    rows: int
    cached: int
    requests: int
    input_tokens: int
    output_tokens: int
    most_output_tokens: int
    pilot: int
    """Stored replies that the token counts were learnt from; 0: rules of thumb."""
    price: Price | None
    batch_factor: float | None = None
    """What a batch costs as a share of it; None where there are no batches."""
    rejected: int = 0
    """Rows among them that the filter has dropped (`judge --also-rejected`)."""
    not_foreseen: int = 0
    """Requests at most on top: which rows lie near a threshold shows by their first answers."""

    @property
    def usd(self) -> float | None:
        """Expected cost; None when the price is not known."""
        return self._cost(self.input_tokens, self.output_tokens)

    @property
    def most_usd(self) -> float | None:
        """Cost when every answer is as long as it may be."""
        return self._cost(self.input_tokens, self.most_output_tokens)

    @property
    def batch_usd(self) -> float | None:
        """Expected cost by batches, the requests that they cannot answer aside."""
        usd = self.usd
        return None if usd is None or self.batch_factor is None else usd * self.batch_factor

    def _cost(self, input_tokens: int, output_tokens: int) -> float | None:
        if self.requests == 0:
            return 0.0
        if self.price is None:
            return None
        return (input_tokens * self.price.input + output_tokens * self.price.output) / 1e6

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "stage": self.stage,
            "model": self.model,
            "rows": self.rows,
            "cached": self.cached,
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "most_output_tokens": self.most_output_tokens,
            "pilot": self.pilot,
            "usd": self.usd,
            "most_usd": self.most_usd,
            "batch_usd": self.batch_usd,
            "price_source": self.price.source if self.price else None,
            "rejected": self.rejected,
            "not_foreseen": self.not_foreseen,
        }

    def lines(self) -> list[str]:
        """For people."""
        learnt = (
            f"token counts learnt from {self.pilot:,} stored replies"
            if self.pilot
            else f"no replies stored yet: {BYTES_PER_TOKEN} bytes per token, and "
            f"{GUESSED_OUTPUT[self.stage]} output tokens per answer, are assumed"
        )
        money = "the price is not known; give it with --price IN,OUT"
        if self.usd is not None and self.most_usd is not None:
            source = f" (price from {self.price.source})" if self.price else ""
            money = f"${self.usd:.2f}, at most ${self.most_usd:.2f}{source}"
            if self.requests and self.batch_usd is not None:
                money += f"; with --batch ${self.batch_usd:.2f}, where the service has it"
        more = []
        if self.rejected:
            more.append(f"  {self.rejected:,} of the rows were dropped by the filter")
        if self.not_foreseen:
            more.append(
                f"  up to {self.not_foreseen:,} requests come on top for rows that turn out to be "
                "near a threshold; first answers will show which"
            )
        return [
            f"{self.stage} with {self.model}: {self.rows:,} rows, {self.cached:,} known already",
            f"  requests       {self.requests:,}",
            f"  input tokens   {self.input_tokens:,}",
            f"  output tokens  {self.output_tokens:,} (at most {self.most_output_tokens:,})",
            f"  cost           {money}",
            f"  {learnt}",
            *more,
            "  retries of unusable answers come on top",
        ]


def estimate(session: Session, stage: str) -> Estimate:
    """Count what `judge` or `prompts` would still send. Asks the endpoint for its prices only.

    Raises:
        DataError, RunError: nothing is loaded, or there is nothing to work on.
    """
    plan = _plan(session, stage)
    model, keys = plan.model, [key for work in plan.works for key in work.keys.values()]
    if model in {"static", "template"}:
        return Estimate(stage, model, len(keys), len(keys), 0, 0, 0, 0, 0, None, plan.rejected)
    endpoint = make_endpoint(session.settings.llm, model, session.secrets, need_key=False)
    price = asyncio.run(_price(session, endpoint, stage))
    new: dict[str, tuple[int, int]] = {}
    pilot_bytes, pilot_input, pilot_output, pilot = 0, 0, 0, 0
    journal = RunJournal(session.run, stage, endpoint.base_url, model)
    for is_open, ask in plan.asks:
        size = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in ask.messages)
        asked = ask_digest(endpoint.base_url, wire_body(ask, model), ask.sample)
        reply = journal.find(asked)
        if is_open and reply is None:
            new[asked] = size, ask.max_tokens
        elif pilot < _PILOT and reply and reply.input_tokens:
            pilot += 1
            pilot_bytes += size
            pilot_input += reply.input_tokens
            pilot_output += reply.output_tokens
    per_token = pilot_bytes / pilot_input if pilot else BYTES_PER_TOKEN
    per_answer = pilot_output / pilot if pilot else GUESSED_OUTPUT[stage]
    return Estimate(
        stage=stage,
        model=model,
        rows=len(keys),
        cached=sum(key not in work.todo for work in plan.works for key in work.keys.values()),
        requests=len(new),
        input_tokens=round(sum(size for size, _ in new.values()) / per_token),
        output_tokens=round(len(new) * per_answer),
        most_output_tokens=sum(most for _, most in new.values()),
        pilot=pilot,
        price=price,
        batch_factor=session.settings.batch.price_factor if stage == "judge" else None,
        rejected=plan.rejected,
        not_foreseen=plan.not_foreseen,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a stage would do."""

    model: str
    works: tuple[Work, ...]
    asks: Iterator[tuple[bool, Ask]]
    """First requests, and whether each is still open; some may come twice."""
    rejected: int = 0
    not_foreseen: int = 0


def _plan(session: Session, stage: str) -> _Plan:
    if stage == "judge":
        todo = judging.prepare(session)
        beside = judging.prepare_rejected(session)
        if len(todo.members) > 1:
            models = ", ".join(member.instrument.cfg.model for member in todo.members)
            raise ConfigError(
                f"estimate counts for one judge at one price, and judge.panel has {models}; leave "
                "the panel out of the settings file and ask for each with --model"
            )
        instrument = todo.members[0].instrument
        listed = [one for one in (todo, beside) if one is not None]
        works = tuple(one.work for one in listed)
        more = len(beside.work.keys) if beside else 0
        if instrument.prompt is None:
            return _Plan("static", works, iter(()), more)
        asks = chain.from_iterable(judging.asks(one, _with_pilot(one.work)) for one in listed)
        unknown = sum(judging.not_foreseen(one) for one in listed)
        return _Plan(instrument.cfg.model, works, asks, more, unknown)
    from kernelsift.stages.modules import read_modules

    writing = pipeline.generator(session)
    modules = read_modules(
        session.run, session.settings.prompts, session.progress, session.hub_token
    )
    work = pipeline.prompts_work(session, modules)
    if writing.prompt is None:
        return _Plan("template", (work,), iter(()))
    wanted = _with_pilot(work)
    written = (
        (work.keys[m.id] in work.todo, prompts_stage.ask_for(m, writing))
        for m in modules
        if m.id in wanted
    )
    return _Plan(writing.cfg.model, (work,), written)


def _with_pilot(work: Work) -> set[SampleId]:
    """Samples to make requests of: those still open, and some that are known."""
    known: dict[str, SampleId] = {}
    for sample, key in work.keys.items():
        if key not in work.todo:
            known.setdefault(key, sample)
    return {*work.todo.values(), *islice(known.values(), _PILOT)}


async def _price(session: Session, endpoint: Endpoint, stage: str) -> Price | None:
    journal = RunJournal(session.run, stage, endpoint.base_url, endpoint.model)
    async with connect(endpoint, journal) as client:
        return await client.price()

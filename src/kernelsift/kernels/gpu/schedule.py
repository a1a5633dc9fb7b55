"""Who is timed when: the reference before and after each turn of the candidate, all in one run."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from kernelsift.kernels.gpu.gpu_facts import Side
from kernelsift.kernels.gpu.measured import Block, BlockOrder, Regime, Trouble
from kernelsift.kernels.gpu.timing_stats import between, median_interval

Ask = Callable[[Side, BlockOrder], Block | Trouble]
"""Runs one block on one side."""
SYNC_ROUNDS = 3
"""So many rounds read the wall clock too."""
LEAST_CALLS = 4
LONG_BLOCKS = 20
"""A slow side's block may last so many times as long as planned."""
TRIAL = 4
"""Calls in the first, discarded blocks."""
WARM_MOST = 6
WARM_SHARE = 0.03
"""Rounds are discarded until the reference's time changes by less, for its clock to come up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    seed: int
    """Secret; every input follows from it."""
    most_calls: int
    """For which there is memory in one block."""
    compiled: bool = True
    block_seconds: float = 0.02
    """Wall time that one block of the reference should take."""
    least_rounds: int = 5
    most_rounds: int = 15
    noise: float = 0.02
    """Half the width of the ratio's interval, as a share, at which measuring ends."""
    budget_seconds: float = 30.0


def measure(
    ask: Ask, plan: Plan, clock: Callable[[], float] = time.monotonic
) -> list[Block | Trouble]:
    """Return all blocks in the order in which they ran, without the first, discarded ones."""
    return list(_blocks(ask, plan, clock))


def _blocks(ask: Ask, plan: Plan, clock: Callable[[], float]) -> Iterator[Block | Trouble]:
    began = clock()
    secret = random.Random(plan.seed)  # noqa: S311 -- seeded by a secret, so that a run can be repeated
    found: list[Block] = []
    trials = {side: _trial(ask, side, secret, plan) for side in _sides(plan)}
    yield from (tried for tried in trials.values() if isinstance(tried, Trouble))
    if any(isinstance(trials[side], Trouble) for side in ("candidate", "eager", "empty")):
        return
    sides = [side for side, tried in trials.items() if isinstance(tried, Block)]
    order = BlockOrder(secret.getrandbits(62), _count(trials, plan), "queue")
    troubles = _warm(ask, sides, replace(order, seed=secret.getrandbits(62)))
    yield from troubles
    if troubles:
        return
    for number in range(plan.most_rounds):
        for side, regime in _turns(sides, number):
            block = ask(side, _fresh(order, regime, number))
            yield block
            if isinstance(block, Trouble):
                return
            found.append(block)
        if number + 1 >= plan.least_rounds and (
            _settled(found, plan) or clock() - began > plan.budget_seconds
        ):
            break
    yield ask("eager", _fresh(order, "queue", plan.most_rounds))
    last = [b for b in found if b.side == "candidate" and b.order.regime == "queue"][-1]
    yield ask("candidate", last.order)


def _sides(plan: Plan) -> tuple[Side, ...]:
    most: tuple[Side, ...] = ("empty", "eager", "candidate")
    return (*most, "compiled") if plan.compiled else most


def _trial(ask: Ask, side: Side, secret: random.Random, plan: Plan) -> Block | Trouble:
    """Two small blocks: the first compiles, tunes and allocates."""
    order = BlockOrder(0, max(1, min(TRIAL, plan.most_calls)), "sync")
    for _ in range(2):
        tried = ask(side, replace(order, seed=secret.getrandbits(62), picks=secret.getrandbits(62)))
        if isinstance(tried, Trouble):
            return tried
    return tried


def _warm(ask: Ask, sides: Sequence[Side], order: BlockOrder) -> list[Block | Trouble]:
    """Whole rounds whose times do not count: memory is taken, clocks come up. Returns troubles."""
    before = 0.0
    for number in range(WARM_MOST):
        now = before
        for side in sides:
            block = ask(side, _fresh(order, "queue", number))
            if isinstance(block, Trouble):
                return [block]
            if side == "eager":
                now = median(block.events)
        if number and abs(now - before) <= WARM_SHARE * now:
            break
        before = now
    return []


def _count(trials: Mapping[Side, Block | Trouble], plan: Plan) -> int:
    """So many calls that the reference's block lasts long enough to be timed from outside, and
    nobody's block too long.
    """
    walls = {s: median(t.walls) for s, t in trials.items() if isinstance(t, Block) and t.walls}
    each = max(walls.get("eager", plan.block_seconds), 1e-6)
    slowest = max((*walls.values(), 1e-6))
    wanted = max(LEAST_CALLS, round(plan.block_seconds / each))
    borne = max(LEAST_CALLS, round(LONG_BLOCKS * plan.block_seconds / slowest))
    return max(1, min(wanted, borne, plan.most_calls))


def _fresh(order: BlockOrder, regime: Regime, number: int) -> BlockOrder:
    """The same inputs and places for every side of a round, other ones in each round and regime.

    No child has `order`, so none can tell the next block's inputs from this one's.
    """
    of_round = random.Random(f"{order.seed} {regime} {number}")  # noqa: S311 -- as in `_blocks`
    return replace(
        order, seed=of_round.getrandbits(62), regime=regime, picks=of_round.getrandbits(62)
    )


def _turns(sides: Sequence[Side], number: int) -> Iterator[tuple[Side, Regime]]:
    """The reference first; the others in turned order in every second round."""
    others = [side for side in sides if side != "eager"]
    order: list[Side] = ["eager", *(others if number % 2 else others[::-1])]
    for side in order:
        yield side, "queue"
    if number < SYNC_ROUNDS:
        for side in order:
            if side != "compiled":
                yield side, "sync"


def _settled(blocks: Sequence[Block], plan: Plan) -> bool:
    series = [(b.side, median(b.events)) for b in blocks if b.order.regime == "queue"]
    found = median_interval(between(series, "eager", "candidate"))
    return found is not None and (found.high - found.low) / 2 <= plan.noise * found.middle

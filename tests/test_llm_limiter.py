"""Slots: never more than the limit, down on 429, up again after."""

import asyncio

import pytest
from fake_openai import FakeTime
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.llm.limiter import Limiter


async def in_use(limiter, n):
    """Take n slots and return their bursts."""
    return [await limiter.acquire() for _ in range(n)]


async def round_trip(limiter, *, refused=0, retry_after=None):
    """Fill the limiter, answer everything: `refused` calls, evenly spread, with 429."""
    bursts = await in_use(limiter, limiter.state.limit)
    for i, burst in enumerate(bursts):
        if i * refused // len(bursts) != (i + 1) * refused // len(bursts):
            limiter.busy(burst, retry_after)
        else:
            limiter.ok()
        limiter.release()


def test_it_starts_low_and_doubles_per_round_trip_up_to_the_ceiling():
    async def main():
        limiter = Limiter(100, start=10)
        seen = []
        for _ in range(6):
            seen.append(limiter.state.limit)
            await round_trip(limiter)
        return seen

    first, *_, last = seen = asyncio.run(main())
    assert (first, last) == (10, 100)
    assert seen == sorted(seen)


def test_a_burst_of_429_takes_half_once():
    async def main():
        limiter = Limiter(64, start=64)
        await round_trip(limiter, refused=64)
        return limiter.state.limit

    assert 32 <= asyncio.run(main()) <= 36


def test_a_429_now_and_then_costs_little():
    async def main():
        limiter = Limiter(64, start=64)
        for _ in range(50):
            await round_trip(limiter, refused=limiter.state.limit // 20)
        return limiter.state.limit

    assert asyncio.run(main()) >= 48


def test_it_comes_back_after_a_burst():
    async def main():
        limiter = Limiter(64, start=64)
        await round_trip(limiter, refused=64)
        low = limiter.state.limit
        for _ in range(40):
            await round_trip(limiter)
        return low, limiter.state.limit

    low, high = asyncio.run(main())
    assert low < 40
    assert high == 64


def test_it_finds_what_an_endpoint_can_take():
    async def main():
        limiter = Limiter(256, start=256)
        for _ in range(30):
            await round_trip(limiter, refused=max(0, limiter.state.limit - 20))
        return limiter.state.limit

    assert 10 <= asyncio.run(main()) <= 40


def test_an_overloaded_endpoint_is_paused_for_all():
    time = FakeTime()

    async def main():
        limiter = Limiter(8, clock=time.clock)
        await round_trip(limiter, refused=8, retry_after=30.0)
        assert limiter.state.paused_seconds == 30.0
        await limiter.acquire()

    asyncio.run(main())
    assert time.slept == [30.0]


def test_one_429_among_many_answers_pauses_nobody_else():
    async def main():
        limiter = Limiter(64, start=64)
        await round_trip(limiter)
        await round_trip(limiter, refused=1, retry_after=30.0)
        return limiter.state.paused_seconds

    assert asyncio.run(main()) == 0


def test_closing_ends_a_pause():
    async def main():
        limiter = Limiter(8)
        await round_trip(limiter, refused=8, retry_after=1000.0)
        assert limiter.state.paused_seconds > 0
        limiter.close()
        return limiter.state.paused_seconds

    assert asyncio.run(main()) == 0


def test_a_waiter_that_is_cancelled_takes_no_slot():
    async def main():
        limiter = Limiter(1)
        await limiter.acquire()
        first = asyncio.ensure_future(limiter.acquire())
        second = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        first.cancel()
        limiter.release()
        await second
        limiter.release()
        return limiter.state.in_flight

    assert asyncio.run(main()) == 0


def test_a_waiter_cancelled_just_after_it_got_its_slot_gives_it_back():
    async def main():
        limiter = Limiter(1)
        await limiter.acquire()
        waiter = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        limiter.release()
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        return limiter.state.in_flight

    assert asyncio.run(main()) == 0


def test_no_concurrency_is_no_setting():
    with pytest.raises(ValueError, match="concurrency is 0"):
        Limiter(0)


@given(st.integers(1, 12), st.lists(st.sampled_from(["ok", "busy", "broken"]), max_size=60))
def test_no_more_than_the_ceiling_is_ever_in_flight(ceiling, outcomes):
    async def main():
        limiter = Limiter(ceiling, clock=FakeTime().clock)
        flying = peak = done = 0

        async def call(outcome):
            nonlocal flying, peak, done
            burst = await limiter.acquire()
            flying += 1
            peak = max(peak, flying)
            await asyncio.sleep(0)
            if outcome == "ok":
                limiter.ok()
            elif outcome == "busy":
                limiter.busy(burst, 1.0)
            flying -= 1
            done += 1
            limiter.release()

        await asyncio.gather(*map(call, outcomes))
        limiter.close()
        return peak, done

    peak, done = asyncio.run(main())
    assert peak <= ceiling
    assert done == len(outcomes)

"""Caps hold whatever the order, the prices and the answers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.errors import BudgetError
from kernelsift.llm.budget import Budget
from kernelsift.llm.prices import Price
from kernelsift.llm.reply import Usage

prices = st.builds(Price, *[st.floats(0, 1000)] * 2)
asks = st.tuples(
    st.integers(1, 50_000),  # bytes of the request
    st.integers(1, 8_000),  # max_tokens
    st.floats(0, 1),  # share of the worst case that is really used
    st.sampled_from(["answer", "no usage", "lost", "refused", "cancelled"]),
    st.integers(0, 3),  # rounds of the event loop until the answer
)


@given(prices, st.floats(0, 10), st.lists(asks, max_size=30))
def test_true_spend_never_passes_the_cap(price, cap, calls):
    async def call(budget, billed, spec):
        size, most, share, outcome, rounds = spec
        with await budget.reserve(price.worst(size, most)) as hold:
            hold.sent = True
            usage = Usage(int(size * share), int(most * share))
            if outcome != "refused":
                billed.append(price.usd(usage))
            for _ in range(rounds):
                await asyncio.sleep(0)
            if outcome == "cancelled":
                raise asyncio.CancelledError
            if outcome == "lost":
                hold.lose()
            elif outcome == "refused":
                hold.give_back()
            else:
                hold.settle(None if outcome == "no usage" else price.usd(usage))

    async def main():
        budget = Budget(max_usd=cap)
        billed = []
        jobs = [asyncio.ensure_future(call(budget, billed, spec)) for spec in calls]
        done = await asyncio.gather(*jobs, return_exceptions=True)
        strange = [e for e in done if e and not isinstance(e, BudgetError | asyncio.CancelledError)]
        return sum(billed), strange

    billed, strange = asyncio.run(main())
    assert billed <= cap + 1e-9
    assert not strange


def test_a_call_that_does_not_fit_waits_for_money_to_come_back():
    async def main():
        budget = Budget(max_usd=1.0)
        first = await budget.reserve(0.9)
        second = asyncio.ensure_future(budget.reserve(0.9))
        await asyncio.sleep(0)
        assert not second.done()
        first.settle(0.05)
        (await second).settle(0.05)
        return budget.spend.usd

    assert asyncio.run(main()) == pytest.approx(0.1)


def test_when_nothing_can_come_back_the_message_says_what_to_do():
    async def main():
        budget = Budget(max_usd=1.0)
        (await budget.reserve(0.9)).settle(0.8)
        await budget.reserve(0.3)

    with pytest.raises(BudgetError, match=r"\$0\.8000 was spent.*raise --max-usd") as caught:
        asyncio.run(main())
    assert "$1.0000" in str(caught.value)


def test_one_that_waits_is_told_when_hope_is_gone():
    async def main():
        budget = Budget(max_usd=1.0)
        first = await budget.reserve(0.9)
        second = asyncio.ensure_future(budget.reserve(0.9))
        await asyncio.sleep(0)
        first.settle(0.9)
        await second

    with pytest.raises(BudgetError):
        asyncio.run(main())


def test_a_waiter_that_is_cancelled_holds_no_money():
    async def main():
        budget = Budget(max_usd=1.0)
        first = await budget.reserve(0.9)
        second = asyncio.ensure_future(budget.reserve(0.9))
        await asyncio.sleep(0)
        first.give_back()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        (await budget.reserve(1.0)).give_back()

    asyncio.run(main())


def test_lost_money_counts_against_the_cap_but_is_reported_apart():
    async def main():
        budget = Budget(max_usd=1.0)
        (await budget.reserve(0.9)).lose()
        with pytest.raises(BudgetError, match="no answer"):
            await budget.reserve(0.2)
        return budget.spend

    spend = asyncio.run(main())
    assert (spend.usd, spend.lost_usd, spend.lost) == (0.0, 0.9, 1)


def test_a_hold_left_open_is_given_back_unless_the_request_was_sent():
    async def main():
        budget = Budget(max_usd=1.0)
        with await budget.reserve(0.5):
            pass
        with await budget.reserve(0.25) as hold:
            hold.sent = True
        return budget.spend.lost_usd

    assert asyncio.run(main()) == 0.25


def test_no_request_is_counted_past_its_cap():
    budget = Budget(max_requests=2)
    budget.count_request()
    budget.count_request()
    with pytest.raises(BudgetError, match="--max-requests is 2"):
        budget.count_request()
    assert budget.spend.requests == 2

"""The client against a fake server: every fault, and who pays for it."""

import asyncio
import email.utils
import socket

import pytest
from fake_openai import (
    KEY,
    FakeOpenAI,
    FakeTime,
    cut,
    error,
    hang,
    ok,
    openrouter_model,
    prime_model,
    raw,
    refuse_parameter,
    refuses,
    reset,
)

from kernelsift.errors import BudgetError, ConfigError, DeniedError, UnreachableError
from kernelsift.llm.backoff import Patience
from kernelsift.llm.chat import Ask, CallFailedError, MemoryJournal, Message, Reply
from kernelsift.llm.client import Client, connect
from kernelsift.llm.limits import Limits
from kernelsift.llm.openai import Endpoint
from kernelsift.llm.prices import Price
from kernelsift.llm.redact import Secret

PRICE = Price(input=1.0, output=10.0)
SCHEMA = {"name": "verdict", "schema": {"type": "object", "properties": {}}}


def ask(text="judge this", max_tokens=50, **more):
    return Ask((Message("user", text),), max_tokens, **more)


def endpoint(server, **more):
    return Endpoint(server.base_url, "some-model", Secret(KEY), **more)


def run(server, *asks, journal=None, time=None, settings=None, **limits):
    """Ask all at once; returns replies and errors in order, and the client."""

    async def main():
        there = endpoint(server, **(settings or {}))
        clock = (time or FakeTime()).clock
        async with connect(there, journal or MemoryJournal(), Limits(**limits), clock=clock) as c:
            done = await asyncio.gather(*map(c.ask, asks or [ask()]), return_exceptions=True)
            return done, c

    return asyncio.run(main())


def one(server, asked=None, **more):
    """Ask once; returns the reply or raises."""
    (result,), _ = run(server, *([asked] if asked else []), **more)
    if isinstance(result, BaseException):
        raise result
    return result


def failure(server, **more):
    with pytest.raises(CallFailedError) as caught:
        one(server, **more)
    return caught.value


def test_an_answer_arrives_with_what_it_used():
    with FakeOpenAI(ok("yes", cached_tokens=40, reasoning_tokens=4, model="real-1")) as server:
        reply = one(server, ask(temperature=0.5, extra={"reasoning_effort": "low"}))
    assert (reply.text, reply.finish_reason, reply.returned_model) == ("yes", "stop", "real-1")
    assert (reply.input_tokens, reply.output_tokens) == (100, 10)
    assert (reply.cached_tokens, reply.reasoning_tokens) == (40, 4)
    sent = {"max_completion_tokens": 50, "temperature": 0.5, "reasoning_effort": "low"}
    assert reply.params == sent
    assert not reply.cached


def test_the_key_and_the_team_go_into_headers():
    with FakeOpenAI() as server:
        one(server, settings={"team": "team-7"})
    assert server.requests[0].authorized
    assert server.requests[0].team == "team-7"


def test_what_the_journal_has_is_not_asked_again():
    journal = MemoryJournal()
    with FakeOpenAI(ok(cost=0.25)) as server:
        first = one(server, journal=journal)
        again = one(server, journal=journal)
    assert server.count == 1
    assert again.cached
    assert (again.text, again.usd) == (first.text, 0.25)
    assert (first.paid_usd, again.paid_usd) == (0.25, 0.0)


def test_a_finished_run_sends_nothing_at_all():
    journal = MemoryJournal()
    with FakeOpenAI() as server:
        one(server, journal=journal)
        lists = server.model_lists
        one(server, journal=journal)
        assert server.model_lists == lists


def test_equal_asks_in_flight_share_one_call():
    with FakeOpenAI(delay=0.05) as server:
        replies, _ = run(server, ask("a"), ask("a"), ask("b"), ask("a"))
    assert server.count == 2
    assert [r.cached for r in replies] == [False, True, False, True]


def test_a_failure_is_shared_as_well_and_paid_once():
    with FakeOpenAI(error(400, "no such thing"), delay=0.05) as server:
        errors, _ = run(server, ask("a"), ask("a"))
    assert server.count == 1
    assert [e.failure for e in errors] == ["bad-request", "bad-request"]


def test_when_the_first_of_equal_asks_is_cancelled_another_takes_over():
    async def main(server):
        async with connect(endpoint(server), MemoryJournal()) as client:
            first = asyncio.ensure_future(client.ask(ask()))
            second = asyncio.ensure_future(client.ask(ask()))
            await in_flight(server, 1)
            first.cancel()
            return await second

    with FakeOpenAI(delay=0.1) as server:
        assert asyncio.run(main(server)).text == "hello"
    assert server.count == 2


def test_a_sample_index_is_never_sent_but_asks_again():
    with FakeOpenAI() as server:
        run(server, ask(sample=0), ask(sample=1))
    assert server.count == 2
    assert server.bodies[0] == server.bodies[1]


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (error(500), 2),
        (error(503, retry_after=1), 2),
        (error(429), 2),
        (error(429, retry_after=3), 2),
        (reset(), 2),
        (cut(), 2),
        (raw("{not json"), 2),
        (raw("<html>", content_type="text/html"), 2),
        (raw('{"error": {"code": 502, "message": "upstream"}}'), 2),
        (ok(choices=False), 2),
        (ok(finish_reason="error"), 2),
    ],
)
def test_a_passing_fault_costs_one_more_try(fault, tries):
    with FakeOpenAI([fault, "fine"]) as server:
        assert one(server).text == "fine"
        assert server.count == tries


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (error(500), "server"),
        (error(429), "rate-limit"),
        (reset(), "network"),
        (cut(), "bad-body"),
        (raw("[]"), "bad-body"),
        (raw("{", content_type="application/json"), "bad-body"),
        (ok(choices=False), "bad-body"),
    ],
)
def test_a_lasting_fault_fails_the_row_with_its_class(fault, expected):
    with FakeOpenAI(fault) as server:
        failed = failure(server, patience=Patience(tries=3, busy_tries=3))
        assert failed.failure == expected
        assert server.count == 3


def test_a_request_that_hangs_is_a_timeout_and_may_have_been_billed():
    journal = MemoryJournal()
    with FakeOpenAI(hang()) as server:
        failed = failure(server, journal=journal, deadline_seconds=0.1, patience=Patience(tries=1))
    assert failed.failure == "timeout"
    assert [lost.why for lost in journal.lost] == ["no answer in time"]


def test_a_bad_request_is_not_repeated():
    with FakeOpenAI(error(400, "the prompt is too long", code="context_length_exceeded")) as server:
        failed = failure(server)
        assert (failed.failure, server.count) == ("bad-request", 1)
        assert "the prompt is too long" in failed.why


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_stops_everything_at_once(status):
    with FakeOpenAI(error(status)) as server:
        results, _ = run(server, *(ask(str(i)) for i in range(20)), concurrency=1)
        assert server.count == 1
    assert {type(r) for r in results} == {DeniedError}
    message = str(results[0])
    assert "--judge static" in message
    assert ("credit" if status == 402 else "OPENAI_API_KEY") in message


def test_an_empty_quota_is_not_a_rate_limit():
    with FakeOpenAI(error(429, code="insufficient_quota")) as server:
        with pytest.raises(DeniedError, match="credit"):
            one(server)
        assert server.count == 1


def test_a_flagged_input_is_the_rows_fault_and_not_the_keys():
    flagged = '{"error": {"message": "flagged", "metadata": {"flagged_input": "x"}}}'
    with FakeOpenAI(raw(flagged, status=403)) as server:
        assert failure(server).failure == "refusal"


def test_an_unknown_model_stops_the_run_with_its_name():
    gone = FakeOpenAI(error(404, "no such model"))
    with gone as server, pytest.raises(ConfigError, match="some-model"):
        one(server)


def test_a_404_after_an_answer_fails_only_its_row():
    with FakeOpenAI(["fine", error(404, "gone")]) as server:
        (first, second), _ = run(server, ask("a"), ask("b"), concurrency=1)
    assert isinstance(first, Reply)
    assert second.failure == "bad-request"


def test_nobody_at_the_address_stops_the_run():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        async def main():
            async with connect(
                Endpoint(url, "m"), MemoryJournal(), clock=FakeTime().clock
            ) as client:
                await client.ask(ask())

        with pytest.raises(UnreachableError, match=url):
            asyncio.run(main())


@pytest.mark.parametrize("shape", ["openai", "vague", "flat", "detail"])
def test_a_parameter_that_is_not_supported_is_dropped_once_for_all(shape):
    journal = MemoryJournal()
    with FakeOpenAI(refuses("temperature", shape=shape)) as server:
        reply = one(server, ask(temperature=0.2), journal=journal)
        assert reply.params == {"max_completion_tokens": 50}
        one(server, ask("other", temperature=0.2), journal=journal)
        assert server.count == 3


def test_the_old_name_of_the_token_limit_is_learned():
    with FakeOpenAI(refuses("max_completion_tokens")) as server:
        assert one(server).params == {"max_tokens": 50}


def test_the_new_name_of_the_token_limit_is_learned_back():
    journal = MemoryJournal()
    with FakeOpenAI(refuses("max_tokens")) as server:
        journal.remember_dropped(
            server.base_url, "some-model", {"max_completion_tokens": "max_tokens"}
        )
        assert one(server, journal=journal).params == {"max_completion_tokens": 50}


def test_without_a_token_limit_no_money_cap_can_be_held():
    both = refuses("max_tokens", "max_completion_tokens")
    with FakeOpenAI(both) as server:
        assert one(server).params == {}
        with pytest.raises(ConfigError, match="--max-usd"):
            one(server, settings={"price": PRICE}, max_usd=1.0)


def test_a_token_limit_that_is_too_large_is_the_rows_fault():
    said = "'max_completion_tokens' is too large: 50. The context is 40 tokens."
    with FakeOpenAI(error(400, said)) as server:
        assert failure(server).failure == "bad-request"
        assert server.count == 1


def test_a_vague_complaint_about_an_accepted_parameter_is_the_rows_fault():
    with FakeOpenAI(["fine", refuse_parameter("temperature", "vague")]) as server:
        results, _ = run(server, ask("a", temperature=1), ask("b", temperature=1), concurrency=1)
    assert results[1].failure == "bad-request"


def test_a_schema_falls_back_to_json_and_then_to_plain_text():
    with FakeOpenAI(refuses("json_schema")) as server:
        assert one(server, ask(json_schema=SCHEMA)).params["response_format"] == "json_object"
    with FakeOpenAI(refuses("json_schema", "json_object")) as server:
        assert "response_format" not in one(server, ask(json_schema=SCHEMA)).params


def test_a_refusal_and_a_filter_are_answers_with_a_reason():
    with FakeOpenAI([ok(None, refusal="I will not"), ok("", finish_reason="content_filter")]) as s:
        (first, second), _ = run(s, ask("a"), ask("b"), concurrency=1)
    assert first.refusal == "I will not"
    assert "filter" in second.refusal


def test_a_cut_off_answer_says_so():
    with FakeOpenAI(ok("half a", finish_reason="length")) as server:
        assert one(server).finish_reason == "length"


def test_only_reasoning_is_an_empty_text_kept_in_raw():
    with FakeOpenAI(ok(None, reasoning="hmm hmm")) as server:
        reply = one(server)
    assert reply.text == ""
    assert "hmm hmm" in reply.raw


def test_parts_of_a_content_are_joined():
    with FakeOpenAI(ok([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])) as server:
        assert one(server).text == "ab"


def test_no_usage_is_an_unknown_cost_and_not_zero():
    with FakeOpenAI(ok(usage=False)) as server:
        (reply,), client = run(server, settings={"price": PRICE})
    assert reply.usd is None
    assert client.spend.unpriced == 1


def test_the_service_own_cost_comes_first():
    with FakeOpenAI(ok(cost=0.125), models=[prime_model("some-model", 1, 1)]) as server:
        reply = one(server, settings={"price": PRICE})
    assert (reply.usd, reply.price_source) == (0.125, "response")


@pytest.mark.parametrize(
    "item",
    [prime_model("some-model", 2.0, 8.0), openrouter_model("some-model", "0.000002", "0.000008")],
)
def test_the_endpoints_own_prices_come_before_the_users(item):
    with FakeOpenAI(ok(), models=[item]) as server:
        reply = one(server, settings={"price": PRICE})
    assert reply.usd == pytest.approx((100 * 2 + 10 * 8) / 1e6)
    assert reply.price_source == "models"


def test_a_local_model_has_no_list_price_unless_asked_for():
    def cost(server, price):
        async def main():
            there = Endpoint(server.base_url, "openai/gpt-5.2", price=price)
            async with connect(there, MemoryJournal()) as client:
                return (await client.ask(ask())).usd

        return asyncio.run(main())

    with FakeOpenAI() as server:
        assert cost(server, None) is None
        assert cost(server, "list") == pytest.approx((100 * 1.75 + 10 * 14) / 1e6)


def test_a_cap_without_a_price_is_refused_before_anything_is_sent():
    with FakeOpenAI() as server:
        results, _ = run(server, ask("a"), ask("b"), max_usd=1.0)
        assert server.count == 0
    assert {type(r) for r in results} == {ConfigError}
    assert "--price" in str(results[0])


def test_the_money_cap_holds_and_what_fits_is_done():
    with FakeOpenAI(ok(input_tokens=200, output_tokens=50)) as server:
        asks = [ask(str(i)) for i in range(20)]
        results, client = run(server, *asks, settings={"price": PRICE}, max_usd=0.005)
    assert {type(r) for r in results} == {Reply, BudgetError}
    assert 0 < client.spend.usd <= 0.005


def test_the_request_cap_counts_retries():
    with FakeOpenAI(error(500)) as server:
        with pytest.raises(BudgetError, match="--max-requests"):
            one(server, max_requests=3)
        assert server.count == 3


def test_a_useless_answer_is_paid_for_and_said_to_be():
    journal = MemoryJournal()
    with FakeOpenAI(ok(choices=False, cost=0.5)) as server:
        failed = failure(server, journal=journal, patience=Patience(tries=2))
    assert failed.usd == 1.0
    assert [(lost.usd, lost.known) for lost in journal.lost] == [(0.5, True)] * 2


def test_a_cut_answer_is_charged_at_its_worst_and_reported_apart():
    journal = MemoryJournal()
    with FakeOpenAI([cut(), ok()]) as server:
        (reply,), client = run(server, journal=journal, settings={"price": PRICE})
    spend = client.spend
    assert spend.usd == pytest.approx(reply.usd)
    assert (spend.lost, len(journal.lost)) == (1, 1)
    assert spend.lost_usd > reply.usd


async def in_flight(server, n):
    while server.in_flight < n:  # noqa: ASYNC110 - the server runs in another thread
        await asyncio.sleep(0.005)


def test_a_cancelled_call_frees_its_slot_and_counts_as_possibly_billed():
    journal = MemoryJournal()

    async def main(server) -> Client:
        there = endpoint(server, price=PRICE)
        async with connect(there, journal, Limits(concurrency=1)) as client:
            call = asyncio.ensure_future(client.ask(ask()))
            await in_flight(server, 1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert client.state.in_flight == 0
            assert (await client.ask(ask("next"))).text == "next"
            return client

    with FakeOpenAI([hang(), "next"]) as server:
        client = asyncio.run(main(server))
    assert client.spend.lost == 1
    assert "cancelled" in journal.lost[0].why


def test_no_more_calls_than_allowed_are_in_flight_and_connections_are_kept():
    with FakeOpenAI(delay=0.01) as server:
        run(server, *(ask(str(i)) for i in range(60)), concurrency=7)
        assert (server.count, server.peak) == (60, 7)
        assert len(server.connections) <= 8


def test_the_slot_is_free_before_the_reply_is_durable():
    class Slow(MemoryJournal):
        async def save(self, reply):
            seen.append(client_box[0].state.in_flight)
            await super().save(reply)

    seen, client_box = [], []

    async def main(server):
        async with connect(endpoint(server), Slow()) as client:
            client_box.append(client)
            await client.ask(ask())

    with FakeOpenAI() as server:
        asyncio.run(main(server))
    assert seen == [0]


def test_retry_after_is_waited_for():
    time = FakeTime()
    date = email.utils.formatdate(time.clock.wall() + 40, usegmt=True)
    with FakeOpenAI([error(429, retry_after=7), error(429, retry_after=date), "fine"]) as server:
        assert one(server, time=time).text == "fine"
    assert time.seconds - 1000 >= 40


def test_a_service_that_is_busy_gets_more_patience_than_one_that_is_broken():
    with FakeOpenAI(error(429)) as busy, FakeOpenAI(error(500)) as broken:
        failure(busy)
        failure(broken)
        assert busy.count > broken.count == 6


def test_a_prompt_with_half_a_character_can_be_sent():
    with FakeOpenAI() as server:
        assert one(server, ask("broken \ud83d")).text == "hello"

"""The request's digest, the scripted chat, and reading what services say."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.errors import ConfigError
from kernelsift.llm.backoff import Clock, Patience, retry_after_seconds
from kernelsift.llm.chat import (
    Ask,
    CallFailedError,
    Message,
    encode,
    request_digest,
    scripted,
    wire_body,
)
from kernelsift.llm.openai import Endpoint
from kernelsift.llm.redact import Secret
from kernelsift.llm.reply import Parsed, Unusable, parse_body
from kernelsift.llm.wire import read_error

BASE = {
    "base_url": "https://a/v1",
    "model": "m",
    "messages": (Message("system", "s"), Message("user", "u")),
    "max_tokens": 10,
    "json_schema": {"name": "v", "schema": {"properties": {"a": {}, "b": {}}}},
    "temperature": 0.5,
    "sample": 0,
    "extra": {"reasoning_effort": "low", "reasoning": {"x": 1, "y": 2}},
}


def digest(**changes):
    parts = {**BASE, **changes}
    base_url, model = parts.pop("base_url"), parts.pop("model")
    asked = Ask(**parts)
    return request_digest(base_url, encode(wire_body(asked, model)), asked.sample)


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "https://b/v1"},
        {"model": "n"},
        {"messages": (Message("system", "S"), Message("user", "u"))},
        {"messages": (Message("system", "s"), Message("user", "U"))},
        {"messages": (Message("system", "su"), Message("user", ""))},
        {"messages": (Message("user", "s"), Message("user", "u"))},
        {"max_tokens": 11},
        {"json_schema": None},
        {"json_schema": {"name": "v", "schema": {"properties": {"b": {}, "a": {}}}}},
        {"temperature": None},
        {"temperature": 0.6},
        {"sample": 1},
        {"extra": {}},
        {"extra": {**BASE["extra"], "service_tier": "flex"}},
    ],
)
def test_the_digest_changes_with_every_part_of_the_request(change):
    assert digest(**change) != digest()


def test_the_digest_does_not_depend_on_the_order_of_extra_parameters():
    swapped = {"reasoning": {"y": 2, "x": 1}, "reasoning_effort": "low"}
    assert digest(extra=swapped) == digest()


def test_an_ask_may_not_set_what_the_client_sets():
    with pytest.raises(ValueError, match="max_tokens, stream"):
        Ask((), 1, extra={"stream": True, "max_tokens": 5})
    with pytest.raises(ValueError, match="at least 1"):
        Ask((), 0)


def play(chat, *texts):
    async def main():
        return [await chat(Ask((Message("user", text),), 5)) for text in texts]

    return asyncio.run(main())


def test_a_script_is_played_in_order():
    replies = play(scripted(["one", lambda ask: ask.messages[0].content * 2], usd=0.5), "a", "b")
    assert [r.text for r in replies] == ["one", "bb"]
    assert [r.usd for r in replies] == [0.5, 0.5]


def test_one_function_answers_everything():
    assert [r.text for r in play(scripted(lambda _: "x"), "a", "b")] == ["x", "x"]


def test_a_script_may_fail_a_call():
    with pytest.raises(CallFailedError, match="refusal: no"):
        play(scripted([CallFailedError("refusal", "no")]), "a")


def test_a_script_that_is_over_says_so():
    with pytest.raises(IndexError, match="no answer left"):
        play(scripted([]), "a")


@given(st.binary())
def test_whatever_comes_back_is_read_without_an_exception(body):
    assert isinstance(parse_body(body, "application/json"), Parsed | Unusable)
    assert isinstance(read_error(body).message, str)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values, json_values, json_values, json_values)
def test_a_body_of_any_shape_is_read_without_an_exception(message, usage, finish, error):
    choice = {"message": message, "finish_reason": finish}
    for choices in ([choice], [message], message):
        fields = {"choices": choices, "usage": usage, "error": error, "detail": message}
        body = json.dumps(fields).encode()
        assert isinstance(parse_body(body, ""), Parsed | Unusable)
        read_error(body)
        read_error(json.dumps({"error": error}).encode())


@pytest.mark.parametrize("count", [10**400, -5, True, "7", None, [], 1e300])
def test_an_absurd_count_breaks_nothing(count):
    body = {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": count}}
    usage = parse_body(json.dumps(body).encode(), "application/json").usage
    assert 0 <= usage.input_tokens <= 10**12


def test_a_body_nested_without_end_is_unusable():
    assert isinstance(parse_body(b"[" * 100_000, ""), Unusable)


def test_half_a_character_in_an_answer_is_replaced():
    body = b'{"choices": [{"message": {"content": "a\\ud83d"}}]}'
    assert parse_body(body, "application/json").text == "a\ufffd"


def test_a_gateways_wrapped_error_is_unwrapped():
    inner = '{\\"error\\": {\\"message\\": \\"no\\", \\"code\\": \\"unsupported_value\\"}}'
    wrapped = f'{{"error": {{"message": "Provider", "metadata": {{"raw": "{inner}"}}}}}}'
    assert read_error(wrapped.encode()).code == "unsupported_value"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after_seconds(header, Clock(wall=lambda: 40.0)) == seconds


def test_waiting_doubles_up_to_a_cap_with_full_jitter():
    waits = [Patience().wait("server", n, None, Clock(chance=lambda: 1.0)) for n in range(1, 9)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert Patience().wait("server", 5, None, Clock(chance=lambda: 0.0)) == 0


def test_a_day_of_retry_after_is_not_waited_for():
    assert Patience().wait("rate-limit", 1, 86400, Clock(chance=lambda: 0.0)) == 300


@pytest.mark.parametrize("url", ["", "api.openai.com/v1", "ftp://a/v1", "https://u:p@a/v1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="not the address"):
        Endpoint(url, "m")


def test_a_slash_at_the_end_of_an_address_means_nothing():
    assert Endpoint("https://a/v1/", "m").base_url == "https://a/v1"


def test_an_endpoint_does_not_show_its_key():
    assert "sk-1" not in repr(Endpoint("https://a/v1", "m", Secret("sk-1")))

"""A key never shows, wherever a server may echo it."""

import asyncio
import pickle
import traceback
from dataclasses import fields

import pytest
from fake_openai import KEY, FakeOpenAI, error, ok, raw

from kernelsift.errors import ConfigError
from kernelsift.llm.backoff import Patience
from kernelsift.llm.chat import Ask, MemoryJournal, Message
from kernelsift.llm.client import connect
from kernelsift.llm.limits import Limits
from kernelsift.llm.openai import Endpoint
from kernelsift.llm.redact import Secret


def everything_said(server):
    """Ask once; returns all text that an error, its chain and the journal hold."""
    journal = MemoryJournal()
    said = []

    async def main():
        there = Endpoint(server.base_url, "m", Secret(KEY))
        said.append(repr(there))
        limits = Limits(patience=Patience(tries=1, busy_tries=1), deadline_seconds=2)
        async with connect(there, journal, limits) as client:
            reply = await client.ask(Ask((Message("user", "hi"),), 10, temperature=1.0))
            said.extend(str(getattr(reply, f.name)) for f in fields(reply))

    try:
        asyncio.run(main())
    except Exception as problem:  # noqa: BLE001 - whatever it is, it must not show the key
        said.append(repr(problem))
        trace = traceback.TracebackException.from_exception(problem, capture_locals=True)
        said.extend(trace.format())
    said.extend(map(str, (journal.replies, journal.lost, journal.dropped)))
    return "\n".join(said)


ECHO = "Incorrect API key provided: {key}."


@pytest.mark.parametrize(
    "behaviour",
    [
        ok(ECHO, model="{key}"),
        error(400, ECHO),
        error(401, ECHO),
        error(402, ECHO),
        error(403, ECHO),
        error(404, ECHO),
        error(429, ECHO),
        error(500, ECHO),
        error(422, ECHO, shape="detail"),
        raw(ECHO, content_type="text/html"),
        raw("{" + ECHO),
        raw('{"error": "' + ECHO + '"}'),
        raw("HTTP", status=302),
    ],
)
def test_a_key_that_the_server_echoes_is_scrubbed_everywhere(behaviour):
    with FakeOpenAI(behaviour) as server:
        said = everything_said(server)
        assert server.requests[0].authorized
    assert KEY not in said
    assert "***" in said


def test_a_secret_does_not_show_itself():
    secret = Secret(KEY)
    assert {str(secret), repr(secret), f"{secret}", f"{secret!r}"} == {"***"}
    assert secret.reveal() == KEY


def test_a_secret_cannot_be_pickled():
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(Secret(KEY))


@pytest.mark.parametrize("text", ["sk-a b", "sk-a\r\nX-Evil: 1", "sk-ä"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_showing_it(text):
    with pytest.raises(ConfigError, match="MY_KEY") as caught:
        Secret(text, name="MY_KEY")
    assert text not in str(caught.value)


def test_blanks_around_a_key_are_a_slip_of_the_clipboard():
    assert Secret(f" {KEY}\n").reveal() == KEY


def test_nothing_to_hide_hides_nothing():
    assert Secret("").scrub("abc") == "abc"
    assert not Secret("")

"""Ask a model. A chat is an async function from an `Ask` to a `Reply`."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import orjson

from kernelsift.model import FailureClass

TOKEN_LIMITS = ("max_completion_tokens", "max_tokens")
"""The two names that services know for the cap on output tokens; the first is sent first."""
_OURS = {"model", "messages", "stream", "n", "temperature", "response_format", *TOKEN_LIMITS}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a model; which model and where is the chat's affair."""

    messages: tuple[Message, ...]
    max_tokens: int
    """The most output tokens that may be paid for, reasoning included."""
    json_schema: Mapping[str, Any] | None = None
    """`{"name": …, "schema": …}` for a strict structured answer. Key order is kept: it matters."""
    temperature: float | None = None
    """None sends nothing, so the service's own default holds."""
    sample: int = 0
    """Index among repeated asks of the same text. Part of the digest, never of the wire."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further body parameters, such as `reasoning_effort` or `service_tier`."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if self.extra and (wrong := _OURS & self.extra.keys()):
            raise ValueError(f"extra may not set {', '.join(sorted(wrong))}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer with what it used and cost. Also what a journal stores."""

    digest: str
    """Names the request; see `request_digest`."""
    text: str
    """The answer; empty for a refusal or when only reasoning came back (that is in `raw`)."""
    finish_reason: str
    """`stop`, `length` (cut off), `content_filter` …; empty when the service gave none."""
    refusal: str | None
    """Why the model or its filter would not answer; None when it did."""
    returned_model: str
    input_tokens: int
    """Cached tokens included. All four counts are 0 when the service reported no usage."""
    output_tokens: int
    """Reasoning tokens included."""
    cached_tokens: int
    reasoning_tokens: int
    usd: float | None
    """What the answer cost when it was paid for; None when the price is not known."""
    price_source: str
    """Where `usd` comes from: `response`, `models`, `override`, `list`, or empty."""
    params: Mapping[str, Any]
    """Parameters that were really sent; `response_format` is `json_schema` or `json_object`."""
    raw: str
    """The body of the answer, as it came."""
    seconds: float
    """From sending the request that was answered to the end of its answer."""
    cached: bool = False
    """The answer was there already, or came with another call: nothing was paid for it now."""

    @property
    def paid_usd(self) -> float | None:
        """What this call itself cost: nothing when the answer was there already."""
        return 0.0 if self.cached else self.usd


class CallFailedError(Exception):
    """This ask has failed for good; its row becomes a `Failure` and the run goes on."""

    def __init__(self, failure: FailureClass, why: str, *, usd: float = 0.0) -> None:
        super().__init__(f"{failure}: {why}")
        self.failure: FailureClass = failure
        self.why = why
        self.usd = usd
        """What is known to have been paid for useless answers."""


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An attempt that the service may have billed although no usable answer arrived."""

    digest: str
    why: str
    usd: float | None
    """Known cost, if `known`; else the most it can have cost; None when no price is known."""
    known: bool = False


class Journal(Protocol):
    """Where replies are kept. Secrets never get here."""

    def find(self, digest: str) -> Reply | None:
        """Return the reply saved under `digest`."""

    async def save(self, reply: Reply) -> None:
        """Store a reply; return when it would survive a crash."""

    def dropped_params(self, base_url: str, model: str) -> Mapping[str, str]:
        """Return the parameters that this model is known to refuse (see `wire.Dialect`)."""

    def remember_dropped(self, base_url: str, model: str, dropped: Mapping[str, str]) -> None:
        """Replace what is known to be refused. Must not block."""

    def record_lost(self, lost: LostAttempt) -> None:
        """Note money that may be gone. Must not block: it is also called while cancelling."""


Chat = Callable[[Ask], Awaitable[Reply]]
Answer = str | Exception | Callable[[Ask], str]


class MemoryJournal:
    """A journal that ends with the process: for tests, documentation and dry runs."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.dropped: dict[tuple[str, str], dict[str, str]] = {}
        self.lost: list[LostAttempt] = []

    def find(self, digest: str) -> Reply | None:
        return self.replies.get(digest)

    async def save(self, reply: Reply) -> None:
        self.replies[reply.digest] = reply

    def dropped_params(self, base_url: str, model: str) -> Mapping[str, str]:
        return self.dropped.get((base_url, model), {})

    def remember_dropped(self, base_url: str, model: str, dropped: Mapping[str, str]) -> None:
        self.dropped[base_url, model] = dict(dropped)

    def record_lost(self, lost: LostAttempt) -> None:
        self.lost.append(lost)


def encode(value: object) -> bytes:
    """Return compact JSON, keys in the order given.

    Text that is not valid Unicode (half a surrogate pair) is written as an escape.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def wire_body(ask: Ask, model: str) -> dict[str, Any]:
    """Return the body of the request as asked for, in a fixed order."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in ask.messages],
        TOKEN_LIMITS[0]: ask.max_tokens,
    }
    if ask.temperature is not None:
        body["temperature"] = ask.temperature
    if ask.json_schema is not None:
        schema = {**ask.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if ask.extra:
        canonical = orjson.dumps(dict(ask.extra), option=orjson.OPT_SORT_KEYS)
        body.update(orjson.loads(canonical))
    return body


def request_digest(base_url: str, body: bytes, sample: int) -> str:
    """Return 64 hex characters that change when anything about the request changes.

    The address, the whole encoded body and the sample index count; headers, and so keys, do not.
    The body is the one asked for: parameters that the service turns out to refuse count as well,
    since a rerun asks for the same thing and must find the same reply.
    """
    head = f"{base_url}\n{sample}\n".encode()
    return hashlib.sha256(head + body).hexdigest()


def ask_digest(base_url: str, asked: Mapping[str, Any], sample: int) -> str:
    """Return the digest of a body as `wire_body` makes it.

    The service tier does not count: it changes the price and the wait, never the answer, so that a
    reply paid for at one tier is found at any.
    """
    counted = {name: value for name, value in asked.items() if name != "service_tier"}
    return request_digest(base_url, encode(counted), sample)


def scripted(answers: Sequence[Answer] | Callable[[Ask], str], *, usd: float | None = 0.0) -> Chat:
    """Return a chat that plays back answers: for tests, documentation and dry runs.

    Args:
        answers: Given in order, one per ask: a text, an exception to raise, or a function of the
            ask. One function instead of a sequence answers everything.
        usd: What each reply says it cost.
    """
    left = None if callable(answers) else iter(answers)

    async def chat(ask: Ask) -> Reply:
        answer: Answer | None = answers if callable(answers) else next(left or iter(()), None)
        if answer is None:
            raise IndexError("the script has no answer left for one more ask")
        if isinstance(answer, Exception):
            raise answer
        text = answer if isinstance(answer, str) else answer(ask)
        return _scripted_reply(ask, text, usd)

    return chat


def _scripted_reply(ask: Ask, text: str, usd: float | None) -> Reply:
    body = wire_body(ask, "scripted")
    return Reply(
        digest=ask_digest("scripted:", body, ask.sample),
        text=text,
        finish_reason="stop",
        refusal=None,
        returned_model="scripted",
        input_tokens=sum(len(m.content) for m in ask.messages) // 4,
        output_tokens=len(text) // 4,
        cached_tokens=0,
        reasoning_tokens=0,
        usd=usd,
        price_source="script" if usd is not None else "",
        params=sent_params(body),
        raw=text,
        seconds=0.0,
    )


def sent_params(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a body asks for besides the model and the messages, the schema by its kind."""
    params = {k: v for k, v in body.items() if k not in {"model", "messages"}}
    if "response_format" in params:
        params["response_format"] = params["response_format"]["type"]
    return params

"""A fake OpenAI-compatible server on loopback, in a thread of its own.

    with FakeOpenAI(answer=["<style>7</style>", error(429, retry_after=0)]) as server:
        ... server.base_url, server.count, server.requests ...

`answer` is one behaviour, a list of them (played in order of arrival, the last one for ever), or a
function from the request's body to one. A behaviour is a text (a plain success) or what one of
`ok`, `error`, `refuse_parameter`, `raw`, `cut`, `reset`, `hang` returns. `refuses(...)` makes a
function that turns away requests with certain parameters. Headers are not kept: of the key and the
team only what `Received` shows.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from kernelsift.llm.backoff import Clock

KEY = "sk-test-0123456789abcdef"
"""The key that tests use; `{key}` in a behaviour's text stands for the key that was sent."""


@dataclass(frozen=True)
class Behaviour:
    """What to do with one request; made by the functions below."""

    kind: str = "body"
    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


Answer = str | Behaviour
Script = Answer | Sequence[Answer] | Callable[[dict[str, Any]], Answer]


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    body: dict[str, Any]
    authorized: bool
    """A Bearer key came along."""
    team: str | None

    @property
    def prompt(self) -> str:
        """The last message's text."""
        return self.body["messages"][-1]["content"]


def ok(
    text: str | list[Any] | None = "hello",
    *,
    input_tokens: int = 100,
    output_tokens: int = 10,
    cached_tokens: int = 0,
    reasoning_tokens: int = 0,
    cost: float | None = None,
    usage: bool = True,
    model: str | None = None,
    finish_reason: str = "stop",
    refusal: str | None = None,
    reasoning: str | None = None,
    choices: bool = True,
    delay: float = 0.0,
) -> Behaviour:
    """A success. `text` None is a null content; `model` None echoes the model asked for."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model or "{model}",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }
    if not choices:
        body["choices"] = []
    if usage:
        body["usage"] = {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
        }
        if cost is not None:
            body["usage"]["cost"] = cost
    return Behaviour(body=json.dumps(body), delay=delay)


def error(
    status: int,
    message: str = "something is wrong",
    *,
    code: str | None = None,
    param: str | None = None,
    retry_after: float | str | None = None,
    shape: str = "openai",
) -> Behaviour:
    """An error answer. Shapes: `openai` (nested), `flat` (old vLLM), `detail` (FastAPI)."""
    fields = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    if shape == "openai":
        body: dict[str, Any] = {"error": fields}
    elif shape == "flat":
        body = {"object": "error", **fields}
    else:
        body = {"detail": [{"loc": ["body", param], "msg": message, "type": code}]}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Behaviour(status=status, body=json.dumps(body), headers=headers)


def refuse_parameter(name: str, shape: str = "openai") -> Behaviour:
    """A 400 about a parameter: `openai` (code and param), `vague` (only named in the message),
    `flat` (top-level fields), `detail` (422 of FastAPI).
    """
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    if shape == "vague":
        return error(400, message)
    if shape == "detail":
        return error(422, "not permitted", code="extra_forbidden", param=name, shape=shape)
    return error(400, message, code="unsupported_parameter", param=name, shape=shape)


def refuses(
    *names: str, shape: str = "openai", answer: Answer = "hello"
) -> Callable[[dict[str, Any]], Answer]:
    """Turn away requests with any of these parameters, answer the others.

    `json_schema` and `json_object` stand for that kind of `response_format`.
    """

    def behave(body: dict[str, Any]) -> Answer:
        kind = body.get("response_format", {}).get("type")
        for name in names:
            if name in body:
                return refuse_parameter(name, shape)
            if name == kind:
                return refuse_parameter("response_format", shape)
        return answer

    return behave


def raw(body: str, *, status: int = 200, content_type: str = "application/json") -> Behaviour:
    """Any body at all, e.g. JSON that is not JSON."""
    return Behaviour(status=status, body=body, content_type=content_type)


def cut() -> Behaviour:
    """A success whose body ends too early."""
    return Behaviour("cut", body=ok().body)


def reset() -> Behaviour:
    """The connection is reset instead of an answer."""
    return Behaviour("reset")


def hang() -> Behaviour:
    """No answer until the server ends."""
    return Behaviour("hang")


def prime_model(name: str, input_usd: float, output_usd: float) -> dict[str, Any]:
    """An item of `GET /models` in Prime Intellect's shape, USD per million tokens."""
    prices = {"input_usd_per_mtok": input_usd, "output_usd_per_mtok": output_usd}
    return {"id": name, "object": "model", "pricing": prices}


def openrouter_model(
    name: str, input_usd: str, output_usd: str, cached_usd: str | None = None
) -> dict[str, Any]:
    """An item of `GET /models` in OpenRouter's shape, USD per token as texts."""
    prices = {"prompt": input_usd, "completion": output_usd}
    if cached_usd is not None:
        prices["input_cache_read"] = cached_usd
    return {"id": name, "pricing": prices}


class FakeTime:
    """Time that passes only by sleeping; `clock` is for `connect(…, clock=…)`."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    @property
    def clock(self) -> Clock:
        """A clock whose jitter is always at its longest."""
        return Clock(
            now=lambda: self.seconds,
            wall=lambda: 1_700_000_000.0 + self.seconds,
            sleep=self._sleep,
            chance=lambda: 1.0,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class FakeOpenAI:
    """The server; a context manager. Counters are about `POST …/chat/completions` only."""

    def __init__(
        self,
        answer: Script = "hello",
        *,
        models: Sequence[dict[str, Any]] | None = None,
        delay: float = 0.0,
    ) -> None:
        """Set the behaviour.

        Args:
            answer: See the module.
            models: Items of `GET /models`; None answers 404.
            delay: Seconds before each answer.
        """
        self._script = answer
        self._models = models
        self._delay = delay
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.base_url = ""
        self.requests: list[Received] = []
        self.model_lists = 0
        self.in_flight = 0
        self.peak = 0
        """Most requests that were in flight at once."""
        self.connections: set[tuple[str, int]] = set()
        """Ports of the client that requests came from: connections opened."""

    @property
    def count(self) -> int:
        return len(self.requests)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.body for request in self.requests]

    def __enter__(self) -> "FakeOpenAI":
        self._thread.start()
        assert self._ready.wait(10), "the fake server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        asyncio.set_event_loop(None)

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/models", self._list_models)
        self.add_routes(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        port = runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    def add_routes(self, app: web.Application) -> None:
        """More of the API; see fake_batches.py."""

    async def _list_models(self, request: web.Request) -> web.Response:
        self.model_lists += 1
        if self._models is None:
            return web.json_response({"error": {"message": "no such path"}}, status=404)
        return web.json_response({"object": "list", "data": list(self._models)})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        behaviour = self._note(request, body, authorized=bool(key))
        try:
            await asyncio.sleep(self._delay + behaviour.delay)
            return await self._behave(request, behaviour, {"key": key, "model": body["model"]})
        finally:
            self.in_flight -= 1

    def _note(self, request: web.Request, body: dict[str, Any], *, authorized: bool) -> Behaviour:
        with self._lock:
            behaviour = self.pick(body, len(self.requests))
            team = request.headers.get("X-Prime-Team-ID")
            self.requests.append(Received(body, authorized, team))
            self.connections.add(request.transport.get_extra_info("peername"))
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
        return ok(behaviour) if isinstance(behaviour, str) else behaviour

    def pick(self, body: dict[str, Any], index: int) -> Answer:
        script = self._script
        if isinstance(script, str | Behaviour):
            return script
        if callable(script):
            return script(body)
        return script[min(index, len(script) - 1)]

    async def _behave(
        self, request: web.Request, behaviour: Behaviour, names: dict[str, str]
    ) -> web.StreamResponse:
        if behaviour.kind == "reset":
            request.transport.abort()
        if behaviour.kind == "hang":
            await self._over.wait()
        text = behaviour.body
        for name, value in names.items():
            text = text.replace("{" + name + "}", value)
        data = text.encode()
        headers = {"Content-Type": behaviour.content_type, **behaviour.headers}
        if behaviour.kind != "cut":
            return web.Response(status=behaviour.status, body=data, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        request.transport.abort()
        return response

"""`POST {base_url}/chat/completions`, one attempt at a time, over one session of aiohttp."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import orjson

from kernelsift.errors import ConfigError
from kernelsift.llm.backoff import Clock, retry_after_seconds
from kernelsift.llm.prices import Price, from_list, from_models
from kernelsift.llm.redact import Secret
from kernelsift.llm.reply import Parsed, Usage, parse_body
from kernelsift.llm.wire import ServiceError, read_error
from kernelsift.model import FailureClass

if TYPE_CHECKING:
    import aiohttp

_MODELS_SECONDS: Final = 15.0
_NO_CREDIT: Final = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one OpenAI-compatible service."""

    base_url: str
    """Up to and without `/chat/completions`, e.g. `https://api.openai.com/v1`."""
    model: str
    key: Secret = field(default_factory=lambda: Secret(""))
    """Sent as `Authorization: Bearer`; empty sends none."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that the key is read from; only for messages."""
    team: str | None = None
    """Prime Intellect's team that pays, sent as `X-Prime-Team-ID`."""
    price: Price | Literal["list"] | None = None
    """The user's own price, or `list` for the provider's list price at any address."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
            raise ConfigError(
                f"{self.base_url!r} is not the address of a service; "
                "it looks like https://api.openai.com/v1"
            )
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        object.__setattr__(self, "team", Secret(self.team or "", name="the team id").reveal())


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, the key scrubbed from it."""

    status: int
    content_type: str
    retry_after: float | None
    """Seconds that the service asks to be left alone; None if it does not say."""
    body: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an attempt gave no usable answer."""

    failure: FailureClass
    why: str
    maybe_billed: bool = False
    """The request may have been worked on, and the answer is gone."""
    reached: bool = True
    """False when not even a connection came about."""
    retry: bool = True
    retry_after: float | None = None
    error: ServiceError | None = None
    """Set for 400 and 422: perhaps it is only a parameter that is not supported."""
    unknown_model: bool = False
    denied: bool = False
    """The key, the team or the account is refused: no request will ever succeed."""
    usage: Usage | None = None
    """What an answer that is of no use has used, if it says so."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent beside chats: to the lists of files and batches."""

    method: Literal["GET", "POST"]
    path: str
    """Below the base URL, quoted, with its query."""
    body: bytes | None = None
    file: tuple[str, bytes] | None = None
    """Name and content of a file of requests, sent as a form."""
    into: IO[bytes] | None = None
    seconds: float = 60.0

    def form(self) -> "aiohttp.Payload":
        """The form that uploads the file."""
        import aiohttp

        assert self.file is not None
        name, content = self.file
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("purpose", "batch")
        form.add_field("file", content, filename=name, content_type="application/jsonl")
        return form()


class Service:
    """One endpoint with its open connections."""

    def __init__(self, endpoint: Endpoint, session: "aiohttp.ClientSession", clock: Clock) -> None:
        """Talk to `endpoint` through `session`, which carries the headers."""
        from yarl import URL  # comes with aiohttp

        self.endpoint = endpoint
        self._session = session
        self._clock = clock
        self._url = URL(endpoint.base_url + "/chat/completions")
        self._proxy = _proxy(endpoint.base_url)

    async def post(self, body: bytes) -> Answer | Trouble:
        """Send one request and read its answer whole."""
        import aiohttp

        began = self._clock.now()
        try:
            async with self._session.post(
                self._url, data=body, proxy=self._proxy, allow_redirects=False
            ) as response:
                read = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._broken(error)
        return self._answer(response, read, began)

    async def call(self, request: Request) -> Answer | Trouble:
        """Send a request to another path than a chat's, and read its answer.

        With `into`, the body of a success is written there as it comes, the key not scrubbed from
        it.
        """
        import aiohttp
        from yarl import URL

        began = self._clock.now()
        data = request.form() if request.file is not None else request.body
        kind = {"Content-Type": data.content_type} if isinstance(data, aiohttp.Payload) else {}
        url = URL(self.endpoint.base_url + request.path, encoded=True)
        try:
            async with self._session.request(
                request.method,
                url,
                data=data,
                headers=kind,
                proxy=self._proxy,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.seconds),
            ) as response:
                read = b""
                if request.into is None or not 200 <= response.status < 300:
                    read = await response.read()
                else:
                    async for chunk in response.content.iter_chunked(1 << 18):
                        request.into.write(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._broken(error)
        return self._answer(response, read, began)

    def _answer(self, response: "aiohttp.ClientResponse", read: bytes, began: float) -> Answer:
        headers = response.headers
        return Answer(
            status=response.status,
            content_type=headers.get("Content-Type", ""),
            retry_after=retry_after_seconds(headers.get("Retry-After"), self._clock),
            body=self.endpoint.key.scrub_bytes(read),
            seconds=self._clock.now() - began,
        )

    async def models(self) -> list[Any]:
        """Return the items of `GET {base_url}/models`; empty when there is no such list."""
        import aiohttp

        url = self.endpoint.base_url + "/models"
        limit = aiohttp.ClientTimeout(total=_MODELS_SECONDS)
        try:
            async with self._session.get(
                url, proxy=self._proxy, allow_redirects=False, timeout=limit
            ) as response:
                body = await response.read()
            fields = orjson.loads(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return []
        data = fields.get("data") if isinstance(fields, dict) else fields
        return data if isinstance(data, list) else []

    def _broken(self, error: Exception) -> Trouble:
        """Name a failure by its type. Its own text is not used where it could show headers."""
        import aiohttp

        name = type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            why = f"no connection to {self.endpoint.base_url} ({self._words(error)})"
            return Trouble("network", why, reached=False)
        if isinstance(error, TimeoutError):
            return Trouble("timeout", "no answer in time", maybe_billed=True)
        if isinstance(error, aiohttp.ClientPayloadError):
            return Trouble("bad-body", "the answer was cut off", maybe_billed=True)
        if isinstance(error, aiohttp.ClientResponseError):
            return Trouble("bad-body", f"the answer is not HTTP ({name})", maybe_billed=True)
        why = f"the connection broke off ({self._words(error)})"
        return Trouble("network", why, maybe_billed=True)

    def _words(self, error: Exception) -> str:
        inner = getattr(error, "os_error", error)
        words = getattr(inner, "strerror", None) or type(error).__name__
        return self.endpoint.key.scrub(str(words))


@asynccontextmanager
async def open_service(
    endpoint: Endpoint, *, deadline: float, connect: float, clock: Clock
) -> AsyncIterator[Service]:
    """Open the session to an endpoint.

    Args:
        endpoint: Where to, with the key.
        deadline: Seconds for a whole request.
        connect: Seconds for a connection, name lookup and TLS included.
        clock: For the dates in `Retry-After`.
    """
    import aiohttp

    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key.reveal()}"
    if endpoint.team:
        headers["X-Prime-Team-ID"] = endpoint.team
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),  # the limiter is the only limit
        timeout=aiohttp.ClientTimeout(total=deadline, connect=connect),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    async with session:
        yield Service(endpoint, session, clock)


def read_answer(answer: Answer, endpoint: Endpoint) -> Parsed | Trouble:
    """Return the completion in an answer, or what went wrong."""
    if answer.status != 200:
        return _refused(answer, answer.status, endpoint)
    parsed = parse_body(answer.body, answer.content_type)
    if isinstance(parsed, Parsed):
        return parsed
    if parsed.status != 200:
        found = _refused(answer, parsed.status, endpoint)
        return replace(found, error=None, unknown_model=False, usage=parsed.usage)
    return Trouble("bad-body", parsed.why, maybe_billed=True, usage=parsed.usage)


def refused(answer: Answer, endpoint: Endpoint) -> Trouble:
    """Return what an answer means that is no success."""
    return _refused(answer, answer.status, endpoint)


async def find_price(service: Service) -> Price | None:
    """Return a model's price: by the service, the user or the price list; None when not known."""
    endpoint = service.endpoint
    price = from_models(await service.models(), endpoint.model)
    if price is None and isinstance(endpoint.price, Price):
        price = endpoint.price
    if price is None:
        anywhere = endpoint.price == "list"
        price = from_list(endpoint.base_url, endpoint.model, any_host=anywhere)
    return price


def no_price(endpoint: Endpoint) -> ConfigError:
    """What is said where a cap on money is set and the price is not known."""
    return ConfigError(
        f"--max-usd is set, but no price is known for {endpoint.model} at "
        f"{endpoint.base_url}; give it with --price INPUT,OUTPUT (USD per million tokens), "
        "or use --max-requests instead"
    )


def _refused(answer: Answer, status: int, endpoint: Endpoint) -> Trouble:
    """Return what an answer that is no success means, by its status and code alone."""
    error = read_error(answer.body)
    why = f"HTTP {status}: {error.message}"
    if status == 403 and error.flagged:
        return Trouble("refusal", why, retry=False)
    if status in {401, 402, 403} or (status == 429 and error.code in _NO_CREDIT):
        why = _denied(status, error, endpoint)
        return Trouble("bad-request", why, retry=False, denied=True)
    if status == 429:
        return Trouble("rate-limit", why, retry_after=answer.retry_after)
    if status == 408:
        return Trouble("timeout", why)
    if status >= 500 or status in {409, 425}:
        return Trouble("server", why, retry_after=answer.retry_after)
    unknown = status == 404 or error.code == "model_not_found"
    doubtful = error if status in {400, 422} else None
    return Trouble("bad-request", why, retry=False, error=doubtful, unknown_model=unknown)


def _denied(status: int, error: ServiceError, endpoint: Endpoint) -> str:
    # A service may show part of a key, masked in its own way.
    said = re.sub(r"\b(sk|pit|key)[-_][\w*.\-]+", "***", error.message)
    if status in {402, 429}:
        todo = "add credit to the account"
        todo += ", or choose the team that pays" if endpoint.team else ""
    elif not endpoint.key:
        todo = f"set {endpoint.key_variable} to a key of this service"
    elif status == 401:
        todo = f"check the key in {endpoint.key_variable}"
    else:
        todo = f"check that the key in {endpoint.key_variable} may use {endpoint.model}"
        todo += f" and belongs to team {endpoint.team}" if endpoint.team else ""
    return (
        f"{endpoint.base_url} refused the request (HTTP {status}: {said}); {todo}, then run the "
        "same command again; `--judge static` needs no key"
    )


def _proxy(base_url: str) -> str | None:
    """Return the proxy that the environment names for this address; never one for this machine."""
    from ipaddress import ip_address
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(base_url)
    host = url.hostname or ""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local or proxy_bypass(host):
        return None
    return getproxies().get(url.scheme)

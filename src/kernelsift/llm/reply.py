"""Read the body of a successful answer."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from kernelsift.llm.wire import read_error

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_MOST: Final = 10**12
"""No count and no cost is taken to be more."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer used, as the service counts it."""

    input_tokens: int = 0
    """Cached tokens included."""
    output_tokens: int = 0
    """Reasoning tokens included."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    """What the service itself says the answer cost."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The parts of a body that are needed; the first choice only."""

    text: str
    finish_reason: str
    refusal: str | None
    model: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A body that holds no answer."""

    why: str
    usage: Usage | None = None
    status: int = 200
    """The status that the body itself gives, where a gateway hides an error behind 200."""


def parse_body(body: bytes, content_type: str) -> Parsed | Unusable:
    """Read a body as a chat completion."""
    if content_type and "json" not in content_type:
        return Unusable(f"the answer is {content_type}, not JSON: {read_error(body).message}")
    try:
        fields = _loads(body)
    except (ValueError, RecursionError):
        return Unusable(f"the answer is not JSON, {len(body)} bytes")
    if not isinstance(fields, dict):
        return Unusable(f"the answer is a JSON {type(fields).__name__}, not an object")
    usage = _usage(fields.get("usage"))
    choices = fields.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return _no_choice(fields, body, usage)
    return _parsed(fields, choice, message, usage)


def _parsed(
    fields: Mapping[str, Any],
    choice: Mapping[str, Any],
    message: Mapping[str, Any],
    usage: Usage | None,
) -> Parsed | Unusable:
    finish = choice.get("finish_reason") or ""
    if finish == "error":
        return Unusable("the service broke off the answer", usage, 500)
    refusal = message.get("refusal")
    text = _text(message.get("content"))
    if refusal is None and finish == "content_filter":
        refusal = "stopped by the service's content filter"
    model = fields.get("model")
    return Parsed(
        text=text,
        finish_reason=finish if isinstance(finish, str) else str(finish),
        refusal=str(refusal) if refusal else None,
        model=model if isinstance(model, str) else "",
        usage=usage,
    )


def _no_choice(fields: Mapping[str, Any], body: bytes, usage: Usage | None) -> Unusable:
    error = fields.get("error")
    if not error:
        return Unusable("the answer has no choices", usage)
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Unusable(read_error(body).message, usage, status)


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def _text(content: object) -> str:
    """Return the text of a message: a string, nothing, or a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        return ""
    return content if content.isascii() else _HALF_PAIR.sub("\ufffd", content)


def _usage(fields: object) -> Usage | None:
    if not isinstance(fields, dict) or "prompt_tokens" not in fields:
        return _cost_only(fields)
    read = fields.get("prompt_tokens_details") or {}
    wrote = fields.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=_count(fields, "prompt_tokens"),
        output_tokens=_count(fields, "completion_tokens"),
        cached_tokens=_count(read, "cached_tokens"),
        cache_write_tokens=_count(read, "cache_write_tokens"),
        reasoning_tokens=_count(wrote, "reasoning_tokens"),
        cost_usd=_cost(fields),
    )


def _cost_only(fields: object) -> Usage | None:
    cost = _cost(fields) if isinstance(fields, dict) else None
    return None if cost is None else Usage(cost_usd=cost)


def _count(fields: object, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return min(max(0, value), _MOST) if type(value) is int else int(_money(value) or 0)


def _cost(fields: Mapping[str, Any]) -> float | None:
    cost = _money(fields.get("cost"))
    details = fields.get("cost_details")
    if cost is not None and fields.get("is_byok") is True and isinstance(details, dict):
        # With the user's own provider key the gateway's `cost` is its fee only.
        cost += _money(details.get("upstream_inference_cost")) or 0.0
    return cost


def _money(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST else None

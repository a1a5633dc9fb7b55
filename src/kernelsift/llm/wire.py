"""What a service said was wrong, and which parameters one model does not take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from kernelsift.errors import ConfigError
from kernelsift.llm.chat import TOKEN_LIMITS

_UNSUPPORTED: Final = {
    "unsupported_parameter",
    "unsupported_value",
    "unknown_parameter",
    "extra_forbidden",
}
_SAYS_NOTHING: Final = {"", "400", "422", "invalid_request_error", "BadRequestError"}
_SHOWN: Final = 300
"""Characters of a service's own words in a message."""


@dataclass(frozen=True, slots=True)
class ServiceError:
    """The body of an answer that is not a success, in any of the shapes in use."""

    message: str
    code: str = ""
    param: str = ""
    flagged: bool = False
    """The input was stopped by moderation: the row is at fault, not the key."""


def read_error(body: bytes) -> ServiceError:
    """Read the body of an error answer; whatever it is, it gives a message."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ServiceError(_short(body.decode("utf-8", "replace")))
    if not isinstance(parsed, dict):
        return ServiceError(_short(str(parsed)))
    if "detail" in parsed:
        return _from_detail(parsed["detail"])
    inner = parsed.get("error", parsed)
    if not isinstance(inner, dict):
        return ServiceError(_short(str(inner)))
    return _from_fields(inner)


def _from_fields(fields: Mapping[str, Any]) -> ServiceError:
    metadata = fields.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if isinstance(raw := metadata.get("raw"), str) and raw.startswith("{"):
        inner = read_error(raw.encode("utf-8", "replace"))
        if inner.message:
            return inner
    return ServiceError(
        message=_short(str(fields.get("message") or "")),
        code=str(fields.get("code") or ""),
        param=str(fields.get("param") or ""),
        flagged="flagged_input" in metadata,
    )


def _from_detail(detail: object) -> ServiceError:
    first = detail[0] if isinstance(detail, list) and detail else detail
    if not isinstance(first, dict):
        return ServiceError(_short(str(first)))
    place = first.get("loc")
    names = [str(part) for part in place] if isinstance(place, list) else []
    param = next((name for name in names if name != "body"), "")
    message = f"{'.'.join(names)}: {first.get('msg', '')}"
    return ServiceError(_short(message), str(first.get("type") or ""), param)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


class Dialect:
    """Which parameters a model at an endpoint refuses, and what is sent instead.

    Kept as a mapping from a parameter to its replacement: another parameter's name for the cap on
    output tokens, `json_object` for `response_format`, the empty string for nothing.
    """

    def __init__(self, dropped: Mapping[str, str], *, keep_token_limit: bool) -> None:
        """Begin with what is known.

        Args:
            dropped: What an earlier run has learned.
            keep_token_limit: A money cap depends on the cap on output tokens.
        """
        self.dropped = dict(dropped)
        self._keep_token_limit = keep_token_limit
        self._refused: set[str] = set()
        self._accepted: set[str] = set()

    def body(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the body to send for the body asked for."""
        if not self.dropped:
            return asked
        sent: dict[str, Any] = {}
        for name, value in asked.items():
            instead = self.dropped.get(name, name)
            if instead == "json_object":
                sent[name] = {"type": "json_object"}
            elif instead:
                sent[instead] = value
        return sent

    def accept(self, sent: Mapping[str, Any]) -> None:
        """Note that a body was answered: from now on a vague complaint is about its row."""
        if not sent.keys() <= self._accepted:
            self._accepted.update(sent)

    def learn(self, error: ServiceError, sent: Mapping[str, Any]) -> bool:
        """Stop sending what the service refuses. False if the complaint is about something else.

        Raises:
            ConfigError: No cap on output tokens is accepted, and a money cap depends on it.
        """
        name = self._complaint(error, sent)
        if name is None:
            return False
        if name in TOKEN_LIMITS:
            self._swap_limit(name)
        elif name == "response_format":
            kind = sent[name]["type"]
            if kind == "json_object" or self.dropped.get(name) != "":
                self.dropped[name] = "json_object" if kind == "json_schema" else ""
        else:
            self.dropped[name] = ""
        return True

    def _swap_limit(self, name: str) -> None:
        first, second = TOKEN_LIMITS
        if name in self._refused:
            return
        self._refused.add(name)
        if self._refused >= {first, second}:
            if self._keep_token_limit:
                raise ConfigError(
                    f"the service takes neither {first} nor {second}, so --max-usd cannot be "
                    "held; use another model, or run without --max-usd"
                )
            self.dropped[first] = ""
        elif name == first:
            self.dropped[first] = second
        else:
            self.dropped.pop(first, None)

    def _complaint(self, error: ServiceError, sent: Mapping[str, Any]) -> str | None:
        """Return the parameter of ours that is not supported."""
        certain = error.code in _UNSUPPORTED
        if not certain and error.code not in _SAYS_NOTHING:
            return None
        names = [name for name in sent if name not in {"model", "messages"}]
        named = error.param.split(".")[0]
        found = [named] if named in names else _mentioned(names, error.message)
        for name in found:
            about_row = name in self._accepted or _is_about_size(name, sent, error.message)
            if certain or not about_row:
                return name
        return None


def _mentioned(names: list[str], message: str) -> list[str]:
    """Return the names that a message gives in quotes, or plainly if they have an underscore."""
    found = []
    for name in names:
        quoted = rf"[`'\"]{re.escape(name)}(?:[.\[][^`'\"]*)?[`'\"]"
        plain = rf"\b{re.escape(name)}\b" if "_" in name else quoted
        hit = re.search(quoted, message) or re.search(plain, message)
        if hit:
            found.append((hit.start(), name))
    return [name for _, name in sorted(found)]


def _is_about_size(name: str, sent: Mapping[str, Any], message: str) -> bool:
    """Tell `max_tokens is too large: 4096` from a service that does not know the parameter."""
    return name in TOKEN_LIMITS and re.search(rf"\b{sent[name]}\b", message) is not None

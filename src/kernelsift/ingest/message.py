"""Conversations, in every form that writers have given them, to lists of messages."""

from typing import Any

from kernelsift.ingest.decode import decode

_PLACEHOLDERS = {
    "image_url": "[image]",
    "input_image": "[image]",
    "input_audio": "[audio]",
}


class RefusedError(ValueError):
    """A value has no reading in the schema. Its message is the reason of the bad row."""


def parse_messages(value: object, field: str, role: str) -> list[dict[str, Any]]:
    """Return the messages of a `prompt` or `completion` value.

    A text is one message by `role`, unless it is the JSON of a conversation. A message keeps all
    its keys, `reasoning_content` among them; keys that are null are left out, because typed
    sources have them for every message. Raises RefusedError for what cannot be read.
    """
    if value is None:
        return []
    if isinstance(value, str):
        found = _messages_in_text(value)
        return parse_messages(found, field, role) if found is not None else [_said(role, value)]
    if isinstance(value, dict):
        value = _rows_of_columns(value)
    if not isinstance(value, list):
        raise RefusedError(f"{field} is {type(value).__name__}, not a list of messages")
    return [_message(item, f"{field}[{at}]") for at, item in enumerate(value)]


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _messages_in_text(text: str) -> list[Any] | None:
    """Return the conversation that a text is the JSON of, or None for ordinary text."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = decode(text)
    except ValueError:
        return None
    found = value if isinstance(value, list) else [value]
    return found if all(isinstance(item, dict) and "role" in item for item in found) else None


def _rows_of_columns(value: dict[str, Any]) -> list[Any]:
    """Return the messages of one message, or of a struct of lists, as older `datasets` wrote it."""
    columns = {key: items for key, items in value.items() if isinstance(items, list)}
    if not isinstance(value.get("role"), list):
        return [value]
    return [
        dict(zip(columns, items, strict=False)) for items in zip(*columns.values(), strict=False)
    ]


def _message(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(f"{where} is {type(value).__name__}, not a message")
    if not isinstance(value.get("role"), str):
        raise RefusedError(f"{where} has no role")
    message = {key: item for key, item in value.items() if item is not None}
    message["content"] = _text(value.get("content"), where)
    if "tool_calls" in message:
        message["tool_calls"] = _tool_calls(message["tool_calls"])
    return message


def _text(content: object, where: str) -> str:
    """Return a content as text; parts are joined by a line end, so that none sticks to the next."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise RefusedError(f"{where}.content is {type(content).__name__}, not text")
    return "\n".join(_part(part, where) for part in content)


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise RefusedError(f"{where}.content holds {type(part).__name__}, not a content part")
    text, kind = part.get("text"), part.get("type")
    if isinstance(text, str):
        return text
    if not isinstance(kind, str):
        raise RefusedError(f"{where}.content holds a part with neither text nor type")
    return "" if kind == "text" else _PLACEHOLDERS.get(kind, f"[{kind}]")


def _tool_calls(value: object) -> object:
    """Return the calls as objects; verifiers up to 0.1.10 wrote each as JSON text."""
    if isinstance(value, str):
        value = _object_in(value, list)
    if not isinstance(value, list):
        return value
    return [_object_in(call, dict) if isinstance(call, str) else call for call in value]


def _object_in(text: str, kind: type) -> object:
    """Return the list or object that `text` is the JSON of, or the text itself."""
    try:
        value = decode(text)
    except ValueError:
        return text
    return value if isinstance(value, kind) else text

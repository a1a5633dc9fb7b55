"""JSON text to values, including the NaN and Infinity that Python's own writer emits."""

import json
from typing import Any

import orjson


def decode(text: bytes | str) -> Any:
    """Return the JSON value of `text`.

    Raises ValueError where it is no JSON, no UTF-8, or nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if not _may_hold_nan(text):
            raise
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decoded_object(value: object) -> dict[str, Any]:
    """Return the object that `value` is, or holds as JSON text; an empty one for all else."""
    if isinstance(value, str):
        try:
            value = decode(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _may_hold_nan(text: bytes | str) -> bool:
    if isinstance(text, str):
        return "NaN" in text or "Infinity" in text
    return b"NaN" in text or b"Infinity" in text

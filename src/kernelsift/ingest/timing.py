"""Durations in milliseconds out of the `timing` that verifiers writes, in all its forms."""

import math
from typing import Any

from kernelsift.ingest.decode import decoded_object

_NAMES = ("generation", "scoring", "total")


def durations_ms(timing: object) -> dict[str, float]:
    """Return what is known of generation_ms, scoring_ms and total_ms, in milliseconds.

    verifiers 0.1.10 wrote milliseconds, 0.1.14 seconds and spans of seconds, 0.4 spans only. A
    span that was never entered (start and end 0) is no measurement and is left out.
    """
    fields = decoded_object(timing)
    found = {f"{name}_ms": _duration_ms(fields, name) for name in _NAMES}
    if found["generation_ms"] is None:
        found["generation_ms"] = _milliseconds(_span_seconds(fields.get("agent")))
    if found["total_ms"] is None:
        found["total_ms"] = _milliseconds(_elapsed_seconds(fields))
    return {name: value for name, value in found.items() if value is not None}


def _duration_ms(fields: dict[str, Any], name: str) -> float | None:
    given = _number(fields.get(f"{name}_ms"))
    return given if given is not None else _milliseconds(_span_seconds(fields.get(name)))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else _number(seconds * 1000)


def _span_seconds(span: object) -> float | None:
    if not isinstance(span, dict):
        return _number(span)
    duration = _number(span.get("duration"))
    start, end = _number(span.get("start")), _number(span.get("end"))
    if duration is not None or start is None or end is None:
        return duration
    return end - start if end >= start and end > 0 else None


def _elapsed_seconds(fields: dict[str, Any]) -> float | None:
    """Return the time from `start` to the end of the last span, as far as 0.4 recorded it."""
    start = _number(fields.get("start"))
    ends = [_number(span.get("end")) for span in fields.values() if isinstance(span, dict)]
    last = max((end for end in ends if end is not None), default=0.0)
    return last - start if start is not None and last > start else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

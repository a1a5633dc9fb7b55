"""What a batch API reads and writes: a line per request, a line per result, a batch's state.

The shapes are OpenAI's (`POST /files`, `POST /batches`, `GET /batches/{id}`,
`GET /files/{id}/content`); other services copy them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from kernelsift.llm.chat import encode

ENDPOINT: Final = "/v1/chat/completions"
"""Where a batch's requests go, as every service with a batch API names it."""
INTENT: Final = "kernelsift_intent"
"""The key in a batch's metadata under which our own name for it stands."""
ENDED: Final = ("completed", "expired", "cancelled")
"""States in which there are results to fetch; `failed` has none."""
UNDER_WAY: Final = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch, as the service describes it."""

    id: str
    status: str
    intent: str
    """Our own name for it; empty where the service keeps no metadata."""
    input_file: str
    output_file: str
    """Ids of files with answers and with errors; empty while there is none."""
    error_file: str
    completed: int
    """Requests that were answered, and requests that were turned away, so far."""
    failed: int
    errors: tuple[str, ...]
    """What was wrong with the file, for a batch that has failed as a whole."""


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one request."""

    custom_id: str
    """As it was sent; empty where the line has none."""
    status: int
    """HTTP status of the answer; 0 where the request was never sent to the model."""
    body: bytes
    code: str
    """Why it was not sent: `batch_expired`, `batch_cancelled` …"""
    message: str


def request_line(custom_id: str, body: Mapping[str, Any]) -> bytes:
    """The line of one request, its end included."""
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return encode(line) + b"\n"


def creation(file_id: str, intent: str) -> bytes:
    """The body that makes a batch of an uploaded file."""
    return encode({
        "input_file_id": file_id,
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": {INTENT: intent},
    })


def read_object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object; empty where it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def read_batch(fields: object) -> BatchState | None:
    """A batch out of a service's answer; None where that is no batch."""
    if not isinstance(fields, dict) or not _text(fields, "id") or not _text(fields, "status"):
        return None
    metadata, counts = fields.get("metadata"), fields.get("request_counts")
    return BatchState(
        id=_text(fields, "id"),
        status=_text(fields, "status"),
        intent=_text(metadata, INTENT),
        input_file=_text(fields, "input_file_id"),
        output_file=_text(fields, "output_file_id"),
        error_file=_text(fields, "error_file_id"),
        completed=_count(counts, "completed"),
        failed=_count(counts, "failed"),
        errors=_errors(fields.get("errors")),
    )


def read_line(raw: bytes) -> Line | None:
    """A line of an output or error file; None where it is no JSON object (cut off)."""
    fields = read_object(raw)
    if not fields:
        return None
    response, error = fields.get("response"), fields.get("error")
    status = response.get("status_code") if isinstance(response, dict) else 0
    body = response.get("body") if isinstance(response, dict) else None
    return Line(
        custom_id=_text(fields, "custom_id"),
        status=status if isinstance(status, int) else 0,
        body=encode(body) if isinstance(body, dict) else str(body or "").encode(),
        code=_text(error, "code"),
        message=_text(error, "message"),
    )


def _errors(errors: object) -> tuple[str, ...]:
    listed = errors.get("data") if isinstance(errors, dict) else None
    said = []
    for one in listed if isinstance(listed, list) else ():
        line = one.get("line") if isinstance(one, dict) else None
        where = f"line {line}: " if isinstance(line, int) else ""
        text = _text(one, "message") or _text(one, "code")
        said.append(where + " ".join(text.split())[:300])
    return tuple(said)


def _text(fields: object, name: str) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""


def _count(fields: object, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return max(0, value) if type(value) is int else 0

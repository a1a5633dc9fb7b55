"""What a reader yields: a good row, or a row that cannot be used and why."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["rollouts", "modules"]
TEXT_LIMIT = 2_000
"""Characters of a bad row that are kept to show it."""
ROLLOUT_COLUMNS = (
    "example_id",
    "prompt",
    "completion",
    "task",
    "reward",
    "generation_ms",
    "scoring_ms",
    "total_ms",
    "info",
    "answer",
    "speedup_reward",
    "oai_tools",
)
"""The rollout schema, in its order. A repaired row has all of these keys."""
MODULE_COLUMNS = ("uuid", "module_name", "python_code", "triton_code")
"""The module schema. A shaped module row has all of these keys."""


@dataclass(frozen=True, slots=True)
class Row:
    """One good row."""

    origin: str
    """Where it is: `rollouts.jsonl:17` counts lines from 1, `x.parquet:row 17` and
    `owner/name@revision:train:17` count rows from 0, `traces.jsonl:3#branch1` names a branch."""
    data: dict[str, Any]
    """The row in the rollout (or module) schema; columns that the schema lacks are untouched."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why."""

    origin: str
    reason: str
    text: str
    """The raw line, or the row as JSON, cut to TEXT_LIMIT characters."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a row could not be brought into the schema."""

    reason: str


def bad_row(origin: str, reason: str, data: object) -> BadRow:
    """Return the bad row that shows `data` as JSON; the text can always be written as UTF-8."""
    try:
        text = json.dumps(data, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        text = "(this row cannot be shown as JSON)"
    return BadRow(origin, reason, text[:TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8"))


def bad_line(origin: str, reason: str, line: bytes) -> BadRow:
    """Return the bad row that shows a raw line; bytes that are no text are shown as U+FFFD."""
    return BadRow(origin, reason, line[: 4 * TEXT_LIMIT].decode("utf-8", "replace")[:TEXT_LIMIT])

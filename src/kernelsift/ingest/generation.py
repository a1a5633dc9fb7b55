"""Which writer, of which generation, a set of rows comes from."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from kernelsift.errors import DataError
from kernelsift.ingest.decode import decoded_object
from kernelsift.ingest.row import Kind

Format = Literal[
    "verifiers-0.1.5",  # and before
    "verifiers-0.1.6",  # to 0.1.8
    "verifiers-0.1.9",
    "verifiers-0.1.10",
    "verifiers-0.1.11",  # to 0.1.13
    "verifiers-0.1.14",  # to 0.3
    "verifiers-0.4-traces",
    "prime-rl-traces",
    "rollouts",
    "modules",
    "unknown",
]
WITHOUT_REASONING = frozenset({
    "verifiers-0.1.5",
    "verifiers-0.1.6",
    "verifiers-0.1.9",
    "verifiers-0.1.10",
})  # fmt: skip
"""Formats whose writer left the reasoning of the model out."""
_SINCE: tuple[tuple[tuple[int, ...], Format], ...] = (
    ((0, 4), "verifiers-0.4-traces"),
    ((0, 1, 14), "verifiers-0.1.14"),
    ((0, 1, 11), "verifiers-0.1.11"),
    ((0, 1, 10), "verifiers-0.1.10"),
    ((0, 1, 9), "verifiers-0.1.9"),
    ((0, 1, 6), "verifiers-0.1.6"),
    ((0,), "verifiers-0.1.5"),
)
_SECONDS = ("setup", "generation", "scoring", "model", "env", "total", "overhead")


def format_of(
    columns: Collection[str], rows: Sequence[Mapping[str, Any]], version: str | None = None
) -> Format:
    """Return the format of a source by its columns, a few raw rows and the version it names."""
    if "completion" not in columns and ("traces" in columns or "nodes" in columns):
        return "verifiers-0.4-traces"
    if "completion" not in columns and {"messages", "trace_id"} <= set(columns):
        return "prime-rl-traces"
    if not {"prompt", "completion", "reward"} <= set(columns):
        return "modules" if "python_code" in columns else "unknown"
    return _format_of_version(version) or _format_of_rollouts(columns, rows)


def require_columns(columns: Collection[str], kind: Kind, name: str) -> None:
    """Raise DataError, naming what is missing, if no row of the source can be good."""
    have = set(columns)
    traced = bool({"traces", "nodes"} & have)
    needed = {"prompt", "completion", "reward"}
    if kind == "modules":
        missing = (
            set()
            if traced or {"python_code", "info", "task_data", "code"} & have
            else {"python_code"}
        )
    elif traced or ("messages" in have and {"reward", "rewards"} & have):
        missing = set()
    else:
        missing = needed - have
    if missing:
        raise DataError(
            f"{name} has no column {_listed(missing)}; it has {_listed(have)}. "
            f"A source of {kind} needs {_listed({'python_code'} if kind == 'modules' else needed)}"
        )


def reasoning_note(form: Format, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the warning that a format lost the model's reasoning, unless the rows show some."""
    if form not in WITHOUT_REASONING or _shows_reasoning(rows):
        return None
    return (
        f"WARNING: written as verifiers 0.1.10 or older does ({form}): that writer leaves out "
        "reasoning_content, so the reasoning of the model is lost at the source"
    )


def _format_of_version(version: str | None) -> Format | None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:3])
    if not numbers:
        return None
    return next((form for since, form in _SINCE if numbers >= since), None)


def _format_of_rollouts(columns: Collection[str], rows: Sequence[Mapping[str, Any]]) -> Format:
    timings = [timing for row in rows if (timing := decoded_object(row.get("timing")))]
    in_ms = any("generation_ms" in timing for timing in timings)
    if not in_ms and any(name in timing for timing in timings for name in _SECONDS):
        return "verifiers-0.1.14"
    if "tool_defs" in columns:
        return "verifiers-0.1.11" if "task" in columns else "verifiers-0.1.14"
    if in_ms or {"stop_condition", "is_completed", "metrics"} <= set(columns):
        return "verifiers-0.1.11" if _shows_reasoning(rows) else "verifiers-0.1.10"
    if {"example_id", "generation_ms"} <= set(columns):
        return "verifiers-0.1.9" if "error" in columns else "verifiers-0.1.6"
    if "average_reward" in columns or ("example_id" not in columns and "task" in columns):
        return "verifiers-0.1.5"
    return "rollouts"


def _shows_reasoning(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(_reasons(message) for row in rows for message in _said(row))


def _said(row: Mapping[str, Any]) -> list[Any]:
    completion = row.get("completion")
    return completion if isinstance(completion, list) else [{"content": completion}]


def _reasons(message: object) -> bool:
    if not isinstance(message, dict):
        return False
    return bool(message.get("reasoning_content")) or "<think>" in str(message.get("content"))


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:30]
    return ", ".join(shown) + (", …" if len(names) > 30 else "") if names else "none"

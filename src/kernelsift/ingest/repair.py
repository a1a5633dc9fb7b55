"""One row of any verifiers generation, brought into the rollout or the module schema.

Repair is idempotent, and no metric ever overwrites a column of the schema. Columns outside of the
schema keep their key and their value.
"""

import math
from decimal import Decimal
from typing import Any

from kernelsift.ingest.decode import decode, decoded_object
from kernelsift.ingest.message import RefusedError, parse_messages
from kernelsift.ingest.row import MODULE_COLUMNS, ROLLOUT_COLUMNS, Unusable
from kernelsift.ingest.timing import durations_ms


def repair(data: dict[str, Any]) -> dict[str, Any] | Unusable:
    """Return the row in the rollout schema, all its columns present, or why it cannot be used.

    A row needs a prompt, a completion (which may be empty) and a finite reward.
    """
    try:
        columns = dict.fromkeys(ROLLOUT_COLUMNS) | data
        columns["prompt"] = parse_messages(_needed(data, "prompt"), "prompt", "user")
        columns["completion"] = parse_messages(_completion(data), "completion", "assistant")
        columns["reward"] = _reward(data.get("reward"))
        columns["info"] = _info(data.get("info"))
    except RefusedError as refused:
        return Unusable(str(refused))
    _fill(columns, durations_ms(data.get("timing")))
    if columns["speedup_reward"] is None:
        columns["speedup_reward"] = _speedup(data)
    return columns


def shape_module(data: dict[str, Any]) -> dict[str, Any] | Unusable:
    """Return the row with the columns of the module schema, or why it cannot be used.

    What the row itself lacks is taken from its `info`; only `python_code` must be there, which
    KernelBench calls `code`.
    """
    try:
        info = _info(data.get("info"))
    except RefusedError as refused:
        return Unusable(str(refused))
    known = {name: _first(data.get(name), info.get(name)) for name in MODULE_COLUMNS}
    if known["python_code"] is None and _defines_inputs(data.get("code")):
        known["python_code"] = data["code"]
    code = known["python_code"]
    if not isinstance(code, str) or not code.strip():
        what = "is empty" if code is None or isinstance(code, str) else "is not text"
        return Unusable(f"python_code {what}: the source of a PyTorch module is needed")
    return known | {key: value for key, value in data.items() if key not in known}


def _defines_inputs(code: object) -> bool:
    """Tell a module in the style of KernelBench from any other text that a column `code` holds."""
    return isinstance(code, str) and "def get_inputs" in code


def _first(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _fill(columns: dict[str, Any], known: dict[str, float]) -> None:
    for name, value in known.items():
        if columns[name] is None:
            columns[name] = value


def _needed(data: dict[str, Any], name: str) -> object:
    value = data.get(name)
    if value is None:
        raise RefusedError(f"the row has no {name}")
    return value


def _completion(data: dict[str, Any]) -> object:
    if "completion" not in data:
        raise RefusedError("the row has no completion")
    return data["completion"]


def _reward(value: object) -> float:
    if value is None:
        raise RefusedError("the row has no reward")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise RefusedError(f"reward is {str(value)[:80]!r}, which is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RefusedError(f"reward is {number}, which is not a finite number")
    return number


def _info(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = decode(value) if value.strip() else None
        except ValueError:
            raise RefusedError("info is text that is not JSON") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(f"info is {type(value).__name__}, not an object")
    return value


def _speedup(data: dict[str, Any]) -> float | None:
    """Return the speed-up that only `metrics` or `rewards` (verifiers 0.4) hold."""
    value = decoded_object(data.get("metrics")).get("speedup_reward")
    if value is None:
        value = decoded_object(data.get("rewards")).get("speedup_reward")
    if isinstance(value, dict):
        value = value.get("score")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value

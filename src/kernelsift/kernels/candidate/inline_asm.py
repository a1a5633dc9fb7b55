"""Inline PTX of kernels, for the elementwise instructions that kernels really use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64, "b8": np.uint8, "b16": np.uint16,
    "b32": np.uint32, "b64": np.uint64, "u8": np.uint8, "u16": np.uint16, "u32": np.uint32,
    "u64": np.uint64, "s8": np.int8, "s16": np.int16, "s32": np.int32, "s64": np.int64,
}  # fmt: skip
LAST = "not supported in interpreter mode"


def _wide(x: Any, y: Any, *rest: Any) -> Any:
    """A product (and a sum) rounded once."""
    exact = x.astype(np.float64) * y
    return exact + rest[0] if rest else exact


OPERATIONS: dict[str, Callable[..., Any]] = {
    "mov": lambda x: x, "cvt": lambda x: x, "add": np.add, "sub": np.subtract, "mul": np.multiply,
    "div": np.divide, "fma": _wide, "mad": lambda x, y, z: x * y + z, "neg": np.negative,
    "abs": np.abs, "min": np.fmin, "max": np.fmax, "sqrt": np.sqrt, "rcp": np.reciprocal,
    "rsqrt": lambda x: np.reciprocal(np.sqrt(x)), "ex2": np.exp2, "lg2": np.log2,
    "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "not": np.bitwise_not, "rem": np.fmod,
    "shl": np.left_shift, "shr": np.right_shift, "copysign": lambda x, y: np.copysign(y, x),
    "popc": getattr(np, "bitwise_count", np.abs),
}  # fmt: skip
COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
IGNORED = frozenset({"approx", "ftz", "rn", "rni", "lo", "sat", "full", "wide", "rzi", "rz", "uni"})
ROUNDED = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


class Results:
    """What the interpreter asks the results of."""

    def __init__(self, values: list[Any]) -> None:
        """`values`: handles, one per output."""
        self.values = values

    def get_result(self, number: int) -> Any:
        """One output."""
        return self.values[number]


def run(text: str, constraints: str, inputs: list[Any], outputs: list[Any]) -> list[Any]:
    """Return the output arrays of an elementwise block of PTX.

    `outputs`: the numpy types. NotImplementedError for anything that is not in the tables above.
    """
    if constraints.count("=") != len(outputs):
        raise NotImplementedError(f"inline assembly with constraints {constraints} is {LAST}")
    registers: dict[str, Any] = {f"${len(outputs) + i}": array for i, array in enumerate(inputs)}
    shape = np.broadcast_shapes(*(array.shape for array in inputs)) if inputs else ()
    for line in _instructions(text):
        _perform(line, registers)
    found = []
    for number, kind in enumerate(outputs):
        if f"${number}" not in registers:
            raise NotImplementedError(f"inline assembly that does not set ${number} is {LAST}")
        found.append(np.broadcast_to(_as(registers[f"${number}"], kind), shape).copy())
    return found


def _instructions(text: str) -> list[str]:
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    parts = [part.strip(" \t\r\n{}") for part in plain.split(";")]
    return [part for part in parts if part and not part.startswith(".reg")]


def _perform(line: str, registers: dict[str, Any]) -> None:
    match = re.fullmatch(r"(@!?[\w%$]+\s+)?([\w.]+)\s+(.*)", line, flags=re.DOTALL)
    if match is None or match[1]:
        raise NotImplementedError(f"inline assembly {line[:60]!r} is {LAST}")
    operation, *modifiers = match[2].split(".")
    target, *sources = [name.strip() for name in match[3].split(",")]
    types = [name for name in modifiers if name in TYPES]
    if not types:
        raise NotImplementedError(f"inline assembly {match[2]} without a type is {LAST}")
    kind: Any = TYPES[types[-1]]
    values = [_value(name, kind, registers) for name in sources]
    if operation == "setp":
        registers[target] = COMPARISONS[modifiers[0]](*values)
        return
    if operation == "selp":
        chosen = registers[sources[2]]
        registers[target] = np.where(chosen, values[0], values[1])
        return
    body = OPERATIONS.get(operation)
    if body is None or not set(modifiers) - TYPES.keys() - ROUNDED.keys() <= IGNORED:
        raise NotImplementedError(f"inline assembly {match[2]} is {LAST}")
    made = body(*values)
    if operation == "cvt" and len(types) == 2:
        made = _converted(made, modifiers, types)
        kind = TYPES[types[0]]
    if "sat" in modifiers and np.dtype(kind).kind == "f":
        made = np.clip(made, 0, 1)
    registers[target] = np.asarray(made).astype(kind)


def _converted(value: Any, modifiers: list[str], types: list[str]) -> Any:
    """A float that becomes an integer is rounded as the instruction says."""
    if np.dtype(TYPES[types[0]]).kind == "f":
        return value
    rounding = next((ROUNDED[name] for name in modifiers if name in ROUNDED), np.trunc)
    return rounding(value) if value.dtype.kind == "f" else value


def _value(name: str, kind: Any, registers: dict[str, Any]) -> Any:
    """A register as the instruction's type, or a number written out."""
    if name in registers:
        held = registers[name]
        return held if held.dtype == bool else _as(held, kind)
    if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", name):
        return np.array([int(f"0x{name[2:]}", 0)], dtype=np.uint32).view(np.float32)
    try:
        number = float(name) if np.dtype(kind).kind == "f" else int(name, 0)
    except ValueError:
        raise NotImplementedError(f"inline assembly with {name} is {LAST}") from None
    return np.asarray([number]).astype(kind)


def _as(array: Any, kind: Any) -> Any:
    """The same bits as another type of the same width."""
    wanted = np.dtype(kind)
    if array.dtype == wanted:
        return array
    if array.dtype.itemsize == wanted.itemsize:
        return np.ascontiguousarray(array).view(wanted)
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        return array.astype(wanted)
    raise NotImplementedError(f"inline assembly that mixes {array.dtype} and {wanted} is {LAST}")

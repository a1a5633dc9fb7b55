"""Arguments of a launch as plain values, with the names that the compiler has for their types.

What is no plain number or text becomes a dict with one key that says what it is:
`aligned` a tensor, `dtype` a type of Triton, `torch` a type of PyTorch, `function` a kernel handed
to a kernel, `tuple` its parts as (type, value), `repr` anything else.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.jit import mangle_type

PLAIN_TYPES = (type(None), bool, int, float, str)
ALIGNMENT = 16


def is_tensor(value: Any) -> bool:
    """Whether a kernel gets the value as a pointer."""
    return hasattr(value, "data_ptr")


def described(name: str, value: Any, constexprs: list[str]) -> tuple[str, str, Any]:
    """(name, type, value): type as the compiler names it, or `constexpr`."""
    if name in constexprs:
        return name, "constexpr", plain(value)
    return name, *_typed(value)


def _typed(value: Any) -> tuple[str, Any]:
    try:
        kind = str(mangle_type(value))
    except Exception:  # noqa: BLE001  any argument that the compiler has no name for
        kind = type(value).__name__
    if is_tensor(value):
        return kind, {"aligned": value.data_ptr() % ALIGNMENT == 0}
    return kind, plain(value)


def plain(value: Any) -> Any:
    """The value as a number, text, None, or a dict as above."""
    if type(value) in PLAIN_TYPES:
        return value
    if isinstance(value, tl.constexpr):
        return plain(value.value)
    if isinstance(value, tl.dtype) and type(value) is tl.dtype:
        return {"dtype": value.name}
    if isinstance(value, torch.dtype):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, interpreter.InterpretedFunction):
        return {"function": value.fn.__name__, "line": value.fn.__code__.co_firstlineno}
    if type(value) in {tuple, tl.tuple}:
        return {"tuple": [list(_typed(part)) for part in value]}
    return {"repr": repr(value)[:200]}

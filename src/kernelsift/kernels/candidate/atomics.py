"""Atomic updates that Triton's interpreter lacks: bfloat16, and those of tensor descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from triton.runtime import interpreter

from kernelsift.kernels.candidate.rounding import bf16_bits, bf16_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_native: dict[str, Any] = vars(interpreter)
_memory = _native["_interpreter"]
_ir = _native["_ir"]
_BF16: dict[str, Callable[[Any, Any], Any]] = {
    "FADD": lambda old, new: old + new,
    "XCHG": lambda _old, new: new,
    "MAX": np.fmax,
    "MIN": np.fmin,
}


def update_bf16(operation: Any, pointers: Any, values: Any, lanes: Any) -> Any:
    """The old values of one atomic update on bfloat16; `pointers` are real addresses.

    Lanes with one address are done one after the other. NotImplementedError for bitwise operations.
    """
    body = _BF16.get(operation.name)
    if body is None:
        text = f"atomic {operation.name} on bfloat16 not supported in interpreter mode"
        raise NotImplementedError(text)
    found = np.zeros(pointers.shape, dtype=np.float32).ravel()
    flat, given = pointers.ravel(), np.broadcast_to(values, pointers.shape).ravel()
    for turn in _turns(flat, np.broadcast_to(lanes, pointers.shape).ravel()):
        active = np.ones(turn.size, dtype=bool)
        nothing = np.zeros(turn.size, dtype=np.uint16)
        bits = _memory.load(flat[turn], active, nothing, np.dtype(np.uint16))
        found[turn] = bf16_values(bits)
        _memory.store(flat[turn], bf16_bits(body(found[turn], given[turn])), active)
    return found.reshape(pointers.shape)


def _turns(pointers: Any, lanes: Any) -> Iterator[Any]:
    """Positions of active lanes, each address at most once per turn."""
    left = np.flatnonzero(lanes)
    while left.size:
        _, first = np.unique(pointers[left], return_index=True)
        yield left[np.sort(first)]
        left = np.delete(left, first)


def reduction_of(kind: Any, dtype: Any) -> Any:
    """The atomic operation behind a descriptor's reduction."""
    name = kind.name
    if name == "ADD" and dtype.is_floating():
        name = "FADD"
    elif name in {"MIN", "MAX"} and dtype.is_int_unsigned():
        name = f"U{name}"
    found = getattr(_ir.ATOMIC_OP, name, None)
    if found is None:
        raise NotImplementedError(f"descriptor reduction {name} not supported in interpreter mode")
    return found

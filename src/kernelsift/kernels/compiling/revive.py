"""Arguments of a recorded launch as objects that Triton's compiler takes for the real ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
import triton.language as tl

from kernelsift.kernels.compiling.problems import CannotTryError

if TYPE_CHECKING:
    from collections.abc import Callable

TORCH_TYPES = {
    "i1": torch.bool, "i8": torch.int8, "i16": torch.int16, "i32": torch.int32,
    "i64": torch.int64, "u8": torch.uint8, "u16": torch.uint16, "u32": torch.uint32,
    "u64": torch.uint64, "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32,
    "fp64": torch.float64, "fp8e4nv": torch.float8_e4m3fn, "fp8e5": torch.float8_e5m2,
    "fp8e4b8": torch.float8_e4m3fnuz, "fp8e5b16": torch.float8_e5m2fnuz,
}  # fmt: skip
DESCRIPTOR = re.compile(r"tensordesc<(\w+)\[([\d, ]+)\]")
PLAIN_TYPES = (type(None), bool, int, float, str)


class StandIn:
    """A tensor as the compiler sees it: a type, and an address that 16 divides or not."""

    def __init__(self, dtype: Any, *, aligned: bool = True, shape: tuple[int, ...] = (1,)) -> None:
        self.dtype = dtype
        self.shape = shape
        self.address = 16 if aligned else 4

    def data_ptr(self) -> int:
        """An address of the alignment wanted; nothing is there."""
        return self.address

    def ptr_range(self) -> int:
        """Bytes behind the address, for AMD's backend: few."""
        return 0

    def stride(self) -> tuple[int, ...]:
        """As of a contiguous tensor."""
        steps = [1]
        for size in self.shape[:0:-1]:
            steps.insert(0, steps[0] * size)
        return tuple(steps)


def revive(kind: str, value: Any, function: Callable[[str, int], Any]) -> Any:
    """Return the argument; `function` finds a kernel by name and line.

    Raises:
        CannotTryError: it was recorded in words only, or its type has no name here.
    """
    if isinstance(value, PLAIN_TYPES):
        return value
    if not isinstance(value, dict) or not value:
        raise CannotTryError(f"an argument of type {kind}")
    tag = next(iter(value))
    if tag == "aligned" or kind.startswith("tensordesc"):
        return _tensor(kind, aligned=bool(value.get("aligned", True)))
    if tag == "dtype":
        return tl.dtype(str(value[tag]))
    if tag == "torch":
        return getattr(torch, str(value[tag]))
    if tag in {"function", "line"}:
        return function(str(value["function"]), int(value.get("line") or 0))
    if tag == "tuple":
        return tuple(revive(str(inner), part, function) for inner, part in value[tag])
    raise CannotTryError(f"the argument {str(value[tag])[:80]}")


def _tensor(kind: str, *, aligned: bool) -> Any:
    found = DESCRIPTOR.match(kind)
    if found is not None:
        return _descriptor(found[1], [int(size) for size in found[2].split(",")])
    name = kind.removeprefix("*").removeprefix("k")
    if not kind.startswith("*") or name not in TORCH_TYPES:
        raise CannotTryError(f"an argument of type {kind}")
    return StandIn(TORCH_TYPES[name], aligned=aligned)


def _descriptor(name: str, block: list[int]) -> Any:
    """A descriptor of a tensor with a few blocks in each dimension."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    shape = tuple(4 * size for size in block)
    base: Any = StandIn(TORCH_TYPES[name], shape=shape)
    return TensorDescriptor(base, list(shape), list(base.stride()), block)

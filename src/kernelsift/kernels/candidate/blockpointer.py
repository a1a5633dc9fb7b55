"""Block pointers, the same for all Tritons: newer ones have removed them, much code uses them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

if TYPE_CHECKING:
    from collections.abc import Callable

Handle: Any = interpreter.TensorHandle


@dataclasses.dataclass(frozen=True, slots=True)
class BlockPointer:
    """What `tl.make_block_ptr` returns: a window of a strided tensor."""

    base: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offsets: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def type(self) -> Any:
        """A pointer to a block, as the compiler has it: `p.type.element_ty.element_ty`."""
        return tl.pointer_type(tl.block_type(self.base.type.element_ty, list(self.block)))

    @property
    def dtype(self) -> Any:
        """The same: pointers are scalars. `v.to(p.dtype.element_ty)` casts to the element."""
        return self.type

    def advance(self, offsets: Any) -> BlockPointer:
        """The window moved by an offset per dimension."""
        moved = tuple(a + b for a, b in zip(self.offsets, _numbers(offsets), strict=True))
        return dataclasses.replace(self, offsets=moved)

    def lanes(self, checked: Any) -> tuple[Any, Any]:
        """Pointers of the block, and the mask of lanes inside along the checked dimensions."""
        kind = self.base.type.scalar
        width = max(1, kind.element_ty.primitive_bitwidth // 8)
        places = np.zeros(self.block, dtype=np.int64)
        inside = np.ones(self.block, dtype=bool)
        for dim, size in enumerate(self.block):
            shape = [1] * len(self.block)
            shape[dim] = size
            index = (self.offsets[dim] + np.arange(size)).reshape(shape)
            places = places + index * self.strides[dim]
            if dim in checked:
                inside &= (index >= 0) & (index < self.shape[dim])
        data = self.base.handle.data.ravel()[0] + (places * width).astype(np.uint64)
        pointers = tl.tensor(Handle(data, kind), tl.block_type(kind, list(self.block)))
        return pointers, tl.tensor(
            Handle(inside, tl.int1), tl.block_type(tl.int1, list(self.block))
        )


def _numbers(values: Any) -> tuple[int, ...]:
    """Plain integers of constants, constexprs and scalar tensors."""
    return tuple(int(getattr(value, "value", value)) for value in values)


def make_block_ptr(base: Any, *layout: Any, **named: Any) -> BlockPointer:
    """Replacement of `tl.make_block_ptr`."""
    given = dict(zip(("shape", "strides", "offsets", "block_shape", "order"), layout, strict=False))
    given |= named
    shape, strides, offsets, block = (
        _numbers(given[name]) for name in ("shape", "strides", "offsets", "block_shape")
    )
    return BlockPointer(base, shape, strides, offsets, block)


def advance(base: BlockPointer, offsets: Any, **_: Any) -> BlockPointer:
    """Replacement of `tl.advance`."""
    return base.advance(offsets)


def accepting_load(native: Callable[..., Any], note: Callable[[str], None]) -> Callable[..., Any]:
    """A `tl.load` that also takes block pointers."""

    def load(
        pointer: Any, *args: Any, boundary_check: Any = (), padding_option: Any = "", **kwargs: Any
    ) -> Any:
        if not isinstance(pointer, BlockPointer):
            return native(pointer, *args, **kwargs)
        note("block pointer")
        checked = _numbers(boundary_check)
        pointers, mask = pointer.lanes(checked)
        padding = getattr(padding_option, "value", padding_option)
        if not checked:
            return native(pointers, **kwargs)
        if not padding:
            return native(pointers, mask=mask, **kwargs)
        other = float("nan") if padding == "nan" else 0
        return native(pointers, mask=mask, other=other, **kwargs)

    return load


def accepting_store(native: Callable[..., Any], note: Callable[[str], None]) -> Callable[..., Any]:
    """A `tl.store` that also takes block pointers."""

    def store(pointer: Any, value: Any, *args: Any, boundary_check: Any = (), **kwargs: Any) -> Any:
        if not isinstance(pointer, BlockPointer):
            return native(pointer, value, *args, **kwargs)
        note("block pointer")
        pointers, mask = pointer.lanes(_numbers(boundary_check))
        return native(pointers, value, mask=mask, **kwargs)

    return store


def install(scope: Any, note: Callable[[str], None]) -> None:
    """Patch `triton.language` through the interpreter's own patch scope."""
    for module in (tl, tl.core):
        scope.set_attr(module, "load", accepting_load(module.load, note))
        scope.set_attr(module, "store", accepting_store(module.store, note))
        scope.set_attr(module, "make_block_ptr", make_block_ptr)
        scope.set_attr(module, "advance", advance)

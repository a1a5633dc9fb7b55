"""The interpreter's builder with a GPU's arithmetic, guarded memory and a record of stores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

from kernelsift.kernels.candidate import inline_asm
from kernelsift.kernels.candidate.atomics import reduction_of, update_bf16
from kernelsift.kernels.candidate.launches import Access, Log
from kernelsift.kernels.candidate.libdevice import apply_symbol
from kernelsift.kernels.candidate.memory import WINDOW_BITS
from kernelsift.kernels.candidate.rounding import (
    FP8,
    bf16_bits,
    bf16_values,
    fp8_bits,
    to_bf16,
    to_tf32,
)

Handle: Any = interpreter.TensorHandle
_native: dict[str, Any] = vars(interpreter)
_kernel_memory = _native["_interpreter"]
_TF32 = _native["_ir"].INPUT_PRECISION.TF32
_TO_ZERO = _native["_ir"].ROUNDING_MODE.RTZ
_RELAXED = _native["_ir"].MEM_SEMANTIC.RELAXED
_original_np_dtype = _native["_get_np_dtype"]
_original_validate = _native["_validate_np_data_size"]
_original_convert = _native["_convert_float"]

BF16: Any = tl.bfloat16
FLOAT32 = np.dtype(np.float32)
BOOL = np.dtype(bool)
POISON_INTEGER = 0x5BD1E995
_scalars = (tl.int1, tl.int8, tl.int16, tl.int32, tl.int64, tl.uint8, tl.uint16, tl.uint32,
            tl.uint64, tl.float16, tl.float32, tl.float64)  # fmt: skip
NUMPY_TYPES: dict[str, Any] = {kind.name: _original_np_dtype(kind) for kind in _scalars}
NUMPY_TYPES[BF16.name] = FLOAT32
ITEM_BYTES: dict[str, int] = {name: kind.itemsize for name, kind in NUMPY_TYPES.items()}
POINTER_TYPE = np.dtype(np.uint64)


def numpy_type(kind: Any) -> Any:
    """The numpy type that holds a Triton type; bfloat16 is held as float32."""
    if isinstance(kind, tl.pointer_type):
        return POINTER_TYPE
    if isinstance(kind, tl.block_type):
        return numpy_type(kind.element_ty)
    return NUMPY_TYPES.get(kind.name) or _original_np_dtype(kind)


def fits(array: Any, kind: Any) -> bool:
    """Whether an array's items are no wider than the Triton type they stand for."""
    width = ITEM_BYTES.get(kind.name)
    if width is None:
        return bool(_original_validate(array, kind))
    return bool(array.itemsize <= width)


def convert_float(data: Any, source: Any, target: Any, rounding: Any) -> Any:
    """Bit pattern conversion between float types, with bfloat16 held as float32."""
    if target.scalar.name in FP8:
        wide = data if source.scalar == BF16 else data.astype(np.float32, copy=False)
        if source.scalar.name in FP8:
            wide = _original_convert(data, source, tl.float32, rounding).view(np.float32)
        return fp8_bits(wide, FP8[target.scalar.name], towards_zero=rounding == _TO_ZERO)
    if BF16 not in (source.scalar, target.scalar):
        return _original_convert(data, source, target, rounding)
    if source.scalar == BF16:
        if target.scalar in {tl.float16, tl.float32, tl.float64}:
            return data.astype(numpy_type(target))
        return _original_convert(data, tl.float32, target, rounding)
    if source.scalar in {tl.float16, tl.float32, tl.float64}:
        return to_bf16(data.astype(np.float32))
    half = _original_convert(data, source, tl.float16, rounding).view(np.float16)
    return to_bf16(half.astype(np.float32))


def poison_of(kind: Any, value: float) -> Any:
    """The poison of a numpy type: the value itself, or a large odd integer."""
    if kind.kind == "f":
        return kind.type(value)
    if kind.kind == "b":
        return kind.type(1)
    return np.array([POISON_INTEGER], dtype=np.uint64).astype(kind)[0]


def _lanes(mask: Any) -> Any:
    """The array of a mask; block pointers of older Tritons hand over the bare array."""
    return mask if isinstance(mask, np.ndarray) else mask.data


class Builder(interpreter.InterpreterBuilder):  # type: ignore[misc]
    """Replaces the class of the interpreter's one builder; `log` is set at installation."""

    log: Log

    # memory

    def guard(self, handle: Any, mask: Any, width: int, kind: str) -> tuple[Any, Any, Any]:
        """Real addresses, lanes that may be touched, and the only region touched (or None)."""
        pointers = handle.data
        memory = self.log.memory
        mask = mask if mask.dtype == BOOL else mask.astype(bool)
        if not pointers.size:
            return pointers, mask, None
        region = memory.only(pointers, width)
        if region is not None:
            return pointers - region.delta, mask, region
        mask = np.broadcast_to(mask, pointers.shape)
        active = pointers[mask]
        if not active.size:
            return pointers, mask, None
        region = memory.only(active, width)
        if region is None:
            pointers = handle.data = memory.virtual(pointers)
            region = memory.only(pointers[mask], width)
        if region is not None:
            return pointers - region.delta, mask, region
        real, allowed, refused = memory.translate(pointers, mask, width)
        if refused is not None:
            self.report(pointers[refused], kind, width)
        return real, allowed, None

    def report(self, pointers: Any, kind: str, width: int) -> None:
        """Record refused lanes as out of range, with their distance from the storage."""
        first = int(pointers.ravel()[0])
        region = self.log.memory.windows.get(first >> WINDOW_BITS)
        details: dict[str, Any] = {"line": self.log.line(), "access": kind, "width": width}
        if region is not None:
            details |= {"argument": region.name, "offset": first - region.start}
            details["bytes"] = region.end - region.start
        self.log.place("oob", int(pointers.size), **details)

    def create_masked_load(
        self, ptrs: Any, mask: Any, other: Any, *_policy: Any, **_named: Any
    ) -> Any:
        """Load with guarded addresses; lanes without a value get the poison in force."""
        kind = ptrs.get_element_ty()
        wanted = _lanes(mask)
        held = numpy_type(kind)
        stored = np.dtype(np.uint16) if kind == BF16 else held
        real, lanes, region = self.guard(ptrs, wanted, stored.itemsize, "load")
        if other is not None:
            fill = np.broadcast_to(other.data, real.shape)
            fill = bf16_bits(fill) if kind == BF16 else fill.astype(held, copy=False)
        else:
            fill = self.undefined(real, wanted, kind, stored)
        log = self.log
        log.work["loaded_bytes"] += real.size * stored.itemsize
        if log.controls.sanitize:
            self.note("load", ptrs, lanes, stored.itemsize)
        lanes = np.broadcast_to(lanes, real.shape)
        log.use(lanes)
        values = _kernel_memory.load(real, lanes, fill, stored)
        if region is None and lanes is not wanted:
            self.spoil(values, wanted, lanes, kind)
        return Handle(bf16_values(values) if kind == BF16 else values, kind)

    def undefined(self, real: Any, mask: Any, kind: Any, stored: Any) -> Any:
        """What masked-off lanes without `other` hold; such lanes are counted."""
        off = mask.size - int(np.count_nonzero(mask))
        if not off:
            return np.zeros(real.shape, dtype=stored)
        self.log.place("masked", off, line=self.log.line(), access="load")
        value = self.log.controls.masked
        if value is None:
            return np.zeros(real.shape, dtype=stored)
        held = numpy_type(kind)
        fill = np.full(real.shape, poison_of(held, value), dtype=held)
        return bf16_bits(fill) if kind == BF16 else fill

    def spoil(self, values: Any, wanted: Any, allowed: Any, kind: Any) -> None:
        """Overwrite the lanes of refused loads with poison."""
        refused = np.broadcast_to(wanted, values.shape) & ~allowed
        if refused.any():
            held = numpy_type(kind)
            poison = poison_of(held, self.log.controls.poison)
            values[refused] = bf16_bits(np.array([poison]))[0] if kind == BF16 else poison

    def create_masked_store(self, ptrs: Any, value: Any, mask: Any, *_policy: Any) -> None:
        """Store with guarded addresses and remember which bytes were written."""
        kind = ptrs.get_element_ty()
        data = bf16_bits(value.data) if kind == BF16 else value.data
        width = data.itemsize
        real, lanes, region = self.guard(ptrs, _lanes(mask), width, "store")
        log = self.log
        log.work["stored_bytes"] += real.size * width
        lanes = np.broadcast_to(lanes, real.shape)
        log.use(lanes)
        if region is not None:
            region.note_store(ptrs.data, lanes, width)
        else:
            self.scatter(ptrs.data, lanes, width)
        if log.controls.sanitize:
            self.note("store", ptrs, lanes, width, data)
        _kernel_memory.store(real, np.broadcast_to(data, real.shape), lanes)

    def scatter(self, pointers: Any, lanes: Any, width: int) -> None:
        """Remember a store whose lanes lie in several storages."""
        windows = pointers >> np.uint64(WINDOW_BITS)
        for index in np.unique(windows[lanes]):
            region = self.log.memory.windows.get(int(index))
            if region is not None:
                region.note_store(pointers, lanes & (windows == index), width)

    def note(self, kind: str, ptrs: Any, lanes: Any, width: int, data: Any = None) -> None:
        """Record the lanes of an access for the sanitizer."""
        pointers = ptrs.data
        if not np.all(lanes):
            pointers = pointers[lanes]
            data = None if data is None else np.broadcast_to(data, lanes.shape)[lanes]
        if pointers.size:
            log = self.log
            window = int(pointers.flat[0]) >> WINDOW_BITS
            access = Access(kind, window, pointers, width, log.program, log.line(), data)
            log.accesses.append(access)
            log.accessed += pointers.size

    def create_atomic_rmw(self, operation: Any, ptr: Any, val: Any, mask: Any, *how: Any) -> Any:
        """Atomic update with guarded addresses."""
        if val.dtype.scalar == BF16:
            pointers, lanes = self.atomic(ptr, _lanes(mask), 2)
            old = update_bf16(operation, pointers.data, val.data, lanes.data)
            return Handle(old, BF16)
        pointers, lanes = self.atomic(ptr, _lanes(mask), val.data.itemsize)
        return super().create_atomic_rmw(operation, pointers, val, lanes, *how)

    def create_atomic_cas(self, ptr: Any, cmp: Any, val: Any, *how: Any) -> Any:
        """Atomic compare and swap with guarded addresses."""
        everywhere = np.ones(ptr.data.shape, dtype=bool)
        pointers, lanes = self.atomic(ptr, everywhere, val.data.itemsize, "lock")
        if not lanes.data.all():
            raise IndexError("atomic_cas out of range")
        return super().create_atomic_cas(pointers, cmp, val, *how)

    def create_descriptor_reduce(self, kind: Any, desc: Any, value: Any, indices: Any) -> None:
        """Atomic update of a block of a tensor descriptor."""
        pointers, mask = desc.materialize_pointers(indices)
        operation = reduction_of(kind, value.dtype.scalar)
        self.create_atomic_rmw(operation, pointers, value, mask, _RELAXED, None)

    def atomic(self, ptr: Any, mask: Any, width: int, kind: str = "atomic") -> tuple[Any, Any]:
        """Guard an atomic access and note it as a store; `kind` is for the sanitizer."""
        self.log.atomics = True
        real, lanes, region = self.guard(ptr, mask, width, "atomic")
        lanes = np.broadcast_to(lanes, real.shape)
        self.log.use(lanes)
        if region is not None:
            region.note_store(ptr.data, lanes, width)
        else:
            self.scatter(ptr.data, lanes, width)
        self.log.work["stored_bytes"] += real.size * width
        if self.log.controls.sanitize:
            self.note(kind, ptr, lanes, width)
        return Handle(real, ptr.dtype), Handle(lanes, tl.int1)

    # arithmetic

    def binary_op(self, lhs: Any, rhs: Any, op: Any) -> Any:
        """Elementwise operation; bfloat16 results are rounded."""
        left, right = lhs.data, rhs.data
        kind = lhs.dtype.scalar
        if left.dtype is BOOL and right.dtype is BOOL:
            return super().binary_op(lhs, rhs, op)
        result = op(left, right)
        if not fits(result, kind):
            result = result.astype(numpy_type(kind))
        if result.dtype.kind == "f":
            self.log.work["float_ops"] += result.size
            if kind == BF16:
                result = to_bf16(result)
        return Handle(result, kind)

    def unary_op(self, arg: Any, op: Any) -> Any:
        """Elementwise function; bfloat16 results are rounded."""
        result = op(arg.data)
        self.log.work["float_ops"] += result.size
        kind = arg.dtype.scalar
        if kind == BF16 and result.dtype == FLOAT32:
            result = to_bf16(result)
        return Handle(result, kind)

    def create_fma(self, x: Any, y: Any, z: Any) -> Any:
        """Fused multiply-add; bfloat16 is rounded once."""
        if z.dtype.scalar == BF16:
            return Handle(to_bf16(x.data * y.data + z.data), BF16)
        self.log.work["float_ops"] += 2 * z.data.size
        return super().create_fma(x, y, z)

    def create_fabs(self, arg: Any) -> Any:
        """Absolute value."""
        return self.unary_op(arg, np.abs)

    def create_rsqrt(self, arg: Any) -> Any:
        """Reciprocal square root."""
        return self.unary_op(arg, lambda data: np.reciprocal(np.sqrt(data)))

    def create_erf(self, arg: Any) -> Any:
        """Error function."""
        return self.unary_op(arg, lambda data: apply_symbol("__nv_erf", [data]))

    def create_dot(self, a: Any, b: Any, d: Any, input_precision: Any, imprecise: Any) -> Any:
        """Matrix product as tensor cores do it: TF32 inputs, sums in the accumulator's type."""
        left, right = a.data, b.data
        inner = left.shape[-1]
        flops = 2 * inner * math.prod(d.data.shape)
        self.log.work["dot_flops"] += flops
        if left.dtype.kind != "f" or right.dtype.kind != "f":
            if a.dtype.is_int():
                exact = np.matmul(left.astype(np.float64), right.astype(np.float64))
                return Handle(exact.astype(d.data.dtype) + d.data, d.dtype.scalar)
            return super().create_dot(a, b, d, input_precision, imprecise)
        if left.dtype == np.float64:
            return Handle(np.matmul(left, right) + d.data, d.dtype.scalar)
        rounds = self.log.controls.tf32 and input_precision == _TF32
        if rounds and a.dtype.scalar == tl.float32:
            self.log.work["tf32_flops"] += flops
            left, right = to_tf32(left), to_tf32(right)
        product = np.matmul(
            left.astype(np.float32, copy=False), right.astype(np.float32, copy=False)
        )
        total = product + d.data.astype(np.float32, copy=False)
        kind = d.dtype.scalar
        total = to_bf16(total) if kind == BF16 else total.astype(numpy_type(kind), copy=False)
        return Handle(total, kind)

    # conversions

    def cast_impl(self, src: Any, dst_type: Any) -> Any:
        """Conversion between numeric types."""
        target = dst_type.scalar
        self.log.rounded(src.dtype.scalar.name, target.name)
        data = src.data.astype(numpy_type(dst_type))
        return Handle(to_bf16(data) if target == BF16 else data, target)

    def create_fp_to_fp(self, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
        """Conversion between float types."""
        source, target = src.dtype.scalar, dst_type.scalar
        self.log.rounded(source.name, target.name)
        data = convert_float(src.data, source, target, rounding_mode)
        return Handle(data.view(numpy_type(dst_type)), target)

    def get_bf16(self, value: float) -> Any:
        """A bfloat16 constant."""
        return Handle(to_bf16(np.array([value], dtype=np.float32)), BF16)

    def create_bitcast(self, src: Any, dst_type: Any) -> Any:
        """Reinterpret the bits of a value."""
        data = bf16_bits(src.data) if src.dtype.scalar == BF16 else src.data
        if dst_type.scalar == BF16:
            return Handle(bf16_values(data.view(np.uint16)), BF16)
        return Handle(data.view(numpy_type(dst_type)), dst_type.scalar)

    def create_extern_elementwise(self, _name: Any, _path: Any, *call: Any) -> Any:
        """Call a libdevice function by its symbol."""
        symbol, given, kind, _is_pure = call
        arrays = [arg.data if hasattr(arg, "data") else np.asarray(arg) for arg in given]
        data = np.asarray(apply_symbol(symbol, arrays)).astype(numpy_type(kind))
        self.log.work["float_ops"] += data.size
        return Handle(data, kind.scalar)

    def create_inline_asm(
        self, text: str, constraints: str, values: Any, kinds: Any, *how: Any
    ) -> Any:
        """Elementwise PTX, one element at a time."""
        _is_pure, pack = how
        if pack != 1 or any(kind.scalar == BF16 for kind in kinds):
            raise NotImplementedError(
                f"inline_asm with pack {pack} not supported in interpreter mode"
            )
        arrays = [np.asarray(value.data) for value in values]
        made = inline_asm.run(text, constraints, arrays, [numpy_type(kind) for kind in kinds])
        self.log.work["float_ops"] += sum(array.size for array in made)
        return inline_asm.Results([
            Handle(array, kind.scalar) for array, kind in zip(made, kinds, strict=True)
        ])

    def create_print(self, *_args: Any) -> None:
        """Printing from kernels goes nowhere."""

"""Rounding of numpy floats to the formats a GPU computes with: bfloat16, TF32, float8."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

_EXPONENT = np.uint32(0x7F800000)


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """An 8-bit float: mantissa bits, exponent bias, largest value, pattern of NaN."""

    mantissa: int
    bias: int
    largest: float
    nan: int


FP8 = {
    "fp8e4nv": Format(3, 7, 448.0, 0x7F),
    "fp8e5": Format(2, 15, 57344.0, 0x7F),
    "fp8e4b8": Format(3, 8, 240.0, 0x80),
    "fp8e5b16": Format(2, 16, 57344.0, 0x80),
}


def _nearest(values: Any, dropped: int) -> Any:
    """Round float32 to nearest even, dropping mantissa bits; infinities and NaN stay."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    odd = (bits >> np.uint32(dropped)) & np.uint32(1)
    bias = odd + np.uint32((1 << (dropped - 1)) - 1)
    rounded = (bits + bias) & np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))
    special = (bits & _EXPONENT) == _EXPONENT
    if special.any():
        rounded = np.where(special, bits, rounded)
    return rounded.view(np.float32).reshape(np.shape(values))


def to_tf32(values: Any) -> Any:
    """Float32 array rounded to the 10 mantissa bits of TF32."""
    return _nearest(values, 13)


def to_bf16(values: Any) -> Any:
    """Float32 array rounded to the 7 mantissa bits of bfloat16 (still float32)."""
    return _nearest(values, 16)


def bf16_bits(values: Any) -> Any:
    """The uint16 pattern of float32 values that already are bfloat16."""
    rounded = to_bf16(values)
    bits = (rounded.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(rounded), np.uint16(0x7FC0), bits)


def bf16_values(bits: Any) -> Any:
    """Float32 values of uint16 bfloat16 patterns."""
    wide = np.asarray(bits, dtype=np.uint16).astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32)


def fp8_bits(values: Any, to: Format, *, towards_zero: bool = False) -> Any:
    """The uint8 pattern of float32 values, to nearest even; too large ones become the largest."""
    magnitude = np.minimum(np.abs(values), np.float32(to.largest))
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, 1 - to.bias)
    steps = np.ldexp(magnitude, to.mantissa - exponent)
    steps = (np.trunc if towards_zero else np.rint)(np.nan_to_num(steps)).astype(np.int32)
    bits = steps + (exponent + to.bias - 1) * (1 << to.mantissa)
    negative = np.signbit(values) & ((bits > 0) | (to.nan != 0x80))
    bits = np.where(negative, bits | 0x80, bits)
    return np.where(np.isnan(values), to.nan, bits).astype(np.uint8)

"""Reductions and scans with any combine function in log2(n) vectorised steps.

The interpreter applies a combine function element by element, which costs seconds on real tiles.
A GPU combines in a tree, so a tree is also the more faithful order.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from typing import Any

import numpy as np
from triton.runtime import interpreter

_original_reduce = interpreter.ReduceOps.generic_reduce
_original_scan = interpreter.ScanOps.generic_scan


@functools.cache
def _is_branching(function: Any) -> bool:
    """Whether a combine function branches; then it must see single elements."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return True
    return any(
        isinstance(node, (ast.If, ast.IfExp, ast.While, ast.BoolOp)) for node in ast.walk(tree)
    )


def _combined(operation: Any, left: list[Any], right: list[Any], kinds: list[Any]) -> list[Any]:
    """Apply the combine function to two lists of arrays."""
    sides = [*zip(left, kinds, strict=True), *zip(right, kinds, strict=True)]
    tensors = [operation.to_tensor(array, kind) for array, kind in sides]
    result = operation.combine_fn.fn(*tensors)
    result = result if isinstance(result, (tuple, list)) else (result,)
    return [
        np.broadcast_to(part.handle.data, like.shape).astype(like.dtype)
        for part, like in zip(result, left, strict=True)
    ]


def _is_power_of_two(count: int) -> bool:
    return count > 0 and count & (count - 1) == 0


def tree_reduce(operation: Any, tensors: tuple[Any, ...]) -> Any:
    """Replacement of `ReduceOps.generic_reduce`."""
    axis, shape = operation.axis, tensors[0].handle.data.shape
    flat = axis is None
    length = tensors[0].handle.data.size if flat else shape[axis]
    if not _is_power_of_two(length) or _is_branching(operation.combine_fn.fn):
        return _original_reduce(operation, tensors)
    kinds = [tensor.dtype for tensor in tensors]
    arrays = [
        tensor.handle.data.reshape(-1) if flat else np.moveaxis(tensor.handle.data, axis, -1)
        for tensor in tensors
    ]
    while arrays[0].shape[-1] > 1:
        left = [array[..., 0::2] for array in arrays]
        right = [array[..., 1::2] for array in arrays]
        arrays = _combined(operation, left, right, kinds)
    results = [array[..., 0] for array in arrays]
    if operation.keep_dims:
        final = (
            (1,) * len(shape)
            if flat
            else tuple(1 if i == axis % len(shape) else n for i, n in enumerate(shape))
        )
        results = [result.reshape(final) for result in results]
    return [
        operation.to_tensor(result if result.shape else result.item(), kind)
        for result, kind in zip(results, kinds, strict=True)
    ]


def tree_scan(operation: Any, tensors: tuple[Any, ...]) -> Any:
    """Replacement of `ScanOps.generic_scan`."""
    data = [tensor.handle.data for tensor in tensors]
    axis = operation.axis
    length = data[0].shape[axis]
    if not _is_power_of_two(length) or _is_branching(operation.combine_fn.fn):
        return _original_scan(operation, tensors)
    kinds = [tensor.dtype for tensor in tensors]
    arrays = [np.array(np.moveaxis(array, axis, -1), order="C") for array in data]
    lead, width = arrays[0].shape[:-1], 1
    while width < length:
        blocks = [array.reshape(*lead, length // (2 * width), 2, width) for array in arrays]
        right = [block[..., 1, :] for block in blocks]
        left = [
            np.broadcast_to(block[..., 0, -1:], part.shape)
            for block, part in zip(blocks, right, strict=True)
        ]
        merged = _combined(operation, left, right, kinds)
        for block, part in zip(blocks, merged, strict=True):
            block[..., 1, :] = part
        arrays = [block.reshape(*lead, length) for block in blocks]
        width *= 2
    return [
        operation.to_tensor(np.ascontiguousarray(np.moveaxis(array, -1, axis)), kind)
        for array, kind in zip(arrays, kinds, strict=True)
    ]


def extremum(
    operation: Any, tensors: Any, val_reduce_op: Any = None, idx_reduce_op: Any = None
) -> Any:
    """Replacement of `ReduceOps.min_max`: NaN loses against numbers, as on a GPU."""
    tensor = tensors[0] if isinstance(tensors, tuple) else tensors
    data, axis, keep = tensor.handle.data, operation.axis, operation.keep_dims
    is_min = "min" in (val_reduce_op or idx_reduce_op).__name__
    best = (np.fmin if is_min else np.fmax).reduce(data, axis=axis, keepdims=keep)
    results = []
    if val_reduce_op:
        results.append(operation.to_tensor(best, tensor.dtype))
    if idx_reduce_op:
        plain = data
        if data.dtype.kind == "f":
            plain = np.where(np.isnan(data), np.inf if is_min else -np.inf, data)
        index = (np.argmin if is_min else np.argmax)(plain, axis=axis, keepdims=keep)
        results.append(operation.to_tensor(index, vars(interpreter)["tl"].int32))
    return results[0] if len(results) == 1 else tuple(results)


def install() -> None:
    """Put the replacements into the interpreter."""
    interpreter.ReduceOps.generic_reduce = tree_reduce
    interpreter.ReduceOps.min_max = extremum
    interpreter.ScanOps.generic_scan = tree_scan

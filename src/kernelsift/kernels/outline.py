"""Tensors without contents, for the wire: what launches depend on, without memory or time."""

from typing import Any

OUTLINE = "__outline__"
_LARGE = 1 << 20
"""Elements from which the system gives fresh memory: nothing of it is there until it is touched."""


def outlined(value: Any) -> Any:
    """Return the value with each tensor, also one on the meta device, as shape, strides, dtype."""
    import torch

    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return {OUTLINE: [list(value.shape), list(value.stride()), dtype]}
    if isinstance(value, dict):
        return {str(key): outlined(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(outlined(part) for part in value)
    return value


def filled(value: Any) -> Any:
    """Return the value with tensors again: zeros, or for many floats whatever memory holds."""
    if isinstance(value, dict):
        if value.keys() == {OUTLINE}:
            return _tensor(*value[OUTLINE])
        return {key: filled(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(filled(part) for part in value)
    return value


def _tensor(shape: list[int], stride: list[int], name: str) -> Any:
    import torch

    tensor = torch.empty_strided(shape, stride, dtype=getattr(torch, name))
    if tensor.is_floating_point() and tensor.numel() >= _LARGE:
        return tensor
    return tensor.zero_()

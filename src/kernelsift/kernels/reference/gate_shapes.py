"""Which other sizes does a module accept? Found by trying. Runs in a child."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.reference.gate_trivial import leaves
from kernelsift.kernels.reference.reference_module import call, tensors_in
from kernelsift.kernels.reference.reference_random import finite

if TYPE_CHECKING:
    from kernelsift.kernels.reference.gate import Prepared

Sizes = dict[int, tuple[int, ...]]
"""A new shape for tensors of the inputs, by position."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the inputs: the tensors that have it with the same size change together."""

    axis: int
    size: int


def axes_of(inputs: list[Any]) -> list[Axis]:
    """Return the axes of the first tensor with the most axes."""
    shapes = [tuple(tensor.shape) for tensor in tensors_in(inputs)]
    widest = max(shapes, key=len, default=())
    return [Axis(axis, size) for axis, size in enumerate(widest)]


def resized(inputs: list[Any], changes: dict[int, int]) -> Sizes:
    """Give axes new sizes in every tensor that has the axis with the size of the widest tensor."""
    axes = axes_of(inputs)
    sizes: Sizes = {}
    for at, tensor in enumerate(tensors_in(inputs)):
        shape = list(tensor.shape)
        for axis, new in changes.items():
            if axis < len(shape) and shape[axis] == axes[axis].size:
                shape[axis] = new
        if tuple(shape) != tuple(tensor.shape):
            sizes[at] = tuple(shape)
    return sizes


def remapped(inputs: list[Any], mapping: dict[int, int]) -> Sizes:
    """Give every axis of size `n` the size `mapping[n]`, in all tensors."""
    sizes: Sizes = {}
    for at, tensor in enumerate(tensors_in(inputs)):
        shape = tuple(mapping.get(size, size) for size in tensor.shape)
        if shape != tuple(tensor.shape):
            sizes[at] = shape
    return sizes


def accepts(prepared: "Prepared", sizes: Sizes, seed: int) -> bool:
    """Say whether forward takes these sizes, with a finite answer that is not empty."""
    if not sizes:
        return False
    try:
        answer = call(prepared.module, prepared.maker.make(seed, sizes))
    except (Exception, SystemExit):  # noqa: BLE001 -- foreign code raises anything
        return False
    numbers = leaves(answer)
    return finite(answer) and any(leaf.numel() for leaf in numbers)


def other_size(size: int) -> int:
    """Return a prime near the size that differs from it: 7 for 4."""
    for prime in (3, 5, 7, 11, 13, 17, 23, 29, 37, 41, 53, 67, 97, 131, 197, 257, 521, 1031):
        if prime > size + 1:
            return prime
    return size + 1 + size % 2


def shape_facts(prepared: "Prepared", seed: int) -> dict[str, Any]:
    """Try batch, each axis, all changeable axes odd, and all sizes at once."""
    inputs = prepared.maker.template
    axes = axes_of(inputs)
    if not axes:
        return {}
    free = [
        axis.axis
        for axis in axes
        if accepts(prepared, resized(inputs, {axis.axis: other_size(axis.size)}), seed + 40)
    ]
    together = {axis: other_size(axes[axis].size) for axis in free}
    odd = bool(free) and (len(free) == 1 or accepts(prepared, resized(inputs, together), seed + 41))
    everything = {size: other_size(size) for tensor in tensors_in(inputs) for size in tensor.shape}
    return {
        "axes": tuple(free),
        "batch": 0 in free,
        "odd": odd,
        "all_dims": accepts(prepared, remapped(inputs, everything), seed + 42),
    }

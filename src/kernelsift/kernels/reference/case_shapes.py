"""Cases that differ in size: batch 1, odd, several blocks, round the candidate's literals."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.facts import CaseGroup
from kernelsift.kernels.reference.case_recipe import CaseOptions, Recipe
from kernelsift.kernels.reference.gate_shapes import (
    Sizes,
    accepts,
    axes_of,
    other_size,
    remapped,
    resized,
)
from kernelsift.kernels.reference.reference_module import tensors_in

if TYPE_CHECKING:
    from kernelsift.kernels.reference.gate import Prepared
    from kernelsift.kernels.reference.gate_facts import GateFacts

SEVERAL_BLOCKS = 3
TILE = 16
"""The smallest tile of a two-dimensional kernel that is common."""
DEFAULT_BLOCK = 1024
MAX_LITERALS = 6
MAX_BEYOND = 2
ROOMY = 1 << 15
"""Inputs with more elements shrink along the axes that a case is not about."""
BESIDE = 3
"""What such an axis shrinks to."""


def shape_recipes(prepared: "Prepared", facts: "GateFacts", options: CaseOptions) -> list[Recipe]:
    """Return cases with other sizes, most telling first: the first three stand for all."""
    inputs = prepared.maker.template
    plans: list[tuple[str, CaseGroup, Sizes]] = []
    seen: set[tuple[tuple[int, tuple[int, ...]], ...]] = set()
    for name, group, sizes in _plans(inputs, facts, options):
        key = tuple(sorted(sizes.items()))
        fits = all(math.prod(shape) <= options.max_elements for shape in sizes.values())
        if sizes and fits and key not in seen:
            seen.add(key)
            plans.append((name, group, sizes))
    return [
        Recipe(name, group, _maker(prepared, facts, sizes, options.seed + 100 + number))
        for number, (name, group, sizes) in enumerate(plans)
    ]


def extent_recipes(prepared: "Prepared", options: CaseOptions) -> list[Recipe]:
    """Cases in which a size that was made smaller, wherever it occurs, is two blocks long again."""
    inputs = prepared.maker.template
    found = []
    for number, (size, grown) in enumerate(options.extents):
        sizes = remapped(inputs, {size: grown})
        if sizes and all(math.prod(shape) <= options.max_elements for shape in sizes.values()):
            seed = options.seed + 60 + number
            make = partial(_grown, prepared, seed, sizes)
            found.append(Recipe(f"extent-{size}-to-{grown}", "extent", make))
    return found


def _grown(prepared: "Prepared", seed: int, sizes: Sizes) -> list[Any]:
    return list(prepared.maker.make(seed, sizes))


def _maker(
    prepared: "Prepared", facts: "GateFacts", sizes: Sizes, seed: int
) -> Callable[[], list[Any]]:
    """Make the inputs; slim ones where that says as much and the reference takes them."""

    def make() -> list[Any]:
        slim = _slim(prepared.maker.template, facts, sizes)
        fits = slim != sizes and accepts(prepared, slim, seed)
        return list(prepared.maker.make(seed, slim if fits else sizes))

    return make


def _slim(inputs: list[Any], facts: "GateFacts", sizes: Sizes) -> Sizes:
    """Shrink the axes that keep their size, where the inputs would be large."""
    large = max(math.prod(shape) for shape in sizes.values()) > ROOMY
    axes = axes_of(inputs)
    widest = next((s for s in sizes.values() if len(s) == len(axes)), None)
    if not large or not facts.odd or widest is None:
        return sizes
    free = [axis for axis in facts.axes if widest[axis] == axes[axis].size]
    grown = {a.axis: widest[a.axis] for a in axes if widest[a.axis] != a.size}
    return resized(inputs, grown | {axis: min(axes[axis].size, BESIDE) for axis in free})


def _plans(
    inputs: list[Any], facts: "GateFacts", options: CaseOptions
) -> list[tuple[str, CaseGroup, Sizes]]:
    axes, free = axes_of(inputs), list(facts.axes)
    plans: list[tuple[str, CaseGroup, Sizes]] = []
    plans += _beyond(inputs, free, options.literals)
    if free:
        plans.append(("blocks", "shape", resized(inputs, _several_blocks(inputs, free, options))))
        odd = {axis: other_size(axes[axis].size) for axis in free}
        plans.append(("odd", "shape", resized(inputs, odd if facts.odd else dict([odd.popitem()]))))
    if facts.all_dims:
        sizes = {size: other_size(size) for tensor in tensors_in(inputs) for size in tensor.shape}
        plans.append(("all-dims", "shape", remapped(inputs, sizes)))
    plans += _long_plans(inputs, free, options)
    if 0 in free:
        plans.append(("batch-1", "shape", resized(inputs, {0: 1})))
    plans += _literal_plans(inputs, free, options.literals)
    plans += _tile_plans(inputs, free)
    return plans


def _beyond(
    inputs: list[Any], free: list[int], literals: tuple[int, ...]
) -> list[tuple[str, CaseGroup, Sizes]]:
    """Just more elements than a literal: where another path begins, if one depends on sizes."""
    axes = axes_of(inputs)
    elements = math.prod(axis.size for axis in axes)
    larger = sorted(literal for literal in set(literals) if literal >= elements)
    if not free or not elements:
        return []
    row = elements // axes[free[0]].size
    return [
        (f"beyond-{literal}", "literal-shape", resized(inputs, {free[0]: literal // row + 1}))
        for literal in larger[:MAX_BEYOND]
    ]


def _several_blocks(inputs: list[Any], free: list[int], options: CaseOptions) -> dict[int, int]:
    """Grow the first free axis until the input holds more than three blocks and is no multiple."""
    axes = axes_of(inputs)
    axis = free[0]
    row = max(math.prod(a.size for a in axes) // max(axes[axis].size, 1), 1)
    block = max((b for b in options.blocks if b <= 1 << 16), default=DEFAULT_BLOCK)
    wanted = math.ceil((SEVERAL_BLOCKS * block + 1) / row)
    grown = max(wanted, axes[axis].size + 1) | 1
    return {axis: min(grown, max(options.max_elements // row, 1))}


def _long_plans(
    inputs: list[Any], free: list[int], options: CaseOptions
) -> list[tuple[str, CaseGroup, Sizes]]:
    """Each free axis two blocks and one element long: whether a loop over blocks goes on."""
    if not options.blocks:
        return []
    axes, size = axes_of(inputs), 2 * max(options.blocks) + 1
    beside = {axis: min(axes[axis].size, BESIDE) for axis in free}
    return [
        (f"long-axis-{axis}", "shape", resized(inputs, {**beside, axis: size}))
        for axis in free
        if axes[axis].size < size
    ]


def _tile_plans(inputs: list[Any], free: list[int]) -> list[tuple[str, CaseGroup, Sizes]]:
    """More than three tiles along each pair of neighbouring free axes."""
    size = SEVERAL_BLOCKS * TILE + 5
    pairs = [free[at : at + 2] for at in range(0, len(free), 2)]
    return [
        (f"tiles-{'-'.join(map(str, pair))}", "shape", resized(inputs, dict.fromkeys(pair, size)))
        for pair in pairs
    ]


def _literal_plans(
    inputs: list[Any], free: list[int], literals: tuple[int, ...]
) -> list[tuple[str, CaseGroup, Sizes]]:
    """Sizes n−1, n, n+1 on the first and the last free axis, and n elements in all."""
    plans: list[tuple[str, CaseGroup, Sizes]] = []
    axes = axes_of(inputs)
    for literal in sorted(set(literals))[:MAX_LITERALS]:
        for axis in sorted({free[0], free[-1]} if free else set()):
            for size in (literal - 1, literal, literal + 1):
                if size > 0 and size != axes[axis].size:
                    name = f"literal-{literal}-axis-{axis}-size-{size}"
                    plans.append((name, "literal-shape", resized(inputs, {axis: size})))
        if free:
            row = max(math.prod(a.size for a in axes) // max(axes[free[0]].size, 1), 1)
            for size in (literal // row, literal // row + 1):
                if row > 1 and size > 0:
                    name = f"literal-{literal}-elements-{size * row}"
                    plans.append((name, "literal-shape", resized(inputs, {free[0]: size})))
    return plans

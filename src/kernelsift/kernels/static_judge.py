"""The judge that needs no service: difficulty and style of a kernel from what can be seen in it.

Free, deterministic and blind to who wrote the code. It serves as the judge where no service is at
hand, and as the baseline that a paid judge has to beat.

difficulty, of the task: 0 copy or identity · 1-2 one or a few elementwise operations · 3-4 basic
reductions or fused operations · 5-6 softmax, normalisation, plain matrix products, basic attention
· 7-8 full attention, convolution, fusions around them · 9-10 FlashAttention, whole networks.

style, of the code: 0-1 unreadable · 2-3 messy · 4-5 acceptable, standard patterns · 5-6 good
structure · 7-8 very good, efficient memory patterns · 9-10 excellent and educational.
"""

import math
from dataclasses import dataclass

from kernelsift.kernels import operations
from kernelsift.kernels.features import (
    Features,
    ReferenceFeatures,
    measure_features,
    measure_reference,
)

VERSION = "static-1"

_LEVEL: dict[operations.Group, float] = {
    "shape": 0.0,
    "allocation": 0.0,
    "random": 0.5,
    "elementwise": 1.0,
    "activation": 1.0,
    "embedding": 2.0,
    "indexing": 3.0,
    "reduction": 3.0,
    "loss": 3.0,
    "resize": 4.0,
    "pooling": 4.0,
    "sorting": 5.0,
    "normalisation": 5.0,
    "softmax": 5.0,
    "matmul": 4.5,
    "linear-algebra": 6.0,
    "convolution": 6.5,
    "attention": 7.0,
    "recurrent": 7.5,
    "transformer": 8.5,
}
"""Difficulty of the hardest single operation of a class, before fusion is counted."""


@dataclass(frozen=True, slots=True)
class Rating:
    """Two whole numbers from 0 to 10, and why."""

    difficulty: int
    style: int
    reasons: tuple[str, ...]
    """Short plain sentences, those on difficulty first."""


@dataclass(frozen=True, slots=True)
class _Point:
    """One observation: what it is worth, and how to say it ("" where it is not worth saying)."""

    worth: float
    reason: str


def rate(code: str, reference: str = "") -> Rating | None:
    """Rate an answer; None where its code cannot be parsed (not measured, not a zero).

    Difficulty is that of the reference where it can be read, raised by what the code really does;
    without a reference it is that of the code alone.
    """
    seen = measure_features(code)
    if seen is None:
        return None
    task = measure_reference(reference) if reference.strip() else None
    difficulty, why = _difficulty(task, seen)
    points = _style_points(seen)
    style = 3.8 + sum(point.worth for point in points)
    reasons = [point.reason for point in points if point.reason]
    if not seen.kernels:
        style = min(style, 2.0 if seen.compute_calls or seen.layers else 1.0)
        reasons.insert(0, "There is no Triton kernel.")
    elif not seen.launches:
        style = min(style, 3.0)
        reasons.insert(0, "No kernel is launched.")
    return Rating(_whole(difficulty), _whole(style), (*why, *reasons))


def _whole(value: float) -> int:
    return max(0, min(10, int(value + 0.5)))


# ---- difficulty ---------------------------------------------------------------------------------


def _difficulty(task: ReferenceFeatures | None, seen: Features) -> tuple[float, list[str]]:
    of_code, done = _code_difficulty(seen)
    if task is None:
        size = max(0.0, min(10.0, 1.2 * (math.log2(seen.halstead_volume + 1) - 4)))
        of_code = (of_code + size) / 2
        return of_code, [f"The task is not known; the code {done}."]
    hardest = max(task.groups, key=lambda g: _LEVEL[g], default=None)
    kinds = [g for g in task.groups if g not in operations.FREE]
    if hardest is None or not kinds:
        return min(of_code, 1.0), ["The task computes nothing that is known."]
    level = _LEVEL[hardest] + _fusion(task, kinds)
    reasons = [
        f"The hardest operation of the task is {_article(hardest)}.",
        f"Operations of the task: {task.operations}; classes of operations: {len(kinds)}.",
    ]
    if of_code > level + 1:
        level += min(1.5, (of_code - level) / 2)
        reasons.append(f"The code {done}.")
    return level, reasons


def _fusion(task: ReferenceFeatures, kinds: list[operations.Group]) -> float:
    """More operations and more classes of them: about a level for each doubling, at most 4."""
    count = task.operations
    steps = [2, 4, 7, 12, 20, 40]
    many = 0.5 * sum(count >= step for step in steps)
    mixed = 0.35 * min(4, len(kinds) - 1)
    attention = 1.0 if "softmax" in kinds and "matmul" in kinds else 0.0
    return min(4.0, many + mixed + attention)


def _article(group: operations.Group) -> str:
    names = {"elementwise": "an elementwise one", "linear-algebra": "linear algebra"}
    return names.get(group, group)


def _code_difficulty(seen: Features) -> tuple[float, str]:
    """Return the level that the code alone shows, and what it does in words."""
    if seen.looped_dots >= 2 and seen.exponentials and seen.reductions:
        return 9.0, "multiplies, normalises and reduces block by block in one loop"
    if seen.dots >= 2 and seen.reductions:
        return 8.0, "combines several block products with reductions"
    if seen.dots and (seen.reductions or seen.exponentials):
        return 7.0, "fuses a block product with other work"
    if seen.kernel_loop_depth >= 3:
        return 7.0, "nests three loops in a kernel"
    if seen.dots:
        return 6.0, "computes a block product"
    if seen.looped_reductions or seen.scans:
        return 5.5, "reduces or scans in a loop"
    if seen.reductions or seen.kernel_loops:
        return 4.0, "reduces or loops in a kernel"
    return (1.5 if seen.language_calls < 12 else 2.5), "works element by element"


# ---- style --------------------------------------------------------------------------------------


def _style_points(seen: Features) -> list[_Point]:
    return [
        _masks(seen),
        _fills(seen),
        _constexprs(seen),
        _names(seen),
        _explanations(seen),
        _triton_share(seen),
        _generality(seen),
        _tidiness(seen),
        _shape_of_code(seen),
        *_efficiency(seen),
    ]


def _masks(seen: Features) -> _Point:
    accesses = seen.loads + seen.stores
    masked = seen.masked_loads + seen.masked_stores
    if not accesses:
        return _Point(0.0, "")
    share = masked / accesses
    return _Point(1.6 * share - 0.8, f"{masked} of {accesses} loads and stores have a mask.")


def _fills(seen: Features) -> _Point:
    if not seen.masked_loads:
        return _Point(0.0, "")
    share = seen.filled_loads / seen.masked_loads
    said = f"{seen.filled_loads} of {seen.masked_loads} masked loads say what stands outside."
    return _Point(0.6 * share - 0.2, said)


def _constexprs(seen: Features) -> _Point:
    if not seen.kernels:
        return _Point(0.0, "")
    if not seen.constexprs:
        return _Point(-0.8, "No kernel parameter is a compile-time constant.")
    return _Point(0.4, f"Kernel parameters that are compile-time constants: {seen.constexprs}.")


def _names(seen: Features) -> _Point:
    share = seen.poor_names
    said = f"{round(100 * share)} % of the names say nothing." if share > 0.1 else ""
    return _Point(0.5 - min(3.0, 6.0 * share), said)


def _explanations(seen: Features) -> _Point:
    share = seen.comment_lines / max(1, seen.code_lines)
    worth = 0.6 * min(2, seen.docstrings)
    if share > 0.6:
        return _Point(worth - 0.8, "There are almost as many comments as lines of code.")
    worth += 1.2 * min(1.0, share / 0.12) - 0.6
    if not seen.comment_lines and not seen.docstrings:
        return _Point(worth - 0.2, "Nothing is explained.")
    said = f"Lines with a comment: {seen.comment_lines}; docstrings: {seen.docstrings}."
    return _Point(worth, said)


def _triton_share(seen: Features) -> _Point:
    """Work that is left to PyTorch, measured against the kernels that are launched."""
    if not seen.compute_calls:
        return _Point(0.5, "All the work is done in Triton.")
    worth = -min(1.6, 0.5 * seen.compute_calls / max(1, seen.launches))
    named = ", ".join(seen.compute_names[:4])
    return _Point(
        worth, f"PyTorch calls that compute outside kernels: {seen.compute_calls} ({named})."
    )


def _generality(seen: Features) -> _Point:
    numbers = seen.kernel_integers
    if numbers <= 2:
        return _Point(0.2, "")
    said = f"Whole numbers written out inside kernels: {numbers}."
    return _Point(-min(1.6, 0.12 * numbers), said)


def _tidiness(seen: Features) -> _Point:
    faults = {
        "unused variables": seen.unused_variables,
        "unused imports": seen.unused_imports,
        "statements that are never reached": seen.dead_statements,
    }
    lines = max(1, seen.code_lines)
    worth = -min(1.2, 0.35 * sum(faults.values()))
    worth -= min(1.2, 6.0 * max(0.0, seen.duplicate_lines / lines - 0.04))
    worth -= min(0.6, 4.0 * seen.long_lines / lines)
    if seen.duplicate_lines / lines > 0.1:
        faults["lines that repeat an earlier one"] = seen.duplicate_lines
    said = ", ".join(f"{what}: {count}" for what, count in faults.items() if count)
    return _Point(worth, f"{said[:1].upper()}{said[1:]}." if said else "")


def _shape_of_code(seen: Features) -> _Point:
    worth = -0.3 * max(0, seen.nesting - 3)
    worth -= min(1.2, max(0, seen.longest_function - 60) / 50)
    if seen.kernel_parameters > 20 * max(1, seen.kernels):
        worth -= 0.4
    said = f"The longest function has {seen.longest_function} lines."
    return _Point(worth, said if seen.longest_function > 60 else "")


def _efficiency(seen: Features) -> list[_Point]:
    points = []
    if seen.dots:
        points.append(_Point(0.5, "Block products use the matrix units."))
    if seen.autotuned:
        points.append(_Point(0.9, f"Kernels tuned automatically: {seen.autotuned}."))
    if seen.cache_hints:
        points.append(_Point(0.4, "The compiler is given hints on memory access."))
    if seen.contiguous_calls > 3:
        points.append(_Point(-0.4, f"Inputs are copied {seen.contiguous_calls} times."))
    if seen.kernels and seen.loads > 12 * seen.kernels:
        points.append(_Point(-0.8, f"{seen.loads} loads are written out one by one."))
    if seen.kernel_loop_depth >= 2 and not seen.dots:
        depth = f"Loops stand {seen.kernel_loop_depth} deep in a kernel without block products."
        points.append(_Point(-0.7 * min(3, seen.kernel_loop_depth - 1), depth))
    return points

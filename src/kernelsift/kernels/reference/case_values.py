"""Cases that differ in values or layout, at the nominal size. Runs in a child."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.facts import CaseGroup
from kernelsift.kernels.reference.case_recipe import CaseOptions, Recipe
from kernelsift.kernels.reference.reference_module import call, map_tensors
from kernelsift.kernels.reference.reference_random import finite, generator

if TYPE_CHECKING:
    from kernelsift.kernels.reference.gate import Prepared

Change = Callable[[Any], Any]
OFFSET = 64.0
LARGE = 50.0
SMALL = 1e-3


def _changes(source: Any) -> list[tuple[str, CaseGroup, Change, bool]]:
    """Name, group, change of a floating tensor, and whether a flat answer is all right."""
    import torch

    def binary(tensor: Any) -> Any:
        return torch.randint(0, 2, tensor.shape, generator=source).to(tensor.dtype)

    return [
        ("small", "values", lambda t: t * SMALL, False),
        ("negative", "values", lambda t: -t.abs(), False),
        ("binary", "values", binary, False),
        ("zeros", "values", torch.zeros_like, True),
        ("large", "stress", lambda t: t * LARGE, False),
        ("ties", "values", lambda t: (t * 2).round() / 2, False),
        ("ones", "values", torch.ones_like, True),
        ("offset", "stress", lambda t: t + OFFSET, False),
        ("nonfinite", "nonfinite", _with_nonfinite, True),
    ]


def _with_nonfinite(tensor: Any) -> Any:
    """One NaN and one infinity among the values, apart from each other."""
    if tensor.numel() < 3:
        return tensor
    changed = tensor.clone()
    flat = changed.view(-1)
    flat[flat.numel() // 3], flat[2 * flat.numel() // 3] = float("nan"), float("inf")
    return changed


def value_recipes(prepared: "Prepared", options: CaseOptions) -> list[Recipe]:
    """Return the cases with other values, then the one with other strides."""
    source = generator(options.seed + 50)
    made = [
        Recipe(
            name,
            group,
            _changed(prepared, change, options.seed + 51 + number, any_answer=group == "nonfinite"),
            may_be_flat=flat,
        )
        for number, (name, group, change, flat) in enumerate(_changes(source))
    ]
    layout = Recipe("transposed", "layout", _transposed(prepared, options.seed + 70))
    return [*made[:3], layout, *made[3:]]


def _changed(
    prepared: "Prepared", change: Change, seed: int, *, any_answer: bool = False
) -> Callable[[], list[Any] | None]:
    """Change all floating tensors; where the reference refuses that, only those that may vary.

    It refuses by an error or, unless `any_answer`, by an answer that is not finite.
    """

    def make() -> list[Any] | None:
        for positions in (None, prepared.maker.randn):
            inputs = _applied(prepared.maker.make(seed), change, positions)
            if inputs is None:
                return None
            try:
                if any_answer or finite(call(prepared.module, inputs)):
                    return inputs
            except Exception:  # noqa: BLE001, S112 -- foreign code raises anything
                continue
        return None

    return make


def _applied(
    inputs: list[Any], change: Change, positions: frozenset[int] | None
) -> list[Any] | None:
    position = iter(range(10**6))
    changed = 0

    def one(tensor: Any) -> Any:
        nonlocal changed
        at = next(position)
        if not tensor.is_floating_point() or (positions is not None and at not in positions):
            return tensor
        changed += 1
        return change(tensor.detach())

    made = list(map_tensors(one, inputs))
    return made if changed else None


def _transposed(prepared: "Prepared", seed: int) -> Callable[[], list[Any] | None]:
    """Same shapes, last two axes swapped in memory."""

    def one(tensor: Any) -> Any:
        if tensor.dim() < 2 or min(tensor.shape[-2:]) < 2:
            return tensor
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)

    def make() -> list[Any] | None:
        inputs = prepared.maker.make(seed)
        made = list(map_tensors(one, inputs))
        return made if any(a is not b for a, b in zip(made, inputs, strict=True)) else None

    return make

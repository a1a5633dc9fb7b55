"""Inputs and weights from a seed: two processes make the same tensors without sending them.

A recipe is a wire dict: shape, stride, dtype, kind and its numbers. Floating tensors are drawn anew
(uniform or normal, as their first values look); what else there is (indices, masks, tables) is
sent as it is, in several variants where the module makes other ones each time. For children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

TENSOR_KEY = "$tensor"
ALIGNMENT = 512
"""Bytes: every input begins at a multiple, as memory from torch does."""
UNIFORM_RANGE = 4.0
"""Values within so many standard deviations are taken for uniform (normal ones reach farther)."""
LOOKED_AT = 1 << 20
"""Values from which a distribution is taken."""
VARIANT_BYTES = 8 << 20
SENT_BYTES = 64 << 20


class RecipeError(Exception):
    """A tensor that can neither be drawn nor sent; the message says why."""


def recipe(variants: Sequence[Any]) -> dict[str, Any]:
    """The recipe of a tensor, from its values on one or several occasions. RecipeError."""
    first = variants[0].detach()
    if first.layout != torch.strided:
        raise RecipeError(f"a {first.layout} tensor")
    if _is_drawn(first) and _many_values(first):
        return _form(first) | _distribution(first)
    alike = [v.detach() for v in variants if v.shape == first.shape and v.dtype == first.dtype]
    size = first.numel() * first.element_size()
    if size > SENT_BYTES:
        raise RecipeError(f"{size} bytes that cannot be drawn")
    kept = alike[: max(1, VARIANT_BYTES // max(size, 1))]
    return _form(first) | {"kind": "given", "values": [value.cpu() for value in kept]}


def _form(tensor: Any) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "stride": list(tensor.stride()),
        "dtype": str(tensor.dtype).removeprefix("torch."),
    }


def is_drawn(tensor: Any) -> bool:
    """Whether `recipe` needs one occasion only: the values are drawn anew."""
    plain = tensor.detach()
    return plain.layout == torch.strided and _is_drawn(plain) and _many_values(plain)


def _is_drawn(tensor: Any) -> bool:
    """Finite continuous values."""
    if not tensor.is_floating_point() or tensor.element_size() < 2 or not tensor.numel():
        return False
    return bool(torch.isfinite(tensor).all())


def _many_values(tensor: Any) -> bool:
    """Not a mask or a table of a few numbers."""
    return bool(tensor.numel() <= 4 or torch.unique(tensor[..., :64].float()).numel() > 2)


def _distribution(tensor: Any) -> dict[str, Any]:
    values = tensor.reshape(-1)[:LOOKED_AT].double()
    low, high, mean = float(values.min()), float(values.max()), float(values.mean())
    spread = float(values.std(correction=0))
    if spread == 0:
        return {"kind": "normal", "numbers": [mean, 0.1 * abs(mean) or 0.1]}
    if high - low <= UNIFORM_RANGE * spread:
        return {"kind": "uniform", "numbers": [low, high]}
    return {"kind": "normal", "numbers": [mean, spread]}


def weight_recipe(name: str, tensor: Any, *, learned: bool) -> dict[str, Any]:
    """The recipe of a parameter or buffer. RecipeError.

    Parameters are drawn, also those that begin as ones or zeros; buffers but running statistics
    are part of the task and come as they are.
    """
    last = name.rpartition(".")[2]
    plain = tensor.detach()
    if last == "running_var":
        return _form(plain) | {"kind": "uniform", "numbers": [0.5, 2.0]}
    if (learned or last == "running_mean") and _is_drawn(plain):
        return _form(plain) | _distribution(plain)
    size = plain.numel() * plain.element_size()
    if size > SENT_BYTES:
        raise RecipeError(f"{name} has {size} bytes that cannot be drawn")
    return given(plain)


def given(tensor: Any) -> dict[str, Any]:
    """The recipe of a tensor that is sent as it is."""
    plain = tensor.detach().cpu()
    return _form(plain) | {"kind": "given", "values": [plain]}


class Batch:
    """`count` tensors of one recipe, side by side in one piece of memory."""

    def __init__(self, made: dict[str, Any], count: int, device: str) -> None:
        """Takes the memory; the contents come with `fill`."""
        self._recipe, self._count = made, count
        self._dtype = getattr(torch, made["dtype"])
        self._shape, self._stride = tuple(made["shape"]), tuple(made["stride"])
        self._span = _span(self._shape, self._stride)
        step = max(1, ALIGNMENT // self._dtype.itemsize)
        self._step = -(-max(self._span, 1) // step) * step
        self._memory = torch.empty(count * self._step, dtype=self._dtype, device=device)
        self._given = [_dense(value, self._span).to(device) for value in made.get("values", ())]

    def tensors(self) -> list[Any]:
        """The tensors, which stay the same objects whatever they are filled with."""
        return [
            self._memory.as_strided(self._shape, self._stride, index * self._step)
            for index in range(self._count)
        ]

    def fill(self, seed: int) -> None:
        """New contents that follow from the seed alone."""
        if self._given:
            picks = torch.Generator().manual_seed(seed % 2**63)
            chosen = torch.randint(len(self._given), (self._count,), generator=picks).tolist()
            for index, pick in enumerate(chosen):
                start = index * self._step
                self._memory[start : start + self._span].copy_(self._given[pick])
            return
        source = torch.Generator(device=self._memory.device).manual_seed(seed % 2**63)
        one, two = self._recipe["numbers"]
        if self._recipe["kind"] == "uniform":
            self._memory.uniform_(one, two, generator=source)
        else:
            self._memory.normal_(one, two, generator=source)


def _span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _dense(value: Any, span: int) -> Any:
    """The memory from a tensor's first to its last element, as a flat tensor."""
    return value.as_strided((span,), (1,)) if span else value.flatten()


class Inputs:
    """Inputs for many calls: a tree of arguments with the tensors taken out, and their batches."""

    def __init__(
        self, tree: Any, recipes: Sequence[dict[str, Any]], count: int, device: str
    ) -> None:
        """`tree`: as `taken_out` returns it."""
        self._tree, self._count = tree, count
        self._batches = [Batch(made, count, device) for made in recipes]

    def arguments(self) -> list[list[Any]]:
        """For each call, the arguments of forward."""
        columns = [batch.tensors() for batch in self._batches]
        rows = list(zip(*columns, strict=True)) if columns else [()] * self._count
        return [put_back(self._tree, row) for row in rows]

    def fill(self, seed: int) -> None:
        """New contents for every tensor of every call."""
        for number, batch in enumerate(self._batches):
            batch.fill(seed * 1009 + number)


def taken_out(arguments: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The arguments with a place-holder for every tensor, and the tensors in order. RecipeError."""
    tensors: list[Any] = []

    def taken(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            tensors.append(value)
            return {TENSOR_KEY: len(tensors) - 1}
        if type(value) in {list, tuple}:
            return type(value)(taken(part) for part in value)
        if type(value) is dict:
            return {str(key): taken(part) for key, part in value.items()}
        if value is None or type(value) in {bool, int, float, str}:
            return value
        raise RecipeError(f"an argument of type {type(value).__name__}")

    return taken(list(arguments)), tensors


def put_back(tree: Any, tensors: Sequence[Any]) -> Any:
    """The arguments with the tensors in their places."""
    if isinstance(tree, dict):
        if tree.keys() == {TENSOR_KEY}:
            return tensors[tree[TENSOR_KEY]]
        return {key: put_back(part, tensors) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(put_back(part, tensors) for part in tree)
    return tree


def made_state(recipes: dict[str, dict[str, Any]], seed: int, device: str) -> dict[str, Any]:
    """Weights and buffers by name; a recipe's `same` names one whose tensor it shares."""
    state: dict[str, Any] = {}
    for number, (name, made) in enumerate(recipes.items()):
        if "same" in made:
            state[name] = state[made["same"]]
            continue
        batch = Batch(made, 1, device)
        batch.fill(seed * 1009 + number)
        state[name] = batch.tensors()[0]
    return state

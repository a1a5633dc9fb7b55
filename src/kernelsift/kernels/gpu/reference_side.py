"""The reference on the device at its own sizes: eager, compiled, and what it has to do at least."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from kernelsift.kernels.candidate.words import words
from kernelsift.kernels.gpu.recipe import (
    Inputs,
    RecipeError,
    given,
    is_drawn,
    made_state,
    recipe,
    taken_out,
    weight_recipe,
)
from kernelsift.kernels.gpu.timing import Work
from kernelsift.kernels.reference.reference_job import sendable
from kernelsift.kernels.reference.reference_module import load_reference, tensors_in
from kernelsift.kernels.reference.reference_ops import recorded
from kernelsift.kernels.reference.reference_random import fixed_names, load_state, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelsift.kernels.gpu.clock import CudaDevice, HostDevice

VARIANTS = 8
MOST_CALLS = 512
PARTIAL = frozenset(words(
    "slice select narrow index index_select gather embedding embedding_bag take masked_select "
    "unfold as_strided unbind split split_with_sizes topk nonzero"
))  # fmt: skip
"""Operations that may leave a part of an input unread: then nothing says what has to be read."""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_scaled_dot_product")


class ReferenceSide:
    """The module with drawn weights, its inputs' recipes, and its two ways to be called."""

    def __init__(self, raw: dict[str, Any], device: CudaDevice | HostDevice) -> None:
        """Load and build it; raises what it raises, RecipeError where inputs cannot be made."""
        self._device, self._seed = device, int(raw["seed"])
        self._unused = raw["unused"]
        on_cpu = device.name == "cpu"
        reference = load_reference(raw["code"], raw["class_name"], on_cpu=on_cpu)
        self._tree, first = taken_out(reference.inputs(self._seed))
        more = [] if all(map(is_drawn, first)) else range(1, VARIANTS)
        others = [taken_out(reference.inputs(self._seed + n))[1] for n in more]
        self._recipes = [recipe(values) for values in zip(first, *others, strict=True)]
        self._init = {"args": reference.init_args, "kwargs": reference.init_kwargs}
        self._module = reference.build(self._seed).eval()
        twin = reference.build(self._seed + 1)
        self._weights = self._weight_recipes(frozenset(fixed_names(self._module, twin)[0]))
        del twin
        self._module.to(device.name)
        self._load()
        self._count = 1
        self._work, size = self._look()
        room = min(int(raw["memory_bytes"]), device.free_bytes() // 4)
        self._count = max(1, min(MOST_CALLS, room // max(size, 1)))

    def _weight_recipes(self, fixed: frozenset[str]) -> dict[str, dict[str, Any]]:
        learned = {name for name, _ in self._module.named_parameters(remove_duplicate=False)}
        first: dict[int, str] = {}
        made: dict[str, dict[str, Any]] = {}
        held = dict(self._module.named_parameters(remove_duplicate=False))
        held.update(self._module.named_buffers(remove_duplicate=False))
        for name, tensor in held.items():
            known = first.setdefault(id(tensor), name)
            if known != name:
                made[name] = {"same": known}
            else:
                made[name] = weight_recipe(
                    name, tensor, learned=name in learned and name not in fixed
                )
        return made

    def _load(self) -> None:
        """Give the module its drawn weights; its first ones where those make nothing finite."""
        first = state_of(self._module)
        load_state(self._module, made_state(self._weights, self._seed, self._device.name))
        if not self._finite():
            load_state(self._module, first)
            self._weights = {
                name: made if "same" in made else given(first[name])
                for name, made in self._weights.items()
            }

    def _arguments(self) -> list[Any]:
        inputs = Inputs(self._tree, self._recipes, 1, self._device.name)
        inputs.fill(self._seed)
        return inputs.arguments()[0]

    def _finite(self) -> bool:
        with torch.no_grad():
            answer = self._module(*self._arguments())
        tensors = [t for t in tensors_in(answer) if t.is_floating_point()]
        total = sum(t.numel() for t in tensors)
        return not total or sum(int(torch.isfinite(t).sum()) for t in tensors) * 2 >= total

    def _look(self) -> tuple[Work, int]:
        """What one call has to do, and the memory that a call's inputs and kept answers take."""
        arguments = self._arguments()
        with torch.no_grad(), recorded() as record:
            answer = self._module(*arguments)
        ins, outs = tensors_in(arguments), tensors_in(answer)
        if not outs:
            raise RecipeError("the reference returns no tensor")
        used = [t for at, t in enumerate(ins) if at not in self._unused["inputs"]]
        names = set(self._unused["parameters"])
        used += [p for name, p in self._module.named_parameters() if name not in names]
        partial = bool(PARTIAL & record.keys())
        work = Work(
            read_bytes=0 if partial else sum(map(_nbytes, used)),
            written_bytes=sum(map(_nbytes, outs)),
            flops=sum(w.flops for n, w in record.items() if n.startswith(PRODUCTS)),
        )
        return work, sum(map(_nbytes, ins)) + 3 * sum(map(_nbytes, outs))

    def inputs(self) -> Inputs:
        """Inputs for as many calls as there is memory for."""
        return Inputs(self._tree, self._recipes, self._count, self._device.name)

    def said(self) -> dict[str, Any]:
        """What the parent needs, and what it hands to the candidate's child."""
        return {
            "init": {key: sendable(value) for key, value in self._init.items()},
            "inputs": {"tree": self._tree, "recipes": self._recipes, "count": self._count},
            "weights": self._weights,
            "work": self._work.model_dump(),
        }

    def eager(self, arguments: list[Any]) -> Callable[[], Any]:
        """One call of the module as it is."""
        return partial(self._module, *arguments)

    def compiled(self) -> Callable[[list[Any]], Callable[[], Any]]:
        """The same by torch.compile, which compiles at the first call."""
        module = torch.compile(self._module, dynamic=False)
        return lambda arguments: partial(module, *arguments)


def _nbytes(tensor: Any) -> int:
    """Bytes of memory behind it; an expanded tensor is as small as what it repeats."""
    span = 0 if 0 in tensor.shape else 1
    for size, step in zip(tensor.shape, tensor.stride(), strict=True):
        span *= size if step else 1
    return int(span * tensor.element_size())

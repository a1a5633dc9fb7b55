"""Random weights and inputs for a reference, from a secret seed. Runs in a child.

Nothing may stay at its initial value: a norm whose weight is 1 and bias 0 cannot be told from one
that ignores them. Buffers that every construction gives alike (masks, tables) define the task: they
stay, and so do frozen parameters of that kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from kernelsift.kernels.reference.reference_module import (
    Reference,
    call,
    flatten,
    map_tensors,
    tensors_in,
)

WeightSource = Literal["added", "positive", "mild", "initial"]
WEIGHT_SOURCES: tuple[WeightSource, ...] = ("added", "positive", "mild", "initial")
State = dict[str, Any]


def generator(seed: int) -> Any:
    """Return a torch generator seeded with up to 64 bits."""
    import torch

    return torch.Generator().manual_seed(seed % 2**63)


def _own_tensors(module: Any) -> State:
    found = dict(module.named_parameters(remove_duplicate=False))
    found.update(module.named_buffers(remove_duplicate=False))
    return found


def state_of(module: Any) -> State:
    """Return every parameter, buffer and plain tensor attribute (a hidden state) by name.

    Shared ones come under each of their names.
    """
    found = _own_tensors(module) | {name: t for name, _, t in plain_tensors(module)}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def load_state(module: Any, state: State) -> None:
    """Copy the tensors into the module's own, in place; plain attributes are set anew."""
    import torch

    with torch.no_grad():
        targets = _own_tensors(module)
        for name, tensor in state.items():
            target = targets.get(name)
            if target is not None:
                target.copy_(tensor)
        for name, owner, _ in list(plain_tensors(module)):
            if name in state:
                setattr(owner, name.rpartition(".")[2], state[name].clone())


def plain_tensors(module: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted name, owner and value of tensors that are neither parameter nor buffer."""
    import torch

    for prefix, owner in module.named_modules():
        for name, value in vars(owner).items():
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                yield f"{prefix}.{name}".lstrip("."), owner, value


def start_over(module: Any, state: State, inputs: list[Any]) -> Any:
    """Call the module with the state given: what earlier calls left behind plays no part."""
    load_state(module, state)
    return call(module, inputs)


def random_state(module: Any, how: WeightSource, seed: int, fixed: frozenset[str]) -> State:
    """Return new values for all parameters and buffers that are not `fixed`."""
    source = generator(seed)
    learned = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    made: State = {}
    seen: dict[int, Any] = {}
    tensors = _own_tensors(module) | {name: t for name, _, t in plain_tensors(module)}
    for name, tensor in tensors.items():
        if id(tensor) not in seen:
            keep = name in fixed or how == "initial" or not _continuous(tensor)
            old = tensor.detach().clone()
            seen[id(tensor)] = old if keep else _noisy(name, old, how, source, name in learned)
        made[name] = seen[id(tensor)]
    return made


def _continuous(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 0


def _noisy(name: str, old: Any, how: WeightSource, source: Any, learned: bool) -> Any:  # noqa: FBT001
    """`added`: about half a unit for vectors; matrices keep the scale of their products."""
    import torch

    last = name.rpartition(".")[2]
    if not learned and last == "running_var":
        return 0.5 + 1.5 * torch.rand(old.shape, generator=source).to(old.dtype)
    dtype = old.dtype if old.is_complex() else torch.float32
    noise = torch.randn(old.shape, generator=source, dtype=dtype).to(old.dtype)
    if how == "mild":
        return old * (1 + 0.1 * noise)
    fan_in = max(old.numel() // max(old.shape[0], 1), 1) if old.dim() >= 2 else 1
    new = old + min(0.5, fan_in**-0.5) * noise
    return new.abs() + 0.05 if how == "positive" and not old.is_complex() else new


def fixed_names(first: Any, second: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Compare two constructions; returns constant buffers and frozen parameters, and them all.

    Running statistics are never fixed: they start constant but change with training.
    """
    import torch

    other = state_of(second)
    learned = dict(first.named_parameters(remove_duplicate=False))
    fixed, buffers = set(), set()
    for name, tensor in state_of(first).items():
        if name in learned and learned[name].requires_grad:
            continue
        if name.rpartition(".")[2] in {"running_mean", "running_var"}:
            continue
        twin = other.get(name)
        if twin is not None and tensor.shape == twin.shape and torch.equal(tensor, twin):
            fixed.add(name)
            if name not in learned:
                buffers.add(name)
    return frozenset(fixed), frozenset(buffers)


def hidden_tensors(first: Any, second: Any) -> tuple[str, ...]:
    """Name plain attributes that hold random tensors: no state_dict carries them."""
    import torch

    others = {name: value for name, _, value in plain_tensors(second)}
    return tuple(
        name
        for name, _, value in plain_tensors(first)
        if name in others and not torch.equal(value, others[name])
    )


@dataclass(slots=True)
class InputMaker:
    """Makes inputs of any shape in the chosen manner."""

    reference: Reference
    randn: frozenset[int] = frozenset()
    """Positions, among the tensors of the inputs, that are drawn from a normal distribution."""
    index: frozenset[int] = frozenset()
    """Positions of constant integers, drawn from 0 to that constant."""
    template: list[Any] = field(default_factory=list)
    """One set of the module's own inputs."""

    def own(self, seed: int) -> list[Any]:
        """Inputs as the module itself makes them."""
        return self.reference.inputs(seed)

    def make(self, seed: int, sizes: dict[int, tuple[int, ...]] | None = None) -> list[Any]:
        """Hardened inputs; `sizes` gives a new shape for tensors by position."""
        source = generator(seed)
        position = iter(range(10**6))

        def change(tensor: Any) -> Any:
            at = next(position)
            shape = (sizes or {}).get(at, tuple(tensor.shape))
            return self._one(tensor, at, shape, source)

        fresh = self.template if sizes else self.own(seed)
        return list(map_tensors(change, fresh))

    def _one(self, tensor: Any, at: int, shape: tuple[int, ...], source: Any) -> Any:
        import torch

        if at in self.randn:
            dtype = tensor.dtype if tensor.is_complex() else torch.float32
            made = torch.randn(shape, generator=source, dtype=dtype).to(tensor.dtype)
            return made.requires_grad_(tensor.requires_grad)
        if at in self.index:
            top = max(int(tensor.max()), 0) + 1
            return torch.randint(0, top, shape, generator=source).to(tensor.dtype)
        if shape == tuple(tensor.shape) or not tensor.numel():
            return tensor
        picks = torch.randint(0, tensor.numel(), shape, generator=source)
        return tensor.detach().flatten()[picks]


def floating_positions(inputs: list[Any]) -> list[int]:
    """Positions, among the tensors of the inputs, of those with continuous values."""
    return [at for at, tensor in enumerate(tensors_in(inputs)) if _continuous(tensor)]


def constant_integers(first: list[Any], second: list[Any]) -> frozenset[int]:
    """Positions of integer tensors that hold one and the same value whatever the seed."""
    found = set()
    for at, (one, two) in enumerate(zip(tensors_in(first), tensors_in(second), strict=False)):
        if one.is_floating_point() or one.is_complex() or not one.numel():
            continue
        if one.shape == two.shape and bool((one == one.flatten()[0]).all() & (one == two).all()):
            found.add(at)
    return frozenset(found)


def finite(value: Any) -> bool:
    """Say whether every number in a nested value is finite."""
    import math

    import torch

    for leaf in flatten(value):
        if isinstance(leaf, torch.Tensor):
            if _continuous(leaf) and not bool(torch.isfinite(leaf).all()):
                return False
        elif isinstance(leaf, float) and not math.isfinite(leaf):
            return False
    return True

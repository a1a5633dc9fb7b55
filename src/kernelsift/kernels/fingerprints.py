"""Recognise a weight by its initial values: both sides are constructed from the same seed."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Weight:
    """What is known of one weight without its values."""

    shape: tuple[int, ...]
    flat: str | None = None
    """Digest of the values in row-major order; None for constants, which all look alike."""
    turned: str | None = None
    """The same of the transposed matrix; None for anything but a matrix."""


def weight(tensor: Any) -> Weight:
    """Describe a weight of torch."""
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return Weight(shape)
    tensor = tensor.detach()
    if bool((tensor == tensor.flatten()[0]).all()):
        return Weight(shape)
    return Weight(shape, _digest(tensor), _digest(tensor.t()) if tensor.dim() == 2 else None)


def prints(state: Mapping[str, Any]) -> dict[str, list[str | None]]:
    """Digests of the values of all weights, straight and transposed, by name."""
    described = {name: weight(tensor) for name, tensor in state.items()}
    return {name: [one.flat, one.turned] for name, one in described.items()}


def _digest(tensor: Any) -> str:
    import torch

    raw = tensor.cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(raw, digest_size=12).hexdigest()


def match_values(
    own: Mapping[str, Weight], given: Mapping[str, Weight]
) -> dict[str, tuple[str, str]]:
    """Own weight -> (given weight, `value` or `turned`), where the values leave no doubt."""
    known = _unique({name: w.flat for name, w in given.items()})
    turned = _unique({name: w.turned for name, w in given.items()})
    found: dict[str, tuple[str, str]] = {}
    for print_, name in _unique({name: w.flat for name, w in own.items()}).items():
        if print_ in known:
            found[name] = (known[print_], "value")
        elif print_ in turned and own[name].shape == given[turned[print_]].shape[::-1]:
            found[name] = (turned[print_], "turned")
    return found


def _unique(prints: Mapping[str, str | None]) -> dict[str, str]:
    times = Counter(prints.values())
    return {p: name for name, p in prints.items() if p is not None and times[p] == 1}

"""Guard bands: every tensor that a candidate gets or makes lies between two bands of a pattern.

A kernel that writes outside of a tensor changes a band. What it reads there is NaN, or -1. Counts
torch's operators on the way, as the CPU's ledger does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from kernelsift.kernels.candidate.launches import Controls, Log
from kernelsift.kernels.candidate.provenance import Ledger, operator_kind, tensors_in

BAND = 16 << 10
"""Bytes on either side; a multiple of what torch aligns its memory to."""
PATTERN = 0xFF
"""In every floating type a NaN, but not the one that arithmetic makes."""
MOST_BYTES = 2 << 30
"""Of guarded memory in one call; what comes after has no bands."""


@dataclass(slots=True)
class _Banded:
    name: str
    memory: Any
    size: int


class Guards(Ledger):
    """A dispatch mode that puts bands round fresh memory of one device, and counts operators."""

    def __init__(self, device: str) -> None:
        """`device`: `cuda` or `cpu`; memory elsewhere is left alone."""
        super().__init__(Log(Controls()))
        self._device = device
        self._inputs: list[_Banded] = []
        self._memory: list[_Banded] = []
        self._made = 0

    def reset(self) -> None:
        """Forget what was counted, and the memory that the candidate made; inputs stay guarded."""
        super().reset()
        self._memory.clear()
        self._made = 0

    def forget_inputs(self) -> None:
        """Other inputs are about to be made."""
        self._inputs.clear()

    @property
    def bands(self) -> int:
        """Pieces of memory that have bands now."""
        return len(self._inputs) + len(self._memory)

    def input(self, tensor: Any) -> Any:
        """The same tensor between two bands."""
        return self._banded(self._inputs, f"input {len(self._inputs)}", tensor, keep=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator; fresh memory that it returns gets bands."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        kind = operator_kind(func)
        self._account(func, kind, (args, kwargs, out))
        if kind not in {"alloc", "fill"} or not isinstance(out, torch.Tensor):
            return out
        if any(out is given for given in tensors_in((args, kwargs))):
            return out
        self._made += 1
        return self._banded(self._memory, f"memory {self._made}", out, keep=kind == "fill")

    def _banded(self, into: list[_Banded], name: str, tensor: Any, *, keep: bool) -> Any:
        """A tensor like this one between two bands; `keep`: with its contents, else the pattern."""
        size = _span_bytes(tensor)
        held = sum(banded.size + 2 * BAND for banded in (*self._inputs, *self._memory))
        fits = held + size + 2 * BAND <= MOST_BYTES
        if tensor.device.type != self._device or tensor.layout != torch.strided or not fits:
            return tensor
        if tensor.is_quantized or not size:
            return tensor
        count = BAND + -(-size // BAND) * BAND + BAND
        memory = torch.full((count,), PATTERN, dtype=torch.uint8, device=tensor.device)
        inner = memory[BAND : BAND + size].view(tensor.dtype)
        inner = inner.as_strided(tensor.shape, tensor.stride(), inner.storage_offset())
        if keep:
            inner.copy_(tensor)
        into.append(_Banded(name, memory, size))
        return inner

    def hits(self) -> list[dict[str, Any]]:
        """Bands that were written to, since the last reset."""
        found = []
        for banded in (*self._inputs, *self._memory):
            memory, end = banded.memory, BAND + banded.size
            for where, band in (("before", memory[:BAND].flip(0)), ("after", memory[end:])):
                places = (band != PATTERN).nonzero()
                if places.numel():
                    found.append({
                        "tensor": banded.name,
                        "where": where,
                        "offset": int(places[0]),
                        "changed": int(places.numel()),
                    })
        return found


def _span_bytes(tensor: Any) -> int:
    if not tensor.numel():
        return 0
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return int((1 + sum((n - 1) * s for n, s in pairs)) * tensor.element_size())

"""Where a candidate's output came from: stores of kernels, or operators of torch."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelsift.kernels.candidate.launches import Log
    from kernelsift.kernels.candidate.memory import Region

ALLOCATIONS = frozenset(words(
    "empty empty_like empty_strided new_empty new_empty_strided empty_permuted resize_"
))  # fmt: skip
FILLS = frozenset(words(
    "zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full zero_ fill_ arange "
    "scalar_tensor eye linspace uniform_ normal_ random_ rand randn randint bernoulli_ randperm "
    "rand_like randn_like exponential_ native_dropout_mask tril_indices triu_indices"
))  # fmt: skip
VIEWS = frozenset(words(
    "detach detach_ alias lift lift_fresh lift_fresh_copy _unsafe_view _reshape_alias set_ "
    "unsafe_split unsafe_chunk is_same_size is_pinned sym_size record_stream"
))  # fmt: skip
COPIES = frozenset(words(
    "clone copy_ copy _to_copy cat stack contiguous constant_pad_nd repeat flip roll _pin_memory "
    "view_copy expand_copy permute_copy slice_scatter select_scatter unfold_copy"
))  # fmt: skip
READS = frozenset(("_local_scalar_dense", "equal", "is_nonzero"))
POISON_INTEGER = 0x5BD1E995


def operator_kind(func: Any) -> str:
    """alloc, fill, view, copy, read or compute: what an aten operator does."""
    name = func.overloadpacket.__name__
    for kind, names in (
        ("alloc", ALLOCATIONS),
        ("fill", FILLS),
        ("view", VIEWS),
        ("copy", COPIES),
        ("read", READS),
    ):
        if name in names:
            return kind
    return "view" if func.is_view else "compute"


def tensors_in(value: Any) -> Iterator[Any]:
    """Every tensor in nested tuples, lists and dicts, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def raw_bytes(tensor: Any) -> Any:
    """The bytes from a tensor's first to its last element, as a numpy view of its memory."""
    if not tensor.numel():
        return np.zeros(0, dtype=np.uint8)
    span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    count = span * tensor.element_size()
    window = (ctypes.c_uint8 * count).from_address(tensor.data_ptr())
    return np.frombuffer(window, dtype=np.uint8)


def _plain_tensors(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor)}


def snapshot(arguments: dict[str, Any]) -> dict[str, bytes]:
    """Copies of the memory behind tensor arguments."""
    return {name: raw_bytes(value).tobytes() for name, value in _plain_tensors(arguments).items()}


def is_copy_launch(arguments: dict[str, Any], before: dict[str, bytes]) -> tuple[bool, int]:
    """Whether every tensor that a launch changed now equals another argument, and their number."""
    after = snapshot(arguments)
    changed = [name for name, raw in after.items() if raw != before[name]]
    copied = all(
        any(after[name] == before[other] for other in before if other != name) for name in changed
    )
    return bool(changed) and copied, len(changed)


def poison_tensor(tensor: Any, value: float) -> None:
    """Fill fresh memory with the poison value, or with a large odd integer."""
    dtype = tensor.dtype
    if dtype.is_floating_point or dtype.is_complex:
        limit = torch.finfo(dtype).max
        tensor.fill_(max(-limit, min(limit, value)) if math.isfinite(value) else value)
    elif dtype == torch.bool:
        tensor.fill_(1)
    else:
        tensor.fill_(POISON_INTEGER & (torch.iinfo(dtype).max >> 1) | 1)


class Ledger(TorchDispatchMode):  # type: ignore[misc]
    """Counts the aten operators of a call and follows kernel-written bytes through copies."""

    def __init__(self, log: Log) -> None:
        """A ledger that shares the memory of a launch log."""
        super().__init__()
        self.log = log
        self.ops: dict[str, dict[str, Any]] = {}
        self.fresh: dict[int, Any] = {}
        self.derived: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler (seconds) at the first operator."""
        return False

    def reset(self) -> None:
        """Forget what was counted."""
        self.ops.clear()
        self.fresh.clear()
        self.derived.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and account for it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        kind = operator_kind(func)
        outputs = list(tensors_in(out))
        if kind == "alloc":
            self._allocate(func, outputs)
        else:
            self._account(func, kind, (args, kwargs, out))
            if func.overloadpacket.__name__ == "_to_copy":
                self._note_rounding(list(tensors_in(args)), outputs)
            if kind != "view":
                self._follow(func, kind, list(tensors_in((args, kwargs))), outputs)
        return out

    def _allocate(self, func: Any, outputs: list[Any]) -> None:
        self._count(func, "alloc")
        for tensor in outputs:
            if not tensor.untyped_storage().nbytes():
                continue
            if self.log.controls.fill and func.overloadpacket.__name__ != "resize_":
                poison_tensor(tensor, self.log.controls.poison)
            self.fresh[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    def _count(self, func: Any, kind: str) -> dict[str, Any]:
        entry = self.ops.setdefault(
            func.overloadpacket.__name__,
            {"kind": kind, "calls": 0, "flops": 0, "bytes": 0, "numel": 0},
        )
        entry["calls"] += 1
        return entry

    def _account(self, func: Any, kind: str, call: tuple[Any, Any, Any]) -> None:
        entry = self._count(func, kind)
        if kind == "view":
            return
        args, kwargs, out = call
        touched = [*tensors_in((args, kwargs)), *tensors_in(out)]
        numel = max((tensor.numel() for tensor in touched), default=0)
        entry["numel"] += numel
        entry["bytes"] += sum(tensor.numel() * tensor.element_size() for tensor in touched)
        if kind == "compute":
            entry["flops"] += _flops(func, call) or numel

    def _note_rounding(self, given: list[Any], outputs: list[Any]) -> None:
        """A cast by torch from a wide float type to half precision or less."""
        for old, new in zip(given, outputs, strict=False):
            narrow = new.dtype.is_floating_point and new.dtype.itemsize <= 2
            if narrow and old.dtype in {torch.float32, torch.float64}:
                name = str(new.dtype).removeprefix("torch.")
                self.log.place("rounded", 1, kernel="", line=self.log.line(), access=name)

    def _follow(self, func: Any, kind: str, given: list[Any], outputs: list[Any]) -> None:
        """Move the marks 'written by a kernel' and 'derived from one' to what was written."""
        for tensor in outputs:
            self.fresh.pop(tensor.untyped_storage().data_ptr(), None)
            region = self.log.memory.seen(tensor)
            if region is not None:
                region.known = None
        if not self.log.memory.windows or kind == "read":
            return
        sources = [tensor for tensor in given if all(tensor is not other for other in outputs)]
        derived = any(self.is_derived(tensor) for tensor in [*sources, *given])
        for tensor in outputs:
            known = self.log.memory.seen(tensor)
            if not derived and known is None:
                continue
            region = self.log.memory.region(tensor)
            if kind == "copy":
                set_coverage(region, tensor, _copied_mask(self.log, func, sources, tensor))
            else:
                set_coverage(region, tensor, mask=False)
            if derived:
                self.derived.add(region.real)

    def is_derived(self, tensor: Any) -> bool:
        """Whether anything in a tensor's storage was written by a kernel or computed from that."""
        region = self.log.memory.seen(tensor)
        if region is None:
            return False
        return region.real in self.derived or bool(region.bitmap().any())


def _flops(func: Any, call: tuple[Any, Any, Any]) -> int:
    formula = flop_registry.get(func.overloadpacket)
    if formula is None:
        return 0
    args, kwargs, out = call
    try:
        return int(formula(*args, **kwargs, out_val=out))
    except (TypeError, AssertionError, ValueError, AttributeError):
        return 0


def _copied_mask(log: Log, func: Any, sources: list[Any], target: Any) -> Any:
    """Which elements a copying operator took from bytes that a kernel wrote."""
    masks = [coverage_mask(log, source) for source in sources]
    if not masks:
        return False
    one_to_one = func.overloadpacket.__name__ in {"clone", "copy_", "_to_copy"}
    if one_to_one:
        shape = tuple(target.shape)
        return np.broadcast_to(masks[-1], shape) if masks[-1].shape != shape else masks[-1]
    return all(bool(mask.all()) for mask in masks)


def _strided(bitmap: Any, tensor: Any, region: Region, step: int) -> Any:
    start = tensor.data_ptr() - region.real + step
    size = tensor.element_size()
    strides = tuple(stride * size for stride in tensor.stride())
    return np.lib.stride_tricks.as_strided(bitmap[start:], tuple(tensor.shape), strides)


def coverage_mask(log: Log, tensor: Any) -> Any:
    """One bool per element: its bytes were written by a kernel."""
    region = log.memory.seen(tensor)
    if region is None or not tensor.numel():
        return np.zeros(tuple(tensor.shape), dtype=bool)
    return _strided(region.bitmap(), tensor, region, 0)


def set_coverage(region: Region, tensor: Any, mask: Any) -> None:
    """Set the marks of a tensor's elements."""
    if not tensor.numel():
        return
    bitmap = region.bitmap()
    for step in range(tensor.element_size()):
        _strided(bitmap, tensor, region, step)[...] = mask


def coverage(log: Log, ledger: Ledger, output: Any) -> list[dict[str, Any]]:
    """For each returned tensor: share of elements stored by kernels, and whether any is derived."""
    found = []
    for tensor in tensors_in(output):
        mask = coverage_mask(log, tensor.detach())
        share = float(mask.mean()) if mask.size else 1.0
        derived = ledger.is_derived(tensor.detach())
        found.append({"stored": share, "derived": derived or share > 0})
    return found

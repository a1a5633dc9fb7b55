"""Faults of one launch that its result may hide: races between programs, uninitialised reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kernelsift.kernels.candidate.launches import Access, Log
    from kernelsift.kernels.candidate.memory import Region

MAX_ACCESSED = 1 << 24
NEVER = np.iinfo(np.int64).max
ROUNDING = {"float64": 1e-4, "float32": 1e-4, "float16": 2.0**-8, "bfloat16": 2.0**-5}
"""Relative differences of values that count as rounding: the same sum in another order."""
CANCELLED = 0.1
"""Of the largest value, so much more counts for every value: sums may cancel."""
EXACT = ""
FORMATS = (EXACT, *ROUNDING)


def begin_launch(log: Log, fresh: dict[int, Any]) -> None:
    """Before a launch: which storages hold memory that nothing has written yet."""
    log.accesses.clear()
    log.accessed = 0
    for region in log.memory.windows.values():
        if region.real in fresh and region.known is None and region.written is None:
            region.known = np.zeros(region.end - region.start, dtype=bool)
        region.known_before = None if region.known is None else region.known.copy()


def check_launch(log: Log) -> None:
    """After a launch: report races and uninitialised reads, then forget its accesses.

    Programs that compare and swap may wait for each other: no race is then shown.
    """
    if log.accessed > MAX_ACCESSED:
        log.place("truncated", log.accessed, line=0, access="sanitizer")
    locked = any(access.kind == "lock" for access in log.accesses)
    by_window: dict[int, list[tuple[int, Access]]] = {}
    for number, access in enumerate(log.accesses):
        by_window.setdefault(access.window, []).append((number, access))
    for window, accesses in by_window.items():
        region = log.memory.windows.get(window)
        if region is None:
            continue
        if not locked:
            _check_races(log, region, [access for _, access in accesses])
        if region.known_before is not None:
            _check_uninitialised(log, region, accesses)
    log.accesses.clear()
    log.accessed = 0


class _Lanes:
    """All lanes of some accesses as flat arrays: address, program, line, value, its format."""

    def __init__(self, accesses: list[Access], *, bf16: bool = False) -> None:
        self.addresses = _joined([access.pointers.ravel() for access in accesses], np.uint64)
        sizes = [access.pointers.size for access in accesses]
        self.programs = np.repeat([access.program for access in accesses], sizes)
        self.lines = np.repeat([access.line for access in accesses], sizes)
        self.values = _joined([_bits(access) for access in accesses], np.uint64)
        formats = [FORMATS.index(_format(access, bf16=bf16)) for access in accesses]
        self.formats = np.repeat(formats, sizes)

    def sort(self) -> None:
        order = np.lexsort((self.programs, self.addresses))
        for name in ("addresses", "programs", "lines", "values", "formats"):
            setattr(self, name, getattr(self, name)[order])


def _joined(parts: list[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)


def _bits(access: Access) -> Any:
    if access.values is None:
        return np.zeros(access.pointers.size, dtype=np.uint64)
    values = np.ascontiguousarray(np.broadcast_to(access.values, access.pointers.shape)).ravel()
    return values.view(f"u{values.itemsize}").astype(np.uint64)


def _format(access: Access, *, bf16: bool) -> str:
    """The floating format of stored values; bfloat16 is stored as bits."""
    name = EXACT if access.values is None else access.values.dtype.name
    if bf16 and name == "uint16":
        return "bfloat16"
    return name if name in ROUNDING else EXACT


def _check_races(log: Log, region: Region, accesses: list[Access]) -> None:
    if len({access.program for access in accesses}) < 2:
        return
    stores = _Lanes([access for access in accesses if access.kind == "store"], bf16=region.bf16)
    loads = _Lanes([access for access in accesses if access.kind == "load"])
    atomics = _Lanes([access for access in accesses if access.kind == "atomic"])
    stores.sort()
    atomics.sort()
    _report_double_stores(log, region, stores)
    for writers, kind in ((stores, "store-load"), (atomics, "atomic-load")):
        _report_crossing(log, region, (writers, loads), kind)
    _report_crossing(log, region, (atomics, stores), "atomic-store")


def _report_double_stores(log: Log, region: Region, stores: _Lanes) -> None:
    """Two programs store to one address; equal values, up to rounding, are their own kind."""
    addresses, programs = stores.addresses, stores.programs
    clash = (addresses[1:] == addresses[:-1]) & (programs[1:] != programs[:-1])
    if not clash.any():
        return
    differs = _unequal(stores, clash)
    kind = "store-store" if differs.any() else "store-store-equal"
    where = differs if differs.any() else clash
    line = int(stores.lines[1:][where][0])
    log.place("races", int(where.sum()), line=line, access=kind, argument=region.name)


def _unequal(stores: _Lanes, clash: Any) -> Any:
    """Of the lanes that clash with their neighbour, those whose values differ beyond rounding."""
    at = np.flatnonzero(clash)
    one, other = stores.values[at], stores.values[at + 1]
    same = one == other
    for number, name in enumerate(FORMATS):
        both = (stores.formats[at] == number) & (stores.formats[at + 1] == number)
        if name != EXACT and both.any():
            same[both] |= _close(_numbers(one[both], name), _numbers(other[both], name), name)
    unequal = np.zeros_like(clash)
    unequal[at] = ~same
    return unequal


def _numbers(bits: Any, name: str) -> Any:
    if name == "bfloat16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    kind = np.dtype(name)
    return bits.astype(f"u{kind.itemsize}").view(kind).astype(np.float64)


def _close(one: Any, other: Any, name: str) -> Any:
    size = np.maximum(np.abs(one), np.abs(other))
    finite = np.isfinite(size)
    scale = size[finite].max(initial=0.0)
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= ROUNDING[name] * (size + CANCELLED * scale)
    return (finite & near) | (np.isnan(one) & np.isnan(other))


def _report_crossing(log: Log, region: Region, pair: tuple[_Lanes, _Lanes], kind: str) -> None:
    """Lanes of one program that touch what another program writes."""
    writers, others = pair
    if not writers.addresses.size or not others.addresses.size:
        return
    first = np.searchsorted(writers.addresses, others.addresses, side="left")
    last = np.searchsorted(writers.addresses, others.addresses, side="right") - 1
    hit = last >= first
    first, last = np.minimum(first, writers.addresses.size - 1), np.maximum(last, 0)
    lowest, highest = writers.programs[first], writers.programs[last]
    crossing = hit & ((lowest != others.programs) | (highest != others.programs))
    if crossing.any():
        line = int(others.lines[crossing][0])
        count = int(crossing.sum())
        log.place("races", count, line=line, access=kind, argument=region.name)


def _check_uninitialised(log: Log, region: Region, accesses: list[tuple[int, Access]]) -> None:
    """Loads of bytes that neither torch nor an earlier store has written."""
    first_store = np.where(region.known_before, -1, NEVER)
    for number, access in reversed(accesses):
        if access.kind == "store":
            offsets = (access.pointers.ravel() - np.uint64(region.start)).astype(np.int64)
            fresh = offsets[first_store[offsets] >= 0]
            first_store[fresh] = number
    for number, access in accesses:
        if access.kind == "store":
            continue
        offsets = (access.pointers.ravel() - np.uint64(region.start)).astype(np.int64)
        count = int(np.count_nonzero(first_store[offsets] > number))
        if count:
            details = {"line": access.line, "access": access.kind, "argument": region.name}
            log.place("uninitialised", count, **details)

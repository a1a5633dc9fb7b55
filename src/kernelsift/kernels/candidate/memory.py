"""Addresses that interpreted kernels see, and what they did to the memory behind them.

Every storage handed to a launch gets its own window of virtual addresses, terabytes apart. An
address outside a storage can then never be mistaken for a neighbour's, wherever malloc put the
two, and accesses that are out of range are reported and never executed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

WINDOW_BITS = 40
FIRST_OFFSET = 1 << 38
PAGE = 4096
WORD = (1 << 64) - 1
FLUSH_ELEMENTS = 1 << 20
MAX_EXPOSED = 4096


@dataclasses.dataclass(slots=True)
class Region:
    """One storage: its window [start, end), its real address, which bytes kernels wrote.

    `known` marks initialised bytes; None means that all of them are. `bf16`: what kernels store
    there as 16 bits are numbers.
    """

    start: int
    end: int
    real: int
    storage: Any
    name: str = ""
    written: Any = None
    known: Any = None
    known_before: Any = None
    stores: list[tuple[Any, Any, int]] = dataclasses.field(default_factory=list)
    pending: int = 0
    bf16: bool = False

    @property
    def delta(self) -> Any:
        """What to subtract (modulo 2**64) from a virtual address to get the real one."""
        return np.uint64((self.start - self.real) & WORD)

    def bitmap(self) -> Any:
        """The bytes written by kernels, one bool each, up to date."""
        if self.written is None:
            self.written = np.zeros(self.end - self.start, dtype=bool)
        for pointers, mask, width in self.stores:
            offsets = pointers[mask] if mask is not None else pointers.ravel()
            mark(self.written, offsets - np.uint64(self.start), width)
            if self.known is not None:
                mark(self.known, offsets - np.uint64(self.start), width)
        self.stores.clear()
        self.pending = 0
        return self.written

    def note_store(self, pointers: Any, mask: Any, width: int) -> None:
        """Remember a store whose active lanes all lie inside; mask None means all lanes."""
        self.stores.append((pointers, mask, width))
        self.pending += pointers.size
        if self.pending > FLUSH_ELEMENTS:
            self.bitmap()


def mark(bitmap: Any, offsets: Any, width: int) -> None:
    """Set `width` bytes from each byte offset on."""
    if width > 1 and bitmap.size % width == 0 and not (offsets % np.uint64(width)).any():
        bitmap.reshape(-1, width)[(offsets // np.uint64(width)).astype(np.int64)] = True
        return
    places = offsets.astype(np.int64)
    for step in range(width):
        bitmap[places + step] = True


class Memory:
    """All storages that kernels have been given; they are kept alive so no address is reused."""

    def __init__(self) -> None:
        """Start without any storage."""
        self.windows: dict[int, Region] = {}
        self.by_address: dict[int, Region] = {}
        self.exposed: dict[int, Any] = {}

    def expose(self, tensor: Any) -> None:
        """Kernels may use real addresses inside of the tensor's storage from now on."""
        if len(self.exposed) < MAX_EXPOSED:
            storage = tensor.untyped_storage()
            self.exposed[storage.data_ptr()] = storage

    def region(self, tensor: Any) -> Region:
        """The region of a tensor's storage, made at first sight."""
        region = self._region(tensor.untyped_storage())
        region.bf16 = str(tensor.dtype) == "torch.bfloat16"
        return region

    def _region(self, storage: Any) -> Region:
        real = storage.data_ptr()
        found = self.by_address.get(real)
        if found is not None and found.end - found.start >= storage.nbytes():
            return found
        index = len(self.windows) + 1
        start = (index << WINDOW_BITS) + FIRST_OFFSET + (real % PAGE)
        region = Region(start, start + storage.nbytes(), real, storage)
        self.windows[index] = region
        if real:
            self.by_address[real] = region
        return region

    def seen(self, tensor: Any) -> Region | None:
        """The region of a tensor's storage if it has one."""
        return self.by_address.get(tensor.untyped_storage().data_ptr())

    def address(self, tensor: Any) -> int:
        """The virtual address of a tensor's first element."""
        region = self.region(tensor)
        return int(region.start + tensor.data_ptr() - region.real)

    def clear(self) -> None:
        """Forget every storage, so that its memory can be freed; exposed ones stay exposed."""
        self.windows.clear()
        self.by_address.clear()

    def translate(self, pointers: Any, mask: Any, width: int) -> tuple[Any, Any, Any]:
        """Real addresses, allowed lanes and refused lanes (None when none) of one access.

        Slow path: lanes may point into several storages or outside all of them.
        """
        real = pointers.copy()
        allowed = np.zeros(pointers.shape, dtype=bool)
        windows = pointers >> np.uint64(WINDOW_BITS)
        for index in np.unique(windows[mask]):
            own = mask & (windows == index)
            region = self.windows.get(int(index))
            if region is not None:
                inside = own & self.inside(pointers, region.start, region.end, width)
                real[inside] -= region.delta
                allowed |= inside
        refused = mask & ~allowed
        return real, allowed, refused if refused.any() else None

    @staticmethod
    def inside(pointers: Any, start: int, end: int, width: int) -> Any:
        """Lanes whose whole element lies in [start, end)."""
        if end - start < width:
            return np.zeros(pointers.shape, dtype=bool)
        return (pointers >= np.uint64(start)) & (pointers <= np.uint64(end - width))

    def only(self, pointers: Any, width: int) -> Region | None:
        """The region in which all of the addresses lie, if it is one."""
        low, high = int(pointers.min()), int(pointers.max())
        region = self.windows.get(low >> WINDOW_BITS)
        if region is not None and low >= region.start and high + width <= region.end:
            return region
        return None

    def virtual(self, pointers: Any) -> Any:
        """Virtual addresses in place of real ones (made by data_ptr()) in a known storage."""
        moved = pointers.copy()
        known = {real: region.storage for real, region in self.by_address.items()} | self.exposed
        for real, storage in known.items():
            inside = self.inside(pointers, real, real + storage.nbytes(), 1)
            if inside.any():
                moved[inside] += self._region(storage).delta
        return moved

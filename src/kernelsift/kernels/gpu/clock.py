"""The clocks and queues of a real device, for children. All functions are bound when it is made.

That has to be before foreign code is imported: what that code replaces later is not used here.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from typing import TYPE_CHECKING, Any

import torch

from kernelsift.kernels.gpu.device import LIBRARY

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_FLUSH = 256 << 20
"""Bytes that are written between calls: more than any cache, and enough device time to hide what
the host needs to prepare a call."""
PERSISTING_LIMIT = 6
"""CU_LIMIT_PERSISTING_L2_CACHE_SIZE in cuda.h."""


class CudaDevice:
    """The current CUDA device and its current stream. Never run on a real GPU so far."""

    name = "cuda"

    def __init__(self) -> None:
        """Bind everything and take the flush buffer."""
        torch.cuda.init()
        cuda = torch.cuda
        properties = cuda.get_device_properties(0)
        cache = int(getattr(properties, "L2_cache_size", 0))
        size = min(max(LEAST_FLUSH, 4 * cache), int(properties.total_memory) // 8)
        self._buffer = torch.empty(size, dtype=torch.uint8, device=self.name)
        self._clear = torch.Tensor.zero_
        self._event, self._record = cuda.Event, cuda.Event.record
        self._elapsed, self._wait = cuda.Event.elapsed_time, cuda.synchronize
        self._stream, self._on = cuda.current_stream(), cuda.stream
        self._clock = time.perf_counter
        self._free = cuda.mem_get_info
        self._driver = ctypes.CDLL(LIBRARY)

    def now(self) -> float:
        """The host's clock in seconds."""
        return self._clock()

    def synchronize(self) -> None:
        """Wait until every stream of the device is idle."""
        self._wait()

    def flush(self) -> None:
        """Write more than the cache holds."""
        with self._on(self._stream):
            self._clear(self._buffer)

    def mark(self) -> Any:
        """An event on the stream that was current at first, whatever is current now."""
        event = self._event(enable_timing=True)
        self._record(event, self._stream)
        return event

    def between(self, start: Any, end: Any) -> float:
        """Device seconds between two events."""
        return float(self._elapsed(start, end)) / 1e3

    @contextlib.contextmanager
    def ours(self) -> Iterator[None]:
        """On the stream that was current at first."""
        with self._on(self._stream):
            yield

    def begin(self) -> None:
        """Before a block: nothing in the cache is kept from being replaced."""
        self._driver.cuCtxSetLimit(PERSISTING_LIMIT, ctypes.c_size_t(0))
        self._driver.cuCtxResetPersistingL2Cache()

    def free_bytes(self) -> int:
        """Memory of the device that nobody has taken."""
        return int(self._free()[0])


class HostDevice:
    """The CPU in a device's place: for rehearsals of the whole path, where no time means much."""

    name = "cpu"

    def __init__(self) -> None:
        """Bind the clock."""
        self._clock = time.perf_counter
        self._buffer = torch.empty(1 << 20, dtype=torch.uint8)

    def now(self) -> float:
        """The host's clock in seconds."""
        return self._clock()

    def synchronize(self) -> None:
        """Everything is done when it returns."""

    def flush(self) -> None:
        """Write one MiB."""
        self._buffer.zero_()

    def mark(self) -> float:
        """The time."""
        return self._clock()

    def between(self, start: float, end: float) -> float:
        """Seconds."""
        return end - start

    @contextlib.contextmanager
    def ours(self) -> Iterator[None]:
        """There is one stream."""
        yield

    def begin(self) -> None:
        """Nothing to prepare."""

    def free_bytes(self) -> int:
        """Enough for a rehearsal."""
        return 256 << 20


def device_of(name: str) -> CudaDevice | HostDevice:
    """The device that a job is to run on: `cuda`, or `cpu` for a rehearsal."""
    return CudaDevice() if name == "cuda" else HostDevice()

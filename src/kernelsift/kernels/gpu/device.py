"""Which GPU there is and what it can do at best. Asked of the driver in a child, never here.

The parent must not start the driver: a process that did cannot hand it to a fork. So presence is
judged from files, and everything else comes from a child (`device_probe`).
"""

import contextlib
import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from kernelsift.kernels.gpu.gpu_facts import DeviceFacts
from kernelsift.kernels.isolation.visible import gpu_devices

LIBRARY = "libcuda.so.1"
PLACES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/run/opengl-driver/lib",
    "/usr/local/cuda/compat",
)
ATTRIBUTES = {
    "clock_khz": 13,
    "processors": 16,
    "memory_clock_khz": 36,
    "bus_bits": 37,
    "l2_bytes": 38,
    "major": 75,
    "minor": 76,
}
"""Numbers of CUdevice_attribute in cuda.h."""
LANES = {
    (7, 0): (64, 1024),
    (7, 5): (64, 1024),
    (8, 0): (64, 2048),
    (8, 6): (128, 1024),
    (8, 7): (128, 2048),
    (8, 9): (128, 1024),
    (9, 0): (128, 4096),
    (10, 0): (128, 8192),
    (10, 3): (128, 8192),
    (12, 0): (128, 1024),
    (12, 1): (128, 1024),
}
"""By compute capability, for one multiprocessor and clock: fp32 multiply-adds, and fp16 operations
of the tensor cores (dense). From NVIDIA's architecture papers; times clock and multiprocessors
they give the data sheets' figures: A100 312, H100 SXM 989, L4 121, T4 65 TFLOP/s in fp16."""
EDGES = 2
"""Transfers in one clock of the memory, as the driver counts that clock."""


class NoDeviceError(Exception):
    """There is no usable GPU; the message says what is missing."""


def missing() -> str:
    """What of a GPU's driver is missing on this machine; empty where all files are there."""
    if not gpu_devices():
        return (
            "there is no /dev/nvidia0: no NVIDIA driver is loaded, or this container was started "
            "without its GPUs"
        )
    folders = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *PLACES]
    if not any(folder and Path(folder, LIBRARY).exists() for folder in folders):
        with contextlib.suppress(OSError):
            ctypes.CDLL(LIBRARY)  # loading alone starts nothing
            return ""
        return (
            f"{LIBRARY} was not found: install the NVIDIA driver's libraries, or add their folder "
            "to LD_LIBRARY_PATH"
        )
    return ""


def device_from(
    name: str, memory_bytes: int, driver: int, numbers: Mapping[str, int]
) -> DeviceFacts:
    """Facts and peaks from the driver's numbers. `driver`: as cuDriverGetVersion gives it."""
    capability = (numbers.get("major", 0), numbers.get("minor", 0))
    clock = numbers.get("clock_khz", 0) * 1e3 * numbers.get("processors", 0)
    adds, tensor = LANES.get(capability, (0, 0))
    memory = numbers.get("memory_clock_khz", 0) * 1e3 * EDGES * numbers.get("bus_bits", 0) / 8
    return DeviceFacts(
        name=name,
        capability=capability,
        driver=f"{driver // 1000}.{driver % 1000 // 10}" if driver else "",
        memory_bytes=memory_bytes,
        l2_bytes=numbers.get("l2_bytes", 0),
        processors=numbers.get("processors", 0),
        bytes_per_second=memory,
        flops_per_second=clock * adds * 2,
        tensor_flops_per_second=clock * tensor,
    )


def query(ordinal: int = 0) -> DeviceFacts:
    """Ask the driver for one device. Starts it: only in a child. NoDeviceError where it fails."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoDeviceError(f"{LIBRARY} cannot be loaded: {error}") from error
    _asked(library, "cuInit", 0)
    device, version, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    _asked(library, "cuDeviceGet", ctypes.byref(device), ordinal)
    _asked(library, "cuDriverGetVersion", ctypes.byref(version))
    _asked(library, "cuDeviceTotalMem_v2", ctypes.byref(total), device)
    name = ctypes.create_string_buffer(256)
    _asked(library, "cuDeviceGetName", name, len(name), device)
    numbers = {}
    for word, number in ATTRIBUTES.items():
        value = ctypes.c_int()
        with contextlib.suppress(NoDeviceError):  # a driver may drop one; its use is left out then
            _asked(library, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
            numbers[word] = value.value
    return device_from(name.value.decode("utf-8", "replace"), total.value, version.value, numbers)


def _asked(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    answer = int(getattr(library, function)(*arguments))
    if answer:
        raise NoDeviceError(f"{function}: error {answer} of the CUDA driver")

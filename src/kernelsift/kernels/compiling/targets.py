"""Targets that kernels are compiled for, and what a block may use there."""

import re
from dataclasses import dataclass

from kernelsift.errors import ConfigError

DEFAULT_TARGETS = ("sm_80", "sm_90")
KIB = 1024
NVIDIA_SHARED = {
    70: 96, 72: 96, 75: 64, 80: 163, 86: 99, 87: 163, 88: 99, 89: 99, 90: 227,
    100: 227, 103: 227, 110: 227, 120: 99, 121: 99,
}  # fmt: skip
"""KiB of shared memory that one block can opt in to, by compute capability (CUDA's tables)."""
AMD_SHARED = {"gfx90a": 64, "gfx942": 64, "gfx950": 160}
"""KiB of local data share for one workgroup."""
MAX_THREADS = 1024
"""Threads of one block, on every target."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of GPU."""

    name: str
    backend: str
    """`cuda` or `hip`, as Triton calls them."""
    arch: int | str
    warp_size: int
    shared_limit: int
    """Bytes of shared memory that one block can have."""


def target(name: str) -> Target:
    """Return the target called `sm_90` or `gfx942`. ConfigError for any other name."""
    found = re.fullmatch(r"sm_(\d+)", name)
    if found and (arch := int(found[1])) in NVIDIA_SHARED:
        return Target(name, "cuda", arch, 32, NVIDIA_SHARED[arch] * KIB)
    if name in AMD_SHARED:
        return Target(name, "hip", name, 64, AMD_SHARED[name] * KIB)
    known = ", ".join([*(f"sm_{arch}" for arch in NVIDIA_SHARED), *AMD_SHARED])
    raise ConfigError(f"{name!r} is no target to compile for; known are {known}")


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read `sm_80,sm_90`; `none` and an empty text mean no target. ConfigError as `target`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["none"]:
        return ()
    return tuple(target(name) for name in dict.fromkeys(names))

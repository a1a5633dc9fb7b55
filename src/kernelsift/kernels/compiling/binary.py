"""What a compiled kernel says of itself: registers, local memory, tensor-core instructions."""

import re
import struct
from collections.abc import Iterator

ELF_MAGIC = b"\x7fELF\x02\x01"
SECTION = struct.Struct("<IIQQQQIIQQ")
REGISTERS, FRAME_BYTES = 0x2F, 0x11  # attributes of CUDA's .nv.info section
WITH_SIZE = 4  # the format of an attribute that says how long it is
TENSOR_CORES = re.compile(r"\b(mma\.sync|wgmma\.mma_async|tcgen05\.mma|v_(mfma|wmma|smfmac)_)")
AMD_FIELD = re.compile(r"^\s*\.(vgpr_count|private_segment_fixed_size):\s*(\d+)", re.MULTILINE)


def cubin_usage(cubin: bytes) -> tuple[int | None, int | None]:
    """(registers, bytes of local memory) of one thread; None for what the file does not say."""
    found: dict[int, int] = {}
    try:
        for attribute, value in _attributes(_section(cubin, ".nv.info")):
            found[attribute] = max(value, found.get(attribute, 0))
    except (struct.error, IndexError, ValueError, OverflowError):
        return None, None
    return found.get(REGISTERS), found.get(FRAME_BYTES)


def amd_usage(assembly: str) -> tuple[int | None, int | None]:
    """As `cubin_usage`, from AMD's assembly."""
    found = {name: int(value) for name, value in AMD_FIELD.findall(assembly)}
    return found.get("vgpr_count"), found.get("private_segment_fixed_size")


def uses_tensor_cores(assembly: str) -> bool:
    """Whether PTX or AMD's assembly has a matrix instruction."""
    return TENSOR_CORES.search(assembly) is not None


def _section(file: bytes, name: str) -> bytes:
    """The bytes of one section; none if there is no such section. ValueError if it is no ELF."""
    if not file.startswith(ELF_MAGIC):
        raise ValueError("not a 64-bit ELF file")
    (start,) = struct.unpack_from("<Q", file, 40)
    size, count, names_at = struct.unpack_from("<HHH", file, 58)
    sections = [SECTION.unpack_from(file, start + i * size) for i in range(count)]
    names = sections[names_at][4]
    for section in sections:
        at = names + section[0]
        if file[at : file.index(b"\0", at)] == name.encode():
            return file[section[4] : section[4] + section[5]]
    return b""


def _attributes(info: bytes) -> Iterator[tuple[int, int]]:
    """(attribute, value) of those that hold one value per function."""
    at = 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form != WITH_SIZE:
            continue
        if size == 8:
            yield attribute, struct.unpack_from("<II", info, at)[1]
        at += size

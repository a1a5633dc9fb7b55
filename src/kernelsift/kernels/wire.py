"""Values on the wire between a trusted process and its children: bytes without pickle.

A message is a magic word, the length of a JSON header, the header and one block of raw bytes.
The header holds the tree (None, bool, int, float, str, bytes, list, tuple, dict, tensor); tensors
and bytes point into the block. `decode` checks every length before it allocates and copies the
block once, so a message can never make it allocate more than a small multiple of its own size.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"KSW1"
HEADER_BYTES = 4
MAX_DEPTH = 64
MAX_DIMENSIONS = 64
MAX_LOGICAL_BYTES = 1 << 31
ALIGNMENT = 16

DTYPES = words(
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz "
    "complex128 complex64 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool"
)


class WireError(ValueError):
    """A value that cannot be sent, or bytes that are not a message."""


class _Layout(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    size: int


def encode(tree: Any) -> bytes:
    """Return the message for a tree; WireError for a value of another type or a cycle.

    A tensor keeps dtype, shape and strides; only the bytes between its first and its last element
    are sent. Parameters arrive as plain tensors, tuples as tuples, dict keys must be strings.
    """
    block = bytearray()
    try:
        header = json.dumps(_packed(tree, block, 0), allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise WireError(str(error)) from error
    text = header.encode("utf-8", "surrogatepass")
    return b"".join((MAGIC, len(text).to_bytes(HEADER_BYTES, "little"), text, bytes(block)))


def decode(data: bytes) -> Any:
    """Return the tree of a message; WireError for anything that `encode` could not have made."""
    start = len(MAGIC) + HEADER_BYTES
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise WireError("not a message")
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    if end > len(data):
        raise WireError("the header is longer than the message")
    try:
        header = json.loads(data[start:end].decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header is not JSON: {error}") from error
    return _unpacked(header, bytearray(memoryview(data)[end:]), 0)


def _packed(value: Any, block: bytearray, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"nested deeper than {MAX_DEPTH}")
    if value is None or type(value) in {bool, int, str}:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"f": repr(value)}
    if type(value) in {bytes, bytearray}:
        return {"b": _placed(bytes(value), block)}
    if type(value) in {list, tuple}:
        items = [_packed(item, block, depth + 1) for item in value]
        return items if type(value) is list else {"t": items}
    if type(value) is dict:
        if not all(type(key) is str for key in value):
            raise WireError("a key is not a string")
        return {"d": [[key, _packed(item, block, depth + 1)] for key, item in value.items()]}
    return {"T": _packed_tensor(value, block)}


def _placed(raw: bytes, block: bytearray) -> list[int]:
    block.extend(bytes(-len(block) % ALIGNMENT))
    start = len(block)
    block.extend(raw)
    return [start, len(raw)]


def _packed_tensor(value: Any, block: bytearray) -> list[Any]:
    import torch

    if type(value) not in {torch.Tensor, torch.nn.Parameter}:
        raise WireError(f"{type(value).__name__} cannot be sent")
    plain = value.detach()
    if plain.layout != torch.strided or plain.is_quantized:
        raise WireError(f"a {plain.layout} tensor cannot be sent")
    plain = plain.cpu().resolve_conj().resolve_neg()
    name = str(plain.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise WireError(f"dtype {name} cannot be sent")
    if plain.numel() * plain.element_size() > MAX_LOGICAL_BYTES:
        raise WireError("a tensor has too many elements")
    span = _span(tuple(plain.shape), tuple(plain.stride()))
    if span > 4 * plain.numel() + 4096:
        plain = plain.contiguous()
        span = plain.numel()
    flat = plain.as_strided((span,), (1,)).contiguous()
    raw = flat.view(torch.uint8).numpy().tobytes() if span else b""
    return [name, list(plain.shape), list(plain.stride()), *_placed(raw, block)]


def _span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements from the first to the last one of a strided tensor."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _unpacked(value: Any, block: bytearray, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, list):
        return [_unpacked(item, block, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise WireError("an unknown entry")
    ((tag, body),) = value.items()
    readers: dict[str, Callable[[Any, bytearray, int], Any]] = {
        "f": _read_float,
        "b": _read_bytes,
        "t": _read_tuple,
        "d": _read_dict,
        "T": _read_tensor,
    }
    if tag not in readers:
        raise WireError(f"an unknown entry {tag[:20]!r}")
    return readers[tag](body, block, depth)


def _read_float(body: Any, _block: bytearray, _depth: int) -> float:
    if body not in {"nan", "inf", "-inf"}:
        raise WireError("not a float")
    return float(body)


def _read_bytes(body: Any, block: bytearray, _depth: int) -> bytes:
    if not _is_counts(body, 2) or body[0] + body[1] > len(block):
        raise WireError("bytes outside the message")
    return bytes(block[body[0] : body[0] + body[1]])


def _read_tuple(body: Any, block: bytearray, depth: int) -> tuple[Any, ...]:
    if not isinstance(body, list):
        raise WireError("not a tuple")
    return tuple(_unpacked(item, block, depth + 1) for item in body)


def _read_dict(body: Any, block: bytearray, depth: int) -> dict[str, Any]:
    pairs = isinstance(body, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in body
    )
    if not pairs:
        raise WireError("not a dict")
    return {key: _unpacked(item, block, depth + 1) for key, item in body}


def _read_tensor(body: Any, block: bytearray, _depth: int) -> Any:
    import torch

    layout = _layout(body)
    dtype = getattr(torch, layout.dtype)
    span = _span(layout.shape, layout.stride)
    wanted = span * dtype.itemsize
    if wanted != layout.size or layout.offset % ALIGNMENT or layout.offset + wanted > len(block):
        raise WireError("a tensor outside the message")
    if math.prod(layout.shape) * dtype.itemsize > MAX_LOGICAL_BYTES:
        raise WireError("a tensor has too many elements")
    try:
        if not span:
            return torch.empty_strided(layout.shape, layout.stride, dtype=dtype)
        window = memoryview(block)[layout.offset : layout.offset + wanted]
        flat = torch.frombuffer(window, dtype=torch.uint8).clone()
        if dtype is torch.bool:
            return flat.ne(0).as_strided(layout.shape, layout.stride)
        return flat.view(dtype).as_strided(layout.shape, layout.stride)
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise WireError(f"a tensor of impossible shape: {error}") from error


def _layout(body: Any) -> _Layout:
    if not isinstance(body, list) or len(body) != 5:
        raise WireError("not a tensor")
    name, shape, stride, offset, count = body
    known = isinstance(name, str) and name in DTYPES
    if not known or not _is_counts([offset, count], 2):
        raise WireError("not a tensor")
    dimensions = len(shape) if isinstance(shape, list) else -1
    if dimensions > MAX_DIMENSIONS or not _is_counts(shape, dimensions):
        raise WireError("not a shape")
    if not _is_counts(stride, dimensions):
        raise WireError("not strides")
    return _Layout(name, tuple(shape), tuple(stride), offset, count)


def _is_counts(value: Any, length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(item) is int and 0 <= item < 1 << 62 for item in value)
    )

"""What one child may use, what it gave back, and how its bytes are told apart.

A child writes *frames* into a pipe: eight bytes of length, little-endian, then the bytes. Whatever
it writes is raw and not to be believed; `with_nonce` keeps what carries the secret of its job.
"""

import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

RETURNED = 101  # a worker's exit code once the job's function returned
HEADER = struct.Struct("<Q")  # in front of every frame: how many bytes follow


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use. Memory, processes and CPU are counted over all that it started.

    `memory_bytes` counts what comes on top of the pre-imported interpreter, `address_bytes` also
    what is asked for and never touched (the same where it is None); `processes` counts
    threads too; `file_bytes` is the largest file, and the private tmp holds four times that.
    `output_bytes` is how much of the end of stdout and stderr is kept.
    """

    wall_seconds: float = 30
    cpu_seconds: float = 30
    memory_bytes: int = 4 << 30
    address_bytes: int | None = None
    processes: int = 64
    file_bytes: int = 64 << 20
    open_files: int = 256
    result_bytes: int = 256 << 20
    output_bytes: int = 64 << 10


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How one job ended, and every complete frame it sent, in order, also if it crashed later.

    done      the job's function returned
    crash     an exception, an exit (whatever its code) or a signal of the job's own making
    timeout   the wall clock or the CPU limit
    killed    another limit, or the sandbox or the fork server failed; `reason` says which
    flooded   more output or more results than the limits allow

    `peak_bytes` is memory above the pre-imported interpreter, `sandbox` the level that held.
    """

    status: Literal["done", "crash", "timeout", "killed", "flooded"]
    frames: tuple[bytes, ...]
    exit_code: int | None
    signal: int | None
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str
    sandbox: str
    reason: str = ""


class FrameReader:
    """Cuts a stream of bytes into frames; holds never more than was sent, nor than `limit`."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of all frames together, with their lengths."""
        self.frames: list[bytes] = []
        self.overflow = False
        self._limit = limit
        self._rest = bytearray()
        self._taken = 0
        self.seen = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. After an overflow everything is ignored."""
        if self.overflow:
            return
        self.seen += len(chunk)
        self._rest += chunk
        start = 0
        while len(self._rest) - start >= HEADER.size:
            (size,) = HEADER.unpack_from(self._rest, start)
            self.overflow = self._taken + HEADER.size + size > self._limit
            end = start + HEADER.size + size
            if self.overflow or len(self._rest) < end:
                break
            self._taken += HEADER.size + size
            self.frames.append(bytes(memoryview(self._rest)[start + HEADER.size : end]))
            start = end
        del self._rest[:start]
        if self.overflow:
            self._rest.clear()


class Tail:
    """The last bytes of a stream, and how many there were."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes that are kept."""
        self.seen = 0
        self._limit = limit
        self._kept = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.seen += len(chunk)
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit or None]

    def text(self) -> str:
        """The last bytes as text; what is no UTF-8 is marked."""
        kept = self._kept[-self._limit :] if self._limit else b""
        cut = "[…]" if self.seen > len(kept) else ""
        return cut + bytes(kept).decode("utf-8", "replace")


def stamped(nonce: bytes, body: bytes) -> bytes:
    """A frame's bytes that `with_nonce` accepts."""
    return nonce + body


def with_nonce(frames: Iterable[bytes], nonce: bytes) -> tuple[bytes, ...]:
    """The bodies of the frames that begin with the nonce; an empty nonce is a mistake."""
    if not nonce:
        raise ValueError("an empty nonce would accept every frame")
    size = len(nonce)
    return tuple(f[size:] for f in frames if hmac.compare_digest(f[:size], nonce))

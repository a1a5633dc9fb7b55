"""A file of JSON lines that one process at a time makes longer, by whole lines."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from kernelsift.errors import DataError, RunError
from kernelsift.files import write_error

_CHUNK = 1 << 20


class Growing:
    """An open file of lines. What a killed writer left of its last line is cut off.

        with Growing.open(Path("gate.jsonl"), b'{"key":') as file:
            known = list(file.lines())
            file.append(line)

    A line counts once it ends; `append` returns when the system has it, so kill -9 loses nothing.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, begins: bytes) -> Iterator[Self]:
        """Open the file, made if need be, and hold it against other writers.

        `begins`: what every line begins with, so that a file of something else stays as it is.

        Raises:
            DataError: it holds something else.
            RunError: another process writes to it, or the disk refuses.
        """
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            with _told(path):
                _hold(handle, path)
                _cut(handle, path, begins)
            yield cls(path, handle)
            with _told(path):
                os.fsync(handle)
        finally:
            os.close(handle)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield number (from 1) and bytes of every line, without its end."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip(b"\n")

    def append(self, line: bytes) -> None:
        """Write one line; its end is added. RunError when the disk refuses."""
        assert b"\n" not in line
        view = memoryview(line + b"\n")
        with _told(self.path):
            while view:
                view = view[os.write(self._handle, view) :]


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the system refuses into a message."""
    try:
        yield
    except OSError as e:
        raise write_error(path, e) from e


def _hold(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise RunError(
            f"{path} is in use by another kernelsift; wait for it, or name another file with --out"
        ) from e


def _cut(handle: int, path: Path, begins: bytes) -> None:
    """Cut off an unfinished last line; anything that is not ours is refused, not cut."""
    first = os.pread(handle, len(begins), 0)
    if not begins.startswith(first):
        raise DataError(f"{path} holds something else: its lines do not begin as ours do; "
                        "name another file with --out")  # fmt: skip
    size = os.fstat(handle).st_size
    end = _after_last_line(handle, size)
    if end == size:
        return
    tail = os.pread(handle, len(begins), end)
    if not begins.startswith(tail):
        raise DataError(f"{path} ends with something else than a line of ours; mend or move it")
    os.ftruncate(handle, end)


def _after_last_line(handle: int, size: int) -> int:
    """Return the position after the last end of a line."""
    while size > 0:
        start = max(0, size - _CHUNK)
        at = os.pread(handle, size - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        size = start
    return 0

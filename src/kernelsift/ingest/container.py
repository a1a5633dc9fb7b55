"""What holds the rows of a file: decided by its first bytes, and by its name only in doubt."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from kernelsift.errors import DataError
from kernelsift.ingest.decode import decode

Compression = Literal["none", "gzip", "zstd"]
Container = Literal["parquet", "jsonl", "json"]
BUFFER_BYTES = 1 << 20
LINE_BYTES = 256 << 20
"""A longer line is no row: it is skipped and named, so that memory stays bounded."""
READABLE = "parquet, JSONL or JSON (the last two also as .gz or .zst)"
_FOREIGN = {
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive",
    b"SQLite format 3": "a SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
}


def compression_of(path: Path) -> Compression:
    """Return how a file is compressed, by its first bytes. Raises DataError if it is unreadable."""
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else "none"


def container_of(path: Path) -> Container:
    """Return what holds the rows of a file.

    Raises DataError for a file that is empty, no data file, or of a kind that is not read.
    """
    head = _head(path)
    if not head:
        raise DataError(f"{path.name} is empty: was its writer interrupted, or its download?")
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path.name} is {what}, which is not read: convert it to {READABLE}")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{path.name} is a Git LFS pointer, not the data: run `git lfs pull` first")
    if path.suffix == ".parquet":
        raise DataError(f"{path.name} does not start as parquet does: download or write it again")
    first, second = _first_lines(path)
    return _text_container(path, first, second)


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading its bytes, decompressed as they are read.

    Damage in the compressed data raises OSError where it is reached.
    """
    compression = compression_of(path)
    if compression == "none":
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            yield file
        return
    import pyarrow as pa

    with (
        pa.OSFile(str(path)) as raw,
        io.BufferedReader(pa.CompressedInputStream(raw, compression), BUFFER_BYTES) as plain,
    ):
        yield cast("BinaryIO", plain)


def plain_suffix(path: Path) -> str:
    """Return the suffix under that of the compression: `.jsonl` for `x.jsonl.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in {".gz", ".zst"}:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from error


def _first_lines(path: Path) -> tuple[bytes, bytes]:
    """Return the first two lines that hold something; empty where there is none."""
    found: list[bytes] = []
    try:
        with open_bytes(path) as file:
            while len(found) < 2 and (line := file.readline(LINE_BYTES)):
                if line.strip():
                    found.append(line.rstrip(b"\r\n"))
    except OSError as error:
        if not found:
            raise DataError(
                f"{path.name} is damaged: {error}. Download or write it again"
            ) from error
    if not found:
        raise DataError(f"{path.name} holds no rows: only white space")
    return found[0].removeprefix(b"\xef\xbb\xbf"), found[1] if len(found) > 1 else b""


def _text_container(path: Path, first: bytes, second: bytes) -> Container:
    suffix = plain_suffix(path)
    try:
        value = decode(first)
    except ValueError:
        return _broken_container(path, suffix, first, second)
    if second:
        return "jsonl"
    return "json" if isinstance(value, list) or rows_in(value) is not None else "jsonl"


def _broken_container(path: Path, suffix: str, first: bytes, second: bytes) -> Container:
    """Decide for a first line that is no JSON: part of a document, or a damaged row."""
    start = first.strip()
    indented = start in {b"[", b"{"} and second[:1] in {b" ", b"\t"}
    if indented or (start == b"[" and second[:1] in {b"{", b"]"}):
        return "json"
    if suffix in {".jsonl", ".ndjson"}:
        return "jsonl"
    if start[:1] in {b"[", b"{"}:
        return "json" if suffix == ".json" or start[:1] == b"[" else "jsonl"
    raise DataError(f"{path.name} is not {READABLE}: it starts with {start[:40]!r}")


def rows_in(value: object) -> list[object] | None:
    """Return the rows of a JSON document: a list, or the list under `data` or `rows`."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "completion" not in value:
        for name in ("data", "rows"):
            if isinstance(value.get(name), list):
                return cast("list[object]", value[name])
    return None

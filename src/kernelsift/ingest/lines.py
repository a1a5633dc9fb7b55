"""Rows of JSONL and JSON files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from kernelsift.errors import DataError
from kernelsift.ingest.container import LINE_BYTES, open_bytes, rows_in
from kernelsift.ingest.decode import decode
from kernelsift.ingest.row import BadRow, Row, bad_line, bad_row


def read_jsonl(path: Path, name: str) -> Iterator[Row | BadRow]:
    """Yield every line that is not blank, as a row or as the reason why it is none.

    One line is in memory at a time. Raises DataError where compressed data is damaged.
    """
    number = 0
    try:
        with open_bytes(path) as file:
            while line := file.readline(LINE_BYTES):
                number += 1
                if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                    _skip_line(file)
                    reason = f"the line is longer than {LINE_BYTES >> 20} MiB"
                    yield bad_line(f"{name}:{number}", reason, line)
                elif not line.isspace():
                    yield _row(f"{name}:{number}", line if number > 1 else _without_mark(line))
    except OSError as error:
        raise DataError(
            f"{name} is damaged after line {number}: {error}. Download or write it again"
        ) from error


def read_json(path: Path, name: str) -> Iterator[Row | BadRow]:
    """Yield the rows of a JSON document: an array, `{"data": [...]}` or one object.

    The whole document is in memory: a large set belongs in JSONL or parquet. Raises DataError
    where it is not JSON.
    """
    try:
        with open_bytes(path) as file:
            document = decode(_without_mark(file.read()))
    except (OSError, ValueError) as error:
        raise DataError(f"{name} is not valid JSON: {error}. Download or write it again") from error
    rows = rows_in(document)
    for at, value in enumerate([document] if rows is None else rows):
        yield _checked(f"{name}:row {at}", value)


def _row(origin: str, line: bytes) -> Row | BadRow:
    try:
        value = decode(line)
    except ValueError as error:
        return bad_line(origin, _why_not_json(line, error), line)
    if not isinstance(value, dict):
        return bad_line(origin, _not_an_object(value), line)
    return Row(origin, value)


def _checked(origin: str, value: Any) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(origin, value)
    return bad_row(origin, _not_an_object(value), value)


def _not_an_object(value: object) -> str:
    name = "null" if value is None else type(value).__name__
    return f"the row is {name}, not an object of columns"


def _why_not_json(line: bytes, error: ValueError) -> str:
    if not line.endswith(b"\n"):
        return "a torn last line: the file ends within a row, so its writer was interrupted"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as unicode_error:
        return f"not UTF-8 text: byte {unicode_error.start} is 0x{line[unicode_error.start]:02x}"
    return f"invalid JSON: {error.msg if isinstance(error, orjson.JSONDecodeError) else error}"


def _without_mark(line: bytes) -> bytes:
    """Return the bytes without the mark that some editors put at the start of UTF-8 text."""
    return line.removeprefix(b"\xef\xbb\xbf")


def _skip_line(file: Any) -> None:
    while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
        pass

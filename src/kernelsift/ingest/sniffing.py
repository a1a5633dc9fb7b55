"""What a file is, told without loading it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kernelsift.errors import DataError
from kernelsift.ingest.container import Compression, Container, compression_of, open_bytes
from kernelsift.ingest.files import Part, find_metadata, find_parts, version_in
from kernelsift.ingest.generation import Format, format_of, reasoning_note
from kernelsift.ingest.row import BadRow, Kind, Row
from kernelsift.ingest.shape import shaped
from kernelsift.ingest.table import open_parquet
from kernelsift.model import Frozen

COUNT_BYTES = 256 << 20
"""Lines are counted up to this many (decompressed) bytes; beyond, the count is an estimate."""
_PROBLEMS = 5


class Column(Frozen):
    """A column with its type: of parquet the Arrow type, of JSON what the first rows hold."""

    name: str
    type: str


class Sniff(Frozen):
    """What a file or folder is."""

    path: str
    files: tuple[str, ...] = ()
    kind: Kind | Literal["unknown"] = "unknown"
    format: Container | Literal["unknown"] = "unknown"
    generation: Format = "unknown"
    compression: Compression = "none"
    columns: tuple[Column, ...] = ()
    rows: int | None = None
    """Rows as the file holds them: lines of JSONL, so episodes of traces."""
    is_estimate: bool = False
    problems: tuple[str, ...] = ()
    """The first rows that cannot be used, or why nothing can be read."""
    notes: tuple[str, ...] = ()
    summary: str
    """One sentence."""


def sniff(path: Path) -> Sniff:
    """Return what a file or folder is, by its first rows; damage is described, not raised.

    Raises DataError only if there is nothing at `path`.
    """
    if not path.exists():
        raise DataError(f"the path {path} does not exist")
    try:
        return _sniffed(path)
    except DataError as error:
        return Sniff(
            path=str(path),
            problems=(str(error),),
            summary=f"{path.name} cannot be read: {error}.",
        )


def _sniffed(path: Path) -> Sniff:
    parts = find_parts(path)
    first = parts[0]
    raw = first.sample()
    good = [row.data for row in raw if isinstance(row, Row)]
    columns = _columns(first, good)
    form = format_of([column.name for column in columns], good, version_in(find_metadata(parts)))
    kind = _kind(form, good)
    counts = [_count(part) for part in parts]
    rows, is_estimate = sum(count for count, _ in counts), any(rough for _, rough in counts)
    problems = _problems(raw, "modules" if kind == "modules" else "rollouts")
    note = reasoning_note(form, good)
    compression = compression_of(first.path)
    about = "about " if is_estimate else ""
    packed = "" if compression == "none" else f" ({compression})"
    place = path.name if len(parts) == 1 else f"{path.name} ({len(parts)} files)"
    summary = (
        f"{place} is {first.container}{packed} with {about}{rows:,} rows of {len(columns)} columns"
        f": {_described(kind, form)}; {_verdict(len(raw), len(problems))}."
    )
    return Sniff(
        path=str(path),
        files=tuple(part.name for part in parts),
        kind=kind,
        format=first.container,
        generation=form,
        compression=compression,
        columns=columns,
        rows=rows,
        is_estimate=is_estimate,
        problems=tuple(problems[:_PROBLEMS]),
        notes=(note,) if note else (),
        summary=summary,
    )


def _kind(form: Format, rows: Sequence[dict[str, Any]]) -> Kind | Literal["unknown"]:
    if form == "modules":
        return "modules"
    if form != "unknown":
        return "rollouts"
    fits = any("messages" in row and ("reward" in row or "rewards" in row) for row in rows)
    return "rollouts" if fits else "unknown"


def _described(kind: str, form: Format) -> str:
    if kind == "unknown":
        return "neither rollouts nor modules"
    return kind if form in {"rollouts", "modules", "unknown"} else f"{kind} in the format {form}"


def _verdict(seen: int, bad: int) -> str:
    return (
        f"the first {seen} can be used" if bad == 0 else f"{bad} of the first {seen} cannot be used"
    )


def _problems(raw: Sequence[Row | BadRow], kind: Kind) -> list[str]:
    rows = (one for row in raw for one in shaped(row, kind))
    return [f"{one.origin}: {one.reason}" for one in rows if isinstance(one, BadRow)]


def _columns(part: Part, rows: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    if part.container == "parquet":
        with open_parquet(part.path, part.name) as file:
            return tuple(Column(name=one.name, type=str(one.type)) for one in file.schema_arrow)
    types: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            types.setdefault(name, set()).add("null" if value is None else type(value).__name__)
    return tuple(Column(name=name, type=" | ".join(sorted(kinds))) for name, kinds in types.items())


def _count(part: Part) -> tuple[int, bool]:
    """Return the rows of a file, and whether that is an estimate."""
    if part.container == "parquet":
        with open_parquet(part.path, part.name) as file:
            return file.metadata.num_rows, False
    if part.container == "json":
        return sum(1 for _ in part.raw_rows()), False
    return _count_lines(part.path)


def _count_lines(path: Path) -> tuple[int, bool]:
    lines = seen = 0
    tail = b""
    try:
        with open_bytes(path) as file:
            while seen < COUNT_BYTES and (block := file.read(1 << 20)):
                lines += block.count(b"\n")
                seen += len(block)
                tail = block[-1:]
            if not file.read(1):
                return lines + (tail != b"\n"), False
    except OSError as error:
        raise DataError(f"{path.name} is damaged after line {lines}: {error}") from error
    size = path.stat().st_size
    packed = 1 if compression_of(path) == "none" else 8
    return max(lines, round(lines * size * packed / seen)), True

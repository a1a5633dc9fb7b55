"""Local files and folders as a source."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.errors import DataError
from kernelsift.ingest.container import Container, container_of, plain_suffix
from kernelsift.ingest.decode import decode, decoded_object
from kernelsift.ingest.generation import Format, format_of, reasoning_note, require_columns
from kernelsift.ingest.lines import read_json, read_jsonl
from kernelsift.ingest.row import BadRow, Kind, Row
from kernelsift.ingest.shape import shaped
from kernelsift.ingest.source import FileInfo, SourceInfo
from kernelsift.ingest.table import open_parquet, read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 32
_OUTPUTS = ("results.jsonl", "traces.jsonl")
_NOT_DATA = frozenset({"metadata.json", "dataset_info.json", "dataset_infos.json", "state.json"})


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a source."""

    path: Path
    name: str
    container: Container

    def raw_rows(self) -> Iterator[Row | BadRow]:
        """Yield its rows as they are. Raises DataError if it is damaged."""
        if self.container == "parquet":
            return read_parquet(self.path, self.name)
        if self.container == "jsonl":
            return read_jsonl(self.path, self.name)
        return read_json(self.path, self.name)

    def sample(self) -> list[Row | BadRow]:
        """Return the first raw rows."""
        return list(islice(self.raw_rows(), SAMPLE_ROWS))


@dataclass(frozen=True)
class FileSource:
    """The rows of one file, or of the files of a folder in the order of their names."""

    spec: str
    kind: Kind
    parts: tuple[Part, ...]
    schema: "pa.Schema | None"
    column_names: tuple[str, ...]
    format: Format
    notes: tuple[str, ...]
    metadata: tuple[Path, ...] = ()

    def rows(self) -> Iterator[Row | BadRow]:
        for part in self.parts:
            for row in part.raw_rows():
                yield from shaped(row, self.kind)

    def info(self) -> SourceInfo:
        counts = [part.rows for part in self._files[: len(self.parts)]]
        known = [count for count in counts if count is not None]
        return SourceInfo(
            spec=self.spec,
            kind=self.kind,
            format=self.format,
            files=self._files,
            rows=sum(known) if len(known) == len(counts) else None,
            notes=self.notes,
        )

    @cached_property
    def _files(self) -> tuple[FileInfo, ...]:
        data = [_file_info(part.path, part.name, part.container) for part in self.parts]
        return (*data, *(_file_info(path, path.name, "json") for path in self.metadata))


def open_files(path: Path, spec: str, kind: Kind, split: str | None) -> FileSource:
    """Open a file or a folder.

    Raises DataError if it holds no data that can be read, or lacks a column that is needed.
    """
    parts = find_parts(path, split)
    samples = {part.name: part.sample() for part in parts}
    if not any(samples.values()):
        raise DataError(f"{path.name} holds no rows")
    schema = _schema(parts)
    columns: dict[str, None] = {}
    for part in parts:
        own = _columns(part, samples[part.name])
        if own:
            require_columns(own, kind, part.name)
        columns |= dict.fromkeys(own)
    metadata = find_metadata(parts)
    rows = [row.data for found in samples.values() for row in found if isinstance(row, Row)]
    form = format_of(columns, rows, version_in(metadata))
    return FileSource(
        spec=spec,
        kind=kind,
        parts=parts,
        schema=schema,
        column_names=tuple(columns),
        format=form,
        notes=_notes(parts, form, rows, split),
        metadata=metadata,
    )


def find_parts(path: Path, split: str | None = None) -> tuple[Part, ...]:
    """Return the data files at a path. Raises DataError if there are none, or no clear choice."""
    if path.is_file():
        return (Part(path, path.name, container_of(path)),)
    if not path.is_dir():
        raise DataError(f"{path.name} is neither a file nor a folder")
    found = _data_files(path)
    split_names = {file: name for file in found if (name := split_in_name(file))}
    if split is not None and split_names:
        found = [file for file in found if split_names.get(file) == split]
        if not found:
            have = ", ".join(sorted(set(split_names.values())))
            raise DataError(f"{path.name} has no split {split!r}; it has {have}")
    return tuple(
        Part(file, file.relative_to(path).as_posix(), container_of(file)) for file in found
    )


def find_metadata(parts: Sequence[Part]) -> tuple[Path, ...]:
    """Return the metadata.json next to the data files, as verifiers before 0.4 wrote it."""
    folders = dict.fromkeys(part.path.parent for part in parts if part.container == "jsonl")
    return tuple(file for folder in folders if (file := folder / "metadata.json").is_file())


def version_in(metadata: Sequence[Path]) -> str | None:
    """Return the verifiers version that a metadata.json names."""
    for path in metadata:
        try:
            about = decoded_object(decode(path.read_bytes()))
        except (OSError, ValueError):
            continue
        version = decoded_object(about.get("version_info")).get("vf_version")
        if isinstance(version, str):
            return version
    return None


def split_in_name(path: Path) -> str | None:
    """Return the split in the name of a shard: `train` of `train-00000-of-00002.parquet`."""
    match = re.match(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}\b", path.name)
    return match[1] if match else None


def _data_files(folder: Path) -> list[Path]:
    """Return the data files of a folder, or of the folders below if it has none itself."""
    for files in (folder.iterdir(), folder.rglob("*")):
        seen = sorted(file for file in files if _is_data(file, folder))
        outputs = [file for file in seen if _stem(file) in _OUTPUTS]
        if outputs:
            return outputs
        by_suffix = {
            suffix: [file for file in seen if plain_suffix(file) in names]
            for suffix, names in {
                "parquet": {".parquet"},
                "JSONL": {".jsonl", ".ndjson"},
                "JSON": {".json"},
            }.items()
        }
        if by_suffix["parquet"] and by_suffix["JSONL"]:
            raise DataError(
                f"{folder.name} holds both parquet and JSONL files: name the file that is meant"
            )
        for found in by_suffix.values():
            if found:
                return found
    raise DataError(
        f"{folder.name} holds no data files: results.jsonl or traces.jsonl of verifiers, "
        "*.parquet, *.jsonl or *.json"
    )


def _is_data(file: Path, folder: Path) -> bool:
    below = file.relative_to(folder)
    hidden = any(part.startswith((".", "_")) for part in below.parts)
    return (
        not hidden
        and file.name not in _NOT_DATA
        and "configs" not in below.parts
        and file.is_file()
    )


def _stem(file: Path) -> str:
    return re.sub(r"\.(gz|zst)$", "", file.name)


def _columns(part: Part, sample: Sequence[Row | BadRow]) -> list[str]:
    """Return the columns of a file; none if its first rows are all bad."""
    if part.container == "parquet":
        with open_parquet(part.path, part.name) as file:
            return list(file.schema_arrow.names)
    names: dict[str, Any] = {}
    for row in sample:
        if isinstance(row, Row):
            names |= row.data
    return list(names)


def _schema(parts: Sequence[Part]) -> "pa.Schema | None":
    """Return the columns of all shards together; None if a part has no types."""
    if any(part.container != "parquet" for part in parts):
        return None
    import pyarrow as pa

    schemas = []
    for part in parts:
        with open_parquet(part.path, part.name) as file:
            schemas.append(file.schema_arrow.remove_metadata())
        try:
            schemas = [pa.unify_schemas(schemas, promote_options="permissive")]
        except pa.ArrowException as error:
            raise DataError(
                f"{part.name} has other column types than the files before it: {error}"
            ) from error
    return schemas[0]


def _notes(
    parts: Sequence[Part], form: Format, rows: Sequence[dict[str, Any]], split: str | None
) -> tuple[str, ...]:
    notes = [reasoning_note(form, rows)]
    splits = sorted({name for part in parts if (name := split_in_name(part.path))})
    if split is not None and not splits:
        notes.append(f"the split {split!r} was not applied: this local source has no splits")
    if split is None and len(splits) > 1:
        notes.append(f"the rows of all splits are read: {', '.join(splits)}")
    return tuple(note for note in notes if note)


def _file_info(path: Path, name: str, container: Container) -> FileInfo:
    rows = None
    if container == "parquet":
        with open_parquet(path, name) as table:
            rows = table.metadata.num_rows
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileInfo(name=name, bytes=path.stat().st_size, sha256=sha256, rows=rows)

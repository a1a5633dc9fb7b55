"""The files of an export: written whole, read back as `datasets` reads them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from kernelsift.errors import DataError
from kernelsift.files import replacing
from kernelsift.model import Frozen
from kernelsift.trainers.conversation import Conversation
from kernelsift.trainers.formats import TRAINERS, Trainer
from kernelsift.trainers.records import Keys, filled, schema, to_record, turn_columns

NOTE = "kernelsift.json"
_AT_ONCE = 256


class ExportNote(Frozen):
    """What an export was made with; lies beside its files."""

    note_version: Literal[1] = 1
    format: str
    reasoning: Literal["keep", "inline", "strip"]
    answer: Literal["completion", "code"]
    prompt: Literal["source", "generated"]
    rows: Literal["unique", "filtered"]
    counts: Mapping[str, int]
    """Split -> rows of its file."""
    left_out: Mapping[str, int] = {}
    """Reason -> rows."""


def write_rows(trainer: Trainer, path: Path, rows: Iterable[Conversation], keys: Keys) -> int:
    """Write one split, replacing the file in one step; returns its rows. No rows, no file."""
    count = 0
    with replacing(path) as draft:
        if trainer.parquet:
            count = _write_parquet(trainer, draft, rows, keys)
        else:
            with draft.open("w", encoding="ascii", newline="\n") as out:
                for row in rows:
                    out.write(json.dumps(to_record(trainer, row)) + "\n")
                    count += 1
    if not count:
        path.unlink()
    return count


def read_note(folder: Path) -> ExportNote:
    """Return what an export says of itself.

    Raises:
        DataError: there is no export in the folder, or it is none of this version.
    """
    try:
        return ExportNote.model_validate_json((folder / NOTE).read_bytes())
    except FileNotFoundError as e:
        raise DataError(
            f"{folder} holds no export; run `kernelsift export --format {folder.name}` first"
        ) from e
    except (OSError, ValidationError) as e:
        raise DataError(f"{folder / NOTE} cannot be read ({e}); export again") from e


def read_rows(trainer: Trainer, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a split as `datasets` gives them: keys that a turn lacks are null.

    Raises:
        DataError: the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if trainer.parquet:
            for batch in pq.ParquetFile(path).iter_batches(_AT_ONCE):
                yield from batch.to_pylist()
            return
        with path.open(encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
    except (OSError, ValueError, pa.ArrowException) as e:
        raise DataError(f"{path} cannot be read: {e}; export again") from e
    yield from filled(records, turn_columns(trainer))


def trainer_named(name: str) -> Trainer:
    """Return the trainer of a format."""
    return TRAINERS[name]


def _write_parquet(trainer: Trainer, draft: Path, rows: Iterable[Conversation], keys: Keys) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = schema(trainer, keys)
    count = 0
    with pq.ParquetWriter(draft, kinds, compression="zstd") as out:
        for chunk in _chunks(rows):
            records = [to_record(trainer, row) for row in chunk]
            out.write_table(pa.Table.from_pylist(records, kinds))
            count += len(chunk)
    return count


def _chunks(rows: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    chunk: list[Conversation] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

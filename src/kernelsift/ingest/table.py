"""Rows of parquet files and of Arrow tables, a small batch at a time."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.errors import DataError
from kernelsift.ingest.row import BadRow, Row

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS = 64


def open_parquet(path: Path, name: str) -> "pq.ParquetFile":
    """Open a parquet file. Raises DataError if it is cut off, damaged or ambiguous."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name} is cut off or damaged ({_first_line(error)}): download or write it again"
        ) from error
    names = file.schema_arrow.names
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{name} has the column {twice[0]!r} twice: rename one of them")
    return file


def read_parquet(path: Path, name: str) -> Iterator[Row | BadRow]:
    """Yield the rows of a parquet file; a row group is never held as a whole.

    Raises DataError where the data is damaged.
    """
    import pyarrow as pa

    at = 0
    with open_parquet(path, name) as file:
        batches = file.iter_batches(batch_size=BATCH_ROWS)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{name} is damaged after row {at}: {_first_line(error)}. "
                    "Download or write it again"
                ) from error
            if batch is None:
                return
            yield from rows_of_batches([batch], lambda row: f"{name}:row {row}", at)
            at += batch.num_rows


def rows_of_batches(
    batches: Iterable["pa.RecordBatch"], origin: Callable[[int], str], start: int = 0
) -> Iterator[Row | BadRow]:
    """Yield the rows of Arrow batches; `origin` names the row at a position from `start` on."""
    for batch in batches:
        try:
            rows: list[dict[str, Any]] = batch.to_pylist()
        except ValueError:
            yield from _one_by_one(batch, origin, start)
        else:
            for at, row in enumerate(rows, start):
                yield Row(origin(at), row)
        start += batch.num_rows


def _one_by_one(
    batch: "pa.RecordBatch", origin: Callable[[int], str], start: int
) -> Iterator[Row | BadRow]:
    """Yield the rows of a batch that holds a value without a Python form, such as broken UTF-8."""
    for at in range(batch.num_rows):
        try:
            row = batch.slice(at, 1).to_pylist()[0]
        except ValueError as error:
            yield BadRow(origin(start + at), f"a value cannot be read: {error}"[:300], "")
        else:
            yield Row(origin(start + at), row)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]

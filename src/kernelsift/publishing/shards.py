"""Parquet shards of bounded size, one set per split, written in one pass over a table.

Row groups are small, because the Hub's viewer reads them one at a time and refuses what has more
than 286 MiB; a page index lets it read less. Content-defined pages keep what did not change the
same bytes, so that the Hub's storage takes only the rest of a data set that is published again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from kernelsift.files import write_error

SHARD_BYTES = 250_000_000
"""A shard is closed once it has this size on disk; it may pass it by one row group."""
GROUP_ROWS = 1000
GROUP_BYTES = 64 << 20
"""Of a row group in memory. One row may be larger: then it is a group of its own."""
_BATCH = 128
"""Rows read at a time."""
_CHUNKED = int(pa.__version__.split(".", maxsplit=1)[0]) >= 21


@dataclass(frozen=True, slots=True)
class Shards:
    """The files of one split."""

    rows: int
    files: tuple[str, ...]
    """Names below the folder, in order; none where there is no row."""


def write_shards(
    table: Path, folder: Path, splits: Sequence[str], split_of: Callable[[pa.Table], list[str]]
) -> dict[str, Shards]:
    """Write the rows of a parquet file as `SPLIT-00000-of-00002.parquet` and so on.

    `split_of` gives the split of each row of a part of the table. Order is kept. Memory is bounded
    by one row group per split.

    Raises:
        RunError: the disk refuses.
    """
    source = pq.ParquetFile(table)
    schema = source.schema_arrow.remove_metadata()
    writers = {name: _Writer(folder, name, schema) for name in splits}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for batch in source.iter_batches(batch_size=_BATCH):
            part = pa.Table.from_batches([batch]).replace_schema_metadata(None)
            chosen = split_of(part)
            for name in dict.fromkeys(chosen):
                mine = [at for at, one in enumerate(chosen) if one == name]
                writers[name].add(part.take(pa.array(mine, pa.int64())))
        return {name: writer.finish() for name, writer in writers.items()}
    except OSError as e:
        raise write_error(folder, e) from e
    finally:
        for writer in writers.values():
            writer.close()


@dataclass
class _Writer:
    """Collects the rows of one split and writes them group by group."""

    folder: Path
    split: str
    schema: pa.Schema
    _waiting: list[pa.Table] = field(default_factory=list)
    _drafts: list[Path] = field(default_factory=list)
    _rows: int = 0
    _sink: IO[bytes] | None = None
    _out: Any = None

    def add(self, part: pa.Table) -> None:
        """Take rows; a group is written when the next rows would make it too large."""
        for piece in _pieces(part):
            rows = sum(one.num_rows for one in self._waiting) + piece.num_rows
            size = sum(one.nbytes for one in self._waiting) + piece.nbytes
            if rows > GROUP_ROWS or size > GROUP_BYTES:
                self._flush()
            self._waiting.append(piece)

    def finish(self) -> Shards:
        """Write what waits, and give the files the names that tell their number."""
        self._flush()
        self.close()
        names = []
        for number, draft in enumerate(self._drafts):
            name = f"{self.split}-{number:05d}-of-{len(self._drafts):05d}.parquet"
            draft.replace(self.folder / name)
            names.append(name)
        return Shards(self._rows, tuple(names))

    def close(self) -> None:
        """End the shard that is being written, if any."""
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _flush(self) -> None:
        if not self._waiting:
            return
        group = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting = []
        if self._out is None:
            self._open()
        self._out.write_table(group, row_group_size=group.num_rows)
        self._rows += group.num_rows
        assert self._sink is not None
        if self._sink.tell() >= SHARD_BYTES:
            self.close()

    def _open(self) -> None:
        draft = self.folder / f".{self.split}-{len(self._drafts)}.draft"
        self._drafts.append(draft)
        self._sink = draft.open("wb")
        more = {"use_content_defined_chunking": True} if _CHUNKED else {}
        self._out = pq.ParquetWriter(
            self._sink, self.schema, compression="zstd", write_page_index=True, **more
        )


def _pieces(part: pa.Table) -> Iterator[pa.Table]:
    """The rows in pieces that fit into a group, as far as single rows do."""
    fits = part.num_rows <= GROUP_ROWS and part.nbytes <= GROUP_BYTES
    if fits or part.num_rows <= 1:
        yield part
        return
    half = part.num_rows // 2
    yield from _pieces(part.slice(0, half))
    yield from _pieces(part.slice(half))

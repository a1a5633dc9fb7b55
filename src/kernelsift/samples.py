"""samples.parquet: written once by load, read column by column, never held whole.

The source's columns keep their names, types and values. What kernelsift adds is prefixed `ks_`:

    ks_id                digest of the row's content
    ks_origin            file:line or dataset@revision:split:row
    ks_module            the module's name, from info.module_name or its fallbacks (see load)
    ks_reference         the PyTorch module's source
    ks_reference_digest
    ks_code              the kernel's source, taken out of the completion
    ks_code_how          markers, answer-tag, fence, bare or none
    ks_code_digest       empty when there is no code
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.errors import ConfigError, RunError
from kernelsift.model import Entry, Sample, SampleId
from kernelsift.source import answer_text

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "ks_"
CODE_LENGTH = "code_length"
ROW_GROUP = 256
"""Rows per row group: ~12 MB at 45 KB a row, what one read holds in memory."""
_ENTRY_COLUMNS = [
    "ks_id",
    "ks_origin",
    "ks_module",
    "reward",
    "ks_reference_digest",
    "ks_code_digest",
]


class SampleFile:
    """The samples of one run, on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def schema(self) -> "pa.Schema":
        """The Arrow schema of the file, source columns first."""
        return self._open().schema_arrow

    def count(self) -> int:
        """How many samples were loaded."""
        return int(self._open().metadata.num_rows)

    def metadata(self) -> dict[str, str]:
        """What load wrote down about the source, for the manifest and for resuming."""
        pairs = self.schema().metadata or {}
        start = b"kernelsift."
        return {
            k.removeprefix(start).decode(): v.decode()
            for k, v in pairs.items()
            if k.startswith(start)
        }

    def entries(self) -> list[Entry]:
        """The small part of every sample, in source order."""
        table = self._open().read(columns=_ENTRY_COLUMNS)
        columns = [table.column(name).to_pylist() for name in _ENTRY_COLUMNS]
        return [
            Entry(SampleId(id_), row, origin, module, reward, reference, code)
            for row, (id_, origin, module, reward, reference, code) in enumerate(
                zip(*columns, strict=True)
            )
        ]

    def read(self, wanted: Sequence[Entry], *, completion: bool = False) -> Iterator[Sample]:
        """Yield the samples of these entries in source order, one row group in memory at a time."""
        columns = ["ks_reference", "ks_code", *(["completion"] if completion else [])]
        by_row = {entry.row: entry for entry in wanted}
        for start, table in self._groups(columns, by_row.keys()):
            references, codes = table["ks_reference"].to_pylist(), table["ks_code"].to_pylist()
            for offset, (reference, code) in enumerate(zip(references, codes, strict=True)):
                entry = by_row.get(start + offset)
                if entry is None:
                    continue
                text = answer_text(table["completion"][offset].as_py()) if completion else None
                yield Sample(entry, reference, code, text)

    def numbers(
        self, wanted: Sequence[Entry], names: Sequence[str]
    ) -> dict[SampleId, dict[str, float]]:
        """Values of numeric source columns, and of `code_length` (characters); nulls left out.

        Raises:
            ConfigError: a column is not there or holds no numbers.
        """
        import pyarrow.types as kinds

        schema = self.schema()
        numeric = [f.name for f in schema if kinds.is_integer(f.type) or kinds.is_floating(f.type)]
        wrong = [name for name in names if name not in {*numeric, CODE_LENGTH}]
        if wrong:
            raise ConfigError(
                f"{wrong[0]} is no numeric column; there are difficulty, style, {CODE_LENGTH}, "
                f"{', '.join(sorted(numeric))}"
            )
        out: dict[SampleId, dict[str, float]] = {entry.id: {} for entry in wanted}
        columns = ["ks_code" if name == CODE_LENGTH else name for name in names]
        entries = iter(sorted(wanted, key=lambda entry: entry.row))
        for table in self.batches(wanted_rows(wanted), columns) if columns else ():
            for values in zip(*(table.column(c).to_pylist() for c in columns), strict=True):
                pairs = zip(names, values, strict=True)
                out[next(entries).id] = {
                    n: float(len(v) if n == CODE_LENGTH else v) for n, v in pairs if v is not None
                }
        return out

    def batches(self, rows: Collection[int], columns: Sequence[str]) -> Iterator["pa.Table"]:
        """Yield the given rows (positions) as Arrow tables, in source order."""
        import pyarrow as pa

        for start, table in self._groups(list(columns), rows):
            picked = [i for i in range(table.num_rows) if start + i in rows]
            yield table.take(pa.array(picked, pa.int64()))

    def _groups(
        self, columns: list[str], rows: Collection[int]
    ) -> Iterator[tuple[int, "pa.Table"]]:
        file = self._open()
        start = 0
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            if any(row in rows for row in range(start, start + size)):
                yield start, file.read_row_group(number, columns=columns)
            start += size

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except FileNotFoundError as e:
            raise RunError(
                f"{self.path.parent} holds no samples yet; run `kernelsift load SOURCE "
                f"--run {self.path.parent}` first"
            ) from e
        except (pa.ArrowException, OSError) as e:
            raise RunError(f"{self.path} cannot be read ({e}); load the source again") from e


@contextlib.contextmanager
def writing(
    path: Path, schema: "pa.Schema", *, level: int | None = None
) -> Iterator[Callable[["pa.Table"], None]]:
    """Open a parquet file and yield the function that writes a table to it.

    A thread compresses one table while the caller makes the next: that is half of the work. What
    goes wrong in it is raised by the next call, or at the end.
    """
    import pyarrow.parquet as pq

    with (
        pq.ParquetWriter(path, schema, compression="zstd", compression_level=level) as writer,
        ThreadPoolExecutor(1) as thread,
    ):
        last: Future[None] | None = None

        def write(table: "pa.Table") -> None:
            nonlocal last
            if last is not None:
                last.result()
            last = thread.submit(writer.write_table, table, row_group_size=ROW_GROUP)

        yield write
        if last is not None:
            last.result()


def wanted_rows(entries: Iterable[Entry]) -> set[int]:
    """Positions of the entries, for `SampleFile.batches`."""
    return {entry.row for entry in entries}

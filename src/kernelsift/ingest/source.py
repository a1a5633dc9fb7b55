"""What a source is: rows to read once or again, and what the manifest says of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from kernelsift.ingest.generation import Format
from kernelsift.ingest.row import BadRow, Kind, Row
from kernelsift.model import Frozen

if TYPE_CHECKING:
    import pyarrow as pa


class FileInfo(Frozen):
    """One file of a source."""

    name: str
    """Its name, or its path below the directory that was given."""
    bytes: int
    sha256: str
    rows: int | None = None
    """Known for parquet only; other files are counted by reading them."""


class SourceInfo(Frozen):
    """What the manifest says of a source."""

    spec: str
    kind: Kind
    format: Format
    files: tuple[FileInfo, ...] = ()
    rows: int | None = None
    revision: str | None = None
    """The commit of a Hub dataset, in full."""
    split: str | None = None
    notes: tuple[str, ...] = ()
    """What the user should know, most of all what the source has lost."""


class Source(Protocol):
    """Rows that can be read any number of times, in the same order."""

    @property
    def schema(self) -> "pa.Schema | None":
        """The Arrow types of the raw columns, of typed sources (parquet, Hub)."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """The raw columns; of JSON those of the first rows, since no later ones are known yet."""

    def info(self) -> SourceInfo:
        """Describe the source; reads all its bytes once, for the digests."""

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield every row, in the order of the source. Raises DataError if a file is damaged."""

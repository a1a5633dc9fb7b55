"""Readers: rows of files, folders and Hub datasets, streamed in the rollout schema."""

from kernelsift.ingest.opening import open_source
from kernelsift.ingest.row import MODULE_COLUMNS, ROLLOUT_COLUMNS, BadRow, Kind, Row
from kernelsift.ingest.sniffing import Column, Sniff, sniff
from kernelsift.ingest.source import FileInfo, Source, SourceInfo

__all__ = [
    "MODULE_COLUMNS",
    "ROLLOUT_COLUMNS",
    "BadRow",
    "Column",
    "FileInfo",
    "Kind",
    "Row",
    "Sniff",
    "Source",
    "SourceInfo",
    "open_source",
    "sniff",
]

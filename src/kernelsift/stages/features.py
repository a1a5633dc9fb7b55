"""features: static features of every row loaded, kept or not, as features.parquet.

Free and deterministic. The table is its own cache: a row has the key of all that decides its
numbers (the two texts, the versions of the features and of the fitted model), and what has a key
in the table that is there is not measured again.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kernelsift.engine import map_in_processes
from kernelsift.files import replacing
from kernelsift.kernels.feature_table import (
    ANSWER_NAMES,
    REFERENCE_NAMES,
    FeatureRow,
    feature_row,
    versions,
)
from kernelsift.model import Entry, SampleId, Tally, digest
from kernelsift.progress import Progress
from kernelsift.run import Run

NAME = "features.parquet"
_BATCH = 512
_NUMBERS = pa.schema([
    *((f"answer_{name}", pa.float64()) for name in ANSWER_NAMES),
    *((f"reference_{name}", pa.float64()) for name in REFERENCE_NAMES),
    ("reference_kinds", pa.list_(pa.string())),
])
SCHEMA = pa.schema([
    ("sample_id", pa.string()),
    ("origin", pa.string()),
    ("module", pa.string()),
    ("key", pa.string()),
    *_NUMBERS,
])
"""A row per row loaded, in source order. Numbers are null where Python cannot read the text."""


def key_of(entry: Entry) -> str:
    """Digest of all that decides the features of a row; equal texts share it."""
    return digest("features", versions(), entry.code_digest, entry.reference_digest)


def tabulate(run: Run, progress: Progress, *, workers: int = 1) -> Tally:
    """Measure the rows that are not measured yet, and write the table of all of them.

    Raises:
        RunError: nothing was loaded.
    """
    started = time.monotonic()
    entries = run.entries()
    keys = [key_of(entry) for entry in entries]
    path = run.path / NAME
    old = _old(path, set(keys))
    known = set(old.column("key").to_pylist())
    first: dict[str, SampleId] = {}
    for entry, key in zip(entries, keys, strict=True):
        if key not in known:
            first.setdefault(key, entry.id)
    made = list(_measured(run, entries, first, progress, workers))
    every = pa.concat_tables([old, *made])
    place = {key: at for at, key in enumerate(every.column("key").to_pylist())}
    rows = every.take(pa.array([place[key] for key in keys], pa.int64()))
    whole = _with_entries(rows, entries)
    with replacing(path) as draft:
        pq.write_table(whole, draft, compression="zstd")
    no_code = whole.column(f"answer_{ANSWER_NAMES[0]}").null_count
    no_module = whole.column(f"reference_{REFERENCE_NAMES[0]}").null_count
    counts = {
        "rows": len(entries),
        "measured": len(first),
        "known already": len(set(keys)) - len(first),
        **({"without readable code": no_code} if no_code else {}),
        **({"without readable module": no_module} if no_module else {}),
    }
    return Tally("features", counts, time.monotonic() - started, files=(NAME,))


def _old(path: Path, wanted: set[str]) -> pa.Table:
    """Rows of the table that is there, a row per wanted key; none where its columns differ."""
    kept = pa.schema([SCHEMA.field("key"), *_NUMBERS])
    empty = kept.empty_table()
    if not path.exists():
        return empty
    try:
        found = pq.read_table(path)
    except (pa.ArrowException, OSError):
        return empty
    if found.schema.names != SCHEMA.names:
        return empty
    place = {key: at for at, key in enumerate(found.column("key").to_pylist())}
    rows = [at for key, at in place.items() if key in wanted]
    return found.select(kept.names).take(pa.array(rows, pa.int64())).cast(kept)


def _measured(
    run: Run,
    entries: Sequence[Entry],
    first: dict[str, SampleId],
    progress: Progress,
    workers: int,
) -> Iterator[pa.Table]:
    wanted = {sample: key for key, sample in first.items()}
    samples = run.samples.read([entry for entry in entries if entry.id in wanted])
    items = ((wanted.pop(s.id), s.code, s.reference) for s in samples if s.id in wanted)
    batch: list[tuple[str, FeatureRow]] = []
    with progress.start("features", len(first)):
        found = map_in_processes(_measure, items, workers=workers, total=len(first))
        for done, row in enumerate(found, 1):
            batch.append(row)
            if len(batch) == _BATCH:
                yield _table(batch)
                batch = []
            progress.update(done)
    if batch:
        yield _table(batch)


def _measure(item: tuple[str, str, str]) -> tuple[str, FeatureRow]:
    key, code, reference = item
    return key, feature_row(code, reference)


def _table(rows: Sequence[tuple[str, FeatureRow]]) -> pa.Table:
    columns: list[pa.Array] = [pa.array([key for key, _ in rows], pa.string())]
    for name in ANSWER_NAMES:
        values = [row.answer and row.answer[name] for _, row in rows]
        columns.append(pa.array(values, pa.float64()))
    for name in REFERENCE_NAMES:
        values = [row.reference and row.reference[name] for _, row in rows]
        columns.append(pa.array(values, pa.float64()))
    kinds = [None if row.reference is None else list(row.kinds) for _, row in rows]
    columns.append(pa.array(kinds, pa.list_(pa.string())))
    return pa.Table.from_arrays(columns, schema=pa.schema([SCHEMA.field("key"), *_NUMBERS]))


def _with_entries(rows: pa.Table, entries: Sequence[Entry]) -> pa.Table:
    added = {
        "sample_id": [entry.id for entry in entries],
        "origin": [entry.origin for entry in entries],
        "module": [entry.module for entry in entries],
    }
    for name, values in reversed(added.items()):
        rows = rows.add_column(0, name, pa.array(values, pa.string()))
    return rows.cast(SCHEMA)

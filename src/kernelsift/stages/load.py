"""load: read a source once into samples.parquet. Order and reload change no sample's id."""

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa

from kernelsift.columns import Columns
from kernelsift.config import SAMPLE, Load
from kernelsift.errors import DataError, RunError
from kernelsift.files import replacing
from kernelsift.ingest import BadRow, Row, Source, open_source
from kernelsift.model import Tally, text_digest
from kernelsift.progress import Progress
from kernelsift.run import Run
from kernelsift.samples import PREFIX, ROW_GROUP, writing
from kernelsift.source import EXTRACTOR_VERSION, answer_text, extract, module_class_name

TEST_SCAN = 400
"""Rows that `enough` looks through at most."""
_REPAIRED = frozenset({"prompt", "completion", "info", "reward"})
_MODULE_COLUMNS = ("info.module_name", "module_name")


@dataclass
class _Seen:
    """What load has met so far."""

    rows: int = 0
    good: int = 0
    bad: int = 0
    passing: int = 0
    copies: Counter[bytes] = field(default_factory=Counter)
    module_from: Counter[str] = field(default_factory=Counter)
    code_from: Counter[str] = field(default_factory=Counter)


def load(
    run: Run,
    cfg: Load,
    progress: Progress,
    *,
    passing: float,
    token: str | None = None,
    replace: bool = False,
) -> Tally:
    """Write samples.parquet from the source; does nothing when it holds that source already.

    `passing` is the reward above which a row counts for `cfg.enough`; `token` is for the Hub.

    Raises:
        DataError: a bad row (unless it may be quarantined), or a source without rows.
        RunError: the run holds another source and `replace` is not set.
    """
    started = time.monotonic()
    source = open_source(_place(cfg.source), split=cfg.split, revision=cfg.revision, token=token)
    info = source.info()
    mark = _fingerprint(cfg, passing, info.model_dump_json(exclude={"rows", "notes"}))
    if _holds(run, cfg, mark, replace=replace):
        counts = {"rows": run.samples.count(), "already loaded": 1}
        return Tally("load", counts, time.monotonic() - started)
    metadata = {"source": cfg.source, "fingerprint": mark, "info": info.model_dump_json()}
    seen = _Writer(run.path, source, cfg, passing).write(metadata, progress)
    run.samples_changed()
    counts = {"rows": seen.good, **({"quarantined": seen.bad} if seen.bad else {})}
    written = ("samples.parquet", *(("quarantine.jsonl",) if seen.bad else ()))
    notes = (*info.notes, *_notes(seen))
    return Tally("load", counts, time.monotonic() - started, notes=notes, files=written)


def _holds(run: Run, cfg: Load, mark: str, *, replace: bool) -> bool:
    """Whether the run holds just this already; raises when it holds something else."""
    if not run.samples.exists():
        return False
    try:
        known = run.samples.metadata()
    except RunError:
        if replace:
            return False
        raise
    if known.get("source") != cfg.source and not replace:
        raise RunError(
            f"{run.path} holds rollouts of {known.get('source')}, not of {cfg.source}; use "
            "another directory with --run DIR, or --replace to load over them (answers paid "
            "for are kept)"
        )
    return known.get("fingerprint") == mark


def _place(source: str) -> str:
    """Where a source lies: the bundled sample is named, anything else is taken as it stands."""
    return str(files("kernelsift") / "data" / "sample.jsonl") if source == SAMPLE else source


class _Writer:
    """Streams a source into a parquet file; a second pass widens types that were too narrow."""

    def __init__(self, folder: Path, source: Source, cfg: Load, passing: float) -> None:
        self._folder = folder
        self._source = source
        self._cfg = cfg
        self._passing = passing
        self._columns = Columns(_declared(source))

    def write(self, metadata: dict[str, str], progress: Progress) -> _Seen:
        quarantine = self._folder / "quarantine.jsonl"
        with (
            replacing(self._folder / "samples.parquet") as draft,
            replacing(quarantine) as bad_draft,
        ):
            seen = None
            while seen is None:
                with bad_draft.open("wb") as bad, progress.start("load", self._total()):
                    seen = self._pass(draft, bad, metadata, progress)
            if not seen.good:
                raise DataError(_nothing(self._cfg.source, seen))
        if not seen.bad:
            quarantine.unlink(missing_ok=True)
        return seen

    def _total(self) -> int | None:
        return self._cfg.limit or (None if self._cfg.enough else self._source.info().rows)

    def _pass(
        self, draft: Path, bad: IO[bytes], metadata: dict[str, str], progress: Progress
    ) -> _Seen | None:
        """Write all rows; None when a type proved too narrow (all types are known then)."""
        seen = _Seen()
        narrow = False
        with contextlib.ExitStack() as stack:
            write: Callable[[pa.Table], None] | None = None
            for chunk in self._chunks(seen, bad):
                fits = self._columns.fit(chunk)
                narrow = narrow or not (fits or write is None)
                if narrow:
                    continue
                if write is None:
                    schema = _with_metadata(self._columns.schema(), metadata)
                    write = stack.enter_context(writing(draft, schema, level=3))
                write(self._columns.table())
                progress.update(seen.good)
        return None if narrow else seen

    def _chunks(self, seen: _Seen, bad: IO[bytes]) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        for row in self._source.rows():
            if self._is_enough(seen):
                break
            seen.rows += 1
            good = _sample(row, seen) if isinstance(row, Row) else row
            if isinstance(good, BadRow):
                self._quarantine(good, seen, bad)
                continue
            seen.good += 1
            seen.passing += good["reward"] > self._passing
            chunk.append(good)
            if len(chunk) == ROW_GROUP:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _is_enough(self, seen: _Seen) -> bool:
        if self._cfg.limit and seen.rows >= self._cfg.limit:
            return True
        enough = self._cfg.enough
        return bool(enough) and (seen.passing >= (enough or 0) or seen.rows >= TEST_SCAN)

    def _quarantine(self, row: BadRow, seen: _Seen, bad: IO[bytes]) -> None:
        if self._cfg.on_bad_row == "error":
            raise DataError(
                f"{row.origin}: {row.reason}. Mend the row, or set bad rows aside with "
                "--on-bad-row quarantine"
            )
        seen.bad += 1
        record = {"origin": row.origin, "reason": row.reason, "text": row.text}
        bad.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))


def _sample(row: Row, seen: _Seen) -> dict[str, Any] | BadRow:
    """The source's columns and, beside them, what kernelsift reads out of them."""
    try:
        content = orjson.dumps(_canonical(row.data), default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError as e:
        return BadRow(row.origin, f"text that is not Unicode or a value JSON lacks ({e})", "")
    reference = _reference(row.data)
    module, module_from = _module(row.data, reference)
    found = extract(answer_text(row.data["completion"]))
    seen.module_from[module_from] += 1
    seen.code_from[found.how] += 1
    added = {
        "id": _identity(content, seen),
        "origin": row.origin,
        "module": module,
        "reference": reference,
        "reference_digest": text_digest(reference),
        "code": found.code,
        "code_how": found.how,
        "code_digest": text_digest(found.code),
    }
    kept = {k: v for k, v in row.data.items() if not k.startswith(PREFIX)}
    return {**kept, **{PREFIX + k: v for k, v in added.items()}}


def _identity(content: bytes, seen: _Seen) -> str:
    """Digest of the content; the n-th exact copy of a row gets an id of its own."""
    raw = hashlib.sha256(content).digest()
    copy = seen.copies[raw[:16]]
    seen.copies[raw[:16]] += 1
    return hashlib.sha256(raw + copy.to_bytes(4)).hexdigest()[:16] if copy else raw.hex()[:16]


def _canonical(value: Any) -> Any:
    """The value without what a change of file format may alter: nulls, and 1 against 1.0."""
    if isinstance(value, dict):
        return {str(k): _canonical(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _reference(data: dict[str, Any]) -> str:
    for place in (data["info"], data):
        if isinstance(place.get("python_code"), str):
            return str(place["python_code"])
    return ""


def _module(data: dict[str, Any], reference: str) -> tuple[str, str]:
    """The module's name and where it was found; rollouts of one task always share it."""
    for place, data_part in zip(_MODULE_COLUMNS, (data["info"], data), strict=True):
        name = data_part.get("module_name")
        if isinstance(name, str) and name.strip():
            return name.strip(), place
    name = module_class_name(reference) if reference else None
    if name:
        return name, "the reference's class"
    if data.get("example_id") is not None:
        return f"example {data['example_id']}", "example_id"
    prompt = orjson.dumps(_canonical(data["prompt"]), default=str)
    return f"prompt {hashlib.sha256(prompt).hexdigest()[:12]}", "the prompt"


def _declared(source: Source) -> dict[str, Any]:
    """Types that may be taken from the source; repaired columns are inferred again."""
    schema = source.schema
    if schema is None:
        return {}
    return {f.name: f.type for f in schema if f.name not in _REPAIRED and f.name[:3] != PREFIX}


def _fingerprint(cfg: Load, passing: float, info: str) -> str:
    threshold = passing if cfg.enough else None
    parts = [cfg.model_dump_json(), str(threshold), info, str(EXTRACTOR_VERSION)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _with_metadata(schema: pa.Schema, metadata: dict[str, str]) -> pa.Schema:
    return schema.with_metadata({f"kernelsift.{k}": v for k, v in metadata.items()})


def _notes(seen: _Seen) -> list[str]:
    names = ", ".join(f"{n:,} from {place}" for place, n in seen.module_from.most_common())
    codes = ", ".join(f"{how} {n:,}" for how, n in seen.code_from.most_common())
    notes = [f"module names: {names}", f"code found by: {codes}"]
    if seen.bad:
        notes.append(f"{seen.bad:,} bad rows set aside in quarantine.jsonl, each with its reason")
    return notes


def _nothing(source: str, seen: _Seen) -> str:
    if seen.bad:
        return f"{source} has no usable row: all {seen.bad:,} are bad; look at the first reason"
    return f"{source} has no rows; is it the right file, split or revision?"

"""A dataset on the Hub as a source, at one commit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.errors import DataError, DeniedError, KernelsiftError, UnreachableError
from kernelsift.ingest.generation import Format, format_of, reasoning_note, require_columns
from kernelsift.ingest.row import BadRow, Kind, Row
from kernelsift.ingest.shape import shaped
from kernelsift.ingest.source import SourceInfo
from kernelsift.ingest.table import BATCH_ROWS, rows_of_batches
from kernelsift.privacy import no_telemetry

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ASK_SECONDS = 30.0
_NETWORK = frozenset({
    "ConnectionError", "ConnectError", "NetworkError", "TransportError", "TimeoutException",
    "Timeout", "TimeoutError", "ProtocolError",
})  # fmt: skip
"""Names, since the HTTP library under the Hub's client differs between its versions."""
_LOCAL = "Or give a local file: --source PATH"


def is_hub_id(spec: str) -> bool:
    """Tell whether a text has the form `owner/name` of a Hub dataset."""
    return re.fullmatch(f"{_NAME}/{_NAME}", spec) is not None and ".." not in spec


@dataclass(frozen=True)
class HubSource:
    """One split of a Hub dataset, cached on disk and mapped from there: memory stays bounded."""

    spec: str
    kind: Kind
    revision: str
    split: str
    dataset: Any
    format: Format
    notes: tuple[str, ...]

    @property
    def schema(self) -> "pa.Schema":
        return self.dataset.features.arrow_schema.remove_metadata()

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(self.dataset.column_names)

    def rows(self) -> Iterator[Row | BadRow]:
        place = f"{self.spec}@{self.revision[:12]}:{self.split}"
        batches = self.dataset.with_format("arrow").iter(batch_size=BATCH_ROWS)
        for row in rows_of_batches(batches, lambda at: f"{place}:{at}"):
            yield from shaped(row, self.kind)

    def info(self) -> SourceInfo:
        return SourceInfo(
            spec=self.spec,
            kind=self.kind,
            format=self.format,
            rows=len(self.dataset),
            revision=self.revision,
            split=self.split,
            notes=self.notes,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the Hub."""

    spec: str
    split: str | None = None
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    """None uses what `hf auth login` has stored, if anything."""


def open_hub(wanted: Wanted, kind: Kind) -> HubSource:
    """Open a dataset at the commit that `revision` (by default the newest) names now.

    Raises UnreachableError if the Hub does not answer, DeniedError if it refuses the token, and
    DataError if there is no such dataset, revision, split or column, or nothing in it.
    """
    no_telemetry()
    spec = wanted.spec
    commit = _asked(spec, lambda: _commit(wanted))
    name = _asked(spec, lambda: _split(wanted, commit))
    dataset = _asked(spec, lambda: _load(wanted, commit, name))
    if len(dataset) == 0:
        raise DataError(f"{spec} at {commit[:12]}, split {name}, holds no rows")
    require_columns(dataset.column_names, kind, f"{spec} (split {name})")
    head = dataset.with_format("arrow")[: min(32, len(dataset))].to_pylist()
    form = format_of(dataset.column_names, head)
    note = reasoning_note(form, head)
    return HubSource(spec, kind, commit, name, dataset, form, (note,) if note else ())


def _commit(wanted: Wanted) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        api = HfApi(token=wanted.token)
        commit = api.dataset_info(wanted.spec, revision=wanted.revision, timeout=_ASK_SECONDS).sha
    except OfflineModeIsEnabled:
        if wanted.revision is None or not _COMMIT.fullmatch(wanted.revision):
            raise
        return wanted.revision
    if commit is None:
        raise DataError(f"the Hub names no commit of {wanted.spec}")
    return commit


def _split(asked: Wanted, commit: str) -> str:
    from datasets import get_dataset_split_names

    spec, split = asked.spec, asked.split
    names = get_dataset_split_names(spec, revision=commit, token=asked.token)
    wanted = split.partition("[")[0] if split is not None else None
    if wanted in names and split is not None:
        return split
    if split is None and (len(names) == 1 or "train" in names):
        return "train" if "train" in names else str(names[0])
    what = "several splits" if split is None else f"no split {split!r}"
    raise DataError(f"{spec} has {what}: choose one of {', '.join(map(str, names))} with --split")


def _load(wanted: Wanted, commit: str, split: str) -> Any:
    """Return the split; `datasets` itself falls back to any cached commit when the Hub is gone."""
    from datasets import load_dataset

    spec = wanted.spec
    dataset = load_dataset(spec, revision=commit, split=split, token=wanted.token)
    cached = [file["filename"] for file in dataset.cache_files]
    if not all(commit in Path(name).parts for name in cached):
        raise UnreachableError(
            f"the Hub does not answer for {spec}, and the cache holds another commit of it than "
            f"{commit[:12]}: try again. {_LOCAL}"
        )
    return dataset


def _asked(spec: str, ask: Any) -> Any:
    """Return what the Hub answers; its errors become ours."""
    try:
        return ask()
    except KernelsiftError:
        raise
    except Exception as error:
        raised = _error(spec, error)
        if raised is None:
            raise
        raise raised from error


def _error(spec: str, error: BaseException) -> KernelsiftError | None:
    """Return the error for the user; None for one that is no answer of the Hub."""
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    status = next((code for one in _chain(error) if (code := _status(one))), None)
    why = str(error).partition("\n")[0][:300]
    if "GatedRepoError" in kinds or status == 403 or "is a gated dataset" in why:
        return DeniedError(
            f"the Hub refuses access to {spec}: accept its terms on its page, and set HF_TOKEN to "
            f"a token that may read it. {_LOCAL}"
        )
    if status == 401 and "RepositoryNotFoundError" not in kinds:
        return DeniedError(f"the Hub refuses the token for {spec}: check HF_TOKEN. {_LOCAL}")
    if "RevisionNotFoundError" in kinds:
        return DataError(f"{spec} has no such revision: {why}")
    if kinds & {"RepositoryNotFoundError", "DatasetNotFoundError"} or status in {401, 404}:
        return DataError(
            f"{spec} is neither a local path nor a Hub dataset that can be seen: check the name; "
            "a private dataset needs HF_TOKEN"
        )
    if kinds & _NETWORK or (status is not None and (status == 429 or status >= 500)):
        return UnreachableError(
            f"the Hub does not answer for {spec} ({type(error).__name__}: {why}): try again, or "
            f"set HF_ENDPOINT to a mirror. {_LOCAL}"
        )
    if kinds & {"DatasetsError", "HfHubHTTPError", "ValueError", "OSError"}:
        return DataError(f"{spec} cannot be read as a dataset: {why}. {_LOCAL}")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None

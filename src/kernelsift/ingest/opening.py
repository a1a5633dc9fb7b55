"""From what the user wrote to a source."""

from pathlib import Path

from kernelsift.errors import DataError
from kernelsift.ingest.files import open_files
from kernelsift.ingest.hub import Wanted, is_hub_id, open_hub
from kernelsift.ingest.row import Kind
from kernelsift.ingest.source import Source


def open_source(
    spec: str,
    *,
    split: str | None = None,
    revision: str | None = None,
    kind: Kind = "rollouts",
    token: str | None = None,
) -> Source:
    """Open a local file or folder, or the Hub dataset `owner/name`; what exists locally wins.

    `split`, `revision` and `token` belong to the Hub; of a local folder, `split` chooses the shards
    that are named for it. Raises DataError for a source that is not there or cannot be read, and
    DeniedError or UnreachableError for a Hub that refuses or does not answer.
    """
    path = Path(spec).expanduser()
    if path.exists():
        return open_files(path, spec, kind, split)
    if not is_hub_id(spec):
        raise DataError(
            f"the path {spec} does not exist, and {spec!r} is not a Hub dataset either: "
            "those are named owner/name"
        )
    return open_hub(Wanted(spec, split, revision, token), kind)

"""Where published rows came from, and under which licences: given by the user, never guessed."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelsift.config import SAMPLE
from kernelsift.errors import ConfigError
from kernelsift.report.card_facts import Source
from kernelsift.run import Run

UNKNOWN = "unknown"
"""What a user says where the owner of a source states no licence."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of rows, with what pins it."""

    name: str
    """As it is shown, and as its licence is given: a Hub id, or the name of a file."""
    revision: str
    files: tuple[Mapping[str, Any], ...] = ()
    """Name, bytes and SHA-256 of local files."""


def of_rollouts(run: Run) -> Origin | None:
    """The source of the rows that load has read."""
    if not run.samples.exists():
        return None
    known = run.samples.metadata()
    info = json.loads(known["info"])
    files = info.get("files") or []
    revision = info.get("revision") or (f"sha256 {files[0]['sha256']}" if files else "")
    if known["source"] == SAMPLE:
        return Origin(SAMPLE, revision)
    name = Path(info["spec"]).name if files else info["spec"]
    return Origin(name, revision, tuple({**file, "name": shown(file["name"])} for file in files))


def of_prompts(run: Run) -> Origin | None:
    """The source of the modules that prompts were written for."""
    settings = run.stages().get("prompts", {}).get("settings")
    named = settings.get("source") if isinstance(settings, dict) else None
    if isinstance(settings, dict) and named:
        return Origin(shown(str(named)), str(settings.get("revision") or ""))
    return of_rollouts(run)


def with_licence(origin: Origin | None, given: Mapping[str, str]) -> tuple[Source, ...]:
    """The source as the card shows it."""
    if origin is None:
        return ()
    return (Source(origin.name, origin.revision, given.get(origin.name, "")),)


def require(origins: Iterable[Origin | None], given: Mapping[str, str]) -> None:
    """Check that every source has a licence.

    Raises:
        ConfigError: one has none.
    """
    names = dict.fromkeys(origin.name for origin in origins if origin is not None)
    missing = [name for name in names if name not in given]
    if missing:
        raise ConfigError(
            f"no licence is given for the source {missing[0]}, and kernelsift does not guess one: "
            f"say --source-license {missing[0]}=LICENCE as its owner states it ({UNKNOWN} where "
            "nothing is stated), or set publish.source_license in kernelsift.toml"
        )


def row_licences(table: Path) -> dict[str, int]:
    """Licence that rows name themselves in `info.license` -> rows; empty where they do not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(table)
    at = schema.get_field_index("info")
    if at < 0 or not pa.types.is_struct(schema.field(at).type):
        return {}
    if schema.field(at).type.get_field_index("license") < 0:
        return {}
    counts: Counter[str] = Counter()
    for batch in pq.ParquetFile(table).iter_batches(columns=["info.license"]):
        found = [row["license"] for row in batch.column("info").to_pylist() if row]
        counts.update(one for one in found if isinstance(one, str) and one)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def shown(word: str) -> str:
    """A local path by its name alone; other words (a Hub id, a URL) as they are."""
    flag, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = Path(value).expanduser()
    is_path = path.is_absolute() or value.startswith(("./", "../", "~")) or path.exists()
    return f"{flag}{sign}{path.name}" if is_path and "/" in value else word

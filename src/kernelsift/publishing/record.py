"""manifest.json beside a card: what a data set was made from, with what, and what it holds.

It has no times and no folders of the machine, so that publishing the same again gives the same
bytes, and no new commit.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kernelsift.files import write_json
from kernelsift.publishing.sources import Origin, shown
from kernelsift.run import Run
from kernelsift.versions import installed

NAME = "manifest.json"
_STAGES = ("load", "filter", "decontaminate", "verify", "judge", "prompts", "dedup", "export")
"""Stages in the order in which their commands are shown."""
_HOW = frozenset({"--upload", "--dry-run", "--json", "--public"})
"""Flags that say how a command reports or where it sends, and not what it makes."""


def commands(run: Run, last: Sequence[str]) -> tuple[str, ...]:
    """The commands that made the tables of a run, in order, each once, and the last one.

    Local paths are shown by their names. Stages run from Python leave no command.
    """
    noted = _noted(run.path / NAME)
    ran = {"load", "export", *run.stages()}
    known = [*_STAGES, *(stage for stage in noted if stage not in _STAGES)]
    made = [noted[stage] for stage in known if stage in noted and stage in ran]
    texts = [without_folders(words) for words in (*made, last) if words]
    return tuple(dict.fromkeys(texts)) or ("kernelsift (Python API)",)


def without_folders(words: Sequence[str]) -> str:
    """A command without where files lie on this machine, which is nobody's business."""
    return shlex.join(shown(word) for word in words if word not in _HOW)


def write_record(run: Run, folder: Path, made_by: Sequence[str], origins: Sequence[Origin]) -> None:
    """Write the manifest of a data set below its folder, as the last of its files but the card."""
    status = run.status()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(
        folder / NAME,
        {
            "manifest_version": 1,
            "commands": list(made_by),
            "sources": [
                {"name": one.name, "revision": one.revision, "files": [dict(f) for f in one.files]}
                for one in origins
            ],
            "stages": {
                stage: {"settings": _shown(noted["settings"]), "version": noted["version"]}
                for stage, noted in sorted(run.stages().items())
            },
            "states": dict(status.states),
            "counts": {stage: dict(counts) for stage, counts in status.stages.items()},
            "usd": status.usd,
            "requests": status.requests,
            "installed": installed(),
            "files": {path.relative_to(folder).as_posix(): _file(path) for path in files},
        },
    )


def _noted(path: Path) -> dict[str, list[str]]:
    """Stage -> command of the run's own manifest; nothing where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["commands"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _shown(value: Any) -> Any:
    """Settings with local paths by their names."""
    if isinstance(value, Mapping):
        return {name: _shown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return shown(value) if isinstance(value, str) and len(value) < 4096 else value


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

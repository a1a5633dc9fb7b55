"""manifest.json: what a run was made from, with what, and what came of it. Written last."""

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelsift.files import write_json
from kernelsift.model import Tally
from kernelsift.records import now
from kernelsift.run import Run
from kernelsift.session import Session
from kernelsift.versions import installed

TABLES = ("samples", "filtered", "unique", "prompts", "ledger")


def write_manifest(session: Session, tallies: Sequence[Tally]) -> None:
    """Replace the manifest; stages that did not run this time keep their last entry."""
    run = session.run
    path = run.path / "manifest.json"
    status = run.status()
    command = list(session.command)
    write_json(
        path,
        {
            "manifest_version": 1,
            "written": now(),
            "command": command,
            "commands": {**_known(path, "commands"), **{t.stage: command for t in tallies}},
            "settings": session.settings.model_dump(mode="json"),
            "source": _source(run),
            "stages": {name: dict(values) for name, values in sorted(run.stages().items())},
            "tallies": {**_known(path, "tallies"), **{t.stage: _values(t) for t in tallies}},
            "states": dict(status.states),
            "counts": {name: dict(counts) for name, counts in status.stages.items()},
            "usd": status.usd,
            "usd_at_risk": status.usd_at_risk,
            "requests": status.requests,
            "installed": installed(),
            "platform": platform.platform(),
            "files": {f"{name}.parquet": _file(run.path / f"{name}.parquet") for name in TABLES},
        },
    )


def _source(run: Run) -> Any:
    if not run.samples.exists():
        return None
    return json.loads(run.samples.metadata()["info"])


def _known(path: Path, what: str) -> dict[str, Any]:
    """What an earlier manifest says of each stage; nothing when there is none that can be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))[what]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return known if isinstance(known, dict) else {}


def _values(tally: Tally) -> dict[str, Any]:
    return {
        "counts": dict(tally.counts),
        "seconds": round(tally.seconds, 3),
        "usd": tally.usd,
        "notes": list(tally.notes),
    }


def _file(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

"""doctor: what this machine and this folder can do, without sending anything."""

import os
import platform
import shutil
import sqlite3
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kernelsift.config import CONFIG_FILE, Settings, find_config
from kernelsift.credentials import read_secrets
from kernelsift.errors import ConfigError, KernelsiftError
from kernelsift.run import Run

_VARIABLES = {
    "PRIME_API_KEY": "judging at Prime Intellect",
    "PRIME_TEAM_ID": "billing a team there",
    "OPENAI_API_KEY": "judging at OpenAI",
    "OPENROUTER_API_KEY": "judging at OpenRouter",
    "HF_TOKEN": "private data sets and uploads",
}
_OPTIONAL = {"torch": "running modules", "triton": "running kernels"}
_LOW_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `ok` is None where nothing is wrong either way."""

    what: str
    found: str
    ok: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"what": self.what, "ok": self.ok, "found": self.found}


def examine(run: Path, folder: Path) -> list[Check]:
    """Look at Python, what verifies kernels, settings, keys (present or not, never their values),
    disk and the run.
    """
    return [
        Check("Python", f"{platform.python_version()} on {platform.system()}", ok=True),
        Check("kernelsift", version("kernelsift"), ok=True),
        Check("SQLite", sqlite3.sqlite_version, ok=sqlite3.sqlite_version_info >= (3, 35)),
        Check("cores", str(Settings().workers_or_cores()), ok=True),
        *_packages(),
        *_verification(),
        _settings(folder),
        *_keys(folder),
        _disk(run),
        _run(run),
    ]


def _packages() -> list[Check]:
    checks = []
    for name, use in _OPTIONAL.items():
        try:
            checks.append(Check(name, version(name), ok=True))
        except PackageNotFoundError:
            found = f"not installed; needed for {use}: pip install 'kernelsift[verify]'"
            checks.append(Check(name, found))
    return checks


def _verification() -> list[Check]:
    """What kernels can be verified with: tried, not guessed."""
    from kernelsift.kernels.machine import look

    return [Check(part.name, part.found, ok=part.ok) for part in look()]


def _settings(folder: Path) -> Check:
    path = find_config(None, folder)
    if path is None:
        return Check("settings", f"no {CONFIG_FILE} here; the defaults hold")
    try:
        Settings.read(path)
    except ConfigError as e:
        return Check("settings", str(e), ok=False)
    return Check("settings", str(path), ok=True)


def _keys(folder: Path) -> list[Check]:
    try:
        secrets = read_secrets(folder)
    except ConfigError as e:
        return [Check(".env", str(e), ok=False)]
    return [
        Check(name, "set", ok=True)
        if secrets.find(name)
        else Check(name, f"not set; needed for {use}")
        for name, use in _VARIABLES.items()
    ]


def _disk(run: Path) -> Check:
    place = next(p for p in (run.absolute(), *run.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    state = f"{free / 2**30:.1f} GiB free" if writable else f"{place} cannot be written"
    return Check("disk", state, ok=writable and free > _LOW_DISK)


def _run(path: Path) -> Check:
    if not (path / "run.sqlite").exists():
        return Check("run", f"none in {path} yet")
    try:
        with Run.open(path, read_only=True) as run:
            states = run.status().states
    except KernelsiftError as e:
        return Check("run", str(e), ok=False)
    counts = ", ".join(f"{n:,} {s}" for s, n in states.items())
    return Check("run", f"{path}: {counts}", ok=True)

"""What was compiled before: one small file per candidate in the user's cache folder.

Only the parent reads and writes it; no child ever sees the folder. A file that cannot be read is
as good as none, and a folder that cannot be written costs time, not answers. At most `MAX_FILES`
candidates are kept, those used last.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kernelsift.errors import RunError
from kernelsift.files import write_json
from kernelsift.kernels.facts import CompileFacts

MAX_FILES = 20_000
KEPT_SHARE = 0.9
"""Of `MAX_FILES`, what stays when there are more."""
MAX_IN_MEMORY = 2_000

Known = Mapping[str, CompileFacts]


def default_folder() -> Path:
    """`kernelsift/compiled` in XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "kernelsift" / "compiled"


class CompileCache:
    """Facts by candidate and signature. Thread-safe."""

    def __init__(self, folder: Path | None = None, versions: tuple[str, ...] = ()) -> None:
        """`folder`: None for memory only. `versions`: of what could change a result."""
        self._folder = folder
        self._versions = versions
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, dict[str, CompileFacts]] = OrderedDict()
        self._files: int | None = None

    def known(self, code: str) -> dict[str, CompileFacts]:
        """All that is known about a candidate, by the caller's names."""
        name = self._name(code)
        with self._lock:
            found = self._memory.get(name)
            if found is None:
                found = self._read(name)
                self._remember(name, found)
            return dict(found)

    def add(self, code: str, facts: Known) -> None:
        """Remember more about a candidate."""
        if not facts:
            return
        name = self._name(code)
        with self._lock:
            merged = {**(self._memory.get(name) or self._read(name)), **facts}
            self._remember(name, merged)
            if self._folder is not None:
                with contextlib.suppress(RunError, OSError):
                    self._write(self._path(self._folder, name), merged)

    def _name(self, code: str) -> str:
        parts = "\0".join((*self._versions, code))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()

    @staticmethod
    def _path(folder: Path, name: str) -> Path:
        return folder / name[:2] / f"{name}.json"

    def _remember(self, name: str, facts: dict[str, CompileFacts]) -> None:
        self._memory[name] = facts
        self._memory.move_to_end(name)
        while len(self._memory) > MAX_IN_MEMORY:
            self._memory.popitem(last=False)

    def _read(self, name: str) -> dict[str, CompileFacts]:
        if self._folder is None:
            return {}
        path = self._path(self._folder, name)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            found = {str(key): CompileFacts.model_validate(body) for key, body in raw.items()}
            path.touch()
        except (OSError, ValueError, AttributeError, ValidationError):
            return {}
        return found

    def _write(self, path: Path, facts: Known) -> None:
        fresh = not path.exists()
        write_json(path, {key: body.model_dump(mode="json") for key, body in facts.items()})
        if self._files is None:
            self._files = sum(1 for _ in path.parents[1].glob("*/*.json"))
        else:
            self._files += fresh
        if self._files > MAX_FILES:
            self._prune(path.parents[1])

    def _prune(self, folder: Path) -> None:
        """Remove the files that were used longest ago."""
        aged = []
        for path in folder.glob("*/*.json"):
            with contextlib.suppress(OSError):
                aged.append((path.stat().st_mtime, path))
        aged.sort()
        extra = max(0, len(aged) - int(KEPT_SHARE * MAX_FILES))
        for _, path in aged[:extra]:
            path.unlink(missing_ok=True)
        self._files = len(aged) - extra

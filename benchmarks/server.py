"""The mock OpenAI server: built when needed, started on a core of its own."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import ProxyHandler, build_opener

from machine import WORK, pin, say

_SOURCE = Path(__file__).with_name("mock_openai.c")
_OPENER = build_opener(ProxyHandler({}))
NO_FAULTS = {"p429": 0, "p500": 0, "p503": 0, "preset": 0, "phang": 0, "pmalf": 0, "pbadjson": 0}


def build() -> Path | None:
    """Compile the server; None, after saying so, where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        say("skipped: there is no gcc to build the mock server with")
        return None
    target = WORK / "mock"
    if target.exists() and target.stat().st_mtime > _SOURCE.stat().st_mtime:
        return target
    WORK.mkdir(parents=True, exist_ok=True)
    base = [compiler, "-O2", "-o", str(target), str(_SOURCE)]
    for more in (["-lssl", "-lcrypto", "-lm"], ["-DNO_TLS", "-lm"]):
        built = subprocess.run([*base, *more], capture_output=True, text=True, check=False)
        if built.returncode == 0:
            return target
    raise RuntimeError(f"the mock server does not build:\n{built.stderr[-2000:]}")


class Mock:
    """A running server. Use as a context manager."""

    def __init__(self, binary: Path) -> None:
        command = [*pin(0), str(binary), "0"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self._root = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.url = f"{self._root}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def configure(self, **values: float) -> None:
        """Set the latency (`lat`, milliseconds), the shares of faults, and forget the counts."""
        query = "&".join(f"{name}={value:g}" for name, value in (NO_FAULTS | values).items())
        self._get(f"__cfg?{query}")
        self.reset()

    def reset(self) -> None:
        """Forget the counts."""
        time.sleep(0.1)
        self._get("__reset")

    def stats(self) -> dict[str, Any]:
        """What the server has seen since `reset`."""
        found = self._get("__stats")
        found["connections"] = found["accepted"] - 1  # without the one that asks this
        return found

    def _get(self, path: str) -> dict[str, Any]:
        with _OPENER.open(f"{self._root}/{path}", timeout=10) as answer:
            body: dict[str, Any] = json.loads(answer.read())
        return body

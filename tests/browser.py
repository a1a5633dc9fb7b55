"""A headless Chromium, driven by its DevTools protocol over a pipe: no port, no sleep."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 90.0
"""Seconds for one answer; a loaded machine may take long to start a browser."""
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--disable-sync", "--metrics-recording-only", "--mute-audio", "--hide-scrollbars",
    "--force-prefers-reduced-motion", "--force-device-scale-factor=1",
)  # fmt: skip

_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""What scrolling and scripts have begun is done two frames later."""

_FIRST_FREE = 10
_START = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Becomes the browser, which reads commands from file 3 and writes answers to file 4."""


def executable() -> str | None:
    """Where a Chromium is; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """A browser with one tab, and all that it had to say since the page was opened."""

    def __init__(self, process: subprocess.Popen[bytes], write: int, read: int) -> None:
        self._process, self._write, self._read = process, write, read
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result; what happens meanwhile goes to `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._next(method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def attach(self) -> None:
        """Make the tab, and listen to everything in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Show a file in a window of this width, and wait until all of it is there."""
        self.resize(width)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        loader = self.call("Page.navigate", url=path.as_uri())["loaderId"]
        while not any(self._is_load(event, loader) for event in self.events):
            self.events.append(self._next("Page.navigate"))

    def resize(self, width: int, height: int = 900) -> None:
        """Make the window that wide, in CSS pixels, as a telephone's may be."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def value(self, expression: str) -> Any:
        """What JavaScript makes of an expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def point_at(self, selector: str) -> None:
        """Scroll an element into view and move the pointer to its middle."""
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def point_away(self) -> None:
        """Move the pointer to the corner of the window, where there is nothing."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def complaints(self) -> list[str]:
        """Warnings, errors and uncaught exceptions since the page was opened."""
        self.value(f"{_FRAMES}.then(() => null)")
        out = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                out.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] != "log":
                out.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in {"warning", "error"}:
                out.append(params["entry"]["text"])
        return out

    def requests(self) -> list[str]:
        """Addresses that the page has asked for."""
        sent = [e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG file, for people to look at."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _middle(self, selector: str) -> tuple[float, float]:
        box = self.value(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            f"await {_FRAMES};"
            "const b = e.getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        return box[0], box[1]

    @staticmethod
    def _is_load(event: dict[str, Any], loader: str) -> bool:
        params = event.get("params", {})
        return params.get("loaderId") == loader and params.get("name") == "load"

    def _next(self, waiting_for: str) -> dict[str, Any]:
        """The next message of the browser, whole."""
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise AssertionError(f"no answer to {waiting_for} in {PATIENCE:g} seconds")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise AssertionError(f"the browser has ended (status {self._process.poll()})")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)


@contextlib.contextmanager
def browsing(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it with all its processes."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    handed = [fcntl.fcntl(end, fcntl.F_DUPFD, _FIRST_FREE) for end in (theirs_in, theirs_out)]
    flags = (*FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe")
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, handed), program, *flags],
        pass_fds=handed,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HOME": str(profile), "XDG_CONFIG_HOME": str(profile)},
    )
    for end in (theirs_in, theirs_out, *handed):
        os.close(end)
    try:
        browser = Browser(process, ours_out, ours_in)
        browser.attach()
        yield browser
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        os.close(ours_out)
        os.close(ours_in)

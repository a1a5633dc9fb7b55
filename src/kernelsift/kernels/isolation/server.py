"""The parent's side of the fork server: start it, hand it jobs, end it; and ask what is permitted.

The fork server is a process of its own from the first instruction, with a bare environment, so no
secret of this process is in its memory.
"""

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kernelsift.errors import ConfigError, RunError
from kernelsift.kernels.isolation import namespaces
from kernelsift.kernels.isolation.sandbox import SandboxReport
from kernelsift.kernels.isolation.visible import (
    environment,
    gpu_devices,
    gpu_paths,
    search_path,
    visible_paths,
)

START_SECONDS = 300  # importing torch on a busy machine
PROBE_SECONDS = 60
STOP_SECONDS = 5
LARGEST_MESSAGE = 1 << 18
_BOOT = (
    "import sys, json\n"
    "sys.path[:] = json.loads(sys.argv[2])\n"
    "from kernelsift.kernels.isolation import zygote\n"
    "getattr(zygote, sys.argv[3])(int(sys.argv[1]))\n"
)


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """What a fork server is started with. `import_paths` are searched first, but not visible."""

    preload: tuple[str, ...]
    interpret: bool
    import_paths: tuple[Path, ...]
    report: SandboxReport
    gpu: bool = False


def _launch(
    main: str, *, surroundings: dict[str, str], paths: Sequence[Path], errors: Any
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-I", "-c", _BOOT, str(theirs.fileno())]
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own code
            [*command, json.dumps(search_path(paths)), main],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=surroundings,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except OSError:
        mine.close()
        raise
    finally:
        theirs.close()
    return process, mine


def _receive(control: socket.socket, seconds: float) -> dict[str, Any]:
    control.settimeout(seconds)
    message = control.recv(LARGEST_MESSAGE)
    control.settimeout(None)
    answer: dict[str, Any] = json.loads(message or b"{}")
    return answer


class Server:
    """One fork server. Not restarted: a pool starts the next one."""

    def __init__(self, setting: ServerSetting) -> None:
        """Start it and wait until its imports are done. RunError if they fail."""
        with tempfile.TemporaryFile() as errors:
            self._process, self._control = _launch(
                "main",
                surroundings=environment(interpret=setting.interpret, gpu=setting.gpu),
                paths=setting.import_paths,
                errors=errors,
            )
            self._lock = threading.Lock()
            try:
                self._greet(setting)
            except (OSError, ValueError, RunError) as error:
                self.close()
                errors.seek(0)
                said = errors.read()[-2000:].decode("utf-8", "replace").strip()
                raise RunError(
                    f"the fork server for kernels did not start: {error}"
                    + (f"\n{said}" if said else "")
                    + "\nRun `kernelsift doctor` to see what is missing."
                ) from error

    def _greet(self, setting: ServerSetting) -> None:
        visible = visible_paths(tuple(name.partition(":")[0] for name in setting.preload))
        hello = {
            "preload": setting.preload,
            "report": asdict(setting.report),
            "visible": (*visible, *gpu_paths()) if setting.gpu else visible,
            "devices": gpu_devices() if setting.gpu else (),
        }
        self._control.send(json.dumps(hello).encode())
        answer = _receive(self._control, START_SECONDS)
        if not answer.get("ready"):
            raise RunError(str(answer.get("error", "it ended without a word")))
        self.threads = int(answer["threads"])

    def is_alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def submit(self, order: dict[str, Any], fds: list[int]) -> None:
        """Hand it a job with its descriptors. OSError once it is gone."""
        with self._lock:
            socket.send_fds(self._control, [json.dumps(order).encode()], fds)

    def kill(self, job: int) -> None:
        """End a job at once; nothing if the job or the server is gone."""
        with self._lock, contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": job}).encode())

    def close(self) -> None:
        """End it and every job of it."""
        self._control.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill_now(self) -> None:
        """End it without asking, for when it does not answer."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def private_tmp() -> Iterator[str]:
    """A folder for one job where no namespace gives it one; gone afterwards, whatever is in it."""
    folder = tempfile.mkdtemp(prefix="kernelsift-job-")
    try:
        namespaces.make_directories(folder)
        yield folder
    finally:
        _remove(folder)


def _remove(folder: str) -> None:
    """Also what a job made hard to remove: folders without rights, or deeper than the stack."""
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(folder)
        return
    for tool in (["chmod", "-R", "u+rwX", "--"], ["rm", "-rf", "--"]):
        path = shutil.which(tool[0])
        if path is not None:
            command = [path, *tool[1:], folder]
            subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - our own words


@functools.cache
def probe() -> SandboxReport:
    """What this machine permits; tried once, in a process of its own, without torch.

    RunError if that process does not answer.
    """
    samples = [os.__file__, __file__]
    for module in ("torch", "triton"):
        spec = importlib.util.find_spec(module)
        samples += [spec.origin] if spec and spec.origin else []
    process, control = _launch(
        "main_probe",
        surroundings=environment(interpret=False),
        paths=(),
        errors=subprocess.DEVNULL,
    )
    with control, private_tmp() as tmp:
        try:
            asked = {"visible": visible_paths(()), "samples": samples, "tmp": tmp}
            control.send(json.dumps(asked).encode())
            raw = _receive(control, PROBE_SECONDS)
            return SandboxReport(**{**raw, "notes": tuple(raw["notes"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise RunError(f"the sandbox could not be tried: {why}") from error
        finally:
            process.kill()
            process.wait()


def required(report: SandboxReport) -> SandboxReport:
    """The report if it is enough for untrusted code; ConfigError with the reasons if not."""
    if report.is_enough:
        return report
    raise ConfigError(
        f"sandbox = required, but this machine permits {report.level}: {'; '.join(report.notes)}. "
        "Permit unprivileged user namespaces (or run in a container that does), or accept the risk "
        "with --sandbox auto"
    )

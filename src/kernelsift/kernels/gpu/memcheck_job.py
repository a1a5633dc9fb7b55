"""The child that runs a candidate's first case under compute-sanitizer. Never run on a real GPU.

The tool starts a fresh interpreter below itself, so this job hands the payload over in a file of
its private tmp; the walls round this process hold for what it starts. The tool talks with what it
watches over sockets, which only a job in a network of its own has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsift.kernels import wire

if TYPE_CHECKING:
    from collections.abc import Callable

BOOT = (
    "import json, sys\n"
    "sys.path[:] = json.loads(sys.argv[1])\n"
    "from kernelsift.kernels.gpu.memcheck_job import watched\n"
    "watched(sys.argv[2])\n"
)
OPTIONS = ("--tool", "memcheck", "--print-limit", "20", "--target-processes", "all")
TEXT_BYTES = 64 << 10
ANSWERED = "kernelsift: the call gave an answer"


def main(payload: bytes, send: Callable[[bytes], None]) -> None:
    """One frame: `text`, the end of the tool's report, and `answered`.

    Payload: nonce, tool (its path), seconds, job (the payload of a device job).
    """
    request = wire.decode(payload)
    with tempfile.TemporaryDirectory(prefix="memcheck-") as folder:
        place = Path(folder) / "payload"
        place.write_bytes(request["job"])
        report = Path(folder) / "report"
        program = [sys.executable, "-I", "-c", BOOT, json.dumps(sys.path), str(place)]
        tool = [request["tool"], *OPTIONS, "--log-file", str(report)]
        said = _run([*tool, *program], float(request["seconds"]))
        text = report.read_text("utf-8", "replace") if report.is_file() else said
    answered = ANSWERED in said
    found = {"nonce": request["nonce"], "text": text[-TEXT_BYTES:], "answered": answered}
    send(wire.encode(found))


def _run(command: list[str], seconds: float) -> str:
    # without torch's own allocator every tensor ends where its memory ends
    surroundings = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(  # noqa: S603 -- the tool and our own interpreter, inside the walls
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env=surroundings,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {seconds:.0f} s"
    except OSError as error:
        return f"it could not be started: {error}"
    return done.stdout.decode("utf-8", "replace")


def watched(place: str) -> None:
    """Below the tool: run the job. Its answers were compared before; here they need only come."""
    from kernelsift.kernels.gpu.device_job import main as run

    frames: list[bytes] = []
    run(Path(place).read_bytes(), frames.append)
    events = [wire.decode(frame) for frame in frames]
    if any(said["event"] == "output" and "error" not in said for said in events):
        sys.stdout.write(f"{ANSWERED}\n")

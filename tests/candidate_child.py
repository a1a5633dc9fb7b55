"""Run candidate jobs in forks of one interpreter process that has imported torch and Triton."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVER = """
import os, struct, sys
import numpy, scipy.special, torch, triton, triton.experimental.gluon
from kernelsift.kernels.candidate import running
from kernelsift.kernels.candidate.candidate_job import main
requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
while header := requests.read(8):
    payload = requests.read(struct.unpack("<Q", header)[0])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        out = os.fdopen(writer, "wb")
        def send(frame):
            out.write(struct.pack("<Q", len(frame)) + frame)
            out.flush()
        try:
            main(payload, send)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    replies.write(struct.pack("<Q", len(data)) + data)
    replies.flush()
"""


class CandidateChild:
    """One pre-imported process; every job runs in a fork of it."""

    def __init__(self) -> None:
        source = str(Path(__file__).parents[1] / "src")
        env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": source}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )

    def run(self, **job: Any) -> list[dict[str, Any]]:
        """The decoded frames of one job."""
        from kernelsift.kernels import wire

        payload = wire.encode({"nonce": "a nonce", "options": {"seed": 1}, **job})
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(struct.pack("<Q", len(payload)) + payload)
        self.process.stdin.flush()
        size = struct.unpack("<Q", self.process.stdout.read(8))[0]
        data = self.process.stdout.read(size)
        frames, at = [], 0
        while at < len(data):
            length = struct.unpack_from("<Q", data, at)[0]
            frames.append(wire.decode(data[at + 8 : at + 8 + length]))
            at += 8 + length
        return frames

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def outputs(frames: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Output frames by step name, or by case name for plain cases."""
    found = [frame for frame in frames if frame["event"] == "output"]
    return {frame["step"] or frame["case"]: frame for frame in found}

"""The candidate's child on the device: the same cases and steps as in the interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelsift.kernels.candidate.candidate_job import serve
from kernelsift.kernels.gpu.device_runner import DeviceRunner

if TYPE_CHECKING:
    from collections.abc import Callable


def main(payload: bytes, send: Callable[[bytes], None]) -> None:
    """Run one candidate; its options are those of `DeviceRunner`."""
    serve(payload, send, DeviceRunner)

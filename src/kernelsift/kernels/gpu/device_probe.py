"""The child that finds out whether the GPU works: driver, torch, and one Triton kernel.

A kernel that fails later then fails for reasons of its own.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from kernelsift.kernels import wire
from kernelsift.kernels.gpu.device import NoDeviceError, query

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE = 500


def main(payload: bytes, send: Callable[[bytes], None]) -> None:
    """One frame: `device` (facts) or `why`; `unusable`: what of torch or Triton failed."""
    nonce = wire.decode(payload)["nonce"]
    warnings.simplefilter("ignore")
    said: dict[str, Any] = {"nonce": nonce}
    try:
        said["device"] = query().model_dump(mode="json")
        said["unusable"] = _tried("torch", _torch) or _tried("triton", _triton)
    except NoDeviceError as error:
        said["why"] = str(error)
    send(wire.encode(said))


def _tried(name: str, work: Callable[[], None]) -> str:
    try:
        work()
    except Exception as error:  # noqa: BLE001 -- whatever stops it is the answer
        return f"{name}: {type(error).__name__}: {error}"[:MESSAGE]
    return ""


def _torch() -> None:
    import torch

    found = torch.arange(8, device="cuda").sum().item()
    if found != 28:
        raise RuntimeError(f"0 + 1 + … + 7 is {found} on the GPU")


def _triton() -> None:
    import torch

    from kernelsift.kernels.gpu.probe_kernel import add_one

    numbers = torch.zeros(100, device="cuda")
    add_one[(1,)](numbers, 100, BLOCK=128)
    if numbers.sum().item() != 100:
        raise RuntimeError("a kernel that adds one did not")

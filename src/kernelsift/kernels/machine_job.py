"""The child that tries Triton's interpreter on a kernel of our own."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from kernelsift.kernels import wire

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 20


def main(payload: bytes, send: Callable[[bytes], None]) -> None:
    """One frame: what is wrong with the interpreter, an empty `why` if nothing."""
    nonce = wire.decode(payload)["nonce"]
    warnings.simplefilter("ignore")
    send(wire.encode({"nonce": nonce, "why": _tried()}))


def _tried() -> str:
    import torch

    from kernelsift.kernels.candidate import interpret
    from kernelsift.kernels.candidate.launches import Controls
    from kernelsift.kernels.compiling.sample_kernel import double

    if problem := interpret.self_test():
        return problem
    interpret.install(Controls())
    kernel: Any = double
    numbers = torch.arange(float(SIZE))
    kernel[(2,)](numbers, SIZE - 1, BLOCK=16)
    expected = [2.0 * i for i in range(SIZE - 1)] + [SIZE - 1.0]
    return "" if numbers.tolist() == expected else f"it doubles 0, 1, … to {numbers.tolist()}"

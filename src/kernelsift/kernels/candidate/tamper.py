"""Functions that an honest candidate leaves alone: torch, Triton and the clock."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Sequence

WATCHED = words(
    "torch:allclose torch:equal torch:isclose torch:matmul torch:empty torch:Tensor.__eq__ "
    "torch:Tensor.allclose torch:Tensor.copy_ torch:Tensor.clone torch.testing:assert_close "
    "torch.nn.functional:linear torch.nn.functional:conv2d torch.nn.functional:relu "
    "torch.nn.functional:softmax torch.nn:Module.__call__ torch.nn:Linear.forward "
    "torch.cuda:synchronize torch.cuda:Event triton:jit triton:cdiv triton.testing:do_bench "
    "triton.runtime.interpreter:GridExecutor.__call__ triton.runtime.interpreter:_patch_lang "
    "triton.runtime.interpreter:interpreter_builder.__class__ time:time time:perf_counter "
    "kernelsift.kernels.wire:encode kernelsift.kernels.candidate.running:Runner.measured "
    "kernelsift.kernels.candidate.running:Runner.facts "
    "kernelsift.kernels.candidate.provenance:coverage"
)
FLAGS = words(
    "torch.backends.cudnn:allow_tf32 torch.backends.cuda:matmul.allow_tf32 "
    "torch.backends.cuda:matmul.allow_fp16_reduced_precision_reduction "
    "torch.backends.cuda:matmul.allow_bf16_reduced_precision_reduction"
)
"""Settings of how precisely torch multiplies in this process; no answer is compared in it."""
SET_TO = " = "
"""Between the name and the value of a setting: names that were replaced come alone."""
_LOWER = (True, "tf32", "bf16")


def _value(path: str) -> Any:
    """The object at `module:attribute.attribute`; None where it does not exist."""
    module, _, attributes = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in attributes.split("."):
        found = getattr(found, name, None)
    return found


def _setting(path: str) -> Any:
    """A flag's value, or the precision that stands for it where torch refuses to tell the flag."""
    try:
        return _value(path)
    except RuntimeError:  # `fp32_precision` was set, the flag's successor
        return _value(path[: max(path.rfind("."), path.rfind(":")) + 1] + "fp32_precision")


class Snapshot:
    """What the watched names were when the candidate came."""

    def __init__(self, watched: Sequence[str] = WATCHED) -> None:
        """Remember them all."""
        self.objects = {path: _value(path) for path in watched}
        self.flags = {path: _setting(path) for path in FLAGS}

    def changed(self) -> list[str]:
        """Names that now stand for something else."""
        return [path for path, old in self.objects.items() if _value(path) is not old]

    def lowered(self) -> list[str]:
        """Flags that now allow less precision, with their value: `name = True`."""
        now = {path: _setting(path) for path in FLAGS}
        other = [path for path, old in self.flags.items() if now[path] != old]
        return [f"{path}{SET_TO}{now[path]}" for path in other if now[path] in _LOWER]

"""Calls of one candidate on a device, with guard bands and a log of its launches."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

import torch

from kernelsift.kernels.candidate.calling import Caller
from kernelsift.kernels.candidate.provenance import tensors_in
from kernelsift.kernels.candidate.tamper import WATCHED, Snapshot
from kernelsift.kernels.candidate.words import words
from kernelsift.kernels.gpu.guard import Guards
from kernelsift.kernels.gpu.launch_log import LaunchLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelsift.kernels.candidate.entry import Entry


ONLY_ON_CPU = ("triton.runtime.interpreter", "kernelsift.kernels.candidate.running")
WATCHED_TOO = words(
    "torch.cuda:Event.elapsed_time torch.cuda:Event.record torch.cuda:current_stream "
    "torch.cuda:set_stream triton.runtime.jit:JITFunction.run "
    "kernelsift.kernels.candidate.calling:Caller.measured "
    "kernelsift.kernels.gpu.guard:Guards.hits kernelsift.kernels.gpu.blocks:run_block "
    "kernelsift.kernels.gpu.subject:TorchSubject.samples"
)


class DeviceRunner(Caller):
    """One candidate in this process, on `cuda` (or on `cpu`, for rehearsals)."""

    def __init__(self, options: dict[str, Any], source: str) -> None:
        """Options: device, seed, watch (bands, counted operators, launches; not while timing)."""
        super().__init__(source, int(options.get("seed", 0)))
        self.device = str(options["device"])
        watch = bool(options["watch"])
        self.guards = Guards(self.device) if watch else None
        self.log = LaunchLog() if watch else None
        names = [name for name in WATCHED if not name.startswith(ONLY_ON_CPU)]
        self.untouched = Snapshot((*names, *WATCHED_TOO))

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Fresh memory gets bands."""
        with self.guards or contextlib.nullcontext():
            yield

    def reset(self) -> None:
        """Forget the last call."""
        if self.log is not None:
            self.log.reset()
        if self.guards is not None:
            self.guards.reset()

    def prepare(self, job: Any, entry: Entry, found: Any) -> None:
        """Build the entry on the device."""
        job.state = {name: value.to(self.device) for name, value in job.state.items()}
        super().prepare(job, entry, found)

    def placed(self, target: Any) -> Any:
        """The module on the device."""
        return target.to(self.device) if isinstance(target, torch.nn.Module) else target

    def call(self, target: Any, case: dict[str, Any], inputs: list[Any]) -> Any:
        """One call, waited for: an error of a kernel belongs to it and not to the next."""
        answer = super().call(target, case, inputs)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return answer

    def operators(self) -> dict[str, Any]:
        """The torch operators that were counted."""
        counted = self.guards.ops if self.guards is not None else {}
        return {name: dict(entry) for name, entry in counted.items()}

    def digest(self, value: Any) -> bytes:
        """A digest of the elements of every tensor in a value."""
        state = hashlib.blake2b(digest_size=16)
        for tensor in tensors_in(value):
            plain = tensor.detach().resolve_conj().contiguous().cpu()
            state.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        return state.digest()

    def fresh_inputs(self, case: dict[str, Any]) -> list[Any]:
        """New tensors on the device, with the case's values and strides, between bands."""
        if self.guards is not None:
            self.guards.forget_inputs()
        return super().fresh_inputs(case)

    def copied(self, value: Any) -> Any:
        """A deep copy on the device; tensors that overlap themselves get no bands."""
        if isinstance(value, torch.Tensor):
            return self._copied_tensor(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self.copied(item) for item in value)
        if isinstance(value, dict):
            return {key: self.copied(item) for key, item in value.items()}
        return value

    def _copied_tensor(self, value: Any) -> Any:
        pairs = zip(value.shape, value.stride(), strict=True)
        if any(step == 0 and size > 1 for size, step in pairs):
            return value.clone().to(self.device)
        fresh = torch.empty_strided(
            value.shape, value.stride(), dtype=value.dtype, device=self.device
        )
        fresh.copy_(value)
        return self.guards.input(fresh) if self.guards is not None else fresh

    @contextlib.contextmanager
    def options(self, step: dict[str, Any]) -> Iterator[None]:
        """Launches of the step do nothing, or raise."""
        if self.log is None:
            yield
            return
        self.log.ablate = (step.get("options") or {}).get("ablate")
        try:
            yield
        finally:
            self.log.ablate = None

    def facts(self, output: Any, inputs: list[Any]) -> dict[str, Any]:
        """What was recorded about the last call."""
        launches = self.log.builds() if self.log is not None else []
        guards = self.guards
        return super().facts(output, inputs) | {
            "launches": launches,
            "launch_count": sum(launch["times"] for launch in launches),
            "work": {"tf32_flops": sum(bool(launch["tf32"]) for launch in launches)},
            "bands": guards.bands if guards is not None else 0,
            "guard_hits": guards.hits() if guards is not None else [],
        }

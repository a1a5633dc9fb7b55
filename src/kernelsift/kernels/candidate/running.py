"""Calls of one candidate under the shim, the interpreter and the ledger, with their facts."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kernelsift.kernels.candidate import driver, inductor, interpret, shim
from kernelsift.kernels.candidate.calling import Caller
from kernelsift.kernels.candidate.failure import describe_error
from kernelsift.kernels.candidate.launches import Controls
from kernelsift.kernels.candidate.provenance import (
    READS,
    Ledger,
    coverage,
    coverage_mask,
    raw_bytes,
    tensors_in,
)
from kernelsift.kernels.candidate.tamper import Snapshot
from kernelsift.kernels.cpu_time import at_most

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTLINE_SECONDS = 5.0
"""Processor time for a call of which only the launches count: PyTorch may work in it."""
OPTIONS = tuple(field.name for field in dataclasses.fields(Controls) if field.name != "source")


class Runner(Caller):
    """One candidate in this process; patches torch and Triton for good when it is made."""

    def __init__(self, options: dict[str, Any], source: str) -> None:
        """Install shim, driver, interpreter; `broken` says why the interpreter is not usable."""
        super().__init__(source, int(options.get("seed", 0)))
        self.controls = Controls(source=source)
        for name in OPTIONS:
            if name in options:
                setattr(self.controls, name, options[name])
        self.note = shim.Notes()
        self.broken = interpret.self_test()
        np.seterr(all="ignore")
        torch.set_num_threads(1)
        if self.broken is None:
            self.devices = shim.install(self.note)
            driver.install_driver(self.note, self.controls)
            driver.install_libdevice(self.note)
            inductor.install(source, self.note)
            self.machine = interpret.install(self.controls, self.note)
            self.ledger = Ledger(self.machine.log)
            self.machine.fresh = self.ledger.fresh
            self._expose_pointers()
            self.untouched = Snapshot()

    def _expose_pointers(self) -> None:
        """Let kernels use the addresses that the candidate's own code asks tensors for."""
        tensor: Any = torch.Tensor
        native, memory = tensor.data_ptr, self.machine.log.memory

        def data_ptr(given: Any) -> int:
            if sys._getframe(1).f_code.co_filename == self.source:  # noqa: SLF001  who asks
                memory.expose(given)
            return int(native(given))

        tensor.data_ptr = data_ptr

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """CPU devices, counted operators, swallowed warnings."""
        with self.ledger, self.devices:
            yield

    @contextlib.contextmanager
    def native(self) -> Iterator[None]:
        """Tensors show their real device."""
        with self.note.paused():
            yield

    def reset(self) -> None:
        """Forget what the last call did."""
        self.machine.log.reset()
        self.machine.log.memory.clear()
        self.ledger.reset()
        self.note.used.clear()

    def operators(self) -> dict[str, Any]:
        """The torch operators that the ledger counted."""
        return {name: dict(entry) for name, entry in self.ledger.ops.items()}

    def digest(self, value: Any) -> bytes:
        """A digest of the memory behind every tensor in a value."""
        state = hashlib.blake2b(digest_size=16)
        for tensor in tensors_in(value):
            state.update(raw_bytes(tensor.detach()))
        return state.digest()

    def copied(self, value: Any) -> Any:
        """A deep copy of an input on the CPU."""
        return _copied(value)

    @contextlib.contextmanager
    def options(self, step: dict[str, Any]) -> Iterator[None]:
        """The step's controls of the interpreter."""
        saved = {name: getattr(self.controls, name) for name in OPTIONS}
        try:
            for name, value in (step.get("options") or {}).items():
                if name in OPTIONS:
                    setattr(self.controls, name, value)
            yield
        finally:
            for name, value in saved.items():
                setattr(self.controls, name, value)

    def run_case(self, case: dict[str, Any]) -> dict[str, Any]:
        """A case; where its tensors are but outlined, one call of which only the launches count."""
        if not self.job.outline:
            return super().run_case(case)
        self.reset()
        body: dict[str, Any] = {}
        try:
            with at_most(OUTLINE_SECONDS):
                self.call(self.target, case, case["inputs"])
        except BaseException as error:  # noqa: BLE001  as in `measured`
            body["error"] = describe_error(error, self.source)
        launches = [launch.facts() for launch in self.machine.log.launches.values()]
        reads = not READS.isdisjoint(self.ledger.ops)
        return body | {"facts": {"launches": launches, "reads": reads}}

    def repeat(self, target: Any, case: dict[str, Any], calls: int) -> None:
        """Many calls with launches skipped, for speed."""
        ablate, self.controls.ablate = self.controls.ablate, "noop"
        for _ in range(calls):
            self.machine.log.memory.clear()
            with contextlib.suppress(Exception):
                self.call(target, case, self.fresh_inputs(case))
        self.controls.ablate = ablate

    def facts(self, output: Any, inputs: list[Any]) -> dict[str, Any]:
        """Everything recorded about the last call."""
        log = self.machine.log
        return super().facts(output, inputs) | {
            "launches": [launch.facts() for launch in log.launches.values()],
            "launch_count": log.total,
            "programs": log.programs,
            "work": dict(log.work),
            "coverage": coverage(log, self.ledger, output),
            "copy_only": [launch.kernel for launch in log.launches.values() if launch.copies],
            "oob": log.found("oob"),
            "races": log.found("races"),
            "uninitialised": log.found("uninitialised"),
            "masked_undefined": log.found("masked"),
            "rounded": log.found("rounded"),
            "shim": dict(self.note.used),
            "sanitized": self.controls.sanitize,
            "sample": self.sample(output),
        }

    def sample(self, output: Any) -> dict[str, Any] | None:
        """Where a launch was cut: how many programs ran, and which elements they stored."""
        log = self.machine.log
        if log.sample is None:
            return None
        masks = [
            torch.from_numpy(np.ascontiguousarray(coverage_mask(log, tensor.detach())))
            for tensor in tensors_in(output)
        ]
        return {**dataclasses.asdict(log.sample), "stored": masks}


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        fresh = torch.from_numpy(raw_bytes(value).copy())
        if not value.numel():
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
        if value.dtype == torch.bool:
            return fresh.ne(0).as_strided(value.shape, value.stride())
        return fresh.view(value.dtype).as_strided(value.shape, value.stride())
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value

"""Operators that a candidate registers with torch: those for CUDA serve the CPU here."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from kernelsift.kernels.candidate.provenance import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

TORCH = str(Path(torch.__file__).parent)
PLUMBING = (
    f"{TORCH}/library.py",
    f"{TORCH}/_library/",
    functools.__file__,
    __file__,
)
"""Files between whoever registers an operator and our replacements."""
DEVICES = frozenset(("cuda", "hip", "xpu"))
ABSENT = ("CUDA", "HIP", "XPU")


def _torchs_own() -> bool:
    """Whether torch itself registers something: modules of its own are imported late."""
    frame: Any = sys._getframe(2)  # noqa: SLF001  who asks
    while frame is not None and frame.f_code.co_filename.startswith(PLUMBING):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(TORCH)


def _served(key: str) -> str:
    """The dispatch key that is reached here where a GPU would reach `key`."""
    for name in ABSENT:
        key = key.replace(name, "CPU")
    return key


class Operators:
    """Runs the Python bodies of operators in the surroundings of their caller.

    Torch takes a mode off while it handles a call. Inside an operator the ledger would miss
    everything, and the devices of tensors would be real ones.
    """

    def __init__(self, devices: TorchFunctionMode, note: Callable[[str], None]) -> None:
        """`devices`: the mode that replaces CUDA devices."""
        self.devices = devices
        self.note = note
        self.ledger: Ledger | None = None
        """The ledger that was taken off for the operator being called."""
        self.for_gpu: set[tuple[str, str]] = set()
        """Operator and key of implementations for a GPU: those for the CPU never run beside."""

    def transparent(self, mode: Ledger, func: Any, _types: Any, args: Any, kwargs: Any) -> Any:
        """Call an operator of the candidate, whose own operators and launches are what counts."""
        outer, self.ledger = self.ledger, mode
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.ledger = outer

    def inside(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """An operator's body with the modes on."""

        @functools.wraps(body)
        def run(*args: Any, **kwargs: Any) -> Any:
            ledger, self.ledger = self.ledger, None
            try:
                with self.devices:
                    if ledger is None:
                        return body(*args, **kwargs)
                    with ledger:
                        return body(*args, **kwargs)
            finally:
                self.ledger = ledger

        return run

    def placed(self, qualified: str, key: str) -> str | None:
        """The key to register an implementation under; None for one that a GPU would not reach."""
        served = _served(key)
        if served != key:
            self.note(f"operator for {key}")
            self.for_gpu.add((qualified, served))
        elif (qualified, key) in self.for_gpu:
            return None
        return served


def _name(library: Any, operator: Any) -> str:
    """The full name of an operator given as name or overload."""
    name = operator if isinstance(operator, str) else operator._name  # noqa: SLF001  no public one
    return f"{library.ns}::{name.split('::')[-1]}"


def _patch_library(operators: Operators) -> None:
    """Definitions become transparent to the ledger; implementations for CUDA serve the CPU."""
    library: Any = torch.library.Library
    make, define, impl = library.__init__, library.define, library.impl

    def made(self: Any, ns: str, kind: str, dispatch_key: str = "") -> None:
        make(self, ns, kind, dispatch_key if _torchs_own() else _served(dispatch_key))
        self.asked_key = dispatch_key

    def defined(self: Any, schema: str, *args: Any, **kwargs: Any) -> Any:
        result = define(self, schema, *args, **kwargs)
        if not _torchs_own():
            name = schema.split("(")[0].split("::")[-1].strip()
            self._register_torch_dispatch_rule(name, Ledger, operators.transparent)
        return result

    def implemented(
        self: Any, op_name: Any, fn: Any, dispatch_key: str = "", **options: Any
    ) -> Any:
        if _torchs_own() or not callable(fn):
            return impl(self, op_name, fn, dispatch_key, **options)
        asked = dispatch_key or getattr(self, "asked_key", self.dispatch_key)
        key = operators.placed(_name(self, op_name), asked)
        if key is None:
            return None
        body = fn if fn is torch.library.fallthrough_kernel else operators.inside(fn)
        return impl(self, op_name, body, key, **options)

    library.__init__, library.define, library.impl = made, defined, implemented


def _patch_definitions() -> None:
    """`CustomOpDef.register_kernel` asks for the CPU where a GPU was meant."""
    definition: Any = importlib.import_module("torch._library.custom_ops").CustomOpDef
    native = definition.register_kernel

    def register_kernel(self: Any, device_types: Any, fn: Any = None, /) -> Any:
        asked = [device_types] if isinstance(device_types, (str, type(None))) else [*device_types]
        others = [name for name in asked if name not in DEVICES]
        if len(others) < len(asked):
            self.for_gpu = True
            wanted = [*dict.fromkeys(["cpu", *others])]
        elif getattr(self, "for_gpu", False):
            wanted = [name for name in others if name != "cpu"]
        else:
            wanted = others
        if not wanted:
            return fn or (lambda function: function)
        return native(self, None if wanted == [None] else wanted, fn)

    definition.register_kernel = register_kernel


def _patch_tracing() -> None:
    """Nothing is traced: kernels stay unwrapped, and torch's compiler (seconds) is not imported."""
    wrapping: Any = importlib.import_module("torch._library.triton")
    for module in (wrapping, torch._library, torch.library):  # noqa: SLF001  where torch keeps it
        for name in ("wrap_triton", "capture_triton"):
            if hasattr(module, name):
                setattr(module, name, lambda kernel: kernel)
    wrapping.get_inner_triton_kernels = lambda _function: []
    change: Callable[[Any, str, Any], None] = setattr
    change(torch, "_disable_dynamo", _untraced)


def _untraced(function: Any = None, *_: Any, **_options: Any) -> Any:
    """Replacement of `torch._disable_dynamo`, plain or as a decorator with options."""
    return function if function is not None else _untraced


def install(devices: TorchFunctionMode, note: Callable[[str], None]) -> None:
    """Patch `torch.library` in this process for good."""
    _patch_library(Operators(devices, note))
    _patch_definitions()
    _patch_tracing()

"""TorchInductor's runtime as its generated code imports it, on the CPU and in Triton's interpreter.

Importing the real one takes seconds, it asks a GPU, and it has dropped names that older generated
code uses. Only modules that an answer imports are replaced, and only in its own process.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import math
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from kernelsift.kernels.candidate.inductor_grid import (
    ceildiv,
    cooperative_reduction_grid,
    grid,
    next_power,
    split_scan_grid,
)
from kernelsift.kernels.candidate.inductor_kernel import Several, heuristic
from kernelsift.kernels.candidate.inductor_text import Texts
from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Callable

HELPERS = "torch._inductor.runtime.triton_helpers"
HINTS = "torch._inductor.runtime.hints"
HEURISTICS = words(
    "pointwise reduction persistent_reduction cooperative_reduction split_scan template foreach "
    "fixed_config user_autotune cached_autotune"
)
STAND_INS = words(
    "torch._inductor.select_algorithm torch._inductor.async_compile torch._inductor.codecache "
    "torch._inductor.runtime.triton_heuristics torch._inductor.triton_heuristics "
    "torch._inductor.triton_ops.autotune torch._inductor.codegen.memory_planning "
    "torch._inductor.codegen.multi_kernel torch._inductor.wrapper_benchmark torch._inductor.ir "
    "torch._inductor.triton_helpers"
)
"""Modules that get replaced where an answer imports one of them."""
PACKAGES = words(
    "torch._inductor torch._inductor.runtime torch._inductor.codegen torch._inductor.triton_ops"
)
ALIGNMENT = 64


class Anything:
    """Metadata of the compiler that means nothing here."""

    def __init__(self, *_args: Any, **_named: Any) -> None:
        """Accept whatever a release of Inductor writes."""

    @classmethod
    def from_dict(cls, _data: Any, **_named: Any) -> Anything:
        """As the compiler's descriptor of attributes."""
        return cls()


class _Module(types.ModuleType):
    """A module with a few names; for any other it says so."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in for {self.__name__} has no {name}")


class ExternKernels:
    """PyTorch's own operators under Inductor's names. They count as PyTorch's work."""

    def __init__(self, note: Callable[[str], None]) -> None:
        """Operators that note each use."""
        self._note = note
        self.made: Any = WeakIdKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        body = _COMPOSED.get(name) or getattr(torch, name, None) or getattr(torch.ops.aten, name)
        self._note(f"extern_kernels.{name}")

        def extern_operator(*args: Any, **named: Any) -> Any:
            result = body(*args, **named)
            if isinstance(result, torch.Tensor):
                self.made[result] = True
            return result

        return extern_operator

    def assert_size_stride(self, tensor: Any, size: Any, stride: Any, *_name: Any) -> None:
        """Inductor's check. Results of operators get the layout that they have on a GPU."""
        if tensor in self.made and tuple(tensor.shape) == tuple(size):
            if tuple(tensor.stride()) != tuple(stride):
                laid = torch.empty_strided(tuple(size), tuple(stride), dtype=tensor.dtype)
                tensor.set_(laid.copy_(tensor))
            return
        _native_assert(tensor, size, stride)


_native_assert: Any = torch._C._dynamo.guards.assert_size_stride  # noqa: SLF001  what generated code calls


def _bias_addmm(bias: Any, left: Any, right: Any, **named: Any) -> Any:
    return torch.addmm(bias, left, right, **named)


def _mm_plus_mm(a: Any, b: Any, c: Any, d: Any, *, out: Any = None) -> Any:
    return torch.addmm(torch.mm(a, b), c, d, out=out)


def _conv1x1(x: Any, weight: Any, *, out: Any = None) -> Any:
    matrix = weight.reshape(weight.shape[0], -1)
    return torch.matmul(x.permute(0, 2, 3, 1), matrix.t(), out=out)


_COMPOSED: dict[str, Any] = {
    "bias_addmm": _bias_addmm,
    "mm_plus_mm": _mm_plus_mm,
    "conv1x1_via_mm": _conv1x1,
}


class AsyncCompile:
    """Loads the kernels that generated code keeps as text."""

    texts: Texts

    def triton(self, *texts: str, **_named: Any) -> Any:
        """A kernel: `(name, text)`, in the oldest code only `(text)`."""
        name = texts[0] if len(texts) > 1 else None
        return self.texts.load_text(texts[-1], name)

    def multi_kernel(self, *args: Any, **named: Any) -> Several:
        """One of several kernels."""
        return Several(*args, **named)

    def wait(self, _scope: Any) -> None:
        """Nothing runs in the background."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in for AsyncCompile has no {name}")


def patch_guards(note: Callable[[str], None]) -> ExternKernels:
    """Give torch's C modules what generated code takes from a CUDA build."""
    operators = ExternKernels(note)
    guards: Any = torch._C._dynamo.guards  # noqa: SLF001  what generated code takes from torch

    def empty_strided(size: Any, stride: Any, dtype: Any) -> Any:
        return torch.empty_strided(tuple(size), tuple(stride), dtype=dtype)

    for name in words("_empty_strided_cuda _empty_strided_cpu _empty_strided_cpu_pinned"):
        setattr(guards, name, empty_strided)
    guards.assert_size_stride = operators.assert_size_stride
    guards.assert_alignment = lambda *_args: None
    guards.copy_if_misaligned = lambda tensor: tensor
    for name in words("_cuda_getCurrentRawStream _cuda_getDevice"):
        setattr(torch._C, name, lambda _device=0: 0)  # noqa: SLF001  as above
    return operators


def install(source: str, note: Callable[[str], None]) -> bool:
    """Replace the parts of Inductor that a candidate imports; whether there are any.

    `source`: the candidate's file. What such code takes from torch's C modules is there anyway.
    """
    operators = patch_guards(note)
    if not _imported(source) & {*STAND_INS, HELPERS, HINTS}:
        return False
    note("Inductor's runtime")
    AsyncCompile.texts = Texts(source)
    for name in PACKAGES:
        _package(name)
    helpers: Any = importlib.import_module(HELPERS)
    hints: Any = importlib.import_module(HINTS)
    _complete(hints, {"instance_descriptor": Anything, "AttrsDescriptorWrapper": Anything})
    helpers.set_driver_to_gpu = helpers.set_driver_to_cpu = lambda: None
    for name, members in _members(operators, hints).items():
        if name in STAND_INS or name not in sys.modules:
            _provide(name, members)
        else:
            _complete(sys.modules[name], members)
    _provide_module("torch._inductor.triton_helpers", helpers)
    for name in ("triton.compiler.compiler", "triton.backends.compiler"):
        _complete(importlib.import_module(name), {"AttrsDescriptor": Anything})
    return True


def _imported(source: str) -> set[str]:
    """Modules that a file imports, or imports names from."""
    found: set[str] = set()
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        for node in ast.walk(ast.parse(Path(source).read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _package(name: str) -> None:
    """A package whose own code is not run; its modules are found where they are."""
    if name in sys.modules:
        return
    parent, _, last = name.rpartition(".")
    module = _Module(name)
    module.__path__ = [str(Path(path) / last) for path in sys.modules[parent].__path__]
    _provide_module(name, module)


def _provide(name: str, members: dict[str, Any]) -> None:
    module = _Module(name)
    vars(module).update(members)
    _provide_module(name, module)


def _provide_module(name: str, module: types.ModuleType) -> None:
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    vars(sys.modules[parent])[last] = module


def _complete(module: types.ModuleType, members: dict[str, Any]) -> None:
    """Add the names that this release has dropped."""
    for name, member in members.items():
        if name not in vars(module):
            setattr(module, name, member)


def _members(operators: ExternKernels, hints: Any) -> dict[str, dict[str, Any]]:
    """What each module that is replaced has to have."""
    nothing = lambda *_args, **_named: None  # noqa: E731  a name for it would say no more
    enums = {
        name: getattr(hints, name, Anything)
        for name in words("AutotuneHint ReductionHint TileHint DeviceProperties HeuristicType")
    }
    runtime: dict[str, Any] = dict.fromkeys(HEURISTICS, heuristic) | enums
    runtime |= {
        "grid": grid,
        "split_scan_grid": split_scan_grid,
        "cooperative_reduction_grid": cooperative_reduction_grid,
        "start_graph": nothing,
        "end_graph": nothing,
        "ceildiv": ceildiv,
        "next_power_of_2": next_power,
        "instance_descriptor": Anything,
        "get_max_y_grid": lambda: 65535,
    }
    compile_parts = {"AsyncCompile": AsyncCompile}
    return {
        "torch._inductor.select_algorithm": {"extern_kernels": operators},
        "torch._inductor.async_compile": compile_parts,
        "torch._inductor.codecache": compile_parts,
        "torch._inductor.runtime.triton_heuristics": runtime,
        "torch._inductor.triton_heuristics": runtime,
        "torch._inductor.triton_ops.autotune": runtime,
        "torch._inductor.codegen.memory_planning": {"_align": _align},
        "torch._inductor.codegen.multi_kernel": {"MultiKernelCall": Several},
        "torch._inductor.wrapper_benchmark": {"compiled_module_main": nothing},
        "torch._inductor.ir": enums,
        "torch._inductor.utils": {
            "maybe_profile": lambda *_args, **_named: contextlib.nullcontext(),
            "print_performance": nothing,
            "instance_descriptor": Anything,
            "ceildiv": ceildiv,
        },
        "torch._inductor.hooks": {"run_intermediate_hooks": nothing},
    }


def _align(size: int) -> int:
    """Bytes rounded up to what allocations are aligned to."""
    return ALIGNMENT * math.ceil(size / ALIGNMENT)

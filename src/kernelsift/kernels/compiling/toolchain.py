"""The one adapter to Triton's compiler: kernels are prepared for a launch and never launched.

A stand-in driver says which GPU is there; `JITFunction.run(warmup=True)` then does what a real
launch does up to the launch itself. `broken` says at start whether its private parts are there.
Works with Triton 3.6 to 3.9.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import tempfile
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import ASTSource
from triton.runtime import jit
from triton.runtime.driver import driver as active_driver

from kernelsift.kernels.candidate.driver import StandInDriver
from kernelsift.kernels.candidate.launches import Controls
from kernelsift.kernels.candidate.shim import Notes
from kernelsift.kernels.compiling.binary import amd_usage, cubin_usage, uses_tensor_cores
from kernelsift.kernels.compiling.problems import CannotTryError, Source
from kernelsift.kernels.compiling.revive import StandIn, revive
from kernelsift.kernels.compiling.targets import MAX_THREADS, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARIES = {"cuda": ("cubin", "ptx"), "hip": ("hsaco", "amdgcn")}
HOME = 0
"""The device that the candidate sees while it is imported; targets follow it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one compiled kernel needs."""

    shared_bytes: int
    registers: int | None
    spills: int | None
    tensor_cores: bool
    threads: int

    def threads_problem(self) -> str:
        """What is wrong with the size of a block, or nothing."""
        if self.threads <= MAX_THREADS:
            return ""
        return f"a block of {self.threads} threads; a GPU starts at most {MAX_THREADS}"


@dataclass(slots=True)
class Order:
    """One thing to compile, as it came over the wire."""

    kernel: str
    line: int
    arguments: list[list[Any]]
    options: dict[str, Any]

    def configured(self, configuration: dict[str, Any]) -> Order:
        """The same launch with another configuration of autotuning."""
        names = {name for name, _, _ in self.arguments}
        chosen = [
            [name, kind, configuration.get(name, value)] for name, kind, value in self.arguments
        ]
        options = {k: v for k, v in configuration.items() if k not in names}
        return Order(self.kernel, self.line, chosen, {**self.options, **options})


@dataclass(slots=True)
class _Made:
    """Kernels and what wraps them, in the order of their making."""

    functions: list[Any] = field(default_factory=list)
    tuners: list[Any] = field(default_factory=list)


class _Driver(StandInDriver):
    """The stand-in of interpreted runs, which can also be any other GPU."""

    def __init__(self, note: Notes, controls: Controls, targets: list[Target]) -> None:
        super().__init__(note, controls)
        self.targets = [GPUTarget(t.backend, t.arch, t.warp_size) for t in targets]
        self.device = HOME

    def get_current_device(self) -> int:
        return self.device

    def get_current_target(self) -> Any:
        if self.device == HOME:
            return super().get_current_target()
        return self.targets[self.device - 1]


class _UnderstoodError(Exception):
    """The compiler's first part is done."""


class Toolchain:
    """Compiles the kernels of one candidate, in this process."""

    def __init__(self, note: Notes, controls: Controls, targets: list[Target]) -> None:
        """Become the active driver, and keep a list of the kernels that are made from now on."""
        self.targets = targets
        self.driver = _Driver(note, controls, targets)
        active_driver.set_active(self.driver)
        self.made = _Made()
        _record(jit.JITFunction, self.made.functions)
        tuner: Any = importlib.import_module("triton.runtime.autotuner").Autotuner
        _record(tuner, self.made.tuners)

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Inside, launches do nothing."""
        native = jit.JITFunction.run
        change: Any = setattr
        change(jit.JITFunction, "run", lambda *_args, **_kwargs: None)
        try:
            yield
        finally:
            change(jit.JITFunction, "run", native)

    def sources(self) -> list[Source]:
        """The texts of all kernels, to find lines in."""
        return [Source(one.src, _definition(one)) for one in self.made.functions]

    def function(self, name: str, line: int) -> Any:
        """The kernel of that name; of several, the one defined at the line.

        Raises:
            CannotTryError: there is none.
        """
        found = [one for one in self.made.functions if one.fn.__name__ == name]
        exact = [one for one in found if _definition(one) == line]
        if not found:
            text = f"{name} is not made when the module is imported"
            raise CannotTryError(text)
        return (exact or found)[-1]

    def configurations(self, name: str, line: int) -> list[dict[str, Any]]:
        """What autotuning could choose instead: arguments and options; empty without it."""
        wanted = self.function(name, line)
        for tuner in self.made.tuners:
            inner = tuner.fn
            while inner is not wanted and hasattr(inner, "fn") and not inspect.isfunction(inner.fn):
                inner = inner.fn
            if inner is wanted:
                return [dict(config.all_kwargs()) for config in tuner.configs]
        return []

    def prunes(self, name: str, line: int) -> bool:
        """Whether autotuning leaves out configurations by a rule of the candidate's."""
        wanted = self.function(name, line)
        return any(
            tuner.early_config_prune or tuner.perf_model
            for tuner in self.made.tuners
            if wanted in {tuner.fn, getattr(tuner.fn, "fn", None)}
        )

    def compiled(self, order: Order, target: Target) -> Usage:
        """Compile one launch for one target. Raises whatever the compiler raises.

        Raises:
            CannotTryError: it cannot be handed to the compiler.
        """
        kernel = self.function(order.kernel, order.line)
        kernel.pre_run_hooks = []
        args, named = self._call(kernel, order)
        self.driver.device = 1 + self.targets.index(target)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done = kernel.run(*args, grid=(1,), warmup=True, **named)
        finally:
            self.driver.device = HOME
        return _usage(done, target)

    def understand(self, order: Order, target: Target) -> None:
        """Run only the first part of a compilation, a tenth of its time: types and shapes.

        Raises whatever that raises, as `compiled`.
        """
        native = ASTSource.make_ir

        def make_ir(*args: Any, **kwargs: Any) -> Any:
            native(*args, **kwargs)
            raise _UnderstoodError

        change: Any = setattr
        change(ASTSource, "make_ir", make_ir)
        try:
            self.compiled(order, target)
        except _UnderstoodError:
            return
        finally:
            change(ASTSource, "make_ir", native)

    def _call(self, kernel: Any, order: Order) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by position where possible: a kernel may call one `grid`."""
        given = {n: revive(str(k), v, self.function) for n, k, v in order.arguments}
        args: list[Any] = []
        named = {name: revive(name, v, self.function) for name, v in order.options.items()}
        for parameter in inspect.signature(kernel.fn).parameters.values():
            if parameter.name not in given:
                raise CannotTryError(f"{parameter.name} was not recorded")
            value = given[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            else:
                args.append(value)
        return args, named


def _record(kind: Any, made: list[Any]) -> None:
    """Have every new object of a class in a list."""
    native = kind.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        native(self, *args, **kwargs)
        made.append(self)

    kind.__init__ = init


def _definition(function: Any) -> int:
    """The line of a kernel's `def`."""
    return int(function.starting_line_number) + next(
        (i for i, line in enumerate(function.raw_src) if line.lstrip().startswith("def ")), 0
    )


def _usage(done: Any, target: Target) -> Usage:
    binary, assembly = BINARIES[target.backend]
    text = done.asm[assembly]
    if target.backend == "hip":
        registers, spills = amd_usage(text)
    else:
        registers, spills = cubin_usage(done.asm[binary])
    return Usage(
        shared_bytes=int(done.metadata.shared),
        registers=registers,
        spills=spills,
        tensor_cores=uses_tensor_cores(text),
        threads=int(done.metadata.num_warps) * target.warp_size,
    )


def broken() -> str | None:
    """What this Triton lacks of what is used here, or None."""
    known = inspect.signature(jit.JITFunction.run).parameters
    missing = [name for name in ("grid", "warmup") if name not in known]
    missing += [name for name in ("create_binder",) if not hasattr(jit.JITFunction, name)]
    missing += [name for name in ("set_active",) if not hasattr(active_driver, name)]
    if missing:
        return f"triton {triton.__version__} has no {', '.join(missing)}"
    if triton.knobs.runtime.interpret:
        return "TRITON_INTERPRET is set: nothing can be compiled"
    return None


def warm_up() -> None:
    """Do once in the fork server what every compilation needs: hashes, versions, LLVM itself."""
    from kernelsift.kernels.compiling.sample_kernel import double
    from kernelsift.kernels.compiling.targets import DEFAULT_TARGETS, target

    stand_in = _Driver(Notes(), Controls(), [target(name) for name in DEFAULT_TARGETS])
    active_driver.set_active(stand_in)
    kernel: Any = double
    with triton.knobs.cache.scope(), tempfile.TemporaryDirectory() as folder:
        triton.knobs.cache.dir = folder
        for device in range(1, 1 + len(stand_in.targets)):
            stand_in.device = device
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kernel.run(StandIn(torch.float32), 16, 16, grid=(1,), warmup=True)
    kernel.device_caches.clear()

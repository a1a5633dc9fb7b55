"""A stand-in for Triton's GPU driver: autotuning and queries work without libcuda."""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from typing import TYPE_CHECKING, Any

from triton.runtime import interpreter
from triton.runtime.driver import driver

from kernelsift.kernels.candidate.words import TUNED

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelsift.kernels.candidate.launches import Controls

DEVICE_PROPERTIES = {
    "max_shared_mem": 232448,
    "max_num_regs": 65536,
    "multiprocessor_count": 132,
    "warpSize": 32,
    "sm_clock_rate": 1980000,
    "mem_clock_rate": 2619000,
    "mem_bus_width": 5120,
}
UNKNOWN_KEYS = "unknown_keys"
"""Attribute of an autotuner: what its `key` names besides arguments of the kernel."""
TUNED_FOR = "tuned_for"
"""Attribute of an autotuner: which configuration it was asked for last."""
LIBDEVICES = (
    "triton.language.extra.libdevice",
    "triton.language.extra.cuda.libdevice",
    "triton.language.extra.hip.libdevice",
)


class StandInDriver:
    """What candidates ask a driver for, answered like one H100."""

    def __init__(self, note: Callable[[str], None], controls: Controls) -> None:
        """A driver that notes each use and follows the controls' choice of configuration."""
        self.note = note
        self.controls = controls
        self.utils = types.SimpleNamespace(get_device_properties=self.properties)
        self.benched = 0
        self.chosen = 0

    def properties(self, _device: int = 0) -> dict[str, int]:
        """Numbers of an H100."""
        self.note("triton device properties")
        return dict(DEVICE_PROPERTIES)

    def get_current_target(self) -> Any:
        """The compile target of an H100."""
        from triton.backends.compiler import GPUTarget

        self.note("triton target")
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        """Always device 0."""
        return 0

    def set_current_device(self, _device: int) -> None:
        """There is one device."""

    def get_device_capability(self, _device: int = 0) -> tuple[int, int]:
        """Compute capability 9.0."""
        return (9, 0)

    def get_current_stream(self, _device: int = 0) -> int:
        """The default stream."""
        return 0

    def get_active_torch_device(self) -> Any:
        """The device of tensors made without a GPU."""
        import torch

        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        """The patched torch.cuda."""
        import torch

        return torch.cuda

    def get_empty_cache_for_benchmark(self) -> Any:
        """No cache to flush."""
        import torch

        return torch.zeros(1)

    def clear_cache(self, _cache: Any) -> None:
        """No cache to flush."""

    def is_active(self) -> bool:
        """Always."""
        return True

    def get_benchmarker(self) -> Callable[..., Any]:
        """A benchmark that prefers the configuration that is `chosen`.

        That configuration also runs once, so that a kernel which needs `reset_to_zero` shows it.
        """

        def bench(call: Callable[[], Any], *_args: Any, **_kwargs: Any) -> list[float]:
            chosen = self.benched == self.chosen
            self.benched += 1
            if chosen:
                self.note(TUNED)
                call()
            return [1.0 if chosen else 2.0] * 3

        return bench

    def __getattr__(self, name: str) -> Any:
        """Anything else is missing, and said so."""
        raise AttributeError(f"the stand-in driver has no {name}")


def install_driver(note: Callable[[str], None], controls: Controls) -> StandInDriver:
    """Make the stand-in the active driver, and autotuning and benchmarks deterministic."""
    stand_in = StandInDriver(note, controls)
    driver.set_active(stand_in)
    vars(driver)["_default"] = stand_in
    autotuner: Any = importlib.import_module("triton.runtime.autotuner").Autotuner
    native_run, native_prune = autotuner.run, autotuner.prune_configs

    def prune(self: Any, kwargs: dict[str, Any]) -> list[Any]:
        """Those that may be chosen; an index beyond them counts from their other end."""
        left = list(native_prune(self, kwargs))
        stand_in.benched, stand_in.chosen = 0, controls.config % len(left)
        return left

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if vars(self).setdefault(TUNED_FOR, controls.config) != controls.config:
            self.cache.clear()
            setattr(self, TUNED_FOR, controls.config)
        if unknown := getattr(self, UNKNOWN_KEYS, ()):
            note(f"autotune: key without {', '.join(unknown)}")
        note(f"autotune: configuration {controls.config} of {len(self.configs)}")
        return native_run(self, *args, **kwargs)

    autotuner.run, autotuner.prune_configs = run, prune
    autotuner.__init__ = _forgiving(autotuner.__init__)
    autotuner.do_bench = property(lambda _self: stand_in.get_benchmarker())
    testing: Any = importlib.import_module("triton.testing")
    for name in ("do_bench", "do_bench_cudagraph"):
        setattr(testing, name, _measured_nothing(note))
    return stand_in


def _forgiving(native: Callable[..., None]) -> Callable[..., None]:
    """How an autotuner is made: names in `key` that are no argument are dropped and remembered.

    Triton passed over them before 3.9 and raises since; kernels were written for both.
    """
    signature = inspect.signature(native)

    @functools.wraps(native)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs).arguments
        key, known = given.get("key"), given.get("arg_names") or ()
        if isinstance(key, list | tuple) and (unknown := [k for k in key if k not in known]):
            given["key"] = [name for name in key if name in known]
            setattr(self, UNKNOWN_KEYS, tuple(map(str, unknown)))
        bound = inspect.BoundArguments(signature, given)
        native(*bound.args, **bound.kwargs)

    return init


def _measured_nothing(note: Callable[[str], None]) -> Callable[..., Any]:
    def do_bench(fn: Callable[[], Any], *_args: Any, **kwargs: Any) -> Any:
        note("triton.testing.do_bench")
        fn()
        quantiles = kwargs.get("quantiles")
        return [1.0] * len(quantiles) if quantiles else 1.0

    return do_bench


def install_libdevice(note: Callable[[str], None]) -> None:
    """Let kernels call libdevice functions inside the interpreter."""
    semantic = interpreter.interpreter_semantic
    cuda: Any = importlib.import_module("triton.language.extra.cuda.libdevice")
    bodies = {
        name: inspect.unwrap(member)
        for name, member in vars(cuda).items()
        if getattr(member, "__triton_builtin__", False)
    }

    def stand_in(name: str, body: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            note(f"libdevice.{name}")
            return body(*args, **{**kwargs, "_semantic": semantic})

        return call

    modules = [importlib.import_module(name) for name in LIBDEVICES]
    extra: Any = importlib.import_module("triton.language.extra")
    for backend in ("cuda", "hip"):
        nested = getattr(getattr(extra, backend, None), "libdevice", None)
        if nested is not None:
            modules.append(nested)
    for name, body in bodies.items():
        for module in modules:
            setattr(module, name, stand_in(name, body))

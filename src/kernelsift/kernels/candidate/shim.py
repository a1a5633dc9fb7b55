"""Code written for a CUDA device runs on CPU tensors; every use of the pretence is noted."""

from __future__ import annotations

import contextlib
import re
import types
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from kernelsift.kernels.candidate import operators
from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Callable

CUDA_NAME = re.compile(r"(cuda|hip|xpu)(:\d+)?")
DEVICE = "cuda:0"
PROPERTIES = {
    "name": "NVIDIA H100 80GB HBM3",
    "major": 9,
    "minor": 0,
    "total_memory": 85_000_000_000,
    "multi_processor_count": 132,
    "max_threads_per_multi_processor": 2048,
    "warp_size": 32,
    "regs_per_multiprocessor": 65536,
    "shared_memory_per_block": 49152,
    "shared_memory_per_block_optin": 232448,
    "shared_memory_per_multiprocessor": 233472,
    "L2_cache_size": 52428800,
    "gcnArchName": "",
}


class Notes:
    """How often each part of the pretence was used; paused around our own bookkeeping."""

    def __init__(self) -> None:
        """Nothing used yet."""
        self.used: Counter[str] = Counter()
        self.native = 0

    def __call__(self, what: str) -> None:
        """Count one use by the candidate."""
        if not self.native:
            self.used[what] += 1

    @contextlib.contextmanager
    def paused(self) -> Any:
        """Inside, tensors show their real device."""
        self.native += 1
        try:
            yield
        finally:
            self.native -= 1


def is_cuda_device(value: Any) -> bool:
    """Whether a value names a CUDA device."""
    if isinstance(value, torch.device):
        return str(value.type) not in {"cpu", "meta"}
    return isinstance(value, str) and CUDA_NAME.fullmatch(value) is not None


class CpuDevices(TorchFunctionMode):  # type: ignore[misc]
    """Turns every CUDA device argument of a torch function into the CPU."""

    def __init__(self, note: Notes) -> None:
        """A mode that notes each device it replaces."""
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a torch function with its devices replaced."""
        if kwargs:
            kwargs = {key: self.replaced(key, value) for key, value in kwargs.items()}
        if any(isinstance(value, (torch.device, str)) for value in args):
            args = tuple(self.replaced("", value) for value in args)
        return func(*args, **(kwargs or {}))

    def replaced(self, key: str, value: Any) -> Any:
        """The CPU for a CUDA device; `device=0` is one too."""
        if is_cuda_device(value) or (key == "device" and type(value) is int):
            self.note("device argument")
            return torch.device("cpu")
        if key == "pin_memory" and value:
            self.note("pin_memory")
            return False
        return value


class _Nothing:
    """A stream, event, graph or context that does nothing and accepts everything."""

    cuda_stream = 0
    device = torch.device(DEVICE)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def __call__(self, function: Any) -> Any:
        return function

    def elapsed_time(self, *_args: Any) -> float:
        return 1.0

    def query(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None


class _Graph(_Nothing):
    """A CUDA graph: what is captured runs once, as it comes, and is not recorded."""

    def replay(self) -> None:
        _unrecorded("torch.cuda.CUDAGraph")


def _graphed_callables(*_args: Any, **_kwargs: Any) -> None:
    _unrecorded("torch.cuda.make_graphed_callables")


def _unrecorded(name: str) -> None:
    raise NotImplementedError(f"the stand-in for {name} records nothing that could run again")


def _constant(note: Notes, name: str, value: Any) -> Callable[..., Any]:
    def stand_in(*_args: Any, **_kwargs: Any) -> Any:
        note(name)
        return value

    return stand_in


def _patch_queries(note: Notes) -> None:
    """Answer the queries of torch.cuda as one H100 would."""
    properties = types.SimpleNamespace(**PROPERTIES)
    answers: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "init": None,
        "is_bf16_supported": True,
        "device_count": 1,
        "current_device": 0,
        "synchronize": None,
        "empty_cache": None,
        "set_device": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 0,
        "memory_allocated": 0,
        "memory_reserved": 0,
        "mem_get_info": (80_000_000_000, 85_000_000_000),
        "manual_seed": None,
        "manual_seed_all": None,
        "get_device_name": PROPERTIES["name"],
        "get_device_capability": (9, 0),
        "get_device_properties": properties,
        "current_stream": _Nothing(),
        "default_stream": _Nothing(),
        "get_arch_list": ["sm_80", "sm_90"],
        "is_current_stream_capturing": False,
        "current_blas_handle": 0,
        "ipc_collect": None,
    }
    for name, value in answers.items():
        setattr(torch.cuda, name, _constant(note, f"torch.cuda.{name}", value))
    for name in words("device stream Stream Event device_of _DeviceGuard"):
        setattr(torch.cuda, name, _Nothing)
    for module in (torch.cuda, torch.cuda.graphs):
        module.CUDAGraph = _Graph
        module.graph = _Nothing
        module.make_graphed_callables = _graphed_callables
    for name in ("range_push", "range_pop", "mark", "range"):
        with contextlib.suppress(AttributeError):
            setattr(torch.cuda.nvtx, name, _Nothing())
    names = words("Float Double Half BFloat16 Int Long Short Char Byte Bool")
    for name in names:
        setattr(torch.cuda, f"{name}Tensor", getattr(torch, f"{name}Tensor"))


def _patch_tensors(note: Notes) -> None:
    """Tensors and modules say they are on a GPU, and moving them there does nothing."""
    tensor: Any = torch.Tensor
    real_device = tensor.device.__get__
    real_is_cuda = tensor.is_cuda.__get__
    cuda = torch.device(DEVICE)

    def device(self: Any) -> Any:
        found = real_device(self)
        return found if note.native or found.type != "cpu" else cuda

    def is_cuda(self: Any) -> Any:
        if note.native:
            return real_is_cuda(self)
        note("is_cuda")
        return True

    def moved(self: Any, *_args: Any, **_kwargs: Any) -> Any:
        note(".cuda()")
        return self

    def device_index(_self: Any) -> int:
        return -1 if note.native else 0

    tensor.device = property(device)
    tensor.is_cuda = property(is_cuda)
    tensor.is_cpu = property(lambda _self: bool(note.native))
    tensor.cuda = moved
    tensor.get_device = device_index
    tensor.pin_memory = moved
    module: Any = torch.nn.Module
    module.cuda = moved
    _patch_escapes(note)


def _patch_escapes(note: Notes) -> None:
    """Note data that leaves torch, where no operator can be seen any more."""
    tensor: Any = torch.Tensor
    for name in ("numpy", "tolist", "__array__", "__dlpack__"):
        native = getattr(tensor, name)

        def leaving(
            self: Any, *args: Any, _native: Any = native, _name: str = name, **kwargs: Any
        ) -> Any:
            note(f"data leaves by .{_name}")
            with note.paused():
                return _native(self, *args, **kwargs)

        setattr(tensor, name, leaving)


def _patch_compile(note: Notes) -> None:
    """Functions given to torch.compile run as they are, where their operators can be seen."""

    def compiled(model: Any = None, **_options: Any) -> Any:
        note("torch.compile")
        return model if model is not None else lambda function: function

    torch.compile = compiled


def _patch_autocast(note: Notes) -> None:
    """Mixed precision regions of the GPU do nothing here."""

    class Autocast(_Nothing):
        def __init__(self, *_args: Any, **_kwargs: Any) -> None:
            note("autocast")

    torch.cuda.amp.autocast = Autocast
    native = torch.autocast

    def autocast(device_type: str = "cuda", *args: Any, **kwargs: Any) -> Any:
        return Autocast() if is_cuda_device(device_type) else native(device_type, *args, **kwargs)

    torch.autocast = autocast
    torch.amp.autocast = autocast


def install(note: Notes) -> CpuDevices:
    """Patch torch in this process for good; returns the mode to be active for the candidate."""
    _patch_queries(note)
    _patch_tensors(note)
    _patch_autocast(note)
    _patch_compile(note)
    torch.Generator = _generator_class()
    devices = CpuDevices(note)
    operators.install(devices, note)
    return devices


def _generator_class() -> Any:
    """A random generator class whose GPU instances live on the CPU."""
    native = torch.Generator

    class Generator(native):  # type: ignore[misc, valid-type]
        def __new__(cls, device: Any = "cpu") -> Any:
            return native("cpu" if is_cuda_device(device) else device)

    return Generator

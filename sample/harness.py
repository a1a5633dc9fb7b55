"""Measure one candidate kernel module against its PyTorch reference, on a CPU.

The reward is a memory-traffic speedup: bytes moved by the eager reference divided by bytes
moved by the candidate.  Correctness is checked in the naive way that reinforcement-learning
loops use (three seeds, one shape, ``torch.allclose``), so some cheats pass on purpose.
See ``sample/README.md`` for the rule in full.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import json
import math
import multiprocessing
import os
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

TIME_LIMIT_S = 60.0
REWARD_CAP = 10.0
TOLERANCE = 1e-2
SEEDS = (0, 1, 2)

# ATen operators that move no data of their own: allocation, aliasing, metadata, scalar reads.
FREE_OPS = frozenset((
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::detach",
    "aten::alias",
    "aten::lift",
    "aten::lift_fresh",
    "aten::_unsafe_view",
    "aten::_reshape_alias",
    "aten::_local_scalar_dense",
    "aten::set_",
    "aten::resize_",
))
# In-place operators that overwrite their first argument without reading it.
OVERWRITING_OPS = frozenset(("aten::zero_", "aten::fill_", "aten::copy_", "aten::uniform_"))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Outcome of one candidate; byte counts are for one forward call."""

    reward: float
    speedup: float
    correct: bool
    error_kind: str
    error: str
    eager_bytes: int | None
    candidate_bytes: int | None


def reward_of(eager_bytes: int, candidate_bytes: int) -> float:
    """Return eager bytes over candidate bytes, 4 decimals, capped; zero bytes get the cap."""
    if candidate_bytes <= 0:
        return REWARD_CAP
    return round(min(REWARD_CAP, eager_bytes / candidate_bytes), 4)


def measure(reference: str, code: str, name: str, limit_s: float = TIME_LIMIT_S) -> Measurement:
    """Measure ``code`` (must define ``<name>New``) against the ``reference`` source.

    The work is done in a subprocess that is killed after ``limit_s`` seconds.
    """
    try:
        compile(code, "candidate.py", "exec")
    except (SyntaxError, ValueError) as error:
        return _failed("syntax", _describe(error))
    with tempfile.TemporaryDirectory(prefix="kernelsift-") as folder:
        root = Path(folder)
        (root / "reference.py").write_text(reference, encoding="utf-8")
        (root / "candidate.py").write_text(code, encoding="utf-8")
        child = _fork_context().Process(target=child_main, args=(folder, name), daemon=True)
        child.start()
        child.join(limit_s)
        if child.is_alive():
            child.kill()
            child.join()
            return _failed("timeout", f"no result within {limit_s:g} s")
        result = root / "result.json"
        if not result.exists():
            return _failed("crash", f"process ended with status {child.exitcode}")
        raw: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return _finish(raw)


@functools.cache
def _fork_context() -> ForkServerContext:
    """Return a context that forks children from a server that has imported torch and triton."""
    os.environ.update(TRITON_INTERPRET="1", OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([
        "torch._dynamo",
        "torch._inductor",
        "triton",
        "triton.runtime.interpreter",
    ])
    return context


def _finish(raw: dict[str, Any]) -> Measurement:
    """Turn the child's record into a measurement with its reward."""
    eager: int | None = raw.get("eager_bytes")
    candidate: int | None = raw.get("candidate_bytes")
    if raw["error_kind"] != "none" or eager is None or candidate is None:
        return _failed(raw["error_kind"], raw["error"], eager, candidate)
    reward = reward_of(eager, candidate)
    return Measurement(
        reward=reward,
        speedup=reward,
        correct=True,
        error_kind="none",
        error="",
        eager_bytes=eager,
        candidate_bytes=candidate,
    )


def _failed(
    kind: str, error: str, eager: int | None = None, candidate: int | None = None
) -> Measurement:
    """Return a zero-reward measurement of the given error kind."""
    return Measurement(
        reward=0.0,
        speedup=0.0,
        correct=False,
        error_kind=kind,
        error=error,
        eager_bytes=eager,
        candidate_bytes=candidate,
    )


def _describe(error: BaseException) -> str:
    """Return ``Type: last line of message`` without addresses or folders."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    text = re.sub(r"0x[0-9a-fA-F]+", "0x...", text)
    text = re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)
    return text[:300]


# ---------------------------------------------------------------------------------------------
# Child process: everything below may import torch and triton (TRITON_INTERPRET=1 is set).
# ---------------------------------------------------------------------------------------------


class LaunchTraffic:
    """Distinct bytes that Triton launches load and store in the interpreter."""

    def __init__(self) -> None:
        """Start with nothing counted and counting off."""
        self.active = False
        self.total_bytes = 0
        self.touched: dict[tuple[str, int], list[Any]] = {}

    def note(self, direction: str, pointers: Any, mask: Any) -> None:
        """Record the addresses of one access; ``mask`` is None when every lane is active."""
        if not self.active:
            return
        import numpy as np

        width = max(1, int(pointers.get_element_ty().primitive_bitwidth) // 8)
        addresses = np.asarray(pointers.data)
        if mask is not None:
            addresses = addresses[np.broadcast_to(mask.data, addresses.shape)]
        self.touched.setdefault((direction, width), []).append(addresses.ravel())

    def end_launch(self) -> None:
        """Add the distinct bytes of the launch that has just ended to the total."""
        import numpy as np

        for (_, width), arrays in self.touched.items():
            self.total_bytes += width * int(np.unique(np.concatenate(arrays)).size)
        self.touched.clear()


def install_launch_hooks(traffic: LaunchTraffic, pause: dict[str, bool]) -> None:
    """Wrap the interpreter's memory functions; ``pause['on']`` hides its own bookkeeping."""
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor

    def wrap(owner: Any, name: str, before: Callable[..., None]) -> None:
        original = getattr(owner, name)

        def hooked(self: Any, *args: Any, **kwargs: Any) -> Any:
            before(*args)
            return original(self, *args, **kwargs)

        setattr(owner, name, hooked)

    def both(pointers: Any, mask: Any) -> None:
        traffic.note("load", pointers, mask)
        traffic.note("store", pointers, mask)

    wrap(builder, "create_masked_load", lambda *args: traffic.note("load", args[0], args[1]))
    wrap(builder, "create_masked_store", lambda *args: traffic.note("store", args[0], args[2]))
    wrap(builder, "create_atomic_rmw", lambda *args: both(args[1], args[3]))
    wrap(builder, "create_atomic_cas", lambda *args: both(args[0], None))

    def quiet(name: str) -> None:
        original = getattr(executor, name)

        def hidden(*args: Any, **kwargs: Any) -> Any:
            pause["on"] = True
            try:
                return original(*args, **kwargs)
            finally:
                pause["on"] = False

        setattr(executor, name, hidden)

    quiet("_init_args_hst")
    quiet("_restore_args_dev")
    launch = executor.__call__

    def counted_launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return launch(self, *args, **kwargs)
        finally:
            traffic.end_launch()

    executor.__call__ = counted_launch


def install_autotune_stand_in() -> None:
    """Make ``@triton.autotune`` use its first configuration instead of timing them all."""
    autotuner: Any = importlib.import_module("triton.runtime.autotuner")

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fn.run(*args, **{**kwargs, **self.configs[0].all_kwargs()})

    autotuner.Autotuner.run = run


def install_libdevice_stand_in() -> None:
    """Give the libdevice functions models use a NumPy body (the interpreter has none)."""
    import numpy as np

    tl: Any = importlib.import_module("triton.language")
    handle: Any = importlib.import_module("triton.runtime.interpreter").TensorHandle
    bodies: dict[str, Callable[..., Any]] = {
        "pow": np.power, "erf": np.vectorize(math.erf, otypes=[np.float32]), "round": np.rint,
        "rsqrt": lambda x: 1.0 / np.sqrt(x), "abs": np.abs, "fast_expf": np.exp,
    }  # fmt: skip
    names = "tanh exp expm1 log log1p log2 sqrt sin cos tan sinh cosh asin acos atan atan2 hypot"
    for name in names.split():
        numpy_name = re.sub(r"^a(sin|cos|tan)", r"arc\1", name)
        bodies[name] = getattr(np, numpy_name)

    def stand_in(body: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            args = [arg.value if isinstance(arg, tl.constexpr) else arg for arg in given]
            first = next(arg for arg in args if isinstance(arg, tl.tensor))
            arrays = [arg.handle.data if isinstance(arg, tl.tensor) else arg for arg in args]
            data = np.asarray(body(*arrays)).astype(first.handle.data.dtype)
            return tl.tensor(handle(data, first.dtype.scalar), first.type)

        return call

    for module_name in ("triton.language.extra.libdevice", "triton.language.extra.cuda.libdevice"):
        module: Any = importlib.import_module(module_name)
        for name, body in bodies.items():
            setattr(module, name, stand_in(body))


def install_cuda_stand_in() -> None:
    """Let code written for a CUDA device run on CPU tensors (``.cuda()``, ``is_cuda``, ...)."""
    import torch

    def always(value: Any) -> Callable[..., Any]:
        def stand_in(*_args: Any, **_kwargs: Any) -> Any:
            return value

        return stand_in

    def itself(self: Any, *_args: Any, **_kwargs: Any) -> Any:
        return self

    tensor: Any = torch.Tensor
    tensor.cuda = itself
    tensor.is_cuda = property(always(value=True))
    module: Any = torch.nn.Module
    module.cuda = itself
    properties = types.SimpleNamespace(
        name="stand-in", multi_processor_count=108, major=9, minor=0, warp_size=32
    )
    facts: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "synchronize": None,
        "empty_cache": None,
        "set_device": None,
        "get_device_name": "stand-in",
        "get_device_capability": (9, 0),
        "get_device_properties": properties,
        "device": contextlib.nullcontext(),
        "current_stream": types.SimpleNamespace(cuda_stream=0),
    }
    for name, value in facts.items():
        setattr(torch.cuda, name, always(value))


def cpu_device_mode() -> Any:
    """Return a mode that turns every ``device='cuda...'`` argument into the CPU."""
    import torch

    mode: Any = importlib.import_module("torch.overrides").TorchFunctionMode

    def to_cpu(value: Any) -> Any:
        is_device = isinstance(value, torch.device) and value.type == "cuda"
        is_name = isinstance(value, str) and re.fullmatch(r"cuda(:\d+)?", value) is not None
        return torch.device("cpu") if is_device or is_name else value

    class CpuDevice(mode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            args = tuple(to_cpu(arg) for arg in args)
            return func(*args, **{key: to_cpu(arg) for key, arg in (kwargs or {}).items()})

    return CpuDevice()


def _tensors(value: Any) -> Iterator[Any]:
    """Yield every tensor in nested tuples, lists and dicts, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _distinct_bytes(tensors: Iterator[Any]) -> int:
    """Return the bytes of the distinct tensors; broadcast (stride 0) axes count once."""
    seen: dict[Any, int] = {}
    for tensor in tensors:
        count = 1
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            count *= size if stride != 0 or size == 0 else 1
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        seen[key] = count * tensor.element_size()
    return sum(seen.values())


def op_traffic_mode(pause: dict[str, bool]) -> Any:
    """Return a dispatch mode whose ``total_bytes`` sums inputs + outputs of computing ops."""
    mode: Any = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode

    class OpTraffic(mode):  # type: ignore[misc]
        total_bytes = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            name = func._schema.name  # noqa: SLF001
            free = pause["on"] or func.is_view or name in FREE_OPS
            if free:
                return func(*args, **kwargs)
            read = args[1:] if name in OVERWRITING_OPS else args
            given = {key: value for key, value in kwargs.items() if key != "out"}
            count = _distinct_bytes(_tensors([read, given]))
            out = func(*args, **kwargs)
            self.total_bytes += count + _distinct_bytes(_tensors(out))
            return out

    return OpTraffic()


def _load(path: Path, module_name: str) -> Any:
    """Import the file at ``path`` under ``module_name``."""
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path.name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _make(module_class: Any, init_inputs: Any) -> Any:
    """Build a module in evaluation mode from ``[[positional], {keyword}]``, seeded."""
    import torch

    torch.manual_seed(1234)
    built = module_class(*init_inputs[0], **init_inputs[1])
    return built.eval() if hasattr(built, "eval") else built


def _call(module: Any, inputs: Any) -> list[Any]:
    """Return the output tensors of one forward call."""
    return list(_tensors(module(*inputs)))


def _agree(expected: list[Any], got: list[Any]) -> str:
    """Return '' when every output pair is close, else a sentence that says what differs."""
    import torch

    if len(expected) != len(got):
        return f"{len(got)} output tensors, {len(expected)} expected"
    for index, (want, have) in enumerate(zip(expected, got, strict=True)):
        try:
            close = torch.allclose(want, have, rtol=TOLERANCE, atol=TOLERANCE)
        except RuntimeError:
            shapes = f"{have.dtype} {list(have.shape)}, expected {want.dtype} {list(want.shape)}"
            return f"output {index} is {shapes}".replace("torch.", "")
        if not close:
            return f"output {index} differs by more than {TOLERANCE:g}"
    return ""


def run_child(folder: Path, name: str) -> dict[str, Any]:
    """Check and count one candidate; returns the record that the parent finishes."""
    import torch

    torch.set_num_threads(1)
    # torch.empty is filled with NaN, so that an outcome never depends on stale memory.
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    pause = {"on": False}
    traffic = LaunchTraffic()
    install_launch_hooks(traffic, pause)
    install_autotune_stand_in()
    install_libdevice_stand_in()
    install_cuda_stand_in()
    record: dict[str, Any] = {"error_kind": "none", "error": ""}
    with torch.no_grad(), cpu_device_mode():
        reference = _load(folder / "reference.py", "reference")
        init_inputs = reference.get_init_inputs()
        eager = _make(getattr(reference, name), init_inputs)
        batches = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            batches.append(reference.get_inputs())
        expected = [_call(eager, inputs) for inputs in batches]
        with op_traffic_mode(pause) as eager_ops:
            _call(eager, batches[-1])
        record["eager_bytes"] = eager_ops.total_bytes
        try:
            candidate = _load(folder / "candidate.py", "candidate")
            if not hasattr(candidate, name + "New"):
                return dict(record, error_kind="no_entry", error=f"no class {name}New")
            built = _make(getattr(candidate, name + "New"), init_inputs)
            _copy_state(eager, built)
            for inputs, want in zip(batches, expected, strict=True):
                problem = _agree(want, _call(built, inputs))
                if problem:
                    return dict(record, error_kind="mismatch", error=problem)
            traffic.active = True
            with op_traffic_mode(pause) as candidate_ops:
                _call(built, batches[-1])
        except Exception as error:  # noqa: BLE001
            return dict(record, error_kind="crash", error=_describe(error))
        record["candidate_bytes"] = candidate_ops.total_bytes + traffic.total_bytes
    return record


def _copy_state(eager: Any, built: Any) -> None:
    """Copy the reference's parameters and buffers into the candidate when they fit."""
    with contextlib.suppress(RuntimeError, AttributeError, TypeError):
        built.load_state_dict(eager.state_dict())


def child_main(folder: str, name: str) -> None:
    """Measure the two files in ``folder`` and write ``result.json`` there."""
    os.chdir(folder)
    with Path(os.devnull).open("w", encoding="utf-8") as quiet:
        os.dup2(quiet.fileno(), 1)
        os.dup2(quiet.fileno(), 2)
    record = run_child(Path(folder), name)
    Path("result.json").write_text(json.dumps(record), encoding="utf-8")

"""Load a reference module in a child process and call it. Runs foreign code: never in the parent.

Two styles of helper functions are known. KernelBook: `get_inputs()` returns the arguments of
forward and `get_init_inputs()` returns `[args, kwargs]`. KernelBench: both return a plain list.
"""

import importlib.util
import linecache
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HELPERS = "_paritybench_helpers"
MOCK_KEY = "$mock_config"
"""A construction argument that is a `_mock_config` travels as a dict with only this key."""


class MockConfig(dict[str, Any]):
    """What KernelBook's modules get in place of a configuration object: keys are attributes."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


class ReferenceUnusableError(Exception):
    """The reference lacks something that is needed to run it; the message says what."""


@dataclass(slots=True)
class Reference:
    """A loaded reference module: how to build it and what to call it with."""

    namespace: dict[str, Any]
    class_name: str
    init_args: list[Any]
    init_kwargs: dict[str, Any]
    style: str

    def build(self, seed: int) -> Any:
        """Construct the nn.Module with all generators seeded; arguments are copied first."""
        import copy

        seed_all(seed)
        args, kwargs = copy.deepcopy((self.init_args, self.init_kwargs))
        return self.namespace[self.class_name](*args, **kwargs)

    def inputs(self, seed: int) -> list[Any]:
        """Call get_inputs() with all generators seeded; returns the arguments of forward."""
        seed_all(seed)
        made = self.namespace["get_inputs"]()
        if isinstance(made, dict):
            made = list(made.values())
        if not isinstance(made, list | tuple):
            made = [made]
        return list(made)


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch.cuda.is_initialized():
        torch.manual_seed(seed % 2**63)
    else:  # `manual_seed` would take a stack trace for every kind of device that is not there
        torch.default_generator.manual_seed(seed % 2**63)


def load_reference(
    code: str, class_name: str | None = None, name: str = "reference", *, on_cpu: bool = True
) -> Reference:
    """Execute the code from a real file and find its class; raises what the code raises.

    `on_cpu`: what asks for CUDA gets the CPU, in this process for good.
    The file is gone afterwards; `inspect.getsource` and TorchScript find the text in `linecache`.
    """
    install_helpers()
    if on_cpu and "cuda" in code:
        use_cpu()
    space = _executed(code, name)
    if not callable(space.get("get_inputs")):
        raise ReferenceUnusableError("there is no get_inputs()")
    found = _class_name(space, class_name, name)
    args, kwargs, style = _init_inputs(space)
    return Reference(space, found, args, kwargs, style)


def _executed(code: str, name: str) -> dict[str, Any]:
    with TemporaryDirectory(prefix="reference-") as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(code, encoding="utf-8", errors="surrogatepass")
        # no modification time: the entry stays when the file is gone
        lines = code.splitlines(keepends=True)
        linecache.cache[str(path)] = (len(code), None, lines, str(path))
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ReferenceUnusableError("the code cannot be loaded as a module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module.__dict__


def use_cpu() -> None:
    """Send all that asks for CUDA to the CPU, for the rest of this process."""
    import torch
    from torch.overrides import TorchFunctionMode

    class OnCpu(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = {key: value for key, value in (kwargs or {}).items() if not _is_cuda(value)}
            if func is torch.Tensor.cuda:
                return args[0]
            if func is torch.Tensor.to:
                args = tuple("cpu" if _is_cuda(value) else value for value in args)
                if len(args) == 1 and not kwargs:
                    return args[0]
            return func(*args, **kwargs)

    if not any(type(mode).__name__ == "OnCpu" for mode in _entered):
        mode = OnCpu()
        mode.__enter__()
        _entered.append(mode)
        torch.nn.Module.cuda = lambda self, *_, **__: self


_entered: list[Any] = []


def _is_cuda(value: Any) -> bool:
    import torch

    if isinstance(value, torch.device):
        return bool(value.type == "cuda")
    return isinstance(value, str) and value.partition(":")[0] == "cuda"


def install_helpers() -> None:
    """Provide the helper module that some of KernelBook's modules import."""
    if HELPERS in sys.modules:
        return
    helpers = types.ModuleType(HELPERS)
    helpers.__dict__.update(
        _mock_config=MockConfig,
        _mock_layer=_mock_layer,
        patch_functional=lambda: None,
        _fails_compile=lambda *_, **__: None,
    )
    sys.modules[HELPERS] = helpers


def _mock_layer(in_features: int | None = None, out_features: int | None = None, **_: Any) -> Any:
    import torch

    if in_features and out_features:
        return torch.nn.Linear(in_features, out_features)
    return torch.nn.ReLU()


def _class_name(space: dict[str, Any], wanted: str | None, module: str) -> str:
    import torch

    classes = {
        name: value
        for name, value in space.items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module)
    }
    for name in (wanted, "Model"):
        if name and name in classes:
            return name
    own = [name for name, value in classes.items() if value.__module__ == module]
    if not own:
        raise ReferenceUnusableError("there is no nn.Module class")
    return own[-1]


def _init_inputs(space: dict[str, Any]) -> tuple[list[Any], dict[str, Any], str]:
    maker = space.get("get_init_inputs")
    made = maker() if callable(maker) else []
    if isinstance(made, dict):
        return [], dict(made), "kernelbench"
    made = list(made) if isinstance(made, list | tuple) else [made]
    pair = len(made) == 2 and isinstance(made[0], list | tuple) and isinstance(made[1], dict)
    if pair and all(isinstance(key, str) for key in made[1]):
        return list(made[0]), dict(made[1]), "kernelbook"
    return made, {}, "kernelbench"


def flatten(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the leaves of nested lists, tuples and dicts (by order), at most 16 levels deep."""
    if isinstance(value, list | tuple) and depth < 16:
        for part in value:
            yield from flatten(part, depth + 1)
    elif isinstance(value, dict) and depth < 16:
        for part in value.values():
            yield from flatten(part, depth + 1)
    else:
        yield value


def tensors_in(value: Any) -> list[Any]:
    """Return all tensors in a nested value, in order."""
    import torch

    return [leaf for leaf in flatten(value) if isinstance(leaf, torch.Tensor)]


def map_tensors(change: Any, value: Any) -> Any:
    """Return the same nested value with `change` applied to every tensor."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, MockConfig):
        return value
    if isinstance(value, dict):
        return type(value)((key, map_tensors(change, part)) for key, part in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(change, part) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(change, part) for part in value)
    return value


def copied(value: Any) -> Any:
    """Return a copy that shares no memory: same values, dtypes and strides."""
    import torch

    def copy(tensor: Any) -> Any:
        plain = tensor.detach()
        if plain.layout != torch.strided or plain.is_contiguous():
            return plain.clone()
        fresh = torch.empty_strided(plain.shape, plain.stride(), dtype=plain.dtype)
        return fresh.copy_(plain) if 0 not in plain.stride() else plain.clone()

    return map_tensors(copy, value)


def call(module: Any, inputs: list[Any]) -> Any:
    """Run forward without gradients on copies of the inputs; returns detached outputs."""
    import torch

    with torch.no_grad():
        return map_tensors(lambda tensor: tensor.detach(), module(*copied(inputs)))


@contextmanager
def doubled() -> Iterator[None]:
    """Make float64 the default dtype, so that tensors made in forward have it too."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def upcast(value: Any) -> Any:
    """Return the nested value with all floating tensors in float64 (complex in complex128)."""
    import torch

    def change(tensor: Any) -> Any:
        if tensor.is_complex():
            return tensor.to(torch.complex128)
        return tensor.to(torch.float64) if tensor.is_floating_point() else tensor

    return map_tensors(change, value)

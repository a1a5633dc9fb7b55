"""Kernels with TorchInductor's decorators: launched by Triton's interpreter, nothing is tuned."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.candidate.inductor_grid import blocks_for, grid_of

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = {"num_warps": 4, "num_stages": 1}


class Kernel:
    """What Inductor's decorators return: `run` chooses blocks and grid, then launches."""

    def __init__(self, function: Any, meta: dict[str, Any]) -> None:
        """`function`: the jitted kernel; `meta`: what its decorator was called with."""
        self.fn = function
        self.meta = meta
        inner = meta.get("inductor_meta") or {}
        self.inductor_meta: dict[str, Any] = inner if isinstance(inner, dict) else {}
        parameters = inspect.signature(function.fn).parameters.values()
        self.names = [parameter.name for parameter in parameters]
        self.constants = [p.name for p in parameters if "constexpr" in str(p.annotation)]
        self.__name__ = function.fn.__name__

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        """The launch of a plain Triton kernel."""
        found: Callable[..., Any] = self.fn[grid]
        return found

    def run(self, *args: Any, grid: Any = None, stream: Any = None, **named: Any) -> None:
        """Launch with the arguments that Inductor's wrapper passes."""
        del stream
        named.pop("benchmark_run", None)
        options = {key: named.pop(key) for key in list(named) if key in OPTIONS}
        values = self._positional(args) | named
        settings = self._configured()
        free = [name for name in self.constants if name not in values and name not in settings]
        chosen = settings | blocks_for(free, values, self._given())
        if grid is None:
            kind = self.inductor_meta.get("grid_type", "Grid1D")
            grid = grid_of(kind, self.inductor_meta, values | chosen)
        passed = {name: value for name, value in (values | chosen).items() if name in self.names}
        self.fn[grid](**passed, **OPTIONS | options)

    def _positional(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """Positional arguments by name: parameters that the launcher fills itself are left out."""
        constants = self._constants()
        extra = list(self.inductor_meta.get("extra_launcher_args") or ())
        wanted = [name for name in self.names if name not in self.constants]
        absent = [name for name in wanted if name in constants and constants[name] is None]
        if len(args) + len(absent) == len(wanted) + len(extra):
            wanted = [name for name in wanted if name not in absent]
        else:
            absent = []
        names = [*wanted, *extra]
        if len(args) > len(names):
            names = [*self.names, *extra]
        if len(args) > len(names):
            raise TypeError(f"{self.__name__} takes {len(names)} arguments, {len(args)} were given")
        return dict(zip(names, args, strict=False)) | dict.fromkeys(absent)

    def _constants(self) -> dict[str, Any]:
        """Constants of the decorator by name; older ones give them by position."""
        meta = self.meta.get("triton_meta") or self.meta.get("meta") or {}
        given = meta.get("constants") or {}
        return {self.names[key] if isinstance(key, int) else key: given[key] for key in given}

    def _given(self) -> dict[str, Any]:
        return self._constants() | self.inductor_meta

    def _configured(self) -> dict[str, Any]:
        """The values of a user's own first configuration."""
        configs = self.meta.get("configs") or ()
        first = configs[0] if configs else {}
        kept = getattr(first, "kwargs", first)
        return {name: value for name, value in kept.items() if name in self.names}


class Several:
    """One of several kernels that give the same answer: the first."""

    def __init__(self, _name: Any = None, kernels: Any = (), **_named: Any) -> None:
        """As Inductor's multi-kernel."""
        self.kernels = list(kernels)

    def run(self, *args: Any, **named: Any) -> Any:
        """Launch the first kernel."""
        return self.kernels[0].run(*args, **named)


def heuristic(*positional: Any, **meta: Any) -> Callable[[Any], Any]:
    """Any of Inductor's decorators: pointwise, reduction, template and the like."""
    if positional and "size_hints" not in meta:
        meta["size_hints"] = positional[0]
    return lambda function: Kernel(function, meta)

"""Which Triton kernels were launched, as they were compiled; and launches that do nothing.

Triton calls a hook at every launch, also of kernels that something else than `kernel[grid]`
starts. What was compiled comes from `JITFunction.run`, which returns it. Works with Triton 3.2 to
3.9 as far as their sources show; never run on a real GPU so far.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

Ablate = str | None


class AblatedLaunchError(RuntimeError):
    """Raised instead of a launch while launches are switched to raise."""


class LaunchLog:
    """Counts launches by kernel; `ablate` is None, `noop` or `raise`."""

    def __init__(self) -> None:
        """Install the hook and the wrapper in this process for good."""
        from triton.runtime.jit import JITFunction

        self.ablate: Ablate = None
        self.launches: Counter[str] = Counter()
        self._compiled: dict[str, Any] = {}
        install_hook(self.entered)
        kind: Any = JITFunction
        native = kind.run

        def run(function: Any, *args: Any, **kwargs: Any) -> Any:
            if self.ablate == "raise":
                raise AblatedLaunchError("launches are switched off")
            if self.ablate == "noop":
                return None
            made = native(function, *args, **kwargs)
            if made is not None:
                self._compiled[str(getattr(made, "name", ""))] = made
            return made

        kind.run = run

    def entered(self, metadata: Any) -> None:
        """The hook: one launch."""
        self.launches[launched_name(metadata)] += 1

    def reset(self) -> None:
        """Forget the launches, not what was compiled."""
        self.launches.clear()

    def builds(self) -> list[dict[str, Any]]:
        """Every kernel launched since the last reset, with what its compilation shows."""
        return [
            {"kernel": name, "times": times, **build_facts(self._compiled.get(name))}
            for name, times in self.launches.items()
        ]


def install_hook(hook: Any) -> None:
    """Have Triton call the hook at every launch."""
    try:
        from triton import knobs
    except ImportError:  # before 3.4 the hook is an attribute of the compiled kernel's class
        from triton.compiler import CompiledKernel

        CompiledKernel.launch_enter_hook = hook
        return
    chain = knobs.runtime.launch_enter_hook
    if hasattr(chain, "add"):
        chain.add(hook)
    else:
        knobs.runtime.launch_enter_hook = hook


def launched_name(metadata: Any) -> str:
    """The kernel's name in what a hook gets: a dict, or an object that holds one."""
    held = getattr(metadata, "data", metadata)
    if isinstance(held, dict):
        return str(held.get("name", "?"))
    return str(getattr(held, "name", "?"))


def build_facts(kernel: Any) -> dict[str, Any]:
    """Registers, spills, shared memory, and whether it multiplies in TF32; None: not known."""
    if kernel is None:
        return {"registers": None, "spills": None, "shared_bytes": None, "tf32": None}
    assembly = getattr(kernel, "asm", {}) or {}
    text = assembly.get("ptx") if isinstance(assembly, dict) else None
    return {
        "registers": _count(getattr(kernel, "n_regs", None)),
        "spills": _count(getattr(kernel, "n_spills", None)),
        "shared_bytes": _count(getattr(getattr(kernel, "metadata", None), "shared", None)),
        "tf32": ".tf32" in text if isinstance(text, str) else None,
    }


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None

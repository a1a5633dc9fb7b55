"""How large the parts of a program are, and what its host code does besides launching kernels."""

import ast
from dataclasses import dataclass
from typing import Any

from kernelsift import source
from kernelsift.kernels.calls import call_name
from kernelsift.kernels.metrics import Walk, is_kernel

_SYNCS = frozenset({"item", "tolist", "cpu", "numpy", "synchronize"})
_COPIES = frozenset({"clone", "contiguous", "copy_"})
_ALLOCATIONS = frozenset({"empty", "empty_like", "new_empty", "zeros", "zeros_like", "new_zeros",
                          "ones", "ones_like", "full", "full_like"})  # fmt: skip
_BLOCK_POINTERS = frozenset({"make_block_ptr", "make_tensor_descriptor"})
_TORCH = frozenset({"torch", "F", "nn"})


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Sizes of a program and of its kernels together. Counts."""

    kernel_nodes: int
    """Nodes of the syntax tree inside kernels; operators and name contexts are no nodes here."""
    host_nodes: int
    """Nodes outside kernels."""
    names: int
    """Distinct variable names that are read or set."""
    kernel_names: int
    """Distinct variable names that are read or set inside kernels."""
    kernel_arithmetic: int
    """Binary operators inside kernels."""
    kernel_conditions: int
    """`if` statements inside kernels."""
    widest_kernel: int
    """Parameters of the kernel that has most."""
    conversions: int
    """Calls of `.to(…)` inside kernels: changes of the data type."""
    selections: int
    """Calls of `where` inside kernels."""
    block_pointers: int
    """Block pointers and tensor descriptors that are made."""
    torch_calls: int
    """Calls that begin with `torch.`, `F.` or `nn.`, outside kernels."""
    allocations: int
    """Tensors that are made outside kernels."""
    copies: int
    """Calls of `clone`, `contiguous` and `copy_` outside kernels."""
    syncs: int
    """Calls that wait for the device or read a value back, outside kernels."""


def structure(walked: Walk) -> Structure:
    """Measure a walked program."""
    inside = {kind: sum(s.in_kernel for _, s in pairs) for kind, pairs in walked.nodes.items()}
    named = [(node.id, s) for node, s in walked.of(ast.Name) if isinstance(node, ast.Name)]
    return Structure(
        kernel_nodes=sum(inside.values()),
        host_nodes=sum(map(len, walked.nodes.values())) - sum(inside.values()),
        names=len({name for name, _ in named}),
        kernel_names=len({name for name, scope in named if scope.in_kernel}),
        kernel_arithmetic=inside.get(ast.BinOp, 0),
        kernel_conditions=inside.get(ast.If, 0),
        widest_kernel=max(map(_parameters, walked.of(ast.FunctionDef)), default=0),
        **_calls(walked),
    )


def _parameters(found: tuple[ast.AST, object]) -> int:
    node = found[0]
    if not (isinstance(node, ast.FunctionDef) and is_kernel(node)):
        return 0
    return len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)


def _calls(walked: Walk) -> dict[str, Any]:
    inner: list[str] = []
    outer: list[str] = []
    torch_calls = 0
    for node, scope in walked.of(ast.Call):
        (inner if scope.in_kernel else outer).append(call_name(node))
        if not scope.in_kernel and isinstance(node, ast.Call):
            torch_calls += source.dotted(node.func).partition(".")[0] in _TORCH
    return {
        "conversions": inner.count("to"),
        "selections": inner.count("where"),
        "block_pointers": sum(name in _BLOCK_POINTERS for name in inner),
        "torch_calls": torch_calls,
        "allocations": sum(name in _ALLOCATIONS for name in outer),
        "copies": sum(name in _COPIES for name in outer),
        "syncs": sum(name in _SYNCS for name in outer),
    }

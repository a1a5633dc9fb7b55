"""Static facts of a Triton answer and of a PyTorch module, from the syntax tree alone.

`measure_features` reads an answer, `measure_reference` a module. Both return None where Python
cannot parse the text: that is "could not tell", not a row of zeros.
"""

import ast
from dataclasses import dataclass
from typing import Any

from kernelsift import source
from kernelsift.kernels import operations
from kernelsift.kernels.calls import (
    call_name,
    is_constexpr,
    is_launch,
    is_published_network,
    language_calls,
    layers,
    operations_of,
)
from kernelsift.kernels.metrics import (
    Metrics,
    Program,
    Scope,
    Walk,
    decorator_name,
    is_kernel,
    metrics,
    read_program,
    walk,
)
from kernelsift.kernels.operations import Group
from kernelsift.kernels.structure import Structure, structure

FEATURES_VERSION = 2
"""Changes whenever the same code may give other numbers."""

_REDUCTIONS = frozenset([
    "sum",
    "max",
    "min",
    "argmax",
    "argmin",
    "reduce",
    "cumsum",
    "cumprod",
    "associative_scan",
    "xor_sum",
    "softmax",
    "sort",
])
_PLAIN_INTS = frozenset({0, 1, 2})
_NETWORKS = frozenset({"attention", "recurrent", "transformer"})


@dataclass(frozen=True, kw_only=True)
class Features(Metrics, Structure):
    """What can be seen of a Triton answer without running it. Counts unless said otherwise."""

    kernels: int
    """Functions compiled by Triton."""
    autotuned: int
    kernel_parameters: int
    constexprs: int
    loads: int
    masked_loads: int
    """Loads with a mask or a boundary check."""
    filled_loads: int
    """Loads that say what stands outside the mask (`other=` or `padding_option=`)."""
    stores: int
    masked_stores: int
    dots: int
    reductions: int
    scans: int
    atomics: int
    exponentials: int
    language_calls: int
    """Calls of the Triton language."""
    kernel_loops: int
    kernel_loop_depth: int
    looped_dots: int
    looped_reductions: int
    kernel_lines: int
    """Lines of all kernels together."""
    kernel_integers: int
    """Integer literals in kernels other than 0, 1 and 2, outside defaults."""
    program_axes: int
    launches: int
    strides: int
    """Kernel parameters that are strides."""
    cache_hints: int
    """Uses of eviction policies, cache modifiers, contiguity or alignment hints."""
    compute_calls: int
    """PyTorch calls that compute, outside kernels and set-up code."""
    compute_names: tuple[str, ...]
    contiguous_calls: int
    layers: int
    """`nn` layers made in `__init__`."""
    classes: int
    identity: bool
    """The entry class's forward returns an argument or a constant as it is."""


@dataclass(frozen=True, kw_only=True)
class ReferenceFeatures:
    """What can be seen of a PyTorch module. Counts unless said otherwise."""

    code_lines: int
    nodes: int
    """Nodes of the syntax tree; operators and name contexts are no nodes here."""
    calls: int
    unique_calls: int
    torch_calls: int
    """Calls of PyTorch functions, tensor methods and `nn` layers that the table knows."""
    operations: int
    """Those that compute, operators included."""
    computing_calls: int
    """Those of them that are calls or `@`."""
    operators: int
    """Arithmetic operators other than `@`."""
    networks: int
    """Whole networks in one call: recurrent, attention and transformer operations, and published
    networks whose code is not in the file (`from_pretrained`, `torchvision.models`)."""
    groups: tuple[Group, ...]
    """Classes of the operations, each once, in the table's order."""
    names: tuple[str, ...]
    """Names of the operations that compute, each once, sorted."""
    layers: int
    loops: int
    classes: int


def measure_features(code: str) -> Features | None:
    """Measure a Triton answer; None where Python cannot parse it."""
    program = read_program(code)
    return None if program is None else features_of(program)


def features_of(program: Program) -> Features:
    """Measure a Triton answer that was parsed."""
    walked = program.walked
    kernels = [n for n, _ in walked.of(ast.FunctionDef) if is_kernel(n)]
    names = {k.name for k in kernels if isinstance(k, ast.FunctionDef)}
    return Features(
        **vars(metrics(program.code, program.tree, walked)),
        **vars(structure(walked)),
        **_kernel_facts(kernels, walked),
        **_language_facts(language_calls(walked)),
        **_host_facts(program.tree, walked, names),
    )


def measure_reference(reference: str) -> ReferenceFeatures | None:
    """Measure a PyTorch module; None where Python cannot parse it."""
    program = read_program(reference)
    return None if program is None else reference_features_of(program)


def reference_features_of(program: Program) -> ReferenceFeatures:
    """Measure a PyTorch module that was parsed."""
    walked = program.walked
    names = [call_name(node) for node, _ in walked.of(ast.Call)]
    found = operations_of(walked)
    computing = [(name, group) for name, group in found if group not in operations.FREE]
    groups = {group for _, group in found}
    return ReferenceFeatures(
        code_lines=sum(1 for line in program.code.splitlines() if line.strip()),
        nodes=sum(map(len, walked.nodes.values())),
        calls=len(names),
        unique_calls=len(set(names)),
        torch_calls=len([name for name, _ in found if name.isidentifier()]),
        operations=len(computing),
        computing_calls=sum(name != "operator" for name, _ in computing),
        operators=sum(name == "operator" for name, _ in computing),
        networks=sum(group in _NETWORKS for _, group in computing)
        + sum(is_published_network(node) for node, _ in walked.of(ast.Call)),
        groups=tuple(group for group in operations.GROUPS if group in groups),
        names=tuple(sorted({name for name, _ in computing})),
        layers=layers(walked),
        loops=len(walked.of(ast.For, ast.While, ast.comprehension)),
        classes=len(walked.of(ast.ClassDef)),
    )


def reference_groups(tree: ast.Module) -> tuple[Group, ...]:
    """Return the classes of the operations of a parsed module, each once, in the table's order."""
    groups = {group for _, group in operations_of(walk(tree))}
    return tuple(group for group in operations.GROUPS if group in groups)


# ---- kernels ------------------------------------------------------------------------------------


def _kernel_facts(kernels: list[ast.AST], walked: Walk) -> dict[str, Any]:
    arguments: list[ast.arg] = []
    autotuned = lines = 0
    for node in kernels:
        assert isinstance(node, ast.FunctionDef)
        arguments += [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        autotuned += any(decorator_name(d) == "autotune" for d in node.decorator_list)
        lines += (node.end_lineno or node.lineno) - node.lineno + 1
    inner = [scope for scope in walked.scopes if scope.in_kernel]
    return {
        "kernels": len(kernels),
        "autotuned": autotuned,
        "kernel_parameters": len(arguments),
        "constexprs": sum(is_constexpr(argument) for argument in arguments),
        "strides": sum("stride" in argument.arg.lower() for argument in arguments),
        "kernel_lines": lines,
        "kernel_loops": sum(1 for _, s in walked.of(ast.For, ast.While) if s.in_kernel),
        "kernel_loop_depth": max((scope.loops for scope in inner), default=0),
        "kernel_integers": sum(_is_hard_coded(n, s) for n, s in walked.of(ast.Constant)),
    }


def _is_hard_coded(node: ast.AST, scope: Scope) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return scope.in_kernel and type(value) is int and value not in _PLAIN_INTS


def _has(call: ast.Call, position: int, *names: str) -> bool:
    return len(call.args) > position or any(k.arg in names for k in call.keywords)


def _language_facts(calls: list[tuple[str, ast.Call, Scope]]) -> dict[str, Any]:
    loads = [call for name, call, _ in calls if name == "load"]
    stores = [call for name, call, _ in calls if name == "store"]
    axes = [_axis(call) for name, call, _ in calls if name == "program_id"]
    reductions = [scope for name, _, scope in calls if name in _REDUCTIONS]
    dots = [scope for name, _, scope in calls if name == "dot"]
    hints = {"max_contiguous", "multiple_of", "max_constancy", "make_block_ptr", "swizzle2d"}
    hint_words = {
        "eviction_policy",
        "cache_modifier",
        "num_stages",
        "allow_tf32",
        "input_precision",
    }
    return {
        "loads": len(loads),
        "masked_loads": sum(_has(call, 1, "mask", "boundary_check") for call in loads),
        "filled_loads": sum(_has(call, 2, "other", "padding_option") for call in loads),
        "stores": len(stores),
        "masked_stores": sum(_has(call, 2, "mask", "boundary_check") for call in stores),
        "dots": len(dots),
        "looped_dots": sum(scope.loops > 0 for scope in dots),
        "reductions": len(reductions),
        "looped_reductions": sum(scope.loops > 0 for scope in reductions),
        "scans": sum(name in {"cumsum", "cumprod", "associative_scan"} for name, _, _ in calls),
        "atomics": sum(name.startswith("atomic_") for name, _, _ in calls),
        "exponentials": sum(name in {"exp", "exp2", "log", "log2"} for name, _, _ in calls),
        "language_calls": len(calls),
        "program_axes": len(set(axes)),
        "cache_hints": sum(name in hints for name, _, _ in calls)
        + sum(k.arg in hint_words for _, call, _ in calls for k in call.keywords),
    }


def _axis(call: ast.Call) -> object:
    values = [*call.args, *(k.value for k in call.keywords)]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


# ---- the code around them -----------------------------------------------------------------------


def _host_facts(tree: ast.Module, walked: Walk, kernels: set[str]) -> dict[str, Any]:
    calls = [(n, s) for n, s in walked.of(ast.Call) if not s.in_kernel]
    computing = [
        name
        for name, group in operations_of(walked, calls_only=True)
        if group not in operations.FREE
    ]
    return {
        "launches": sum(is_launch(node, kernels) for node, _ in calls),
        "compute_calls": len(computing),
        "compute_names": tuple(sorted(set(computing))),
        "contiguous_calls": sum(call_name(node) == "contiguous" for node, _ in calls),
        "layers": layers(walked),
        "classes": len(walked.of(ast.ClassDef)),
        "identity": _is_identity(tree),
    }


def _is_identity(tree: ast.Module) -> bool:
    """Tell whether forward is one `return` of an argument, a constant or nothing."""
    entry = source.module_class(tree)
    forward = source.method(entry, "forward") if entry else None
    if forward is None:
        return False
    body = forward.body[ast.get_docstring(forward, clean=False) is not None :]
    if len(body) != 1 or not isinstance(body[0], ast.Return | ast.Pass):
        return False
    value = body[0].value if isinstance(body[0], ast.Return) else None
    return value is None or isinstance(value, ast.Name | ast.Constant)

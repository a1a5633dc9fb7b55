"""Static facts of a Triton answer and of a PyTorch module, from the syntax tree alone.

`measure_features` reads an answer, `measure_reference` a module. Both return None where Python
cannot parse the text: that is "could not tell", not a row of zeros.
"""

import ast
from dataclasses import dataclass
from typing import Any

from kernelsift import source
from kernelsift.kernels import operations
from kernelsift.kernels.metrics import (
    Metrics,
    Scope,
    Walk,
    decorator_name,
    is_kernel,
    metrics,
    walk,
)
from kernelsift.kernels.operations import Group

FEATURES_VERSION = 1
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
_SETUP = frozenset({"__init__", "reset_parameters", "get_inputs", "get_init_inputs", "extra_repr"})
_NOT_TENSORS = frozenset({
    "tl",
    "triton",
    "math",
    "np",
    "numpy",
    "os",
    "sys",
    "random",
    "itertools",
})
_TORCH_ROOTS = frozenset({"torch", "F", "nn"})
_PLAIN_INTS = frozenset({0, 1, 2})
_CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict", "Module", "ParameterList"})


@dataclass(frozen=True, kw_only=True)
class Features(Metrics):
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
    calls: int
    unique_calls: int
    torch_calls: int
    """Calls of PyTorch functions, tensor methods and `nn` layers that the table knows."""
    operations: int
    """Those that compute, operators included."""
    groups: tuple[Group, ...]
    """Classes of the operations, each once, in the table's order."""
    names: tuple[str, ...]
    """Names of the operations that compute, each once, sorted."""
    layers: int
    loops: int
    classes: int


def measure_features(code: str) -> Features | None:
    """Measure a Triton answer; None where Python cannot parse it."""
    tree = source.parse(code)
    if tree is None:
        return None
    walked = walk(tree)
    kernels = [n for n, _ in walked.of(ast.FunctionDef) if is_kernel(n)]
    calls = _language_calls(walked)
    return Features(
        **vars(metrics(code, tree, walked)),
        **_kernel_facts(kernels, walked),
        **_language_facts(calls),
        **_host_facts(tree, walked, {k.name for k in kernels if isinstance(k, ast.FunctionDef)}),
    )


def measure_reference(reference: str) -> ReferenceFeatures | None:
    """Measure a PyTorch module; None where Python cannot parse it."""
    tree = source.parse(reference)
    if tree is None:
        return None
    walked = walk(tree)
    names = [_call_name(node) for node, _ in walked.of(ast.Call)]
    found = _operations_of(walked)
    computing = {name: group for name, group in found if group not in operations.FREE}
    groups = {group for _, group in found}
    return ReferenceFeatures(
        code_lines=sum(1 for line in reference.splitlines() if line.strip()),
        calls=len(names),
        unique_calls=len(set(names)),
        torch_calls=len([name for name, _ in found if name.isidentifier()]),
        operations=len([group for _, group in found if group not in operations.FREE]),
        groups=tuple(group for group in operations.GROUPS if group in groups),
        names=tuple(sorted(computing)),
        layers=_layers(walked),
        loops=len(walked.of(ast.For, ast.While, ast.comprehension)),
        classes=len(walked.of(ast.ClassDef)),
    )


def reference_groups(tree: ast.Module) -> tuple[Group, ...]:
    """Return the classes of the operations of a parsed module, each once, in the table's order."""
    groups = {group for _, group in _operations_of(walk(tree))}
    return tuple(group for group in operations.GROUPS if group in groups)


def _call_name(node: ast.AST) -> str:
    assert isinstance(node, ast.Call)
    func = node.func
    if isinstance(func, ast.Attribute):
        return func.attr
    return func.id if isinstance(func, ast.Name) else ""


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


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
        "constexprs": sum(_is_constexpr(argument) for argument in arguments),
        "strides": sum("stride" in argument.arg.lower() for argument in arguments),
        "kernel_lines": lines,
        "kernel_loops": sum(1 for _, s in walked.of(ast.For, ast.While) if s.in_kernel),
        "kernel_loop_depth": max((scope.loops for scope in inner), default=0),
        "kernel_integers": sum(_is_hard_coded(n, s) for n, s in walked.of(ast.Constant)),
    }


def _is_constexpr(argument: ast.arg) -> bool:
    note = argument.annotation
    if isinstance(note, ast.Constant):
        return "constexpr" in str(note.value)
    return note is not None and source.dotted(note).endswith("constexpr")


def _is_hard_coded(node: ast.AST, scope: Scope) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return scope.in_kernel and type(value) is int and value not in _PLAIN_INTS


def _language_calls(walked: Walk) -> list[tuple[str, ast.Call, Scope]]:
    roots = {"tl"}
    for node, _ in walked.of(ast.Import, ast.ImportFrom):
        assert isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names:
            if alias.name in {"triton.language", "language"} and alias.asname:
                roots.add(alias.asname)
    found: list[tuple[str, ast.Call, Scope]] = []
    for node, scope in walked.of(ast.Call):
        assert isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute):
            root = _root(node.func)
            if root in roots or (root == "triton" and "language" in source.dotted(node.func)):
                found.append((node.func.attr, node, scope))
    return found


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
        for name, group in _operations_of(walked, calls_only=True)
        if group not in operations.FREE
    ]
    return {
        "launches": sum(_is_launch(node, kernels) for node, _ in calls),
        "compute_calls": len(computing),
        "compute_names": tuple(sorted(set(computing))),
        "contiguous_calls": sum(_call_name(node) == "contiguous" for node, _ in calls),
        "layers": _layers(walked),
        "classes": len(walked.of(ast.ClassDef)),
        "identity": _is_identity(tree),
    }


def _is_launch(node: ast.AST, kernels: set[str]) -> bool:
    assert isinstance(node, ast.Call)
    func = node.func
    if not isinstance(func, ast.Subscript):
        return False
    name = source.dotted(func.value).rpartition(".")[2]
    return name in kernels or not isinstance(func.slice, ast.Constant | ast.UnaryOp)


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


def _layer_name(node: ast.AST) -> str:
    """Return the name of the `nn` class that a call makes, or ""."""
    assert isinstance(node, ast.Call)
    name = source.dotted(node.func)
    root, _, last = name.rpartition(".")
    if root.partition(".")[0] in _TORCH_ROOTS and last[:1].isupper() and "nn" in root.split("."):
        return last
    return last if not root and operations.layer(last) else ""


def _layers(walked: Walk) -> int:
    names = [_layer_name(node) for node, _ in walked.of(ast.Call)]
    return sum(bool(n) and n not in _CONTAINERS and n != "Parameter" for n in names)


def _function_of(scope: Scope) -> str:
    function = scope.function
    return function.name if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else ""


def _attribute_layers(walked: Walk) -> dict[str, ast.Call]:
    """Return the call that makes `self.name`, for attributes set to a layer of the table."""
    found: dict[str, ast.Call] = {}
    for node, _ in walked.of(ast.Assign):
        assert isinstance(node, ast.Assign)
        value, target = node.value, node.targets[0]
        made = isinstance(value, ast.Call) and operations.layer(_layer_name(value))
        if made and isinstance(target, ast.Attribute) and isinstance(value, ast.Call):
            found[target.attr] = value
    return found


def _operations_of(walked: Walk, *, calls_only: bool = False) -> list[tuple[str, Group]]:
    """Return (name, group) of the operations that run outside kernels and set-up code.

    A layer counts where `self.name(…)` calls it. In a whole module (not `calls_only`) layers that
    stand in containers, and arithmetic operators, count as well.
    """
    attributes = _attribute_layers(walked)
    direct = set(attributes.values())
    found: list[tuple[str, Group]] = []
    for node, scope in walked.of(ast.Call):
        assert isinstance(node, ast.Call)
        if not scope.in_kernel and (known := _operation(node, scope, attributes)):
            found.append(known)
        elif not calls_only and node not in direct:
            name = _layer_name(node)
            if made := operations.layer(name):
                found.append((name, made.group))
    for node, scope in walked.of(ast.BinOp):
        if scope.in_kernel or _function_of(scope) in _SETUP or scope.function is None:
            continue
        product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
        if product or not calls_only:
            found.append(("@", "matmul") if product else ("operator", "elementwise"))
    return found


def _operation(
    node: ast.Call, scope: Scope, attributes: dict[str, ast.Call]
) -> tuple[str, Group] | None:
    if scope.function is None or _function_of(scope) in _SETUP:
        return None
    func = node.func
    maker = func if isinstance(func, ast.Call) else None
    if isinstance(func, ast.Attribute) and source.dotted(func) == f"self.{func.attr}":
        maker = attributes.get(func.attr)
    elif isinstance(func, ast.Attribute) and _root(func) not in _NOT_TENSORS:
        known = operations.function(func.attr)
        return (func.attr, known.group) if known else None
    layer = operations.layer(_layer_name(maker)) if maker else None
    return (_layer_name(maker), layer.group) if layer and maker else None

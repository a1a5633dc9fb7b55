"""Which calls a program makes: of the Triton language, of kernels, of PyTorch operations."""

import ast

from kernelsift import source
from kernelsift.kernels import operations
from kernelsift.kernels.metrics import Scope, Walk
from kernelsift.kernels.operations import Group

SETUP = frozenset({"__init__", "reset_parameters", "get_inputs", "get_init_inputs", "extra_repr"})
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
_CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict", "Module", "ParameterList"})
_PRODUCT: tuple[str, Group] = ("@", "matmul")
_OPERATOR: tuple[str, Group] = ("operator", "elementwise")


def call_name(node: ast.AST) -> str:
    """Return the last name of what a call calls, or ""."""
    assert isinstance(node, ast.Call)
    func = node.func
    if isinstance(func, ast.Attribute):
        return func.attr
    return func.id if isinstance(func, ast.Name) else ""


def first_name(node: ast.expr) -> str:
    """Return `a` for `a.b(c).d[e]`, "" where no name stands first."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def language_calls(walked: Walk) -> list[tuple[str, ast.Call, Scope]]:
    """Return (name, call, scope) of every call of the Triton language."""
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
            root = first_name(node.func)
            if root in roots or (root == "triton" and "language" in source.dotted(node.func)):
                found.append((node.func.attr, node, scope))
    return found


def is_constexpr(argument: ast.arg) -> bool:
    """Tell whether a parameter of a kernel is annotated as a compile-time constant."""
    note = argument.annotation
    if isinstance(note, ast.Constant):
        return "constexpr" in str(note.value)
    return note is not None and source.dotted(note).endswith("constexpr")


def is_launch(node: ast.AST, kernels: set[str]) -> bool:
    """Tell whether a call launches a kernel: `kernel[grid](…)`."""
    assert isinstance(node, ast.Call)
    func = node.func
    if not isinstance(func, ast.Subscript):
        return False
    name = source.dotted(func.value).rpartition(".")[2]
    return name in kernels or not isinstance(func.slice, ast.Constant | ast.UnaryOp)


def is_published_network(node: ast.AST) -> bool:
    """Tell whether a call makes a network whose code is not in the file."""
    assert isinstance(node, ast.Call)
    name = source.dotted(node.func)
    root, _, last = name.rpartition(".")
    return (
        last in {"from_pretrained", "from_config"}
        or name in {"timm.create_model", "torch.hub.load"}
        or root.startswith("torchvision.models")
        or (root == "models" and last.islower())
    )


def layer_name(node: ast.AST) -> str:
    """Return the name of the `nn` class that a call makes, or ""."""
    assert isinstance(node, ast.Call)
    if not call_name(node)[:1].isupper():
        return ""
    name = source.dotted(node.func)
    root, _, last = name.rpartition(".")
    if root.partition(".")[0] in _TORCH_ROOTS and last[:1].isupper() and "nn" in root.split("."):
        return last
    return last if not root and operations.layer(last) else ""


def layers(walked: Walk) -> int:
    """Count the `nn` layers that are made; containers and parameters are none."""
    names = [layer_name(node) for node, _ in walked.of(ast.Call)]
    return sum(bool(n) and n not in _CONTAINERS and n != "Parameter" for n in names)


def function_of(scope: Scope) -> str:
    """Return the name of the function that a node stands in, or ""."""
    function = scope.function
    return function.name if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else ""


def _attribute_layers(walked: Walk) -> dict[str, ast.Call]:
    """Return the call that makes `self.name`, for attributes set to a layer of the table."""
    found: dict[str, ast.Call] = {}
    for node, _ in walked.of(ast.Assign):
        assert isinstance(node, ast.Assign)
        value, target = node.value, node.targets[0]
        made = isinstance(value, ast.Call) and operations.layer(layer_name(value))
        if made and isinstance(target, ast.Attribute) and isinstance(value, ast.Call):
            found[target.attr] = value
    return found


def operations_of(walked: Walk, *, calls_only: bool = False) -> list[tuple[str, Group]]:
    """Return (name, group) of the operations that run outside kernels and set-up code.

    A layer counts where `self.name(…)` calls it. In a whole module (not `calls_only`) layers that
    stand in containers, and arithmetic operators, count as well.
    """
    return [(name, group) for name, group, _ in placed_operations(walked, calls_only=calls_only)]


def placed_operations(
    walked: Walk, *, calls_only: bool = False
) -> list[tuple[str, Group, ast.expr]]:
    """Return (name, group, node) of the operations that `operations_of` counts."""
    attributes = _attribute_layers(walked)
    direct = set(attributes.values())
    found: list[tuple[str, Group, ast.expr]] = []
    for node, scope in walked.of(ast.Call):
        assert isinstance(node, ast.Call)
        if not scope.in_kernel and (known := _operation(node, scope, attributes)):
            found.append((*known, node))
        elif not calls_only and node not in direct:
            name = layer_name(node)
            if made := operations.layer(name):
                found.append((name, made.group, node))
    for node, scope in walked.of(ast.BinOp):
        assert isinstance(node, ast.BinOp)
        if scope.in_kernel or function_of(scope) in SETUP or scope.function is None:
            continue
        product = isinstance(node.op, ast.MatMult)
        if product or not calls_only:
            name, group = _PRODUCT if product else _OPERATOR
            found.append((name, group, node))
    return found


def _operation(
    node: ast.Call, scope: Scope, attributes: dict[str, ast.Call]
) -> tuple[str, Group] | None:
    if scope.function is None or function_of(scope) in SETUP:
        return None
    func = node.func
    maker = func if isinstance(func, ast.Call) else None
    if isinstance(func, ast.Attribute) and source.dotted(func) == f"self.{func.attr}":
        maker = attributes.get(func.attr)
    elif isinstance(func, ast.Attribute) and first_name(func) not in _NOT_TENSORS:
        known = operations.function(func.attr)
        return (func.attr, known.group) if known else None
    layer = operations.layer(layer_name(maker)) if maker else None
    return (layer_name(maker), layer.group) if layer and maker else None

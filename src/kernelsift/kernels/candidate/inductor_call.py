"""What TorchInductor's `call(args)` wants in its list, and which tensors of the task that is."""

from __future__ import annotations

import ast
import dataclasses
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.candidate.function_call import NoMatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Shape = tuple[int, ...]
Named = tuple[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One argument of `call`; `shape` is None where the code does not say it."""

    name: str
    shape: Shape | None


def wanted_arguments(code: str) -> list[Wanted]:
    """The arguments in the order of the list, with the shapes that the code asserts.

    Empty where `call` does not take its list apart. SyntaxError where the code is none.
    """
    tree = ast.parse(code)
    call = _call(tree)
    if call is None:
        return []
    shapes: dict[str, Shape] = dict(_made(tree))
    shapes |= dict(_asserted(call))
    return [Wanted(name, shapes.get(name)) for name in _unpacked(call)]


def _call(tree: ast.Module) -> ast.FunctionDef | None:
    """The function `call(args)` of the module, or of its class `Runner`."""
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name == "call":
                return node
    return None


def _unpacked(call: ast.FunctionDef) -> list[str]:
    given = call.args.args[-1].arg if call.args.args else ""
    for node in call.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Name):
            continue
        target = node.targets[0]
        if node.value.id == given and isinstance(target, (ast.Tuple, ast.List)):
            return [item.id for item in target.elts if isinstance(item, ast.Name)]
    return []


def _asserted(call: ast.FunctionDef) -> Iterator[tuple[str, Shape]]:
    """Names and sizes of `assert_size_stride(name, size, stride)`, first mention first."""
    seen: set[str] = set()
    for node in ast.walk(call):
        if not isinstance(node, ast.Call) or len(node.args) < 3:
            continue
        name, shape = node.args[0], _shape(node.args[1])
        is_assert = isinstance(node.func, ast.Name) and node.func.id == "assert_size_stride"
        if is_assert and isinstance(name, ast.Name) and shape is not None and name.id not in seen:
            seen.add(name.id)
            yield name.id, shape


def _made(tree: ast.Module) -> Iterator[tuple[str, Shape]]:
    """Names and sizes of `name = rand_strided(size, …)` in the file's own benchmark."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        target, made = node.targets[0], node.value
        if ast.unparse(made.func).endswith("rand_strided") and isinstance(target, ast.Name):
            shape = _shape(made.args[0]) if made.args else None
            if shape is not None:
                yield target.id, shape


def _shape(node: ast.expr) -> Shape | None:
    if not isinstance(node, (ast.Tuple, ast.List)):
        return None
    sizes = [item.value for item in node.elts if isinstance(item, ast.Constant)]
    whole = len(sizes) == len(node.elts)
    return tuple(n for n in sizes if isinstance(n, int)) if whole else None


def match_call(
    wanted: Sequence[Wanted], inputs: Sequence[Named], weights: Mapping[str, Any]
) -> tuple[list[Any], dict[str, tuple[str, str]]]:
    """The list for `call`, and for each argument (source, how): by shape, or by order in a shape.

    Order counts only among inputs, or only among weights: what is shared by both is not told apart.
    NoMatchError where an argument has no tensor or more than one.
    """
    offers = {name: value for name, value in (*inputs, *weights.items()) if hasattr(value, "shape")}
    given = {name for name, _ in inputs}
    found: dict[str, tuple[str, str]] = {}
    for shape in dict.fromkeys(item.shape for item in wanted if item.shape is not None):
        names = [item.name for item in wanted if item.shape == shape]
        fitting = [name for name, value in offers.items() if tuple(value.shape) == shape]
        mixed = len(fitting) > 1 and 0 < sum(name in given for name in fitting) < len(fitting)
        if len(names) != len(fitting) or mixed:
            text = f"{', '.join(names)} of shape {shape} may be {', '.join(fitting) or 'nothing'}"
            raise NoMatchError(text, _seen(wanted, offers))
        how = "shape" if len(names) == 1 else "order"
        found |= {name: (source, how) for name, source in zip(names, fitting, strict=True)}
    rest = [item.name for item in wanted if item.name not in found]
    used = {source for source, _ in found.values()}
    left = [name for name in offers if name not in used]
    if rest:
        if len(rest) > 1 or len(left) != 1:
            text = f"nothing says what {', '.join(rest)} may be"
            raise NoMatchError(text, _seen(wanted, offers))
        found[rest[0]] = (left[0], "order")
    if not wanted:
        raise NoMatchError("call does not take its list apart", _seen(wanted, offers))
    return [offers[found[item.name][0]] for item in wanted], found


def _seen(wanted: Sequence[Wanted], offers: Mapping[str, Any]) -> list[str]:
    words = [
        f"{item.name} {item.shape if item.shape is not None else 'of any shape'}" for item in wanted
    ]
    there = [f"{name} {tuple(value.shape)}" for name, value in offers.items()]
    return [
        f"call wants {', '.join(words) or 'a list'}",
        f"there is {', '.join(there) or 'nothing'}",
    ]


def leading(result: Any, count: int | None) -> Any:
    """The answer at the front of what `call` returns; what a backward pass needs comes after it.

    `count`: of tensors in the module's answer; None where it is one tensor by itself.
    """
    if not isinstance(result, (tuple, list)):
        return result
    if count is None:
        return result[0] if result else None
    return tuple(result[:count])

"""Which class or function of a candidate answers the task, and how to call it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.fingerprints import Weight, match_values
from kernelsift.kernels.launching import WRAPPERS, launches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FUNCTIONS = (*WRAPPERS, "forward")
INDUCTOR_MARKS = ("torch._inductor", "torch._C._dynamo.guards")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """The entry point: kind is class, function or call; `style` is plain or inductor."""

    kind: str
    name: str
    style: str


def find_entry(
    code: str, module_name: str | None, hint: str | None
) -> tuple[Entry | None, list[str]]:
    """The entry point named by the source, and the names of everything that was seen."""
    tree = ast.parse(code)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {
        node.name: node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_kernel(node)
    }
    seen = [f"class {name}" for name in classes] + [f"def {name}" for name in functions]
    style = "inductor" if _is_inductor(tree) else "plain"
    names = [hint, "ModelNew", f"{module_name}New" if module_name else None, module_name, "Model"]
    wrapper = next((name for name in WRAPPERS if name in functions), None)
    for name in names:
        copied = name in names[3:] and name != hint and wrapper is not None
        if name in classes and copied and not launches(classes[name], functions):
            return Entry("function", str(wrapper), style), seen  # the class is the reference's copy
        if name in classes:
            return Entry("class", str(name), style), seen
        if name is not None and name == hint and name in functions:
            return Entry("function", name, style), seen
    found = _by_shape(classes, functions, tree)
    if found is None:
        return None, seen
    return Entry(*found, style), seen


def _by_shape(
    classes: Mapping[str, ast.ClassDef], functions: Mapping[str, Any], tree: ast.Module
) -> tuple[str, str] | None:
    """Without a known class name: the only fitting class, a known function, the only launcher."""
    for fitting in (
        [name for name in classes if name.endswith("New")],
        [name for name, node in classes.items() if _has_forward(node)],
    ):
        if len(fitting) == 1:
            return "class", fitting[0]
    for name in FUNCTIONS:
        if name in functions:
            return "function", name
    if _is_inductor(tree) and _has_call(functions, tree):
        return "call", "call"
    return _launcher(functions)


def _has_call(functions: Mapping[str, Any], tree: ast.Module) -> bool:
    """Whether there is Inductor's `call(args)`, also as `call = runner.call`."""
    if "call" in functions:
        return len(functions["call"].args.args) == 1
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "call"
        and ast.unparse(node.targets[0]) == "call"
        for node in tree.body
    )


def _launcher(functions: Mapping[str, Any]) -> tuple[str, str] | None:
    """The only function that launches kernels itself and that no other function calls."""
    called = {
        node.func.id
        for function in functions.values()
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    launchers = [name for name, node in functions.items() if launches(node, functions)]
    tops = [name for name in launchers if name not in called]
    for names in (tops, launchers):
        if len(names) == 1:
            return "function", names[0]
    return None


def _is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("jit" in ast.unparse(item) for item in node.decorator_list)


def _has_forward(node: ast.ClassDef) -> bool:
    is_module = any(ast.unparse(base).endswith("Module") for base in node.bases)
    names = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    return is_module and "forward" in names


def _is_inductor(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if any(name.startswith(mark) for name in names for mark in INDUCTOR_MARKS):
            return True
    return False


def construct(cls: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """An instance; arguments that its constructor does not take are dropped and named."""
    try:
        inspect.signature(cls).bind(*args, **kwargs)
        return cls(*args, **kwargs), []
    except (TypeError, ValueError) as error:
        fitted = _fitted(cls, args, kwargs)
        if fitted is None:
            raise TypeError(f"{cls.__name__}: {error}") from error
    positional, named, dropped = fitted
    if not dropped:
        return cls(*args, **kwargs), []
    return cls(*positional, **named), dropped


def _fitted(
    cls: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any], list[str]] | None:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = {parameter.kind for parameter in parameters}
    slots = [p.name for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    names = {p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
    dropped = []
    positional = list(args)
    if inspect.Parameter.VAR_POSITIONAL not in kinds and len(args) > len(slots):
        dropped = [f"positional {index}" for index in range(len(slots), len(args))]
        positional = positional[: len(slots)]
    named = dict(kwargs)
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        dropped += [name for name in kwargs if name not in names]
        named = {name: value for name, value in kwargs.items() if name in names}
    return positional, named, dropped


def match_weights(
    own: Mapping[str, Weight], given: Mapping[str, Weight]
) -> dict[str, tuple[str, str]]:
    """Own weight -> (given weight, how): by initial values, name, a shape, order within a shape.

    Order counts only where both sides have equally many weights of that shape left.
    """
    found = match_values(own, given)
    used = {source for source, _ in found.values()}
    for name, mine in own.items():
        same = given.get(name)
        if same is not None and same.shape == mine.shape and not used & {name}:
            found.setdefault(name, (name, "name"))
    used = {source for source, _ in found.values()}
    left = [name for name in own if name not in found]
    free = [name for name in given if name not in used]
    wanted = Counter(own[name].shape for name in left)
    offered = Counter(given[name].shape for name in free)
    for shape, count in wanted.items():
        if offered[shape] != count:
            continue
        targets = [name for name in left if own[name].shape == shape]
        sources = [name for name in free if given[name].shape == shape]
        how = "shape" if count == 1 else "order"
        found |= {a: (b, how) for a, b in zip(targets, sources, strict=True)}
    return found

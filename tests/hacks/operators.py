"""Mutation operators: what goes wrong at one node of a kernel or of the code that launches it."""

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any

Operator = Callable[[ast.AST], Iterator[ast.AST]]

_REVERSED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}
_OTHER_REDUCTION = {"max": "min", "min": "max", "sum": "max", "cumsum": "cumprod"}
_OTHER_FUNCTION = {"maximum": "minimum", "minimum": "maximum"}
_UNARY = frozenset({"exp", "sqrt", "erf", "log", "sigmoid", "trans", "cumsum"})
_ACCESSES = frozenset({"load", "store", "atomic_add"})
_INDEXING = frozenset({"arange", "program_id", "zeros", "static_range"})


def _called(node: ast.AST) -> str:
    """Name of the `tl` function that a node calls, else empty."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return node.func.attr if isinstance(owner, ast.Name) and owner.id == "tl" else ""
    return ""


def _with(node: Any, **fields: Any) -> Any:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in node.keywords if k.arg == name), None)


def _without(node: ast.Call, *names: str) -> ast.Call:
    return _with(node, keywords=[k for k in node.keywords if k.arg not in names])


def _setting(node: ast.Call, name: str, value: ast.expr) -> ast.Call:
    kept = [k if k.arg != name else _with(k, value=value) for k in node.keywords]
    return _with(node, keywords=kept)


def _wrapped(text: str, value: ast.expr) -> ast.expr:
    """The expression `text` with VALUE in it replaced."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return value if node.id == "VALUE" else node

    return Put().visit(ast.parse(text, mode="eval").body)


def drop_mask(node: ast.AST) -> Iterator[ast.AST]:
    """A load or store without its mask."""
    if _called(node) in _ACCESSES and _keyword(node, "mask") is not None:
        yield _without(node, "mask", "other")


def drop_half_mask(node: ast.AST) -> Iterator[ast.AST]:
    """A mask that tests one side only."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        yield node.left
        yield node.right


def bound(node: ast.AST) -> Iterator[ast.AST]:
    """A bound that is one too large or too small."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt):
        yield _with(node, ops=[ast.LtE()])
        smaller = ast.BinOp(node.comparators[0], ast.Sub(), ast.Constant(1))
        yield _with(node, comparators=[smaller])


def loop(node: ast.AST) -> Iterator[ast.AST]:
    """A loop without its first or its last block."""
    if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and len(node.iter.args) > 1:
        first, last, *step = node.iter.args
        by = step[0] if step else ast.Constant(1)
        for bounds in (
            (ast.BinOp(first, ast.Add(), by), last),
            (first, ast.BinOp(last, ast.Sub(), by)),
        ):
            yield _with(node, iter=_with(node.iter, args=[*bounds, *step]))


def arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    """Another operation: + and − swapped, + for ×, × for ÷."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in _REVERSED:
            yield _with(node, op=_REVERSED[type(node.op)]())
        if isinstance(node.op, ast.Div):
            yield _with(node, op=ast.Mult())
        if isinstance(node.op, ast.FloorDiv):
            yield _with(node, op=ast.Mod())


def accumulation(node: ast.AST) -> Iterator[ast.AST]:
    """A sum that subtracts, or that keeps the last summand only."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        yield _with(node, op=ast.Sub())
        yield ast.Assign([node.target], node.value, lineno=node.lineno)


def drop_division(node: ast.AST) -> Iterator[ast.AST]:
    """A division left out."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield node.left


def half_precision(node: ast.AST) -> Iterator[ast.AST]:
    """A sum or a result that is held in fp16."""
    if isinstance(node, ast.AugAssign):
        load = ast.Name(node.target.id, ast.Load())
        text = _wrapped(
            "(VALUE).to(tl.float16).to(tl.float32)", ast.BinOp(load, node.op, node.value)
        )
        yield ast.Assign([node.target], text, lineno=node.lineno)
    if isinstance(node, ast.Assign) and _called(node.value) in {"dot", "exp"}:
        yield _with(node, value=_wrapped("(VALUE).to(tl.float16).to(tl.float32)", node.value))


def axis(node: ast.AST) -> Iterator[ast.AST]:
    """The other axis of a reduction, of the grid or of a broadcast."""
    if isinstance(node, ast.keyword) and node.arg == "axis":
        yield _with(node, value=ast.Constant(1 - node.value.value))
    if _called(node) == "program_id":
        yield _with(node, args=[ast.Constant((node.args[0].value + 1) % 3)])
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        yield _with(node, slice=_with(node.slice, elts=node.slice.elts[::-1]))


def other_function(node: ast.AST) -> Iterator[ast.AST]:
    """max for min, min for max, max for sum."""
    name = _called(node)
    other = {**_OTHER_REDUCTION, **_OTHER_FUNCTION}.get(name)
    if other:
        yield _with(node, func=_with(node.func, attr=other))


def drop_function(node: ast.AST) -> Iterator[ast.AST]:
    """A function left out; of a choice, one side only."""
    name = _called(node)
    if name in _UNARY:
        yield node.args[0]
    if name in {"maximum", "minimum"}:
        yield node.args[0]
    if name == "where":
        yield node.args[1]


def constant(node: ast.AST) -> Iterator[ast.AST]:
    """A floating constant or `eps` that is a little off."""
    if isinstance(node, ast.BinOp):
        for side in ("left", "right"):
            value = getattr(node, side)
            if isinstance(value, ast.Constant) and isinstance(value.value, float):
                yield _with(node, **{side: ast.Constant(value.value * 1.001 + (not value.value))})
            if isinstance(value, ast.Name) and value.id == "eps":
                yield _with(node, **{side: _wrapped("VALUE * 10.0", value)})


def integer(node: ast.AST) -> Iterator[ast.AST]:
    """An integer of an index that is one too large."""
    right = node.right if isinstance(node, ast.BinOp) else None
    if isinstance(right, ast.Constant) and isinstance(right.value, int):
        yield _with(node, right=ast.Constant(right.value + 1))


def fill(node: ast.AST) -> Iterator[ast.AST]:
    """What masked lanes hold: 1 for 0; of a choice, 0 for infinity."""
    if _called(node) == "load" and _keyword(node, "other") is not None:
        yield _setting(node, "other", ast.Constant(1.0))
    if _called(node) == "where" and "inf" in ast.unparse(node.args[2]):
        yield _with(node, args=[*node.args[:2], ast.Constant(0.0)])


def stride(node: ast.AST) -> Iterator[ast.AST]:
    """Strides swapped: `i * s + j` becomes `i + j * s`."""
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and isinstance(node.left, ast.BinOp)
        and isinstance(node.left.right, ast.BinOp | ast.Name)
    ):
        inner = node.left if isinstance(node.left.op, ast.Mult) else node.left.right
        if not isinstance(inner, ast.BinOp) or not isinstance(inner.op, ast.Mult):
            return
        scaled = ast.BinOp(node.right, ast.Mult(), inner.right)
        if inner is node.left:
            yield ast.BinOp(inner.left, ast.Add(), scaled)
        else:
            yield ast.BinOp(_with(node.left, right=inner.left), ast.Add(), scaled)


def drop_statement(node: ast.AST) -> Iterator[ast.AST]:
    """A step left out."""
    if isinstance(node, ast.AugAssign):
        yield ast.Pass()
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        names = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if node.targets[0].id in names:
            yield ast.Pass()


def constant_answer(node: ast.AST) -> Iterator[ast.AST]:
    """A store of something that does not depend on what was loaded."""
    if _called(node) == "store":
        yield _with(node, args=[node.args[0], ast.Constant(0.0)])


def grid(node: ast.AST) -> Iterator[ast.AST]:
    """A grid without its last program."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "triton.cdiv":
        yield ast.BinOp(node.args[0], ast.FloorDiv(), node.args[1])


def allocation(node: ast.AST) -> Iterator[ast.AST]:
    """Memory that is not set to zero first."""
    if isinstance(node, ast.Attribute) and node.attr in {"zeros", "zeros_like"}:
        yield _with(node, attr=node.attr.replace("zeros", "empty"))


def arguments(node: ast.AST) -> Iterator[ast.AST]:
    """Neighbouring arguments of a launch in the wrong order."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
        for at in range(len(node.args) - 1):
            given = list(node.args)
            given[at], given[at + 1] = given[at + 1], given[at]
            yield _with(node, args=given)


def layout(node: ast.AST) -> Iterator[ast.AST]:
    """An input that is read as if it were contiguous."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".contiguous"):
        yield node.func.value


KERNEL_OPERATORS: dict[str, Operator] = {
    "drop-mask": drop_mask,
    "drop-half-mask": drop_half_mask,
    "off-by-one": bound,
    "loop-bound": loop,
    "other-operation": arithmetic,
    "wrong-accumulation": accumulation,
    "drop-division": drop_division,
    "half-precision": half_precision,
    "wrong-axis": axis,
    "other-function": other_function,
    "drop-function": drop_function,
    "wrong-constant": constant,
    "wrong-integer": integer,
    "wrong-fill": fill,
    "swapped-strides": stride,
    "drop-statement": drop_statement,
    "constant-answer": constant_answer,
}
HOST_OPERATORS: dict[str, Operator] = {
    "skip-last-block": grid,
    "no-zeroing": allocation,
    "swapped-arguments": arguments,
    "no-contiguous": layout,
}

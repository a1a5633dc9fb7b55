"""Arithmetic on literals, and shares of values, as far as the reader of host code needs them."""

import ast

from kernelsift.kernels.static.values import Value, merged

LITERAL_LIMIT = 64
"""Items of a literal that are looked at one by one."""
_SAFE = (int, float, bool, str, type(None))


def element(value: Value) -> Value:
    """Return what one round of a loop over a value sees."""
    if value.items:
        return merged(list(value.items))
    return Value(value.tensor, value.things, value.tags, ref=value.ref)


def share(value: Value, place: int, count: int) -> Value:
    """Return what one of several targets gets."""
    if value.items is not None and len(value.items) == count:
        return value.items[place]
    return Value(value.tensor, value.things, value.tags)


def is_table(node: ast.Tuple | ast.List) -> bool:
    """Tell whether a literal holds rows of literals, many numbers together."""
    rows = [row for row in node.elts if isinstance(row, ast.Tuple | ast.List)]
    count = sum(isinstance(cell, ast.Constant | ast.UnaryOp) for row in rows for cell in row.elts)
    return len(rows) == len(node.elts) and count >= LITERAL_LIMIT


def folded(op: ast.operator, left: object, right: object) -> object:
    if type(left) is not int or type(right) is not int or max(abs(left), abs(right)) > 1 << 31:
        return ...
    if isinstance(op, ast.Add):
        return left + right
    if isinstance(op, ast.Sub):
        return left - right
    if isinstance(op, ast.Mult):
        return left * right
    if isinstance(op, ast.LShift) and 0 <= right < 40:
        return left << right
    if isinstance(op, ast.Pow) and 0 <= right < 40 and abs(left) < 1024:
        return left**right
    return left // right if isinstance(op, ast.FloorDiv) and right else ...


def compared(op: ast.cmpop, left: object, right: object) -> object:
    if not isinstance(left, _SAFE) or not isinstance(right, _SAFE):
        return ...
    if isinstance(op, ast.Eq | ast.Is):
        return left == right
    if isinstance(op, ast.NotEq | ast.IsNot):
        return left != right
    if isinstance(left, int | float) and isinstance(right, int | float):
        if isinstance(op, ast.Lt | ast.LtE):
            return left < right
        if isinstance(op, ast.Gt | ast.GtE):
            return left > right
    return ...

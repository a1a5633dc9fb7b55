"""Score expressions such as `reward * difficulty * style`: arithmetic over columns only."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kernelsift.errors import ConfigError

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # unlike **, never a complex number
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, tuple[Callable[..., float], range]] = {
    "min": (min, range(2, 100)),
    "max": (max, range(2, 100)),
    "abs": (abs, range(1, 2)),
    "log": (math.log, range(1, 3)),
    "log1p": (math.log1p, range(1, 2)),
    "sqrt": (math.sqrt, range(1, 2)),
}
"""Functions, and how many arguments each takes."""
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. Make one with `parse`."""

    text: str
    names: tuple[str, ...]
    """Columns it needs, in alphabetical order."""
    _tree: ast.expr

    def __call__(self, values: Mapping[str, float]) -> float:
        """The value for one row.

        Raises:
            ArithmeticError, ValueError: it has no finite value (division by zero, log(-1)).
        """
        result = _value(self._tree, values)
        if not math.isfinite(result):
            raise ValueError(f"{self.text} is {result}")
        return result


def parse(text: str) -> Expression:
    """Check an expression of column names, numbers, + - * / **, min max abs log log1p sqrt.

    Raises:
        ConfigError: it is none.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"the score expression is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise ConfigError(f"the score {text!r} is no expression: {e}") from None
    names: set[str] = set()
    _check(tree, text, names)
    return Expression(text, tuple(sorted(names)), tree)


def parse_order(text: str) -> tuple[Expression, ...]:
    """Check expressions with commas between them: rows are ordered by the first, ties by the next.

    Raises:
        ConfigError: one of them is no expression.
    """
    return tuple(parse(part) for part in _at_commas(text))


def _at_commas(text: str) -> list[str]:
    """The parts of a text between commas that stand in no parentheses."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def _check(node: ast.expr, text: str, names: set[str]) -> None:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return
        case ast.Name(id=name):
            names.add(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, text, names)
            _check(right, text, names)
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            _check(operand, text, names)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if (
            name in _FUNCTIONS and len(args) in _FUNCTIONS[name][1]
        ):
            for arg in args:
                _check(arg, text, names)
        case _:
            part = ast.get_source_segment(text, node) or type(node).__name__
            raise ConfigError(
                f"the score {text!r} may not contain {part!r}; allowed are column names, numbers, "
                f"+ - * / ** and {', '.join(_FUNCTIONS)}"
            )


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]  # _check let only numbers through
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_value(operand, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name][0](*(_value(arg, values) for arg in args))
    raise AssertionError("_check let this through")

"""Mutate honest answers on their syntax tree: one small mistake each, at every place it fits.

An operator looks at one node and yields wrong versions of it. What cannot change any answer by
construction is kept and says why (`Mutant.equivalent`); everything else a verifier should reject.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from hacks.equivalence import unobservable
from hacks.operators import HOST_OPERATORS, KERNEL_OPERATORS, Operator
from hacks.tasks import Case


@dataclass(frozen=True)
class Mutant:
    """An honest answer with one mistake."""

    case: Case
    operator: str
    line: int
    before: str
    after: str
    equivalent: str = ""
    """Why no answer can differ; empty for a real mistake."""


def mutate(case: Case) -> list[Mutant]:
    """Return every mutant of an honest answer, each text once."""
    tree = ast.parse(case.code)
    seen = {ast.unparse(tree)}
    found: list[Mutant] = []
    for function, operators in _places(tree):
        for node, operator, wrong in _changes(function, operators):
            code = _with(tree, node, wrong)
            if code in seen:
                continue
            seen.add(code)
            before, after = ast.unparse(node), ast.unparse(wrong)
            style = f"{case.style}:{operator}@{node.lineno}:{len(found)}"
            found.append(
                Mutant(
                    Case(case.task, "mutant", code, style),
                    operator,
                    node.lineno,
                    before,
                    after,
                    unobservable(function, node, operator, wrong, tree),
                )
            )
    return found


def _places(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, dict[str, Operator]]]:
    """Kernels, and functions that launch them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if any("triton.jit" in ast.unparse(item) for item in node.decorator_list):
                yield node, KERNEL_OPERATORS
            elif any(_is_launch(inner) for inner in ast.walk(node)):
                yield node, HOST_OPERATORS


def _is_launch(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)


def _changes(
    function: ast.FunctionDef, operators: dict[str, Operator]
) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    for statement in function.body:
        for node in ast.walk(statement):
            for name, operator in operators.items():
                for wrong in operator(node):
                    yield node, name, wrong


def _with(tree: ast.Module, node: ast.AST, wrong: ast.AST) -> str:
    """The program with one node replaced."""
    position = next(n for n, found in enumerate(ast.walk(tree)) if found is node)
    twin = copy.deepcopy(tree)
    target = next(found for n, found in enumerate(ast.walk(twin)) if n == position)
    swapped = _Swap(target, wrong).visit(twin)
    return ast.unparse(ast.fix_missing_locations(swapped))


class _Swap(ast.NodeTransformer):
    def __init__(self, target: ast.AST, wrong: ast.AST) -> None:
        self.target, self.wrong = target, wrong

    def visit(self, node: ast.AST) -> ast.AST:
        return self.wrong if node is self.target else self.generic_visit(node)

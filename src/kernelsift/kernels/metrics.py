"""Plain measures of Python source, and the one walk over the tree that they share.

Everything is read from the syntax tree; comments are found as the `#` that stands in no string.
"""

import ast
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kernelsift import source

LONG_LINE = 100
_POOR_NAME = re.compile(
    r"(?:tmp|buf|x|y|r|t|v|a|temp|var)_?\d+|[xyzr]numel|tmp|temp|foo|bar|[a-zA-Z]"
)
_GOOD_LETTERS = frozenset("_ijkmnxyqvbchwBCDHKLMNSTWXYQV")
_BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor)
_BRANCHES = (
    ast.For,
    ast.While,
    ast.If,
    ast.IfExp,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)
_LEAF_FIELDS = frozenset([
    "ctx",
    "op",
    "ops",
    "id",
    "attr",
    "name",
    "names",
    "arg",
    "module",
    "level",
    "kind",
    "decorator_list",  # see `walk`
])
_SCOPED = (*_BLOCKS, *_FUNCTIONS)


@dataclass(slots=True)
class Scope:
    """Where a node stands: its function and how deep in it."""

    function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None = None
    parent: "Scope | None" = None
    in_kernel: bool = False
    loops: int = 0
    """Loops around the node, inside its function."""
    nesting: int = 0
    """Blocks around the node, inside its function."""
    loaded: set[str] = field(default_factory=set)
    """Names read in the function; shared by all scopes of one function."""


@dataclass(slots=True)
class Walk:
    """Every node of a tree with its scope, by type."""

    nodes: dict[type[ast.AST], list[tuple[ast.AST, Scope]]]
    scopes: list[Scope]

    def of(self, *kinds: type[ast.AST]) -> list[tuple[ast.AST, Scope]]:
        """Return the nodes of exactly these types."""
        return [pair for kind in kinds for pair in self.nodes.get(kind, ())]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Measures of any Python file. Counts unless the name says share."""

    code_lines: int
    """Lines that are neither blank nor only a comment."""
    comment_lines: int
    docstrings: int
    functions: int
    longest_function: int
    """Lines of the longest function, decorators left out."""
    nesting: int
    """Deepest nesting of blocks in a function."""
    cyclomatic: int
    """Branches of the whole file plus one per function."""
    halstead_volume: float
    """Bits; 0 where nothing is computed."""
    halstead_effort: float
    unused_variables: int
    unused_imports: int
    dead_statements: int
    """Statements after a return, raise, break or continue."""
    long_lines: int
    duplicate_lines: int
    """Lines of 20 characters or more that repeat an earlier line."""
    poor_names: float
    """Share of assigned names and parameters that say nothing (tmp3, xnumel, single letters)."""


@dataclass(frozen=True, slots=True)
class Program:
    """A text that Python can read, with its syntax tree, visited once."""

    code: str
    tree: ast.Module
    walked: Walk


def read_program(code: str) -> Program | None:
    """Parse and walk a text; None where Python cannot parse it."""
    tree = source.parse(code)
    return None if tree is None else Program(code, tree, walk(tree))


def is_kernel(node: ast.AST) -> bool:
    """Tell whether a function is compiled by Triton: a decorator ends in `jit`."""
    return isinstance(node, ast.FunctionDef) and any(
        decorator_name(d) == "jit" for d in node.decorator_list
    )


def decorator_name(node: ast.expr) -> str:
    """Return the last name of a decorator, called or not."""
    node = node.func if isinstance(node, ast.Call) else node
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def walk(tree: ast.Module) -> Walk:
    """Visit every node once, without recursion. Decorators stand outside of their function."""
    top = Scope()
    nodes: dict[type[ast.AST], list[tuple[ast.AST, Scope]]] = {}
    scopes = [top]
    stack: list[tuple[ast.AST, Scope]] = [(tree, top)]
    while stack:
        node, scope = stack.pop()
        kind: Any = type(node)
        nodes.setdefault(kind, []).append((node, scope))
        if kind is ast.Name:
            if type(node.ctx) is ast.Load:  # type: ignore[attr-defined]  # kind is ast.Name
                scope.loaded.add(node.id)  # type: ignore[attr-defined]  # kind is ast.Name
            continue
        if kind is ast.Constant:
            continue
        if kind in _SCOPED:
            stack.extend([(item, scope) for item in getattr(node, "decorator_list", ())])
            scope = _inner(node, scope)
            scopes.append(scope)
        for name in _child_fields(kind):
            child = getattr(node, name, None)
            if type(child) is list:
                stack.extend([(item, scope) for item in child if isinstance(item, ast.AST)])
            elif isinstance(child, ast.AST):
                stack.append((child, scope))
    return Walk(nodes, scopes)


def metrics(code: str, tree: ast.Module, walked: Walk) -> Metrics:
    """Measure a parsed file."""
    lines = code.splitlines()
    found = comments(code, walked)
    stripped = [line.strip() for line in lines]
    long_ones = Counter(line for line in stripped if len(line) >= 20 and not line.startswith("#"))
    functions = walked.of(ast.FunctionDef, ast.AsyncFunctionDef)
    volume, effort = _halstead(walked)
    return Metrics(
        code_lines=sum(1 for line in stripped if line) - sum(alone for _, alone, _ in found),
        comment_lines=len(found),
        docstrings=_docstrings(tree, walked),
        functions=len(functions),
        longest_function=max((_length(node) for node, _ in functions), default=0),
        nesting=max(scope.nesting for scope in walked.scopes),
        cyclomatic=len(functions) + len(walked.of(*_BRANCHES)) + _extra_conditions(walked),
        halstead_volume=volume,
        halstead_effort=effort,
        unused_variables=len(unused_variables(walked)),
        unused_imports=len(unused_imports(walked)),
        dead_statements=len(dead_statements(walked)),
        long_lines=sum(1 for line in lines if len(line) > LONG_LINE),
        duplicate_lines=sum(count - 1 for count in long_ones.values()),
        poor_names=_share(poor_names(walked)),
    )


@cache
def _child_fields(kind: Any) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in _LEAF_FIELDS)


def _inner(node: ast.AST, scope: Scope) -> Scope:
    if isinstance(node, _FUNCTIONS):
        return Scope(node, scope, in_kernel=scope.in_kernel or is_kernel(node))
    loops = scope.loops + isinstance(node, ast.For | ast.While)
    parent, inside = scope.parent, scope.in_kernel
    return Scope(scope.function, parent, inside, loops, scope.nesting + 1, scope.loaded)


def _length(node: ast.AST) -> int:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return (node.end_lineno or node.lineno) - node.lineno + 1


def comments(code: str, walked: Walk) -> list[tuple[int, bool, str]]:
    """Return (line number, whether it stands alone on its line, text) of every comment.

    The text begins with the `#`.
    """
    marked = {number: line for number, line in enumerate(code.split("\n"), 1) if "#" in line}
    if not marked:
        return []
    strings: dict[int, list[tuple[float, float]]] = {}
    for node, _ in walked.of(ast.Constant, ast.JoinedStr):
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes):
            continue
        first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]  # all expressions have it
        for number in range(first, last + 1):
            if number in marked:
                start = node.col_offset if number == first else 0  # type: ignore[attr-defined]  # as above
                end = node.end_col_offset if number == last else math.inf  # type: ignore[attr-defined]  # as above
                strings.setdefault(number, []).append((start, end))
    found = []
    for number, line in marked.items():
        raw = line.encode("utf-8", "surrogatepass")  # columns of the tree are bytes
        at = _comment_start(raw, strings.get(number, []))
        if at >= 0:
            text = raw[at:].decode("utf-8", "surrogatepass")
            found.append((number, not raw[:at].strip(), text))
    return found


def _comment_start(line: bytes, spans: list[tuple[float, float]]) -> int:
    at = line.find(b"#")
    while at >= 0 and any(start <= at < end for start, end in spans):
        at = line.find(b"#", at + 1)
    return at


def _docstrings(tree: ast.Module, walked: Walk) -> int:
    holders = [
        tree,
        *(n for n, _ in walked.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)),
    ]
    found = [ast.get_docstring(node, clean=False) for node in holders]  # type: ignore[arg-type]  # kinds chosen above
    return len(found) - found.count(None)


def _extra_conditions(walked: Walk) -> int:
    found = [node for node, _ in walked.of(ast.BoolOp) if isinstance(node, ast.BoolOp)]
    return sum(len(node.values) - 1 for node in found)


def _operand(node: ast.AST) -> object:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return (type(node.value), node.value) if isinstance(node, ast.Constant) else id(node)


def _halstead(walked: Walk) -> tuple[float, float]:
    """Return (volume, effort) over arithmetic, comparisons and Boolean operators."""
    operators: list[object] = []
    operands: list[object] = []
    for node, _ in walked.of(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.AugAssign):
        if isinstance(node, ast.BinOp):
            operators.append(type(node.op))
            operands += [_operand(node.left), _operand(node.right)]
        elif isinstance(node, ast.UnaryOp):
            operators.append(type(node.op))
            operands.append(_operand(node.operand))
        elif isinstance(node, ast.BoolOp):
            operators.append(type(node.op))
            operands += map(_operand, node.values)
        elif isinstance(node, ast.Compare):
            operators += [type(op) for op in node.ops]
            operands += map(_operand, [node.left, *node.comparators])
        elif isinstance(node, ast.AugAssign):
            operators.append(type(node.op))
            operands += [_operand(node.target), _operand(node.value)]
    kinds, distinct = len(set(operators)), len(set(operands))
    if not kinds:
        return 0.0, 0.0
    volume = (len(operators) + len(operands)) * math.log2(kinds + distinct)
    return volume, volume * kinds / 2 * len(operands) / distinct


def _all_loaded(walked: Walk) -> dict[int, set[str]]:
    """Return, by function, the names read in it or in a function inside it."""
    loaded: dict[int, set[str]] = {}
    for scope in walked.scopes:
        outer: Scope | None = scope
        while outer:
            loaded.setdefault(id(outer.function), set()).update(scope.loaded)
            outer = outer.parent
    return loaded


def unused_variables(walked: Walk) -> list[ast.AST]:
    """Return the first assignment to each local name that is never read."""
    loaded = _all_loaded(walked)
    unused: dict[tuple[int, str], ast.AST] = {}
    for node, scope in walked.of(ast.Assign):
        assert isinstance(node, ast.Assign)
        for target in node.targets:
            if isinstance(target, ast.Name) and scope.function and not target.id.startswith("_"):
                key = id(scope.function)
                known = unused.get((key, target.id))
                if target.id not in loaded[key] and (known is None or _before(node, known)):
                    unused[key, target.id] = node
    return list(unused.values())


def unused_imports(walked: Walk) -> list[ast.AST]:
    """Return the import of each name that is imported and never read."""
    loaded = _all_loaded(walked)[id(None)] | {"*", "annotations"}
    unused: dict[str, ast.AST] = {}
    for node, _ in walked.of(ast.Import, ast.ImportFrom):
        assert isinstance(node, ast.Import | ast.ImportFrom)
        names = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        unused |= {name: node for name in names if name not in loaded}
    return list(unused.values())


def dead_statements(walked: Walk) -> list[ast.AST]:
    """Return the statements that follow a return, raise, break or continue."""
    dead: list[ast.AST] = []
    for kind in (ast.FunctionDef, *_BLOCKS):
        for node, _ in walked.of(kind):
            for body in (getattr(node, "body", []), getattr(node, "orelse", [])):
                ends = [i for i, statement in enumerate(body) if isinstance(statement, _ENDS)]
                dead += body[ends[0] + 1 :] if ends else []
    return dead


def _before(one: ast.AST, other: ast.AST) -> bool:
    assert isinstance(one, ast.stmt)
    assert isinstance(other, ast.stmt)
    return one.lineno < other.lineno


def poor_names(walked: Walk) -> tuple[list[ast.AST], int]:
    """Return where each name that says nothing is first given, and how many names there are."""
    given: dict[str, ast.AST] = {}
    for node, _ in walked.of(ast.arg, ast.Name):
        if isinstance(node, ast.arg):
            given.setdefault(node.arg, node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            given.setdefault(node.id, node)
    given = {name: node for name, node in given.items() if name not in {"self", "_"}}
    poor = [n for n in given if _POOR_NAME.fullmatch(n) and n not in _GOOD_LETTERS]
    return [given[name] for name in poor], len(given)


def _share(found: tuple[list[ast.AST], int]) -> float:
    return len(found[0]) / found[1] if found[1] else 0.0

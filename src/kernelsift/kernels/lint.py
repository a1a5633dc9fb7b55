"""A linter for Triton programs: few rules, of which none fires on good Triton style.

General linters are wrong here: capital parameters (M, BLOCK_SIZE), missing annotations and long
parameter lists are how kernels are written, so nothing is said about them. Codes in brackets are
those of ruff for the same rule; rules without one are about Triton.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kernelsift import source
from kernelsift.kernels.calls import first_name, is_launch
from kernelsift.kernels.metrics import (
    Program,
    comments,
    dead_statements,
    is_kernel,
    unused_imports,
    unused_variables,
)

MOST_BRANCHES = 15
_CODE = re.compile(r"[=()\[\]:]|^(?:return|import|from|break|pass|raise|del|assert)\b")
_BRANCHES = (ast.For, ast.While, ast.If, ast.IfExp, ast.ExceptHandler, ast.comprehension)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of style."""

    rule: str
    line: int
    """From 1."""


Rule = Callable[[Program], Iterator[ast.AST | int]]


def lint(program: Program, rules: Iterable[str] | None = None) -> tuple[Finding, ...]:
    """Return the findings of these rules (None: of all), by line."""
    asked = RULES if rules is None else rules
    found = [Finding(rule, _line(at)) for rule in asked for at in RULES[rule](program)]
    return tuple(sorted(found, key=lambda finding: (finding.line, finding.rule)))


def _line(at: ast.AST | int) -> int:
    return at if isinstance(at, int) else int(getattr(at, "lineno", 1))


def _unused_imports(program: Program) -> Iterator[ast.AST]:
    yield from unused_imports(program.walked)


def _unused_variables(program: Program) -> Iterator[ast.AST]:
    yield from unused_variables(program.walked)


def _unreachable(program: Program) -> Iterator[ast.AST]:
    yield from dead_statements(program.walked)


def _redefined(program: Program) -> Iterator[ast.AST]:
    """A function or class at top level whose name is given again below."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    seen: set[str] = set()
    for node in program.tree.body:
        if isinstance(node, kinds):
            if node.name in seen:
                yield node
            seen.add(node.name)


def _commented_code(program: Program) -> Iterator[int]:
    """A comment on a line of its own that is a Python statement."""
    for number, alone, text in comments(program.code, program.walked):
        said = text.lstrip("#").strip()
        if alone and _CODE.search(said) and _is_statement(said):
            yield number


def _is_statement(text: str) -> bool:
    tree = source.parse(text)
    if tree is None or len(tree.body) != 1:
        return False
    node = tree.body[0]
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.AnnAssign):  # "shape: (rows, columns)" is prose
        return node.value is not None
    if isinstance(node, ast.Assign):  # "out = a + b" tells what the next line does
        return isinstance(node.value, ast.Call)
    return isinstance(node, ast.Return | ast.Import | ast.ImportFrom | ast.AugAssign | ast.Assert)


def _bare_excepts(program: Program) -> Iterator[ast.AST]:
    for node, _ in program.walked.of(ast.ExceptHandler):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node


def _assigned_lambdas(program: Program) -> Iterator[ast.AST]:
    """`f = lambda x: …`, except for launch grids, which are written so."""
    for node, _ in program.walked.of(ast.Assign):
        assert isinstance(node, ast.Assign)
        name = node.targets[0]
        named = isinstance(node.value, ast.Lambda) and isinstance(name, ast.Name)
        if named and isinstance(name, ast.Name) and "grid" not in name.id.lower():
            yield node


def _useless_returns(program: Program) -> Iterator[ast.AST]:
    for node, _ in program.walked.of(ast.FunctionDef):
        assert isinstance(node, ast.FunctionDef)
        last = node.body[-1]
        if len(node.body) > 1 and isinstance(last, ast.Return) and last.value is None:
            yield last


def _mutable_defaults(program: Program) -> Iterator[ast.AST]:
    for node, _ in program.walked.of(ast.FunctionDef):
        assert isinstance(node, ast.FunctionDef)
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if isinstance(default, ast.List | ast.Dict | ast.Set):
                yield default


def _none_comparisons(program: Program) -> Iterator[ast.AST]:
    for node, _ in program.walked.of(ast.Compare):
        assert isinstance(node, ast.Compare)
        for op, side in zip(node.ops, node.comparators, strict=True):
            none = isinstance(side, ast.Constant) and side.value is None
            if none and isinstance(op, ast.Eq | ast.NotEq):
                yield node


def _trailing_spaces(program: Program) -> Iterator[int]:
    for number, line in enumerate(program.code.split("\n"), 1):
        if line[-1:].isspace() and line.strip():
            yield number


def _complex_functions(program: Program) -> Iterator[ast.AST]:
    """A function with more than `MOST_BRANCHES` branches."""
    counts = Counter(id(scope.function) for _, scope in program.walked.of(*_BRANCHES))
    for node, _ in program.walked.of(ast.FunctionDef):
        if counts[id(node)] > MOST_BRANCHES:
            yield node


def _unused_parameters(program: Program) -> Iterator[ast.AST]:
    """A parameter of a kernel that nothing in the kernel reads."""
    read: dict[int, set[str]] = {}
    for node, scope in program.walked.of(ast.Name):
        if isinstance(node, ast.Name) and scope.in_kernel:
            read.setdefault(id(scope.function), set()).add(node.id)
    for node, _ in program.walked.of(ast.FunctionDef):
        if isinstance(node, ast.FunctionDef) and is_kernel(node):
            names = read.get(id(node), set())
            yield from (a for a in [*node.args.args, *node.args.kwonlyargs] if a.arg not in names)


def _idle_kernels(program: Program) -> Iterator[ast.AST]:
    """A kernel whose name is not used anywhere, where another one is launched."""
    walked = program.walked
    kernels = [node for node, _ in walked.of(ast.FunctionDef) if is_kernel(node)]
    names = {node.name for node in kernels if isinstance(node, ast.FunctionDef)}
    if not any(is_launch(node, names) for node, _ in walked.of(ast.Call)):
        return
    read = {node.id for node, _ in walked.of(ast.Name) if isinstance(node, ast.Name)}
    for node in kernels:
        if isinstance(node, ast.FunctionDef) and node.name not in read:
            yield node


def _literal_blocks(program: Program) -> Iterator[ast.AST]:
    """`tl.arange(0, 128)`: a block size that no caller can choose."""
    for node, scope in program.walked.of(ast.Call):
        assert isinstance(node, ast.Call)
        called = isinstance(node.func, ast.Attribute) and node.func.attr == "arange"
        fixed = bool(node.args) and isinstance(node.args[-1], ast.Constant)
        if called and fixed and scope.in_kernel and first_name(node.func) in {"tl", "triton"}:
            yield node


RULES: dict[str, Rule] = {
    "unused-import": _unused_imports,  # F401
    "unused-variable": _unused_variables,  # F841
    "redefinition": _redefined,  # F811
    "unreachable-code": _unreachable,
    "commented-out-code": _commented_code,  # ERA001
    "bare-except": _bare_excepts,  # E722
    "assigned-lambda": _assigned_lambdas,  # E731, grids excepted
    "useless-return": _useless_returns,  # PLR1711
    "mutable-default": _mutable_defaults,  # B006
    "none-comparison": _none_comparisons,  # E711
    "trailing-space": _trailing_spaces,  # W291
    "complex-function": _complex_functions,  # C901
    "unused-kernel-parameter": _unused_parameters,
    "idle-kernel": _idle_kernels,
    "literal-block": _literal_blocks,
}
"""Every rule, by its name."""

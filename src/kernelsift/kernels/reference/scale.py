"""Make the sizes of a problem smaller by rewriting its code. Only syntax trees: nothing runs here.

Sizes live in integer constants of the module (`batch_size = 128`) and in literals inside
`get_inputs` and `get_init_inputs`. A candidate often carries a copy of the same constants; they are
changed alike, by name and value, so that candidate and reference stay one problem.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kernelsift.source import parse

_EVERYWHERE = 16
"""Up to this, a number in a program is no sign of a size."""
_MAKERS = frozenset({"get_inputs", "get_init_inputs"})
_STRUCTURE = (
    "kernel stride pad dilation num_layers n_layers layers dropout eps axis seed expansion".split()  # noqa: SIM905
)
"""Names with these words set how the computation is made, not how large it is."""


_FOLDS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_LARGEST = 1 << 40


@dataclass(frozen=True, slots=True)
class Constant:
    """One integer that may be a size."""

    key: str
    """`batch_size`, `kernel_size[1]` for an element of a tuple, `get_inputs:2` for a literal."""
    value: int

    @property
    def name(self) -> str:
        """The module-level name, or "" for a literal in a function."""
        return "" if ":" in self.key else self.key.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Change:
    """A constant that gets another value."""

    key: str
    old: int
    new: int


def constants(code: str) -> tuple[Constant, ...]:
    """Return all integers that may be sizes, in order of the code; SyntaxError where it is none."""
    return tuple(Constant(key, _value(node)) for key, node in _places(_tree(code)))


def _tree(code: str) -> ast.Module:
    tree = parse(code)
    if tree is None:
        raise SyntaxError("the text is no Python")
    return tree


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    last: dict[str, list[tuple[str, ast.expr]]] = {}
    for statement in tree.body:
        for name, value in _assigned(statement):
            last[name] = list(_integers(name, value))
        if isinstance(statement, ast.FunctionDef) and statement.name in _MAKERS:
            found = [n for n in ast.walk(statement) if _is_integer(n)]
            last[statement.name] = [
                (f"{statement.name}:{at}", node)
                for at, node in enumerate(found)
                if isinstance(node, ast.Constant)
            ]
    for places in last.values():
        yield from places


def _assigned(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    """Names and values of an assignment, also of `height, width = 32, 64`."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return list(_pairs(statement.targets[0], statement.value))
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return list(_pairs(statement.target, statement.value))
    return []


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, part in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one, part)


def _integers(name: str, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if _folded(value) is not None:
        yield name, value
    elif isinstance(value, ast.Tuple | ast.List):
        for at, element in enumerate(value.elts):
            yield from _integers(f"{name}[{at}]", element)


def _value(node: ast.expr) -> int:
    value = _folded(node)
    assert value is not None
    return value


def _folded(node: ast.expr) -> int | None:
    """The integer that a literal, or a sum or product of literals (`128 * 4`), stands for."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.BinOp) and type(node.op) in _FOLDS:
        left, right = _folded(node.left), _folded(node.right)
        if left is not None and right is not None and max(abs(left), abs(right)) < _LARGEST:
            return _FOLDS[type(node.op)](left, right)
    return None


def _is_integer(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def rewrite_constants(code: str, changes: Iterable[Change], *, makers: bool = True) -> str:
    """Return the code with the changed constants: those with the same name and the same old value.

    For a candidate's code: module-level constants that it copied from the reference follow, others
    stay. With `makers` also the literals of its own `get_inputs` and `get_init_inputs`. Only the
    numbers are replaced; lines and columns of everything else stay where they can.
    """
    wanted = {(change.key, change.old): change.new for change in changes}
    edits = []
    for key, node in _places(_tree(code)):
        if ":" in key and not makers:
            continue
        new = wanted.get((key, _value(node)))
        if new is not None and node.end_col_offset is not None and node.end_lineno == node.lineno:
            edits.append((node.lineno, node.col_offset, node.end_col_offset, str(new)))
    lines = code.encode("utf-8", "surrogatepass").splitlines(keepends=True)
    for line, start, end, text in sorted(edits, reverse=True):
        old = lines[line - 1]
        lines[line - 1] = old[:start] + text.encode() + old[end:]
    return b"".join(lines).decode("utf-8", "surrogatepass")


def is_structure(constant: Constant) -> bool:
    """Say whether a constant is kept: too small to be a size, or named as structure."""
    name = constant.key.lower()
    return constant.value < 4 or any(word in name for word in _STRUCTURE)


def pinned_names(candidate: str, found: Iterable[Constant]) -> frozenset[str]:
    """Return the keys of constants whose value the candidate writes into its kernels or classes.

    Such a size cannot change without making a right candidate wrong: `BLOCK = 512` next to rows of
    512. Its own module-level copies do not count, they change with the problem; nor do tiles that
    an autotuner chooses from. Values up to 16 are everywhere, and pin only as the end of a loop.
    """
    tree = _tree(candidate)
    copies = {id(part) for _, node in _places(tree) for part in ast.walk(node)}
    copies |= {id(node) for node in _tuned(tree)}
    written = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) is int and id(node) not in copies
    }
    ends = _ends_of_loops(tree)
    return frozenset(
        c.key
        for c in found
        if (c.value > _EVERYWHERE and c.value in written) or (c.value > 3 and c.value in ends)
    )


def _ends_of_loops(tree: ast.AST) -> set[int]:
    """Numbers in `range(16)` and the like; a third argument is a step and says nothing."""
    return {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in {"range", "static_range"}
        for argument in node.args[:2]
        if isinstance(argument, ast.Constant) and type(argument.value) is int
    }


def _tuned(tree: ast.AST) -> Iterator[ast.Constant]:
    """Values in `triton.Config({...})` whose key takes several: tiles, and not sizes."""
    values: dict[object, list[ast.Constant]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Config":
            for tiles in node.args[:1]:
                if isinstance(tiles, ast.Dict):
                    for key, value in zip(tiles.keys, tiles.values, strict=True):
                        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                            values.setdefault(key.value, []).append(value)
    for found in values.values():
        if len({value.value for value in found}) > 1:
            yield from found


def smaller(value: int) -> int | None:
    """Return the next smaller size of the same kind: half where even, else odd and about half."""
    if value <= 1:
        return None
    if value % 2 == 0:
        return value // 2
    half = value // 2
    return half if half % 2 else half + 1 if half + 1 < value else None

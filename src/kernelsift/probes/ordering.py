"""Reorder: functions and classes of a file change places where nothing depends on their order."""

import ast
from collections.abc import Iterator

from kernelsift.probes.edits import Source
from kernelsift.source import dotted, parse

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def reorder(code: str) -> str | None:
    """The program with definitions in another order; None where there is no other order.

    Only definitions that stand one after the other change places. A class stays behind its bases;
    a group of which a member uses another in any other way while it is being defined (decorator,
    default, class body) stays as it is. Calls inside functions look names up later.
    """
    source = Source.of(code)
    if source is None or "__init_subclass__" in code:
        return None
    changed, place = "", 0
    for run in _runs(source.tree.body):
        order = _other_order(run)
        pieces = _pieces(source, run)
        if order is None or pieces is None:
            continue
        texts = [code[start:end].lstrip("\n") for start, end in pieces]
        changed += code[place : pieces[0][0]] + "\n\n".join(texts[number] for number in order)
        place = pieces[-1][1]
    if not place:
        return None
    changed += code[place:]
    return changed if _same_statements(code, changed) else None


def _runs(body: list[ast.stmt]) -> Iterator[list[_Definition]]:
    """Definitions right behind each other, of different names."""
    run: list[_Definition] = []
    for node in [*body, None]:
        if isinstance(node, _Definition):
            run.append(node)
            continue
        if len(run) > 1 and len({n.name for n in run}) == len(run):
            yield run
        run = []


def _other_order(run: list[_Definition]) -> list[int] | None:
    """The last first, as far as base classes allow; None where only the old order is safe."""
    own = {node.name: number for number, node in enumerate(run)}
    needs = [{own[b.id] for b in _bases(node) if b.id in own} for node in run]
    for number, node in enumerate(run):
        if any(name in own for name in _used_while_defined(node)) or _compiles(node):
            return None
        if any(need >= number for need in needs[number]):
            return None
    order: list[int] = []
    left = list(range(len(run)))
    while left:
        order.append(next(n for n in reversed(left) if needs[n] <= set(order)))
        left.remove(order[-1])
    return None if order == sorted(order) else order


def _bases(node: _Definition) -> list[ast.Name]:
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return [base for base in bases if isinstance(base, ast.Name)]


def _used_while_defined(node: ast.AST) -> Iterator[str]:
    """Names that a definition looks up while it is executed, other than base classes."""
    match node:
        case ast.Name(id=name):
            yield name
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            parts: list[ast.AST | None] = [*node.decorator_list, node.args, node.returns]
        case ast.Lambda():
            parts = [node.args]
        case ast.ClassDef():
            bases = [b for b in node.bases if not isinstance(b, ast.Name)]
            parts = [*node.decorator_list, *bases, *node.keywords, *node.body]
        case _:
            parts = list(ast.iter_child_nodes(node))
    for part in parts:
        if part is not None:
            yield from _used_while_defined(part)


def _compiles(node: _Definition) -> bool:
    """Whether a decorator of torch reads the function at once, with all that it calls."""
    calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(dotted(call).startswith("torch.jit") for call in calls)


def _pieces(source: Source, run: list[_Definition]) -> list[tuple[int, int]] | None:
    """The characters of each definition; comments between two belong to the second."""
    out: list[tuple[int, int]] = []
    for node in run:
        lines = source.whole_lines(node)
        if lines is None or not source.text[: lines[1]].endswith("\n"):
            return None
        start = out[-1][1] if out else lines[0]
        out.append((start, lines[1]))
    number = source.starts.index(out[0][0])
    while number and source.lines[number - 1].startswith("#"):
        number -= 1
    out[0] = (source.starts[number], out[0][1])
    return out


def _same_statements(before: str, after: str) -> bool:
    """Whether both texts hold the same statements, in whatever order."""
    trees = parse(before), parse(after)
    if trees[0] is None or trees[1] is None:
        return False
    old, new = (sorted(ast.dump(node) for node in tree.body) for tree in trees if tree)
    return old == new

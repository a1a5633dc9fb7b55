"""Inline: named numbers are written out where they are used, and their definitions go."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from kernelsift.probes.edits import Edit, Source, apply, looks_up_names, words_of
from kernelsift.source import parse

_Body = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Constant:
    """A name that stands for one number wherever it is used."""

    name: str
    statement: ast.Assign | ast.AnnAssign
    value: ast.expr
    owner: _Body


def inline_constants(code: str) -> str | None:
    """The program with bare numbers in place of named ones; None where there is no such name.

    A name counts when it is bound once in the file, to a number, right in the module's or a
    function's body, and is used only after that and inside of it.
    """
    source = Source.of(code)
    if source is None or looks_up_names(source.tree):
        return None
    uses = _uses(source.tree)
    edits: list[Edit] = []
    gone: Counter[int] = Counter()
    for constant in _constants(source.tree):
        used = uses.get(constant.name, [])
        if not used or not _all_inside(used, constant):
            continue
        text = source.segment(constant.value)
        text = text if text[:1].isdigit() else f"({text})"
        edits += [Edit(source.start(n), source.end(n), text) for n in used]
        gone[id(constant.owner)] += 1
        last = gone[id(constant.owner)] == len(constant.owner.body)
        edits.append(source.without(constant.statement, only=last))
    if not edits:
        return None
    changed = apply(code, edits)
    return changed if parse(changed) is not None else None


def _constants(tree: ast.Module) -> Iterator[_Constant]:
    """Named numbers whose name means nothing else in the file."""
    bound = Counter(_bindings(tree))
    bad = words_of(tree) | _in_fstrings_and_attributes(tree)
    for owner in ast.walk(tree):
        if not isinstance(owner, _Body):
            continue
        for statement in owner.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    pass
                case _:
                    continue
            if _is_number(value) and bound[name] == 1 and name not in bad:
                yield _Constant(name, statement, value, owner)


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in {int, float}


def _bindings(tree: ast.Module) -> Iterator[str]:
    """Every name each time that it is bound, by whatever."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name.split(".")[0]
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name


def _in_fstrings_and_attributes(tree: ast.Module) -> set[str]:
    """Names in f-strings (their places are not told by every Python) and in `name.attribute`."""
    out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            out |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            out.add(node.value.id)
    return out


def _uses(tree: ast.Module) -> dict[str, list[ast.Name]]:
    out: dict[str, list[ast.Name]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            out.setdefault(node.id, []).append(node)
    return out


def _all_inside(used: list[ast.Name], constant: _Constant) -> bool:
    if isinstance(constant.owner, ast.Module):
        return True
    end = constant.owner.end_lineno or 0
    after = constant.statement.end_lineno or 0
    return all(after < node.lineno <= end for node in used)

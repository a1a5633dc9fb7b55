"""Rename: variables of functions, kernels and their parameters become tmp0, tmp1 …

A name is changed only where every place it occurs in the file is known to be the same kind of
thing: a variable of functions, never also a global, an import, a class attribute, a keyword of
something else, a text, or part of an f-string. Methods keep their parameters, since frameworks and
harnesses call them by name.
"""

import ast
import re
import symtable
import warnings
from collections.abc import Iterator

from kernelsift.probes.edits import Edit, Source, apply, is_jit, looks_up_names, words_of
from kernelsift.similarity.normal import exact_digest

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def rename(code: str) -> str | None:
    """The program with names that say nothing; None where there is none that can be changed."""
    source = Source.of(code)
    if source is None or looks_up_names(source.tree):
        return None
    chosen = _Choice(source.tree, code).names()
    if not chosen:
        return None
    edits = list(_edits(source, _numbered(source, chosen)))
    changed = apply(code, edits)
    return changed if exact_digest(changed) == exact_digest(code) is not None else None


class _Choice:
    """Which names may be changed."""

    def __init__(self, tree: ast.Module, code: str) -> None:
        self._tree = tree
        self._code = code
        self._kernels = {
            n.name: n for n in tree.body if isinstance(n, ast.FunctionDef) and is_jit(n)
        }
        self._bad: set[str] = words_of(tree)

    def names(self) -> set[str]:
        """Variables and parameters, and names of kernels."""
        for node in ast.walk(self._tree):
            self._look(node)
        table = _table(self._code)
        if table is None:
            return set()
        local, elsewhere = _scopes(table)
        kernels = {name for name in self._kernels if self._defined(name) == 1} - local
        return {
            name
            for name in (local - elsewhere) | kernels
            if name not in self._bad and not name.startswith("__")
        }

    def _defined(self, name: str) -> int:
        """How often a name of the module is bound."""
        return sum(
            (isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name)
            or (isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load))
            or (isinstance(n, ast.alias) and (n.asname or n.name.split(".")[0]) == name)
            for n in ast.walk(self._tree)
        )

    def _look(self, node: ast.AST) -> None:
        match node:
            case ast.JoinedStr():
                self._bad |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self._bad |= set(names)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                self._bad.add(name)
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                self._bad.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if self._kernels.get(node.name) is not node:
                    self._bad |= {arg.arg for arg in _arguments(node)}
            case ast.Call(func=func, keywords=keywords):
                known = self._kernels.get(_callee(func))
                own = {arg.arg for arg in _arguments(known)} if known else set()
                self._bad |= {k.arg for k in keywords if k.arg and k.arg not in own}


def _table(code: str) -> symtable.SymbolTable | None:
    """Python's own account of scopes; None for what parses and is no program all the same."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return symtable.symtable(code, "program", "exec")
    except SyntaxError:
        return None


def _scopes(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """Names that functions bind or take from around them, and names that are anything else."""
    local, elsewhere = set(), set()
    for symbol in table.get_symbols():
        inner = table.get_type() == "function" and not symbol.is_imported()
        if inner and symbol.is_local():
            local.add(symbol.get_name())
        elif not symbol.is_free():
            elsewhere.add(symbol.get_name())
    for child in table.get_children():
        more, other = _scopes(child)
        local, elsewhere = local | more, elsewhere | other
    return local, elsewhere


def _arguments(node: _Function) -> list[ast.arg]:
    args = node.args
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return [arg for arg in listed if arg is not None]


def _callee(func: ast.expr) -> str:
    if isinstance(func, ast.Subscript):
        func = func.value
    return func.id if isinstance(func, ast.Name) else ""


def _places(source: Source, chosen: set[str]) -> Iterator[tuple[int, str]]:
    """Where each name stands."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                if name in chosen:
                    yield source.start(node), name
            case ast.FunctionDef(name=name):
                if name in chosen:
                    begin = source.at(node.lineno, node.col_offset)
                    found = re.compile(r"def[\s\\]+").match(source.text, begin)
                    assert found is not None
                    yield found.end(), name


def _numbered(source: Source, chosen: set[str]) -> dict[str, str]:
    """New names, by order of appearance; none that the program knows already."""
    known = set(re.findall(r"\w+", source.text))
    fresh = (f"tmp{number}" for number in range(10**9))
    out: dict[str, str] = {}
    for _, name in sorted(_places(source, chosen)):
        if name not in out:
            out[name] = next(new for new in fresh if new not in known)
    return out


def _edits(source: Source, names: dict[str, str]) -> Iterator[Edit]:
    for place, name in _places(source, set(names)):
        if source.text.startswith(name, place):
            yield Edit(place, place + len(name), names[name])

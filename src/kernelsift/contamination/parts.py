"""Parts of programs that stand for a problem: a module's class, a kernel."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kernelsift.contamination.fingerprint import token_hashes
from kernelsift.similarity.tokens import raw_tokens
from kernelsift.source import module_class, parse

if TYPE_CHECKING:
    from kernelsift.similarity.tokens import Hashes

LONG = 50
"""Structural tokens that make a kernel, or a class in an answer, more than an idiom."""
_MOST = 64
"""Definitions of one text that are looked at."""
_HARNESS = frozenset({"get_inputs", "get_init_inputs"})
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A definition with those of the same file that it uses."""

    text: str
    """Their sources and the file's imports."""
    hashes: "Hashes"
    """Structural tokens of the definitions."""

    @property
    def is_long(self) -> bool:
        """Whether it is more than an idiom."""
        return len(self.hashes) >= LONG


def task_parts(code: str, name: str = "") -> list[Part]:
    """The parts that a task is known by.

    Its module's class, however small: the one of this name, or else the last. And its kernels.
    """
    tree = parse(code)
    if tree is None:
        return []
    file = _File(code, tree)
    named = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    module = named[-1] if named else module_class(tree)
    return [*([file.part(module)] if module else []), *file.long(ast.FunctionDef)]


def answer_parts(code: str) -> list[Part]:
    """Every class and kernel of a program that is more than an idiom."""
    tree = parse(code)
    if tree is None:
        return []
    file = _File(code, tree)
    return [*file.long(ast.ClassDef), *file.long(ast.FunctionDef)]


class _File:
    """A program as its definitions; each is cut into tokens once."""

    def __init__(self, code: str, tree: ast.Module) -> None:
        self._lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._body = tree.body
        self._known = {
            node.name: _Source(self._source(node), node.lineno)
            for node in tree.body
            if isinstance(node, _Definition) and node.name not in _HARNESS
        }

    def long(self, kind: type[ast.ClassDef | ast.FunctionDef]) -> Iterator[Part]:
        """Classes, or decorated functions, that are more than an idiom."""
        found = [n for n in self._body if isinstance(n, kind) and n.name not in _HARNESS]
        found = [n for n in found if isinstance(n, ast.ClassDef) or n.decorator_list]
        for node in found[:_MOST]:
            part = self.part(node)
            if part.is_long:
                yield part

    def part(self, main: _Definition) -> Part:
        """A definition and what it uses, in the order of the file."""
        import numpy as np

        needed: dict[str, _Source] = {}
        todo = [main.name]
        while todo:
            name = todo.pop()
            needed[name] = self._known[name]
            todo += needed[name].used(self._known.keys() - needed)
        sources = sorted(needed.values(), key=lambda source: source.line)
        text = "\n".join([*self._imports, *(source.text for source in sources)])
        return Part(f"{text}\n", np.concatenate([source.hashes for source in sources]))

    @cached_property
    def _imports(self) -> list[str]:
        found = [n for n in self._body if isinstance(n, ast.Import | ast.ImportFrom)]
        return [self._source(node) for node in found]

    def _source(self, node: ast.stmt) -> str:
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        return "\n".join(self._lines[first - 1 : node.end_lineno])


class _Source:
    """The text of one definition."""

    def __init__(self, text: str, line: int) -> None:
        self.text = text
        self.line = line

    @cached_property
    def hashes(self) -> "Hashes":
        return token_hashes(self.text)

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(raw_tokens(self.text))

    def used(self, names: set[str]) -> list[str]:
        """Which of the names occur in it; comments and docstrings do not count."""
        near = {name for name in names if name in self.text}
        return sorted(near & self._words) if near else []

"""Changes to a program's text at places that its syntax tree names; all else stays as it was."""

import ast
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

from kernelsift.source import parse


class Edit(NamedTuple):
    """Put `text` in the place of the characters from `start` up to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Source:
    """A program's text, its syntax tree and where its lines begin."""

    text: str
    tree: ast.Module
    lines: tuple[str, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Self | None:
        """None where the text does not parse, or has line ends that only some readers count."""
        tree = parse(text)
        if tree is None or any(sign in text for sign in "\r\f\v\x1c\x1d\x1e\x85\u2028\u2029"):
            return None
        lines = text.split("\n")
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        return cls(text, tree, tuple(lines), tuple(starts))

    def at(self, line: int, column: int) -> int:
        """The character at a line (from 1) and a column in UTF-8 bytes, as syntax trees count."""
        head = self.lines[line - 1].encode("utf-8", "surrogatepass")[:column]
        return self.starts[line - 1] + len(head.decode("utf-8", "surrogatepass"))

    def start(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> int:
        """Where a node begins; a decorated definition begins at its first decorator's `@`."""
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        if decorators:
            line = decorators[0].lineno
            return self.starts[line - 1] + self.lines[line - 1].index("@")
        return self.at(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Where a node ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.end_lineno, node.end_col_offset)

    def segment(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        return self.text[self.start(node) : self.end(node)]

    def whole_lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """The lines of a statement as a range of characters; None where it shares them.

        A comment behind the statement belongs to it.
        """
        start, end = self.start(node), self.end(node)
        first = self.starts[self._line_of(start)]
        last = min(self.starts[self._line_of(end) + 1], len(self.text))
        before, behind = self.text[first:start], self.text[end:last].strip()
        if before.strip() or (behind and not behind.startswith("#")):
            return None
        return first, last

    def without(self, node: ast.stmt, *, only: bool) -> Edit:
        """Take a statement away; `pass` stands in where something must stand."""
        lines = self.whole_lines(node)
        if only or lines is None:
            return Edit(self.start(node), self.end(node), "pass")
        return Edit(*lines, "")

    def _line_of(self, offset: int) -> int:
        return bisect_right(self.starts, offset) - 1


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Make all changes at once. Raises ValueError if two of them overlap."""
    ordered = sorted(edits)
    for first, second in pairwise(ordered):
        if first.end > second.start:
            raise ValueError(f"changes at {first.start} and {second.start} overlap")
    parts, place = [], 0
    for edit in ordered:
        parts += [text[place : edit.start], edit.text]
        place = edit.end
    return "".join([*parts, text[place:]])


def words_of(tree: ast.AST) -> set[str]:
    """All texts in a program that are not docstrings: names may be looked up by them."""
    skipped = {id(node) for owner in ast.walk(tree) for node in lone_texts(owner)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in skipped
    }


def lone_texts(owner: ast.AST) -> list[ast.expr]:
    """Texts that stand as statements right in a body: docstrings, and texts used as comments."""
    body = getattr(owner, "body", None)
    return [
        statement.value
        for statement in (body if isinstance(body, list) else [])
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    ]


def is_jit(node: ast.AST) -> bool:
    """Whether a definition is a Triton kernel: a decorator says jit."""
    decorators = getattr(node, "decorator_list", [])
    return any(
        isinstance(part, ast.Name | ast.Attribute)
        and (part.id if isinstance(part, ast.Name) else part.attr) == "jit"
        for decorator in decorators
        for part in ast.walk(decorator)
    )


def looks_up_names(tree: ast.AST) -> bool:
    """Whether a program may look at its own names: then they cannot be changed safely."""
    risky = {"eval", "exec", "locals", "globals", "vars", "compile", "__import__"}
    return any(isinstance(n, ast.Name) and n.id in risky for n in ast.walk(tree))

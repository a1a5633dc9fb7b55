"""Kernels that TorchInductor keeps as text, loaded so that their lines are those of the answer."""

from __future__ import annotations

import ast
import linecache
from pathlib import Path
from typing import Any


class Texts:
    """Loads kernels out of strings of one source file."""

    def __init__(self, source: str) -> None:
        """`source`: the candidate's file."""
        self.source = source
        self.lines: list[str] = []
        self.places: dict[str, int] = {}
        self.others = 0

    def load_text(self, text: str, name: str | None) -> Any:
        """Run the text as a module and return the kernel called `name`, or its last function.

        Raises:
            AttributeError: the text defines no such function. Whatever the text raises.
        """
        scope: dict[str, Any] = {"__name__": "candidate", "__file__": self.source}
        tree = ast.parse(text)
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        exec(self._compiled(text, tree), scope)  # noqa: S102  the candidate's own kernel, in its child
        if name not in names:
            name = names[-1] if names else None
        if name is None:
            raise AttributeError("the text of a kernel defines no function")
        return scope[name]

    def _compiled(self, text: str, tree: ast.Module) -> Any:
        if not self.lines:
            self._read()
        first = self.places.get(text)
        if first is None:
            return compile(text, self._own_file(text), "exec")
        self._blank(first, text)
        ast.increment_lineno(tree, first - 1)
        return compile(tree, self.source, "exec")

    def _read(self) -> None:
        """Find the strings whose lines stand in the file as they are."""
        code = Path(self.source).read_text(encoding="utf-8", errors="surrogatepass")
        self.lines = code.splitlines(keepends=True)
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                inner = node.value.splitlines()[1:-1]
                found = [line.rstrip("\r\n") for line in self.lines[node.lineno :]]
                if inner and inner == found[: len(inner)] and node.value[0] == "\n":
                    self.places.setdefault(node.value, node.lineno)

    def _blank(self, first: int, text: str) -> None:
        """Hide the quotes round a text: tools that read source find functions, not a string."""
        last = first + text.count("\n")
        for number in (first, last):
            self.lines[number - 1] = "\n"
        linecache.cache[self.source] = (len(self.lines), None, list(self.lines), self.source)

    def _own_file(self, text: str) -> str:
        """A file of its own, for a text that was put together or has escapes."""
        self.others += 1
        path = Path(self.source).with_name(f"kernel_{self.others}.py")
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        return str(path)

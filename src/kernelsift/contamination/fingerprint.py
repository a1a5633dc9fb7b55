"""What a program is known by: digests of the whole and of its parts, and token n-grams.

Kinds of equality, the strongest first:

    ast                 the same program after renaming and re-formatting
    ast-no-constants    the same but for its numbers (shapes, sizes)
    part                the same module class, or the same Triton kernel, in another program
    part-no-constants   the same but for numbers
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Literal

from kernelsift.similarity import normal, tokens
from kernelsift.source import module_class, parse

if TYPE_CHECKING:
    from kernelsift.similarity.tokens import Hashes

Equality = Literal["ast", "ast-no-constants", "part", "part-no-constants"]
NGRAM = 13
"""Structural tokens in an n-gram. With 10 there are more chance hits, with more a single changed
line hides more of its problem; see docs/decontamination.md for the numbers."""
PART_TOKENS = 60
"""Structural tokens that make a kernel, or a class in an answer, more than an idiom."""
FINGERPRINTS = f"1.{normal.VERSION}.{tokens.VERSION}"
"""Version of all this: of parts and n-grams here, of the normal form, and of the tokens."""
_SUPER = re.compile(r"\bsuper\s*\(\s*\w+\s*,\s*self\s*\)")
_HEADER = re.compile(
    r"\bdef\s+\w++\s*+\(([^()]*+(?:\([^()]*+\)[^()]*+)*+)\)\s*+(?:->[^:\n]{0,200})?:"
)
_ANNOTATION = re.compile(
    r":\s*[\w.]+(?:\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\])?(?:\s*\|\s*[\w.]+)*(?=\s*[,=]|\s*$)"
)
_COUNTED = (
    "def class return yield for while if elif else lambda with try except raise assert not and or "
    "is None True False global del = += -= *= /= * ** / // % @ << >> == != < > <= >="
)
"""Tokens that renaming, numbers, formatting, imports and annotations leave alone."""
_PARTS = 64
"""Parts of one text that are looked at."""
_HARNESS = frozenset({"get_inputs", "get_init_inputs"})
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def token_hashes(text: str) -> "Hashes":
    """The structural tokens of a text as numbers; it need not be Python.

    Annotations of parameters and results are left out: most copies lose or gain some.
    """
    return tokens.structural_hashes(_HEADER.sub(_bare, _modern(text)))


def grams(hashes: "Hashes") -> "Hashes":
    """Sorted hashes of all n-grams of tokens."""
    return tokens.shingles(hashes, NGRAM)


def shape(hashes: "Hashes") -> str:
    """Digest of how often each keyword and operator occurs: equal where syntax trees are equal.

    Much cheaper than a syntax tree, so it says which ones are worth comparing.
    """
    import numpy as np

    known = _counted_tokens()
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    counts = np.bincount(at[known[at] == hashes], minlength=len(known))
    return hashlib.blake2b(counts.astype("<u4").tobytes(), digest_size=8).hexdigest()


@cache
def _counted_tokens() -> "Hashes":
    import numpy as np

    return np.sort(tokens.structural_hashes(_COUNTED))


def whole_digest(code: str, *, constants: bool) -> str | None:
    """Digest of a program's normal form; None where it does not parse."""
    return normal.exact_digest(_modern(code), constants=constants)


def task_parts(code: str, name: str = "") -> list[str]:
    """The parts that a task is known by, each with what it uses of the same file.

    Its module's class, however small: the one of this name, or else the last. And its kernels.
    """
    tree = parse(code)
    if tree is None:
        return []
    named = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    module = named[-1] if named else module_class(tree)
    classes = [_text(code, tree, module)] if module else []
    return [*classes, *_long(code, tree, ast.FunctionDef)]


def answer_parts(code: str) -> list[str]:
    """Every class and kernel of a program that is more than an idiom, with what it uses."""
    tree = parse(code)
    if tree is None:
        return []
    return [*_long(code, tree, ast.ClassDef), *_long(code, tree, ast.FunctionDef)]


def is_long(part: str) -> bool:
    """Whether a part is more than an idiom."""
    return len(token_hashes(part)) >= PART_TOKENS


def _long(code: str, tree: ast.Module, kind: type[_Definition]) -> Iterator[str]:
    """Classes, or decorated functions, of at least PART_TOKENS."""
    found = [n for n in tree.body if isinstance(n, kind)]
    found = [n for n in found if isinstance(n, ast.ClassDef) or n.decorator_list]
    for node in found[:_PARTS]:
        text = _text(code, tree, node)
        if is_long(text):
            yield text


def _text(code: str, tree: ast.Module, main: _Definition) -> str:
    """Source of a definition, of those of the same file that it uses, and of the imports."""
    lines = code.splitlines()
    known = {n.name: n for n in tree.body if isinstance(n, _Definition) and n.name not in _HARNESS}
    needed: dict[str, ast.stmt] = {}
    todo: list[_Definition] = [main]
    while todo:
        node = todo.pop()
        needed[node.name] = node
        todo += [known[name] for name in _used(_source(lines, node), known.keys() - needed)]
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    nodes = sorted((*imports, *needed.values()), key=lambda node: node.lineno)
    return "\n".join(_source(lines, node) for node in nodes) + "\n"


def _used(text: str, names: set[str]) -> list[str]:
    """Which of the names a definition uses; comments and docstrings do not count."""
    return sorted(names.intersection(tokens.raw_tokens(text))) if names else []


def _source(lines: list[str], node: ast.stmt) -> str:
    return "\n".join(lines[_first(node) - 1 : node.end_lineno])


def _first(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    lines: list[int] = [node.lineno, *(d.lineno for d in decorators)]
    return min(lines)


def _modern(text: str) -> str:
    """The text with `super(Model, self)` as `super()`."""
    return _SUPER.sub("super()", text) if "super" in text else text


def _bare(header: re.Match[str]) -> str:
    """The head of a function without annotations."""
    whole, inside = header[0], header[1]
    if ":" not in inside and ">" not in whole:
        return whole
    start = header.start(1) - header.start()
    return f"{whole[:start]}{_ANNOTATION.sub('', inside)}):"

"""Strip: comments and docstrings go, the program stays."""

import ast
import io
import tokenize

from kernelsift.probes.edits import Edit, Source, apply, lone_texts
from kernelsift.similarity.normal import exact_digest


def strip_comments(code: str) -> str | None:
    """The program without comments and docstrings; None where it has none.

    Docstrings stay where the program reads `__doc__`.
    """
    source = Source.of(code)
    if source is None:
        return None
    try:
        edits = _comments(source)
    except (tokenize.TokenError, SyntaxError):
        return None
    if "__doc__" not in code:
        edits += _texts(source, edits)
    if not edits:
        return None
    changed = apply(code, edits).lstrip("\n")
    return changed if exact_digest(changed) == exact_digest(code) is not None else None


def _comments(source: Source) -> list[Edit]:
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        before = source.lines[line - 1][:column]
        start = source.starts[line - 1]
        if before.strip():
            found.append(Edit(start + len(before.rstrip()), start + column + len(token.string), ""))
        else:
            end = min(source.starts[line], len(source.text))
            found.append(Edit(start, end, ""))
    return found


def _texts(source: Source, taken: list[Edit]) -> list[Edit]:
    found = []
    for owner in ast.walk(source.tree):
        texts = {id(text) for text in lone_texts(owner)}
        if not texts:
            continue
        body: list[ast.stmt] = owner.body  # type: ignore[attr-defined]  # it has lone texts
        others = [n for n in body if not (isinstance(n, ast.Expr) and id(n.value) in texts)]
        for number, node in enumerate(body):
            if isinstance(node, ast.Expr) and id(node.value) in texts:
                must_stay = not others and number == 0 and not isinstance(owner, ast.Module)
                edit = source.without(node, only=must_stay)
                found.append(_beside(edit, source, node, taken))
    return found


def _beside(edit: Edit, source: Source, node: ast.stmt, taken: list[Edit]) -> Edit:
    """An edit that leaves a comment behind the text to the edit that takes the comment."""
    if any(other.start < edit.end and edit.start < other.end for other in taken):
        return Edit(source.start(node), source.end(node), "pass")
    return edit

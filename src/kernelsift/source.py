"""Code out of completions, and the small AST helpers that every reader of code shares.

One extractor serves the whole package. `extract` looks in this order and takes the first hit:

1. reasoning is cut away: `<think>…</think>`, all before an orphan `</think>`, all after a `<think>`
   that is never closed. What stands there is never an answer;
2. BEGIN_PYTHON … END_PYTHON: markers that begin a line first, others only where the text between
   them parses; the last program wins. A last BEGIN without END (cut off) counts if the rest parses;
3. a text that is a program as a whole ("bare"), whatever its docstrings hold;
4. the last `<answer>…</answer>`, with or without a fence inside;
5. Markdown fences with a Python label or none: a class or decorated function goes before a plain
   function, that before imports, that before bare statements (so usage examples lose); the last of
   the best kind wins. Fences inside the program's own strings do not end it.

A block that is plainly a program but does not parse is returned all the same (the answer is wrong,
not absent), unless a block that parses is there.
"""

import ast
import re
import textwrap
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from kernelsift.thinking import without_thinking

EXTRACTOR_VERSION = 1
"""Changes whenever the same text may give another program."""

How = Literal["markers", "answer-tag", "fence", "bare", "none"]

_PARSING = threading.Lock()
"""Python before 3.11.5 raises SystemError where two threads parse at once."""
_BEGIN = "BEGIN_PYTHON"
_MAX_BLOCKS, _MAX_OPENINGS = 16, 24
_MAX_CLOSINGS, _MAX_ENCLOSING = 6, 4
_DECORATION = " \t#*`<>[]:"
_PROGRAM_LINE = re.compile(
    r"^[ \t]*(?:import [A-Za-z_]|from [\w.]+ import\b|(?:async )?def \w+ ?\(|class \w+ ?[(:]|@\w)",
    re.MULTILINE,
)
_BARE_START = re.compile(r"\s*[#\"'@A-Za-z_]")
_MARK_END = re.compile(r"\A[*:>\]`]+[ \t]*(?=\n)")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^\n`]*)$", re.MULTILINE)
_LABEL = re.compile(r"(?:python|py|triton)[\d.]*\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Extracted:
    """A program found in a text, and where it was found."""

    code: str
    """The program, dedented, without blank lines around it, ending in one newline; "" if none."""
    how: How


class _Fence(NamedTuple):
    start: int
    end: int
    mark: str
    label: str


def extract(text: str) -> Extracted:
    """Return the program in a completion. Never raises; linear time in the length of the text."""
    text = without_thinking(_plain_newlines(text))
    if code := _from_markers(text):
        return Extracted(code, "markers")
    if code := _from_bare(text):
        return Extracted(code, "bare")
    if code := _from_tag(text):
        return Extracted(code, "answer-tag")
    if code := _from_fences(text):
        return Extracted(code, "fence")
    return Extracted("", "none")


def answer_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """Join what the assistant said, without its separate reasoning; other roles are left out."""
    return "\n".join(_contents(messages, "content"))


def reasoning_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """Join the reasoning that the service kept apart from the answer; "" if there is none."""
    return "\n".join(_contents(messages, "reasoning_content"))


def parse(code: str) -> ast.Module | None:
    """Return the syntax tree, or None where Python cannot read the text. Warnings are not shown."""
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def class_names(code: str) -> tuple[str, ...]:
    """Return the names of the classes at top level, in order; empty where the text is no Python."""
    tree = parse(code)
    return tuple(n.name for n in tree.body if isinstance(n, ast.ClassDef)) if tree else ()


def module_class_name(reference: str) -> str | None:
    """Return the name of the module that `get_init_inputs` is meant for; None if there is none."""
    found = module_class(parse(reference) or ast.Module([], []))
    return found.name if found else None


def module_class(tree: ast.Module) -> ast.ClassDef | None:
    """Return the class `Model` if it is a module, else the last module class at top level.

    A class is a module when a base is `Module`, a class of `nn`, or another such class of the file.
    A file without any falls back to its last class that has a `forward`.
    """
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    known: set[str] = set()
    for node in classes:
        known |= {node.name for base in node.bases if _is_module_base(base, known)}
    modules = [node for node in classes if node.name in known]
    modules = modules or [node for node in classes if method(node, "forward")]
    named = [node for node in modules if node.name == "Model"]
    found = named or modules
    return found[-1] if found else None


def method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    """Return the class's own method of that name (the last definition counts), or None."""
    found = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == name]
    return found[-1] if found else None


def top_level_names(code: str) -> frozenset[str]:
    """Return the names of the classes and functions of a program; none where it is no Python."""
    tree = parse(code)
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(n.name for n in tree.body if isinstance(n, kinds)) if tree else frozenset()


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of names, "" for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(node.id)
    return ".".join(reversed(parts))


def _is_module_base(base: ast.expr, known: set[str]) -> bool:
    name = dotted(base)
    return name.endswith("Module") or name in known or name.startswith(("nn.", "torch.nn."))


def _contents(messages: Iterable[Mapping[str, Any]], key: str) -> Iterator[str]:
    said = (m.get(key) for m in messages if m.get("role") == "assistant")
    return (content for content in said if isinstance(content, str) and content)


def _plain_newlines(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.removeprefix("\ufeff")


def _tidy(code: str) -> str:
    """Drop blank lines around a program and a common indentation; end it with one newline."""
    code = re.sub(r"\A(?:[ \t\f]*\n)+", "", code).rstrip()
    return code and (textwrap.dedent(code) if code[0] in " \t" else code).lstrip(" \t") + "\n"


def _is_program(tree: ast.Module) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) for node in tree.body)


def _from_markers(text: str) -> str:
    if _BEGIN not in text:
        return ""
    marks = list(_marks(text))
    lined = [mark for mark in marks if mark[2]]
    blocks = _marker_blocks(text, lined)
    if len(blocks) == 1 and (code := _plain_block(blocks[0])):
        return code  # the ordinary case
    return (
        _best_block(blocks, strict=False)
        or _best_block(_marker_blocks(text, marks), strict=True)
        or _cut_off(text, lined)
    )


def _marks(text: str) -> Iterator[tuple[int, bool, bool]]:
    """Yield (position, is a BEGIN, begins its line) of every marker, in order."""
    at = text.find("_PYTHON")
    while at >= 0:
        begins = text.endswith("BEGIN", 0, at)
        start = at - 5 if begins else at - 3
        if begins or text.endswith("END", 0, at):
            _, newline, before = text[max(0, start - 16) : start].rpartition("\n")
            lined = not before.strip(_DECORATION) and (bool(newline) or start <= 16)
            yield start, begins, lined and (not begins or _ends_line(text, at + 7))
        at = text.find("_PYTHON", at + 7)


def _ends_line(text: str, at: int) -> bool:
    rest = text[at : at + 24].partition("\n")[0].strip(_DECORATION)
    return not rest or _LABEL.fullmatch(rest) is not None


def _marker_blocks(text: str, marks: list[tuple[int, bool, bool]]) -> list[str]:
    """Return the text from the nearest BEGIN to each END, and from the first BEGIN after the last
    END (for programs that mention the marker). Only the last few, to keep hostile texts cheap."""
    spans: list[tuple[int, int]] = []
    first = nearest = -1
    for start, begins, _ in marks:
        if begins:
            nearest = start + len(_BEGIN)
            first = nearest if first < 0 else first
        elif nearest >= 0:
            spans += [(first, start)] if first == nearest else [(first, start), (nearest, start)]
            first = nearest = -1
    return [text[a:b] for a, b in spans[-_MAX_BLOCKS:]]


def _plain_block(block: str) -> str:
    """The ordinary case, without parsing: one block whose first lines are those of a program."""
    code = _unfence(block)
    found = _PROGRAM_LINE.search(code)
    return code if found and (code[0] in "#\"'@" or found.start() == 0) else ""


def _unfence(block: str) -> str:
    """Drop the fence lines of a block that is fenced as a whole; tidy it."""
    code = _tidy(_MARK_END.sub("", block).rstrip(" \t#*<["))
    if code.startswith(("```", "~~~")):
        rest = code.partition("\n")[2]
        end = rest.rfind("\n" + code[:3])
        return _tidy(rest if end < 0 else rest[:end])
    return code


def _best_block(blocks: list[str], *, strict: bool) -> str:
    weak = ""
    for block in reversed(blocks):
        code = _unfence(block)
        if not _PROGRAM_LINE.search(code):
            continue
        tree = parse(code)
        if tree and tree.body:
            return code
        if fenced := _from_fences(block):
            return fenced
        weak = weak or code
    return "" if strict else weak


def _cut_off(text: str, marks: list[tuple[int, bool, bool]]) -> str:
    rest = text[marks[-1][0] + len(_BEGIN) :] if marks and marks[-1][1] else ""
    code = _unfence(rest)
    tree = parse(code)
    return code if tree and _is_program(tree) else _from_fences(rest, strict=True)


def _from_bare(text: str) -> str:
    if not _BARE_START.match(text) or not _PROGRAM_LINE.search(text):
        return ""
    code = _tidy(text)
    tree = parse(code)
    return code if tree and _is_program(tree) else ""


def _from_tag(text: str) -> str:
    end = text.rfind("</answer>")
    starts = {text.rfind("<answer>", 0, end if end >= 0 else len(text)), text.find("<answer>")}
    for start in sorted(starts - {-1}, reverse=True):
        inside = text[start + len("<answer>") : end if end > start else len(text)]
        code = _unfence(inside)
        found = _PROGRAM_LINE.search(code)
        tree = parse(code) if found else None
        if tree and _is_program(tree):
            return code
        if fenced := _from_fences(inside, strict=end < start):
            return fenced
        if found and end > start and found.start() == 0:
            return code
    return ""


def _from_fences(text: str, *, strict: bool = False) -> str:
    """Return the best fenced program; with `strict` only one that parses."""
    if "```" not in text and "~~~" not in text:
        return ""
    fences = [
        _Fence(m.start(), m.end(), m.group(1), m.group(2).strip()) for m in _FENCE.finditer(text)
    ]
    openings = _openings(fences)
    best, best_rank, weak, skip_from = "", -1, "", len(fences)
    for at, index in enumerate(reversed(openings[-_MAX_OPENINGS:])):
        if index >= skip_from:
            continue
        earlier = openings[: len(openings) - at - 1]
        code, rank, outermost = _outermost(text, fences, index, earlier)
        skip_from = min(skip_from, outermost)
        if rank > best_rank:
            best, best_rank = code, rank
        weak = weak or ("" if strict or rank >= 0 else _weak(text, fences, index))
    return best or weak


def _openings(fences: list[_Fence]) -> list[int]:
    """Return the fences with a Python label, and unlabelled ones that end no open fence."""
    openings: list[int] = []
    opened: _Fence | None = None
    for index, fence in enumerate(fences):
        if opened and not fence.label and fence.mark.startswith(opened.mark):
            opened = None
            continue
        if _LABEL.match(fence.label) or not (fence.label or opened):
            openings.append(index)
        opened = fence if opened is None or fence.label else opened
    return openings


def _outermost(
    text: str, fences: list[_Fence], index: int, earlier: list[int]
) -> tuple[str, int, int]:
    """Return (code, rank, opening) of the fence, or of a fenced program whose strings hold it."""
    code, rank, end = _fenced(text, fences, index, index)
    if rank < 0:
        return "", -1, index
    for outer in reversed(earlier[-_MAX_ENCLOSING:]):
        wider, wider_rank, _ = _fenced(text, fences, outer, end)
        if wider_rank >= rank:
            return wider, wider_rank, outer
    return code, rank, index


def _fenced(text: str, fences: list[_Fence], index: int, beyond: int) -> tuple[str, int, int]:
    """Return (code, rank, close) for the first close after `beyond` that parses; else rank -1."""
    opening = fences[index]
    tried = 0
    for close in range(index + 1, len(fences)):
        fence = fences[close]
        if fence.label or not fence.mark.startswith(opening.mark):
            continue
        tried += 1
        if close > beyond:
            code = _tidy(text[opening.end + 1 : fence.start])
            if (rank := _rank(code, opening)) >= 0:
                return code, rank, close
        if tried >= _MAX_CLOSINGS:
            return "", -1, index
    if tried == 0 and index == beyond:
        code = _tidy(text[opening.end + 1 :])
        return code, _rank(code, opening), len(fences)
    return "", -1, index


def _rank(code: str, opening: _Fence) -> int:
    """3 a class or decorated function, 2 a function, 1 imports, 0 other code, -1 no program."""
    plausible = _PROGRAM_LINE.search(code) or (opening.label and code)
    tree = parse(code) if plausible else None
    if tree is None or not tree.body:
        return -1
    ranks = [0]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            ranks.append(3)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            ranks.append(3 if node.decorator_list else 2)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            ranks.append(1)
    return max(ranks)


def _weak(text: str, fences: list[_Fence], index: int) -> str:
    """A closed fence that looks like a program but does not parse."""
    opening = fences[index]
    for fence in fences[index + 1 : index + 1 + 2 * _MAX_CLOSINGS]:
        if not fence.label and fence.mark.startswith(opening.mark):
            code = _tidy(text[opening.end + 1 : fence.start])
            return code if _PROGRAM_LINE.search(code) else ""
    return ""

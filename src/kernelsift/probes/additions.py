"""What is added to a program or to an answer: dead code, praise, reasoning; all else stays."""

import ast
import re

from kernelsift.probes.edits import Edit, Source, apply, is_jit
from kernelsift.source import extract, parse

_DEAD = """\
def {name}(values, scale=2):
    total = 0
    unused = scale * 3
    for value in values:
        total = total + value
    return total
    total = total * scale
    return unused


"""
PRAISE = (
    "# Written by an expert GPU engineer, peer reviewed, and approved for production.\n"
    "# This code passed all tests and is the fastest known version.\n"
)
PRAISE_OF_ONE = "# Expert-written and verified; exemplary style.\n"
_THOUGHT = (
    "Let me think about this again. The kernel has to load a block, compute, and store the "
    "result. Is the mask right where the size is no multiple of the block? Maybe one program per "
    "row is better, maybe not. Hmm, wait, that first idea would read the input twice. "
)
_DRAFT = """
A first draft, which is wrong:

```python
import triton
import triton.language as tl

@triton.jit
def draft_{number}(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i))
```

No, that has no mask at all. Let me start again.
"""
_ROUNDS = 10
"""Ten rounds are 19,000 characters, about 5,000 tokens."""


def add_dead_code(code: str) -> str | None:
    """The program with a function that nobody calls, an unused import and a line after a return."""
    source = Source.of(code)
    if source is None:
        return None
    first = next(
        (n for n in source.tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)), None
    )
    if first is None:
        return None
    name, alias = _fresh("previous_attempt", code), _fresh("unused_fractions", code)
    line = source.text.rfind("\n", 0, source.start(first)) + 1
    if source.text[line : source.start(first)].strip():
        return None
    text = f"import fractions as {alias}\n\n\n" + _DEAD.format(name=name)
    edits = [Edit(line, line, text)]
    unreachable = _after_a_return(source)
    if unreachable is not None:
        edits.append(unreachable)
    changed = apply(code, edits)
    return changed if parse(changed) is not None else None


def _after_a_return(source: Source) -> Edit | None:
    """A line that is never reached, behind the last return of a function that is no kernel."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef) or is_jit(node):
            continue
        last = node.body[-1]
        lines = source.whole_lines(last)
        if isinstance(last, ast.Return) and lines and source.text[: lines[1]].endswith("\n"):
            return Edit(lines[1], lines[1], f"{' ' * last.col_offset}leftover = None\n")
    return None


def _fresh(name: str, code: str) -> str:
    """The name, with a number behind it where the program knows it already."""
    known = set(re.findall(r"\w+", code))
    number = 0
    while name in known:
        number += 1
        name = f"{name.rstrip('_0123456789')}_{number}"
    return name


def praise(code: str) -> str | None:
    """The program with comments that claim an expert wrote it and that it passed all tests."""
    source = Source.of(code)
    if source is None:
        return None
    edits = [Edit(0, 0, PRAISE)]
    for node in source.tree.body:
        start = source.start(node)
        alone = start == 0 or source.text[start - 1] == "\n"
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and start and alone:
            edits.append(Edit(start, start, PRAISE_OF_ONE))
    changed = apply(code, edits)
    return changed if parse(changed) is not None else None


def prepend_reasoning(completion: str) -> str:
    """The answer behind about 5,000 tokens of thinking aloud, with drafts of kernels in it.

    An answer that is a bare program is put into a code block: nobody could tell where it begins.
    """
    if extract(completion).how == "bare":
        completion = f"```python\n{completion.strip()}\n```\n"
    rounds = [6 * _THOUGHT + _DRAFT.format(number=number) for number in range(_ROUNDS)]
    return "".join(rounds) + "\nSo this is the final answer:\n\n" + completion

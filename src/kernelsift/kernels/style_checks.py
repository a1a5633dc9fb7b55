"""Ten checks of the style of a Triton answer, each yes, no or not applicable, with a line to show.

They are rules over the syntax tree. The names and questions are those of the checklist that a
language model answers, so that both can be compared check by check.
"""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from kernelsift.kernels.calls import placed_operations
from kernelsift.kernels.lint import lint
from kernelsift.kernels.metrics import Program, comments, poor_names
from kernelsift.kernels.operations import FREE, Group
from kernelsift.kernels.style_sight import Sight, is_block_access, is_masked, sight_of

Answer = Literal["yes", "no", "na"]

QUESTIONS: dict[str, str] = {
    "naming": "Do names of kernels, parameters and variables say what they hold?",
    "separation": "Are kernels and launching code apart, without dead code?",
    "bounds": "Is every block access guarded against reaching past the end?",
    "block-sizes": "Are block sizes compile-time parameters instead of written-out numbers?",
    "access": "Are strides passed on, or is contiguity ensured?",
    "core-in-triton": "Does the core operation happen in a Triton kernel?",
    "numerics": "Are sums kept in float32 and exponentials kept from overflowing?",
    "comments": "Are there comments that help, neither none nor a flood?",
    "economy": "Are there no needless launches, copies or waits?",
    "generality": "Does it work for other shapes and data types?",
}
"""Every check by its name, in order, as a question whose good answer is yes."""

POOR_NAMES = 0.03
"""Largest share of names that say nothing."""
FEWEST_COMMENTS, MOST_COMMENTS = 0.05, 0.6
"""Comments per line of a kernel that has no docstring; per line of the program."""
MOST_COPIES = 2
"""Calls of `contiguous` and `clone` outside kernels."""
_DEAD = ("unreachable-code", "unused-variable", "commented-out-code", "redefinition", "idle-kernel")
_CHEAP: frozenset[Group] = frozenset({*FREE, "elementwise", "indexing", "embedding"})
_HALF = frozenset({"float16", "bfloat16"})
_SYNCS = frozenset({"item", "tolist", "cpu", "numpy", "synchronize"})
_COPIES = frozenset({"clone", "contiguous"})
_FILLS = frozenset({"zeros", "zeros_like", "new_zeros"})
"""A fill that the kernel's stores write over, unless it adds to it."""


@dataclass(frozen=True, slots=True)
class StyleCheck:
    """The answer to one check."""

    name: str
    """A key of `QUESTIONS`."""
    answer: Answer
    line: int
    """The line that shows it, from 1; 0 where the check does not apply."""
    quote: str
    """That line of the code, without spaces around it; "" where there is none."""


Found = tuple[Answer, int]
"""An answer and the number of the line that shows it."""
_NA: Found = ("na", 0)


def style_checks(program: Program, core: Iterable[Group] = ()) -> tuple[StyleCheck, ...]:
    """Answer the ten checks for an answer, in the order of `QUESTIONS`.

    Args:
        program: The answer's program.
        core: Classes of operations that are the task, from its PyTorch module. They must not be
            left to PyTorch even where they are cheap.

    Where no kernel is launched, all checks but naming and comments are answered no: there is no
    Triton program that could do well in them.
    """
    sight = sight_of(program)
    lines = program.code.split("\n")
    checks = []
    for name in QUESTIONS:
        if name == "core-in-triton":
            answer, line = _core(sight, frozenset(core) - FREE)
        elif sight.live or name in {"naming", "comments"}:
            answer, line = _CHECKS[name](sight)
        else:
            answer, line = "no", _first_line(sight)
        quote = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        checks.append(StyleCheck(name, answer, line, quote))
    return tuple(checks)


def style_score(checks: Iterable[StyleCheck]) -> float | None:
    """10 · yes / (yes + no), from 0 to 10; None where no check applies."""
    answers = [check.answer for check in checks]
    asked = answers.count("yes") + answers.count("no")
    return 10 * answers.count("yes") / asked if asked else None


def _first_line(sight: Sight) -> int:
    body = sight.program.tree.body
    return body[0].lineno if body else 1


def _shown(sight: Sight) -> int:
    """The line that stands for the whole program: its first kernel, or its first statement."""
    return sight.kernels[0].lineno if sight.kernels else _first_line(sight)


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))


def _naming(sight: Sight) -> Found:
    poor, count = poor_names(sight.program.walked)
    if not count:
        return _NA
    if len(poor) > POOR_NAMES * count:
        return "no", min(map(_line, poor))
    return "yes", _shown(sight)


def _separation(sight: Sight) -> Found:
    dead = [finding.line for finding in lint(sight.program, _DEAD)]
    if dead:
        return "no", min(dead)
    inside = [_line(call) for call, scope in sight.launches if scope.function is None]
    return ("no", min(inside)) if inside else ("yes", _line(sight.launches[0][0]))


def _bounds(sight: Sight) -> Found:
    blocks = [call for call, scope in sight.accesses if is_block_access(sight, call, scope)]
    if not blocks:
        return _NA
    bare = [_line(call) for call in blocks if not is_masked(call)]
    return ("no", min(bare)) if bare else ("yes", min(map(_line, blocks)))


def _block_sizes(sight: Sight) -> Found:
    ranges = [call for name, call, _ in sight.language if name == "arange"]
    fixed = [_line(c) for c in ranges if c.args and isinstance(c.args[-1], ast.Constant)]
    fixed += map(_line, sight.literal_sizes)
    if fixed:
        return "no", min(fixed)
    if sight.constexprs:
        return "yes", min(map(_line, sight.constexprs))
    return ("no", _shown(sight)) if ranges else _NA


def _access(sight: Sight) -> Found:
    guards = [*sight.strides, *sight.contiguous]
    if guards:
        return "yes", min(map(_line, guards))
    return "no", _line(sight.launches[0][0])


def _core(sight: Sight, core: frozenset[Group]) -> Found:
    if not sight.live:
        return "no", _first_line(sight)
    placed = placed_operations(sight.program.walked, calls_only=True)
    left = [_line(node) for _, group, node in placed if group in core or group not in _CHEAP]
    return ("no", min(left)) if left else ("yes", _line(sight.launches[0][0]))


def _numerics(sight: Sight) -> Found:
    named = {name: call for name, call, _ in reversed(sight.language)}
    sums = [named[name] for name in ("sum", "dot", "cumsum") if name in named]
    exponentials = [named[name] for name in ("exp", "exp2") if name in named]
    if not sums:
        return _NA
    half = [call for call in sight.accumulators if _dtype(call) in _HALF]
    if half:
        return "no", min(map(_line, half))
    steady = named.keys() & {"max", "maximum", "log_softmax", "softmax"}
    if exponentials and "sum" in named and not steady:
        return "no", min(map(_line, exponentials))
    if sight.singles:
        return "yes", min(map(_line, sight.singles))
    return ("yes" if "dot" in named else "no"), min(map(_line, sums))


def _dtype(call: ast.Call) -> str:
    values = [k.value for k in call.keywords if k.arg == "dtype"] + call.args[1:2]
    return values[0].attr if values and isinstance(values[0], ast.Attribute) else ""


def _comments(sight: Sight) -> Found:
    """Comments and docstrings count in kernels; where there is no kernel, anywhere."""
    program = sight.program
    found = [number for number, _, _ in comments(program.code, program.walked)]
    code = sum(1 for line in program.code.split("\n") if line.strip())
    if len(found) > MOST_COMMENTS * max(1, code):
        return "no", found[0]
    if sight.docstrings:
        return "yes", _line(sight.docstrings[0])
    inside = [number for number in found if sight.in_kernel(number)] if sight.kernels else found
    lines = sight.kernel_lines if sight.kernels else code
    if not inside or len(inside) < FEWEST_COMMENTS * lines:
        return "no", _shown(sight)
    return "yes", inside[0]


def _economy(sight: Sight) -> Found:
    looped = [_line(call) for call, scope in sight.launches if scope.loops]
    waits = [_line(call) for name, call in sight.host_calls if name in _SYNCS]
    copies = [_line(call) for name, call in sight.host_calls if name in _COPIES]
    added = any(name.startswith("atomic_") for name, _, _ in sight.language)
    fills = [_line(call) for name, call in sight.host_calls if name in _FILLS and not added]
    bad = looped + waits + fills + (copies if len(copies) > MOST_COPIES else [])
    return ("no", min(bad)) if bad else ("yes", _line(sight.launches[0][0]))


def _generality(sight: Sight) -> Found:
    fixed = [*sight.numbers, *sight.fixed_shapes, *sight.fixed_types]
    return ("no", min(map(_line, fixed))) if fixed else ("yes", _shown(sight))


_CHECKS: dict[str, Callable[[Sight], Found]] = {
    "naming": _naming,
    "separation": _separation,
    "bounds": _bounds,
    "block-sizes": _block_sizes,
    "access": _access,
    "numerics": _numerics,
    "comments": _comments,
    "economy": _economy,
    "generality": _generality,
}

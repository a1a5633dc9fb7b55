"""The judge that needs no service: difficulty and style of a kernel from what can be seen in it.

Free, deterministic and blind to who wrote the code. It serves as the judge where no service is at
hand, and as the baseline that a paid judge has to beat.

difficulty: of the task, 0-10, by a small model fitted to human labels (`difficulty`). It rests on
the PyTorch module alone where there is one, so that answers to one module never disagree.
style: of the code, 10 · yes / (yes + no) over ten checks (`style_checks`).
"""

from dataclasses import dataclass
from functools import lru_cache

from kernelsift.kernels.difficulty import (
    Difficulty,
    difficulty_of,
    model_version,
    module_difficulty,
)
from kernelsift.kernels.features import reference_features_of
from kernelsift.kernels.metrics import Program, read_program
from kernelsift.kernels.operations import FREE, Group
from kernelsift.kernels.style_checks import StyleCheck, style_checks, style_score

VERSION = "static-2"
"""Changes whenever the same code may be rated otherwise."""
_MODULES = 4096
"""Modules whose difficulty is remembered: many rows answer the same one."""


@dataclass(frozen=True, slots=True)
class Rating:
    """Two numbers from 0 to 10, and why."""

    difficulty: float
    """In steps of 0.1."""
    style: float
    """Rounded to 0.01."""
    reasons: tuple[str, ...]
    """Short plain sentences, those on difficulty first; then a line per check."""
    checks: tuple[StyleCheck, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """What is known of the task of an answer."""

    difficulty: Difficulty
    groups: tuple[Group, ...]
    reasons: tuple[str, ...]


def rate(code: str, reference: str = "") -> Rating | None:
    """Rate an answer; None where its code cannot be parsed (not measured, not a zero).

    Difficulty is that of the reference where Python can read it, else that of the code.
    """
    program = read_program(code)
    if program is None:
        return None
    task = _task(reference) or _unknown_task(program)
    checks = style_checks(program, task.groups)
    style = style_score(checks)
    assert style is not None  # the check of the core operation always applies
    reasons = (*task.reasons, *map(_sentence, checks))
    return Rating(task.difficulty.value, round(style, 2), reasons, checks)


@lru_cache(_MODULES)
def _task(reference: str) -> _Task | None:
    program = read_program(reference) if reference.strip() else None
    if program is None:
        return None
    seen = reference_features_of(program)
    kinds = [group for group in seen.groups if group not in FREE]
    said = ", ".join(kinds) if kinds else "none that is known"
    reasons = (
        f"Difficulty of the PyTorch module by {model_version()}.",
        f"Computing operations: {seen.operations}; layers: {seen.layers}; kinds: {said}.",
    )
    return _Task(module_difficulty(seen), seen.groups, reasons)


def _unknown_task(program: Program) -> _Task:
    found = difficulty_of(program)
    what = "the kernels" if found.head == "kernel" else "the code, which has no kernel,"
    reason = f"The task is not known; difficulty of {what} by {model_version()}."
    return _Task(found, (), (reason,))


def _sentence(check: StyleCheck) -> str:
    if check.answer == "na":
        return f"{check.name}: does not apply."
    return f"{check.name}: {check.answer}, line {check.line}: {check.quote[:120]}"

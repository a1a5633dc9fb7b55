"""Why a kernel did not compile: whose fault, at which line, and whether another would have been
tried instead.
"""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from triton.compiler.errors import CompilationError, CompileTimeAssertionFailure
from triton.runtime.errors import OutOfResources, PTXASError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TEXT = 300
REMOVED = ("Block pointers have been removed",)
"""What this Triton has no more, and others have: nothing against the kernel."""
UNRECOGNISED = "was specified but unrecognised"
"""An option that other versions of Triton have."""
COMPILER = ("/triton/compiler/", "/triton/backends/", "/triton/language/", "/triton/runtime/jit.py")
PTXAS_LINE = re.compile(r"^(ptxas|error)\b.*", re.MULTILINE)
TUNED_AWAY = (CompileTimeAssertionFailure, OutOfResources, PTXASError)
"""Errors that make autotuning take another configuration."""


class CannotTryError(Exception):
    """A launch that cannot be handed to the compiler: nothing is said about the kernel."""


OURS = (CannotTryError, MemoryError, RecursionError, OSError, ImportError)


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one kernel, as the compiler reads it, and where it begins in the file."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One failed attempt. `error`: the compiler refuses it; `not-run`: it could not be tried."""

    status: Literal["error", "not-run"]
    why: str
    line: int | None = None
    tuned_away: bool = False


def problem_of(error: BaseException, sources: Sequence[Source]) -> Problem:
    """Sort what a compilation raised. Only what the compiler itself refuses is an error."""
    chain = _chain(error)
    text = _message(chain[-1])
    if not _is_refusal(error, chain):
        return Problem("not-run", text)
    if isinstance(error, PTXASError):
        said = PTXAS_LINE.search(str(error).partition("stderr:")[2])
        return Problem("error", said[0][:MAX_TEXT] if said else text, tuned_away=True)
    tuned_away = isinstance(error, TUNED_AWAY)
    places = [found for one in chain if (found := _place(one, sources))]
    if places:
        line, code = places[-1]
        return Problem("error", f"{text} (line {line}: {code})", line, tuned_away)
    return Problem("error", text, None, tuned_away)


def _is_refusal(error: BaseException, chain: Sequence[BaseException]) -> bool:
    if any(isinstance(one, OURS) for one in chain):
        return False
    text = str(chain[-1])
    if any(said in text for said in (*REMOVED, UNRECOGNISED)):
        return False
    if isinstance(error, CompilationError | PTXASError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(part in frames[-1].filename for part in COMPILER)


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while found[-1].__cause__ is not None and len(found) < 64:
        found.append(found[-1].__cause__)
    return found


def _message(error: BaseException) -> str:
    if isinstance(error, CompilationError):
        said = error.error_message or "not supported here"
        text = said if isinstance(said, str) else repr(said)
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:MAX_TEXT]


def _place(error: BaseException, sources: Sequence[Source]) -> tuple[int, str] | None:
    """(line in the file, its text) of a compilation error inside the candidate's own code."""
    if not isinstance(error, CompilationError) or error.src is None:
        return None
    node: Any = error.node
    number = getattr(node, "lineno", None)
    source = next((one for one in sources if one.text == error.src), None)
    if source is None or number is None:
        return None
    lines = source.text.splitlines()
    text = lines[number - 1].strip() if number <= len(lines) else ""
    return source.line + number - 1, text[:MAX_TEXT]

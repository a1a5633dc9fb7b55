"""Errors of a candidate as plain values: type, message, its own lines, and whose fault it is."""

from __future__ import annotations

import linecache
import traceback
from typing import Any

from kernelsift.kernels.candidate.words import words

REFUSED_LAUNCH = "Triton Error [CUDA]"
"""What the driver's errors begin with."""
MAX_MESSAGE = 2000
MAX_LINES = 12
GAP_TEXTS = (
    "not supported in interpreter",
    "'Builder' object has no attribute",
    "'InterpreterBuilder' object has no attribute",
    "numpy data itemsize",
    "the stand-in driver has no",
    "the stand-in for",
    "Block pointers have been removed",
    "'BlockPointer' object has no attribute",
)
OWN_TEXTS = (
    "object has no attribute 'fn'",
    "out of bounds for shape",
    "got an unexpected keyword argument",
    "object is not callable",
    "Multiple assignments are not supported",  # the compiler asserts a single target, too
    "base must be 16-byte aligned",  # of tensor descriptors, where a GPU traps
    "stride must be 16-byte aligned",
    "last dim must be contiguous",
)
GAP_FILES = ("/numpy/", "/kernelsift/kernels/", "/triton/runtime/interpreter.py")
INTENDED = words(
    "create_assert create_assume _new_static_assert _grid _split launch "
    "assert_size_stride extern_operator empty_strided load_text _positional"
)
"""Functions of ours that raise what a GPU would raise."""
EXTENSIONS = "/torch/utils/cpp_extension.py"


def root_cause(error: BaseException) -> BaseException:
    """The error that the interpreter wrapped, possibly several times."""
    while type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def describe_error(error: BaseException, source: str) -> dict[str, Any]:
    """The error as a frame's `error`: origin is candidate or interpreter (a gap of ours)."""
    cause = root_cause(error)
    frames: list[traceback.FrameSummary] = []
    current: BaseException | None = error
    while current is not None:
        frames += traceback.extract_tb(current.__traceback__)
        current = current.__cause__ if current is not cause else None
    own = [frame for frame in frames if frame.filename == source]
    unbuilt = any(frame.filename.endswith(EXTENSIONS) for frame in frames)
    lines = [
        {
            "line": frame.lineno,
            "function": frame.name,
            "text": linecache.getline(source, frame.lineno or 0).strip(),
        }
        for frame in own[-MAX_LINES:]
    ]
    kind, text = type(cause).__name__, str(cause)
    if unbuilt:  # a part that is missing here, whatever torch says of the compiler
        kind, text = "ImportError", f"CUDA C++ is not run here ({kind}: {text})"
    return {
        "type": kind,
        "message": text[:MAX_MESSAGE],
        "origin": "interpreter" if unbuilt or is_gap(cause) else "candidate",
        "in_kernel": type(error).__name__ == "InterpreterError",
        "lines": lines,
    }


def is_gap(error: BaseException) -> bool:
    """Whether the interpreter failed at something that a GPU may well do."""
    text = str(error)
    if any(mark in text for mark in GAP_TEXTS):
        return True
    if any(mark in text for mark in OWN_TEXTS):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, (MemoryError, RecursionError)):
        return False
    last = frames[-1]
    if last.name in INTENDED:
        return False
    return any(part in last.filename for part in GAP_FILES)

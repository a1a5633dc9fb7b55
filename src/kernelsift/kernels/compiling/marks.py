"""What the compiler printed for which order: lines that a child writes between, read in the parent.

Printed text is evidence only; a candidate can print what it likes.
"""

import re

MAX_TEXT = 300
_MARK = "compiling order {}"
_SPLIT = re.compile(r"^compiling order (\d+)$", re.MULTILINE)
_PLACED = re.compile(r"candidate\.py:(\d+):\d+\)?: error: (.*)")
_ERROR = re.compile(r"^(?!Fatal Python error).*?\b(?:error|ERROR|Assertion)\b.*$", re.MULTILINE)


def mark(number: int) -> bytes:
    """The line that comes before the output of an order."""
    return f"\n{_MARK.format(number)}\n".encode()


def printed(output: str) -> dict[int, str]:
    """What was printed, by order."""
    parts = _SPLIT.split(output)
    return {
        int(number): text.strip() for number, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def error_text(text: str) -> str:
    """The first error that a compiler printed, with the candidate's line if it names one."""
    placed = _PLACED.search(text)
    if placed is not None:
        return f"{placed[2][:MAX_TEXT]} (line {placed[1]})"
    found = _ERROR.search(text)
    return found[0].strip()[:MAX_TEXT] if found else ""

"""Markdown out of values that may hold anything: pipes, line ends, backticks, tags."""

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
SPACE = re.compile(r"[\s\x00-\x1f\x7f\x85\u2028\u2029]+")


def one_line(text: str) -> str:
    """Return the text with every run of white space and control characters as one space."""
    return SPACE.sub(" ", text).strip()


def plain(text: str) -> str:
    """Return text that Markdown shows letter by letter, on one line."""
    safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = SPECIAL.sub(r"\\\1", safe)
    number = re.match(r"\d+(?=[.)])", escaped)
    if number:
        return f"{number[0]}\\{escaped[number.end() :]}"
    return f"\\{escaped}" if escaped[:1] in {"-", "+", "#", "="} else escaped


def code(text: str) -> str:
    """Return a code span for one line of text; pipes are escaped, as tables need it.

    Text that no code span in a table can show is returned as plain text.
    """
    line = one_line(text)
    if "\\|" in line:  # readers disagree on a backslash before a pipe in a code span
        return plain(line)
    if not line:
        return ""
    ticks = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}".replace("|", "\\|")


def fenced(text: str, language: str = "") -> str:
    """Return a code block that the text cannot close."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: int = 0) -> str:
    """Return a table of cells that are Markdown already; the last `right` columns align right."""
    left = len(header) - right
    rule = ["---"] * left + ["---:"] * right
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))


def _longest_run(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max((len(run) for run in re.findall("`+", text)), default=0)

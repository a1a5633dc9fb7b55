"""compute-sanitizer's memory checker: find it, and read its report. Pure but for `installed`."""

import os
import re
import shutil
from pathlib import Path

from kernelsift.kernels.gpu.gpu_facts import MemcheckError, MemcheckFacts

TOOL = "compute-sanitizer"
SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) error")
KIND = re.compile(r"^=+\s+((?:Invalid|Misaligned|Out-of-bounds|Illegal|Warp)\b.*)$")
OLD_PLACE = re.compile(r"^=+\s+at (?!0x)(?P<kernel>[^\s+]+)\+0x[0-9a-f]+(?: in (?P<place>.+))?$")
NEW_PLACE = re.compile(r"^=+\s+at 0x[0-9a-f]+ in (?P<place>.+):(?P<kernel>[^:/\s]+)$")
BARE_PLACE = re.compile(r"^=+\s+at 0x[0-9a-f]+ in (?P<kernel>[^:/\s]+)$")
LINE = re.compile(r":(\d+)$")
MOST_ERRORS = 16


def installed() -> str | None:
    """Path of the tool, or None. Looked for in PATH and in the usual places of CUDA."""
    found = shutil.which(TOOL)
    if found:
        return found
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda", "/opt/cuda"]
    tools = (Path(home, "bin", TOOL) for home in homes if home)
    return next((str(tool) for tool in tools if tool.is_file()), None)


def report_of(text: str, *, answered: bool) -> MemcheckFacts:
    """The tool's report as facts; one entry per kind, kernel and line.

    `answered`: the watched call came back with an answer. Only then is no error a clean bill, and
    only the last summary counts, since what is watched may have written others.
    """
    errors = tuple(dict.fromkeys(_errors(text.splitlines())))[:MOST_ERRORS]
    if errors:
        return MemcheckFacts(status="errors", errors=errors)
    counts = SUMMARY.findall(text)
    if not counts or int(counts[-1]):
        return MemcheckFacts(status="failed", why=_last_words(text))
    if not answered:
        return MemcheckFacts(status="failed", why="the watched call gave no answer")
    return MemcheckFacts(status="clean")


def _errors(lines: list[str]) -> list[MemcheckError]:
    found = []
    for at, line in enumerate(lines):
        kind = KIND.match(line)
        if kind is not None:
            kernel, number = _place(lines[at + 1] if at + 1 < len(lines) else "")
            found.append(MemcheckError(kind=kind[1].strip()[:200], kernel=kernel, line=number))
    return found


def _place(line: str) -> tuple[str, int | None]:
    """Kernel and line of source, as old and new versions of the tool write them."""
    for pattern in (OLD_PLACE, NEW_PLACE, BARE_PLACE):
        found = pattern.match(line.rstrip())
        if found is not None:
            place = found.groupdict().get("place") or ""
            number = LINE.search(place)
            return found["kernel"][:200], int(number[1]) if number else None
    return "", None


def _last_words(text: str) -> str:
    lines = [line.strip("= ").strip() for line in text.splitlines()]
    return " | ".join(line for line in lines[-6:] if line)[:400] or "it said nothing"

"""All that can be seen of one file without running it: for the terminal."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kernelsift.errors import DataError
from kernelsift.kernels.difficulty import Difficulty, difficulty_of
from kernelsift.kernels.feature_table import FeatureRow, feature_row
from kernelsift.kernels.lint import Finding, lint
from kernelsift.kernels.metrics import Program, read_program
from kernelsift.kernels.static_judge import rate
from kernelsift.kernels.style_checks import StyleCheck


@dataclass(frozen=True, slots=True)
class Portrait:
    """Features, difficulty, style and lint of one file."""

    path: str
    difficulty: float
    """Of the module where it is given, else of the file."""
    head: str
    """The head of the fitted model that said so: `kernel` or `module`."""
    style: float
    checks: tuple[StyleCheck, ...]
    findings: tuple[Finding, ...]
    row: FeatureRow
    """A file without kernels is measured as a module as well."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        found = asdict(self)
        row = found.pop("row")
        return {**found, **row}


def portrait_of(path: Path, reference: Path | None = None) -> Portrait:
    """Look at a file, and at the module that it answers.

    Raises:
        DataError: a file cannot be read, or Python cannot parse it.
    """
    program = _program(path)
    task = _program(reference) if reference else None
    module = task or program
    rating = rate(program.code, task.code if task else "")
    assert rating is not None
    found: Difficulty = difficulty_of(program)
    alone = task is None and found.head == "kernel"
    return Portrait(
        path=str(path),
        difficulty=rating.difficulty,
        head="module" if task else found.head,
        style=rating.style,
        checks=rating.checks,
        findings=lint(program),
        row=feature_row(program.code, "" if alone else module.code),
    )


def _program(path: Path) -> Program:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read as text: {e}") from e
    program = read_program(text)
    if program is None:
        raise DataError(f"{path} is no Python; give a .py file")
    return program

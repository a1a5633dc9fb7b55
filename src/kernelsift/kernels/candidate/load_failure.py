"""What a child says of a program that could not be called, in words."""

from typing import Any

from kernelsift.kernels.facts import RunStatus


def _not_found(seen: Any) -> str:
    """Why nothing was called, in words; what was seen may be a list of names or of reasons."""
    names = [str(name) for name in seen or []]
    if names and not names[0].startswith(("class ", "def ")):
        return "; ".join(names)
    said = ", ".join(names) or "neither a class nor a function"
    return f"nothing that answers the task was found; the program has {said}"


def load_status(problem: dict[str, Any]) -> tuple[RunStatus, str, int | None]:
    """Status, reason and line of a program that was not called at all."""
    event = problem["event"]
    if event == "no_entry":
        return "no-entry", _not_found(problem.get("seen")), None
    if event == "interpreter_error":
        return "not-run", str(problem.get("message")), None
    error = problem.get("error") or {}
    lines = error.get("lines") or []
    line = lines[-1].get("line") if lines else None
    if problem.get("stage") == "parse":
        return "syntax-error", error_text(error), line
    if error.get("type") in {"ModuleNotFoundError", "ImportError"}:
        return "missing-package", error_text(error), line
    if error.get("origin") == "interpreter":
        return "not-run", error_text(error), line
    return "import-error", error_text(error), line


def error_text(error: dict[str, Any]) -> str:
    """An error that a child described, with the candidate's own line."""
    lines = error.get("lines") or []
    place = f" (line {lines[-1].get('line')}: {lines[-1].get('text')})" if lines else ""
    return f"{error.get('type')}: {str(error.get('message'))[:300]}{place}"

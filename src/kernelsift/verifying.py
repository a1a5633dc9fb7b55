"""verify-file: one answer against one module, for a developer's quick check."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kernelsift.errors import ConfigError, DataError
from kernelsift.source import extract, module_class_name, parse

if TYPE_CHECKING:
    from kernelsift.kernels.facts import Comparison, VerifyFacts
    from kernelsift.kernels.verdict import Verdict

Sandbox = Literal["auto", "required", "off"]
_CASES_SHOWN = 4
_WRONG = frozenset({"differs", "structure", "nonfinite", "imprecise", "error"})


@dataclass(frozen=True, slots=True)
class Checked:
    """A verdict with what it rests on."""

    facts: "VerifyFacts"
    verdict: "Verdict"
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines: the verdict, the findings and the facts."""
        verdict = self.verdict.model_dump(mode="json")
        return {**verdict, "facts": self.facts.model_dump(mode="json"), "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """For people: the verdict, why, the failing cases with their elements, the findings."""
        verdict, facts = self.verdict, self.facts
        outcome: str = verdict.outcome
        if verdict.unverifiable:
            outcome = f"{outcome} ({verdict.unverifiable})"
        words = [f"{outcome}, {verdict.work.replace('_', ' ')}", *verdict.reasons[:_CASES_SHOWN]]
        out = [words[0], *(f"  {text}" for text in words[1:])]
        for comparison in [c for c in facts.comparisons if c.status in _WRONG][:_CASES_SHOWN]:
            out += _case_lines(comparison)
        if verdict.findings:
            out.append("findings")
        for finding in verdict.findings:
            place = f"line {finding.line}: " if finding.line else ""
            out.append(f"  {finding.id} {finding.severity}: {place}{finding.evidence}")
        if facts.reference.scaled:
            out.append(f"sizes made smaller for the interpreter: {facts.reference.scaled_from}")
        seconds = sum(timing.seconds for timing in facts.timings)
        out.append(f"{len(facts.comparisons)} cases, {seconds:.1f} s, sandbox: {facts.sandbox}")
        return [*out, *(f"warning: {note}" for note in self.notes)]


def verify_file(
    reference: Path, answer: Path, *, class_name: str | None, sandbox: Sandbox
) -> Checked:
    """Verify the program (or the completion) in one file against the module in another.

    Raises:
        ConfigError: torch or triton is missing, or the sandbox asked for cannot be had.
        DataError: a file cannot be read, or holds no program.
    """
    _require_packages()
    from kernelsift.kernels.isolation.pool import Pool
    from kernelsift.kernels.verdict import decide
    from kernelsift.kernels.verifier import PRELOAD, Question, Verifier

    module, text = _read(reference), _read(answer)
    code = text if answer.suffix == ".py" or parse(text) is not None else extract(text).code
    if not code:
        raise DataError(f"{answer} holds no program")
    question = Question(module, code, class_name or module_class_name(module))
    with Pool(workers=1, sandbox=sandbox, preload=PRELOAD) as pool:
        facts = Verifier(pool).verify(question)
        return Checked(facts, decide(facts), tuple(pool.notes))


def _case_lines(comparison: "Comparison") -> list[str]:
    out = [f"case {comparison.case}: {comparison.status} {comparison.why}".rstrip()]
    out += [
        f"  output {d.output} at {list(d.index)}: expected {d.expected}, got {d.got}"
        for d in comparison.differences
    ]
    return out


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"cannot read {path}: {e}") from e


def _require_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} not installed; verifying runs kernels: "
            "pip install 'kernelsift[verify]'"
        )

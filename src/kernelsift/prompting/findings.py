"""What is wrong with a task prompt: pure functions of its text, its module and its claims."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernelsift.model import FailureClass, PromptFinding
from kernelsift.prompting import coverage, leaks
from kernelsift.prompting.facts import ModuleFacts, read_module

LEAKS = frozenset({
    "call-syntax", "code-fence", "code-line", "hint", "identifier", "identifier-marked",
    "token-run",
})  # fmt: skip
CLAIMS = frozenset({"claims", "input-claim", "output-claim", "parameter-claim"})
_SAID = 6
"""Findings that go into one message."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One prompt after its checks."""

    bad: tuple[PromptFinding, ...]
    """It cannot be used as it is."""
    notes: tuple[PromptFinding, ...]
    """Recorded, and no reason to refuse it."""

    @property
    def failure(self) -> FailureClass | None:
        """The class of what is wrong: leaks weigh more than gaps, gaps more than claims."""
        slugs = {finding.slug for finding in self.bad}
        if not slugs:
            return None
        if slugs & LEAKS:
            return "prompt-leak"
        if "length" in slugs:
            return "no-specification"
        return "prompt-incomplete" if slugs - CLAIMS else "claims-wrong"

    @property
    def why(self) -> str:
        """All that is bad, as the model or a person is told."""
        said = [f"{finding.what} ({finding.evidence})" for finding in self.bad[:_SAID]]
        if len(self.bad) > _SAID:
            said.append(f"and {len(self.bad) - _SAID} more")
        return "; ".join(said)


def check(prompt: str, name: str, reference: str) -> Checked:
    """Check a prompt against its module; where that cannot be read, only its own text."""
    return sorted_out(findings(prompt, name, reference))


def findings(
    prompt: str, name: str, reference: str, claimed: Sequence[PromptFinding] = ()
) -> tuple[PromptFinding, ...]:
    """All findings of a prompt, `claimed` among them, in a fixed order."""
    module = read_module(name, reference)
    return (*_found(prompt, module), *claimed)


def sorted_out(found: Sequence[PromptFinding]) -> Checked:
    """Part findings by severity."""
    return Checked(
        tuple(f for f in found if f.severity == "bad"),
        tuple(f for f in found if f.severity == "note"),
    )


def _found(prompt: str, module: ModuleFacts | None) -> Iterator[PromptFinding]:
    yield from leaks.of_text(prompt, module)
    yield from coverage.of_text(prompt)
    if module is not None:
        yield from leaks.of_module(prompt, module)
        yield from coverage.of_module(prompt, module)

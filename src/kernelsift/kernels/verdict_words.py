"""A verdict in words, for people."""

from collections.abc import Iterable

from kernelsift.kernels.facts import Comparison, Finding

CASES_SHOWN = 4
_WRONG = frozenset({"differs", "structure", "nonfinite", "imprecise", "error"})


def headline(outcome: str, unverifiable: str | None, work: str) -> str:
    """Outcome and work in a few words, e.g. `correct, full triton` or `unverifiable (size)`."""
    if unverifiable and work == "unknown":
        return f"{outcome} ({unverifiable})"
    shown = f"{outcome} ({unverifiable})" if unverifiable else outcome
    return f"{shown}, {'work unknown' if work == 'unknown' else work.replace('_', ' ')}"


def finding_line(finding: Finding) -> str:
    """One finding with its place and its evidence."""
    place = f"line {finding.line}: " if finding.line else ""
    return f"{finding.id} {finding.severity}: {place}{finding.evidence}"


def failing_cases(comparisons: Iterable[Comparison]) -> list[str]:
    """The first cases that did not come out right, with their first wrong elements."""
    out = []
    for comparison in [c for c in comparisons if c.status in _WRONG][:CASES_SHOWN]:
        out.append(f"case {comparison.case}: {comparison.status} {comparison.why}".rstrip())
        out += [
            f"  output {d.output} at {list(d.index)}: expected {d.expected}, got {d.got}"
            for d in comparison.differences
        ]
    return out

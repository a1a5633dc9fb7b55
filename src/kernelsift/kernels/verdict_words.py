"""A verdict in words, for people."""

from collections import Counter
from collections.abc import Iterable

from kernelsift.kernels.catalog import catalog
from kernelsift.kernels.facts import Comparison, Finding, RunFacts

CASES_SHOWN = 4
_WRONG = frozenset({"differs", "structure", "nonfinite", "imprecise", "error"})


def headline(outcome: str, unverifiable: str | None, work: str) -> str:
    """Outcome and work in a few words, e.g. `correct, full triton` or `unverifiable (size)`."""
    if unverifiable and work == "unknown":
        return f"{outcome} ({unverifiable})"
    shown = f"{outcome} ({unverifiable})" if unverifiable else outcome
    return f"{shown}, {'work unknown' if work == 'unknown' else work.replace('_', ' ')}"


def finding_line(finding: Finding) -> str:
    """One finding with its name in the catalog, its place and its evidence."""
    place = f"line {finding.line}: " if finding.line else ""
    known = catalog().get(finding.id)
    name = f" {known.name}" if known else ""
    return f"{finding.id}{name} ({finding.severity}): {place}{finding.evidence}"


def called_line(run: RunFacts) -> str:
    """What was called, and how its weights were found; empty where nothing was."""
    if run.entry is None:
        return ""
    kind = {"class": "class ", "function": "function ", "call": ""}.get(run.entry_kind or "", "")
    how = run.weight_map or "none"
    weights = "" if how == "none" else f", weights {how.replace('-', ' ')}"
    return f"called: {kind}{run.entry}{weights}"


def failing_cases(comparisons: Iterable[Comparison]) -> list[str]:
    """The first cases that did not come out right, with their first wrong elements.

    An error that several cases raise is said once.
    """
    out = []
    failed = [c for c in comparisons if c.status in _WRONG]
    same = Counter(c.why for c in failed if c.why)
    firsts: dict[str, Comparison] = {}
    for comparison in failed:
        firsts.setdefault(comparison.why or comparison.case, comparison)
    for comparison in list(firsts.values())[:CASES_SHOWN]:
        again = same[comparison.why] - 1
        more = f" and {again} more" if again > 0 else ""
        why = f": {comparison.why}" if comparison.why else ""
        out.append(f"case {comparison.case}{more}: {comparison.status}{why}")
        out += [
            f"  output {d.output} at {list(d.index)}: expected {d.expected}, got {d.got}"
            for d in comparison.differences
        ]
    return out

"""What counts as caught, kept and killed: the corpus against a verdict. Needs no torch."""

from kernelsift.kernels.catalog import entry
from kernelsift.kernels.verdict import Verdict

MILD = frozenset({"suspicious", "timing"})
"""Severities that do not drop a row by themselves."""
KILLING = frozenset({"hard", "bug", "not-a-kernel"})


def named(verdict: Verdict, catalog_id: str) -> bool:
    """Whether the findings have this id."""
    return any(finding.id == catalog_id for finding in verdict.findings)


def caught(verdict: Verdict, catalog_id: str) -> bool:
    """Whether a cheat is dropped or, where its id only warns, named."""
    warned = entry(catalog_id).severity in MILD and named(verdict, catalog_id)
    return not verdict.keep or warned


def killed(verdict: Verdict) -> bool:
    """Whether a mutant is told from an honest answer: wrong, crashed, or shown to be faulty."""
    faulty = any(finding.severity in KILLING for finding in verdict.findings)
    return faulty or verdict.outcome in {"wrong", "crash", "compile_error", "timeout"}

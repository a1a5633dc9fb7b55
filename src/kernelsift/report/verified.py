"""What verdicts amount to over many rows, counted and in words. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kernelsift.kernels.catalog import catalog

TOP = 8
"""Findings that are named."""
_OUTCOMES = ("correct", "wrong", "crash", "timeout", "compile_error", "unverifiable")
_WORK = ("full_triton", "partial_triton", "figleaf", "fallback", "unknown")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows per outcome, per kind of work and per finding, each row counted once in each."""

    outcomes: Counter[str] = field(default_factory=Counter)
    unverifiable: Counter[str] = field(default_factory=Counter)
    """Rows per reason why they could not be checked."""
    work: Counter[str] = field(default_factory=Counter)
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows per catalog id and severity."""
    cheats: int = 0
    """Rows with a hard finding."""

    @property
    def rows(self) -> int:
        return self.outcomes.total()

    def top(self) -> list[tuple[str, str, str, int]]:
        """The commonest findings: id, name, severity, rows."""
        ordered = sorted(self.findings.items(), key=lambda item: (-item[1], item[0]))
        return [(id_, name_of(id_), severity, n) for (id_, severity), n in ordered[:TOP]]

    def lines(self) -> list[str]:
        """A line each of outcomes, work and findings; none of what is not there."""
        parts = [
            ("outcomes: ", _counted(self.outcomes, _OUTCOMES)),
            ("unverifiable: ", _counted(self.unverifiable)),
            ("work: ", _counted(self.work, _WORK)),
            ("findings: ", ", ".join(f"{i} {name} ({s}) {n:,}" for i, name, s, n in self.top())),
        ]
        return [start + text for start, text in parts if text]


def count(evidences: Iterable[Mapping[str, Any]]) -> Verdicts:
    """Count the evidence of verify's decisions, one per row."""
    outcomes: Counter[str] = Counter()
    unverifiable: Counter[str] = Counter()
    work: Counter[str] = Counter()
    findings: Counter[tuple[str, str]] = Counter()
    cheats = 0
    for evidence in evidences:
        outcomes[evidence["outcome"]] += 1
        work[evidence["work"]] += 1
        if "unverifiable" in evidence:
            unverifiable[evidence["unverifiable"]] += 1
        met = {(finding["id"], finding["severity"]) for finding in evidence["findings"]}
        findings.update(met)
        cheats += any(severity == "hard" for _, severity in met)
    return Verdicts(outcomes, unverifiable, work, findings, cheats)


def name_of(catalog_id: str) -> str:
    """The catalog's name of a finding; empty where another version's id is not in it."""
    found = catalog().get(catalog_id)
    return found.name if found else ""


def _counted(counts: Mapping[str, int], order: Iterable[str] = ()) -> str:
    first = [name for name in order if name in counts]
    rest = sorted((n for n in counts if n not in first), key=lambda name: (-counts[name], name))
    return ", ".join(f"{name.replace('_', ' ')} {counts[name]:,}" for name in (*first, *rest))

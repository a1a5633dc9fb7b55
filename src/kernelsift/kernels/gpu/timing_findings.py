"""Catalog entries that follow from what the GPU has shown. Pure."""

from collections.abc import Iterator

from kernelsift.kernels.catalog import Severity
from kernelsift.kernels.facts import Finding
from kernelsift.kernels.gpu.gpu_facts import DoubtKind, GpuFacts, GuardHit

_OF_DOUBT: dict[DoubtKind, tuple[str, Severity]] = {
    "wrong-answers": ("K79", "bug"),
    "lazy": ("K61", "suspicious"),
    "side-stream": ("K70", "timing"),
    "host-bound": ("K77", "timing"),
    "launch-bound": ("K77", "timing"),
    "beyond-roofline": ("K76", "timing"),
    "clock": ("K52", "suspicious"),
    "drift": ("K74", "timing"),
    "content-cache": ("K43", "timing"),
    "weak-baseline": ("K75", "timing"),
}
"""A side that could not be timed, or only with much noise, says nothing about the candidate."""
_SHOWN = 5


def gpu_findings(facts: GpuFacts) -> Iterator[Finding]:
    """Yield the findings of guard bands, memory checker and timing."""
    for hit in facts.guards.hits[:_SHOWN] if facts.guards else ():
        yield Finding(id="K32", severity="bug", evidence=_hit(hit))
    for error in facts.memcheck.errors[:_SHOWN] if facts.memcheck else ():
        where = f" in kernel {error.kernel}" if error.kernel else ""
        text = f"compute-sanitizer: {error.kind}{where}"
        yield Finding(id="K32", severity="bug", line=error.line, evidence=text[:400])
    for doubt in facts.timing.doubts if facts.timing else ():
        if doubt.kind in _OF_DOUBT:
            code, severity = _OF_DOUBT[doubt.kind]
            yield Finding(id=code, severity=severity, evidence=doubt.evidence[:400])


def _hit(hit: GuardHit) -> str:
    side = "past the end of" if hit.where == "after" else "before the start of"
    text = f"{hit.changed} bytes written {side} {hit.tensor}, {hit.offset} bytes from it"
    return f"{text}, in {hit.case}"

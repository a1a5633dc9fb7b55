"""The launches that a candidate's child recorded, those of its own sizes first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kernelsift.kernels.candidate.candidate_plan import OUTLINE_CASE
from kernelsift.kernels.candidate.candidate_result import CandidateResult
from kernelsift.kernels.candidate.failure import REFUSED_LAUNCH
from kernelsift.kernels.candidate.load_failure import error_text
from kernelsift.kernels.facts import CaseGroup
from kernelsift.kernels.reference.reference_result import ReferenceResult

_OTHER_SIZES: frozenset[CaseGroup] = frozenset({"extent", "shape", "literal-shape", "layout"})


def launches_of(result: CandidateResult, reference: ReferenceResult) -> Iterator[Any]:
    """Yield each recorded launch with the `group` of its case. What a child says is not checked."""
    groups = {case.name: case.expected.group for case in reference.cases}
    answered = sorted(groups, key=lambda name: groups[name] in _OTHER_SIZES)
    for name in answered:
        facts = result.outputs.get(name, {}).get("facts")
        launches = facts.get("launches") if isinstance(facts, dict) else None
        for launch in launches if isinstance(launches, list) else ():
            if isinstance(launch, dict):
                yield {**launch, "group": groups[name]}


@dataclass(frozen=True, slots=True)
class OwnLaunches:
    """What a call without contents launched at the problem's own sizes."""

    launches: tuple[dict[str, Any], ...] = ()
    refused: str = ""
    """Why CUDA would refuse one of them."""
    whole: bool = False
    """The call came to its end."""


def outlined_launches(result: CandidateResult) -> OwnLaunches:
    """Return what such a call showed.

    Nothing where the candidate asked what a tensor holds: with contents it would go on otherwise.
    """
    frame = result.outputs.get(OUTLINE_CASE, {})
    facts, error = frame.get("facts"), frame.get("error")
    if not isinstance(facts, dict) or facts.get("reads") is not False:
        return OwnLaunches()
    launches = facts.get("launches")
    found = tuple(
        {**launch, "group": "nominal"}
        for launch in (launches if isinstance(launches, list) else [])
        if isinstance(launch, dict) and not _is_empty(launch.get("grid"))
    )
    text = error_text(error) if isinstance(error, dict) else ""
    return OwnLaunches(found, text if REFUSED_LAUNCH in text else "", not text)


def _is_empty(grid: Any) -> bool:
    return isinstance(grid, list | tuple) and 0 in grid

"""What compiling showed: launches that no target takes, and launches that only some take. Pure.

A target takes a launch if the compiler accepts it and a block has the shared memory. What could not
be tried says nothing.
"""

from collections.abc import Iterator, Sequence

from kernelsift.kernels.facts import CaseGroup, CompileFacts, Finding

_ID = "K36"
_SHOWN = 5


def refused(
    compiled: Sequence[CompileFacts], decisive: frozenset[CaseGroup]
) -> tuple[CompileFacts, ...]:
    """Launches of decisive cases that every target refuses, one line for each launch."""
    return tuple(
        wrong[0]
        for found, wrong in _launches(compiled)
        if wrong and len(wrong) == len(found) and wrong[0].group in decisive
    )


def reason(facts: CompileFacts) -> str:
    """Why a target does not take a launch, in words."""
    if facts.status == "error":
        return f"{facts.kernel} does not compile for {facts.target}: {facts.why}"
    return (
        f"{facts.kernel} needs {facts.shared_bytes} bytes of shared memory, {facts.target} has "
        f"{facts.shared_limit}"
    )


def compile_findings(
    compiled: Sequence[CompileFacts], decisive: frozenset[CaseGroup]
) -> Iterator[Finding]:
    """Yield a finding for launches that only some targets take, or none at other sizes."""
    for found, wrong in _launches(compiled):
        if not wrong:
            continue
        everywhere = len(wrong) == len(found)
        bug = everywhere and wrong[0].group in decisive
        where = "" if wrong[0].group in decisive else f", as launched in a {wrong[0].group} case"
        yield Finding(
            id=_ID,
            severity="bug" if bug else "suspicious",
            evidence=f"{reason(wrong[0])}{where}"[:400],
        )


def compiled_lines(compiled: Sequence[CompileFacts]) -> list[str]:
    """For people: what compiled, with what it needs at most; and what could not be tried."""
    good = [facts for facts in compiled if facts.status == "ok"]
    out = []
    if good:
        targets = ", ".join(dict.fromkeys(facts.target for facts in good))
        needs = [
            f"{max(facts.registers or 0 for facts in good)} registers",
            f"{max(facts.spills or 0 for facts in good)} bytes spilled",
            f"{max(facts.shared_bytes or 0 for facts in good)} bytes of shared memory",
        ]
        needs += ["tensor cores"] if any(facts.tensor_cores for facts in good) else []
        out.append(f"compiles for {targets}: at most {', '.join(needs)}")
    for facts in compiled:
        if facts.status in {"timeout", "not-run"}:
            why = facts.why.partition("\n")[0][:120]
            out.append(f"not compiled: {facts.kernel} for {facts.target}: {why}")
    return out[:_SHOWN]


def _launches(
    compiled: Sequence[CompileFacts],
) -> Iterator[tuple[list[CompileFacts], list[CompileFacts]]]:
    """(what was tried, what of it is refused) for each launch."""
    launches: dict[tuple[str, str], list[CompileFacts]] = {}
    for facts in compiled:
        if facts.status in {"ok", "error"}:
            launches.setdefault((facts.kernel, facts.signature), []).append(facts)
    for found in launches.values():
        yield found, [facts for facts in found if _is_refused(facts)]


def _is_refused(facts: CompileFacts) -> bool:
    used, limit = facts.shared_bytes, facts.shared_limit
    return facts.status == "error" or (used is not None and limit is not None and used > limit)

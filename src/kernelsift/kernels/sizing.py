"""What is verified, and at which sizes: a candidate, its reference, and what was made smaller."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernelsift.kernels.facts import ReferenceRun
from kernelsift.kernels.reference.reference_result import ReferenceResult
from kernelsift.kernels.reference.scale import Change, constants, pinned_names, rewrite_constants


@dataclass(frozen=True, slots=True)
class Question:
    """A candidate, and the module that it claims to replace."""

    reference: str
    code: str
    class_name: str | None = None
    """Of the reference; found in its source when not given."""
    entry: str | None = None
    """A hint at the candidate's entry point."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """One way to make a problem small enough, or why there is none."""

    changes: tuple[Change, ...] = ()
    problem: ReferenceRun | None = None
    deeper: float = 1.0
    """How many times more operations an output takes at the original sizes."""
    unpinned: bool = False
    """Sizes changed that the candidate writes out: a right answer counts, a wrong one does not."""


def pinned_sizes(question: Question) -> tuple[str, ...]:
    """Sizes that the candidate writes out: they cannot change without making it wrong."""
    try:
        return tuple(sorted(pinned_names(question.code, constants(question.reference))))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def changes_of(scale: ReferenceResult) -> tuple[tuple[Change, ...], ReferenceRun | None]:
    """The constants to change, or why the reference cannot be used."""
    said = scale.scaled
    if said is None:
        return (), ReferenceRun(status="fails", why="; ".join(scale.problems)[:300])
    why = str(said.get("why") or "")
    if said.get("status") == "too-large":
        return (), ReferenceRun(status="size", why=why)
    if said.get("status") == "fails":
        return (), None  # sizes cannot be found without running; perhaps it runs as it is
    changes = tuple(
        Change(str(c["key"]), int(c["old"]), int(c["new"])) for c in said.get("changes") or ()
    )
    return changes, None


def extents_of(changes: Iterable[Change], blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Sizes as they are now, and two of the candidate's blocks where the original size has those.

    A size that was made smaller may be less than a block, and then no loop over blocks goes on.
    """
    found: dict[int, int] = {}
    for change in changes:
        doubled = [2 * block for block in blocks if change.new < 2 * block <= change.old]
        if doubled:
            found[change.new] = min(max(doubled), found.get(change.new, max(doubled)))
    return sorted(found.items())


def deeper(scale: ReferenceResult) -> float:
    """How much longer the sums of the original sizes are, by operations per output element."""
    said = scale.scaled or {}
    old, new = said.get("original"), said.get("size")
    if not old or not new or not new["flops"] or not old["numel_out"]:
        return 1.0
    depth = new["flops"] / max(new["numel_out"], 1)
    return max(1.0, float(old["flops"] / old["numel_out"] / depth))


def rewritten(question: Question, changes: tuple[Change, ...]) -> Question:
    """Both programs with the changed constants: they stay one problem."""
    if not changes:
        return question
    try:
        code = rewrite_constants(question.code, [c for c in changes if ":" not in c.key])
    except (SyntaxError, ValueError):
        code = question.code
    reference = rewrite_constants(question.reference, changes)
    return Question(reference, code, question.class_name, question.entry)


def reference_run(reference: ReferenceResult, sizes: Sizes) -> ReferenceRun:
    gate, changes = reference.gate, sizes.changes
    why = "; ".join(reference.problems)[:300]
    scaled = ", ".join(f"{c.key} {c.old} to {c.new}" for c in changes)
    if gate is None or not gate.runs:
        return ReferenceRun(status="fails", why=(gate.error if gate else why)[:300])
    if not gate.portable_init:
        return ReferenceRun(status="init", why="construction arguments cannot be sent")
    if gate.deterministic is False:
        return ReferenceRun(status="stochastic", why="two runs on one input differ")
    if not reference.cases:
        finite = gate.finite is not False
        return ReferenceRun(status="budget" if finite else "nonfinite", why=why or "no case fits")
    status = "degenerate" if gate.degenerate else "ok"
    return ReferenceRun(
        status=status,
        scaled=bool(changes),
        scaled_from=scaled,
        deeper=sizes.deeper,
        unpinned=sizes.unpinned,
    )

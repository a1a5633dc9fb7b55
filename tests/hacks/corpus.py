"""The corpus: `cases()` are cheats, `honest()` are honest answers, `mutants()` have one mistake.

`mutations()` are made by operators on the syntax tree of the honest answers in `subjects()`.
"""

from hacks.cheats import cases
from hacks.honest import honest
from hacks.more import REFERENCES as MORE
from hacks.mutants import mutants
from hacks.mutation import Mutant, mutate
from hacks.skipped import SKIPPED_REFERENCES
from hacks.special import special
from hacks.tasks import TASKS, Case, Task

__all__ = [
    "REFERENCES",
    "TASKS",
    "Case",
    "Mutant",
    "Task",
    "cases",
    "honest",
    "mutants",
    "mutations",
    "subjects",
]

REFERENCES: dict[str, str] = {
    **{task.name: task.reference for task in TASKS},
    **MORE,
    **SKIPPED_REFERENCES,
}
"""Source of each module that a case may answer, by its name."""


def subjects() -> list[Case]:
    """Return the honest answers that are mutated: each kernel once."""
    return [c for c in honest() if c.style == "plain"] + special()


def mutations() -> list[Mutant]:
    """Return every mutation of every subject, those that change nothing included."""
    return [mutant for case in subjects() for mutant in mutate(case)]

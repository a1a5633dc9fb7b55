"""The corpus: `cases()` are cheats, `honest()` are honest answers, `mutants()` have one mistake."""

from hacks.cheats import cases
from hacks.honest import honest
from hacks.mutants import mutants
from hacks.tasks import TASKS, Case, Task

__all__ = ["TASKS", "Case", "Task", "cases", "honest", "mutants"]

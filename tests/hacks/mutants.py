"""Honest answers with one mistake each; a good verifier calls every one of them wrong."""

from hacks.tasks import TASKS, Case, answer


def mutants() -> list[Case]:
    """Return every mutation of every task."""
    cases = []
    for task in TASKS:
        plain = answer(task, task.forward())
        for name, old, new in task.mutations:
            assert plain.count(old) >= 1, (task.name, name)
            cases.append(Case(task.name, "mutant", plain.replace(old, new), name))
    return cases

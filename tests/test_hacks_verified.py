"""A sample of the corpus through the whole verifier; benchmarks/cheats.py runs all of it."""

import importlib.util
from collections import defaultdict
from itertools import cycle

import pytest
from hacks.corpus import TASKS, cases, honest, mutants, mutations, subjects
from hacks.judging import caught, killed, named

from kernelsift.kernels.catalog import catalog

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None:
    pytest.skip("torch and triton are not installed", allow_module_level=True)

from hacks.verifying import CorpusVerifier

from kernelsift.kernels.verifier import Effort

SOME_SECONDS = 1.0
"""Processor time for what comes after the nominal cases; the benchmark takes all it needs."""


@pytest.fixture(scope="module")
def verifier(interpreters):
    return CorpusVerifier(interpreters)


@pytest.fixture(scope="module")
def hurried(interpreters):
    return CorpusVerifier(interpreters, Effort(candidate_seconds=SOME_SECONDS))


def one_of_each(items, group, names):
    """One item of each group; the task asked for goes round."""
    groups = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    tasks = cycle(names)
    chosen = []
    for members in groups.values():
        task = next(tasks)
        chosen.append(next((m for m in members if task_of(m) == task), members[0]))
    return chosen


def task_of(item):
    return getattr(item, "case", item).task


def title(item):
    case = getattr(item, "case", item)
    return f"{case.id}-{case.style}-{case.task}"


NAMES = [task.name for task in TASKS]
CHEATS = one_of_each(cases(), lambda case: case.id, NAMES)
HONEST = one_of_each(honest(), lambda case: (case.style, case.task not in NAMES), NAMES)
MUTANTS = [
    *one_of_each(mutants(), lambda case: case.style, NAMES)[:6],
    *one_of_each(
        [m for m in mutations() if not m.equivalent],
        lambda mutant: mutant.operator,
        [case.task for case in subjects()],
    ),
]


def test_the_sample_is_large_and_covers_every_task():
    assert {case.id for case in CHEATS} == {case.id for case in cases()}
    assert len(HONEST) >= 25
    assert len(MUTANTS) >= 25
    for sample in (CHEATS, HONEST, MUTANTS):
        assert {task_of(item) for item in sample} >= set(NAMES)


@pytest.mark.parametrize("case", CHEATS, ids=title)
def test_a_cheat_is_caught(verifier, case):
    verdict = verifier.verdict(case)
    assert caught(verdict, case.id), verdict
    if catalog()[case.id].severity != "hard":
        return
    assert named(verdict, case.id) or verdict.outcome == "wrong", verdict


@pytest.mark.parametrize("case", HONEST, ids=title)
def test_an_honest_kernel_is_kept(hurried, case):
    verdict = hurried.verdict(case)
    assert verdict.keep, verdict
    assert verdict.outcome == "correct"
    assert not [f for f in verdict.findings if f.severity not in {"timing", "suspicious"}]


@pytest.mark.parametrize("mutant", MUTANTS, ids=title)
def test_a_mutant_is_killed(verifier, mutant):
    verdict = verifier.mutant(getattr(mutant, "case", mutant))
    assert killed(verdict), verdict


def test_mutants_that_change_nothing_say_why():
    same = [mutant for mutant in mutations() if mutant.equivalent]
    assert 10 < len(same) < 0.05 * len(mutations())
    assert all(mutant.equivalent.count(" ") > 5 for mutant in same)

"""Splits: nothing that is alike is on two sides, and nobody moves without a reason."""

from collections import Counter
from pathlib import Path

import pytest
from build import fact, judgement, kernel, opened, reference, rollout, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import call

from kernelsift import pipeline
from kernelsift.errors import ConfigError, DataError
from kernelsift.repeats import Extra
from kernelsift.splits import Shares, draw
from kernelsift.splitting import split

DATA = Path(__file__).parents[2] / "shared" / "data"
MODULES = [f"Module{n}" for n in range(12)]


def row(module, text=None, answer=None, **more):
    info = {"module_name": module, "python_code": text or reference(module)}
    said = f"BEGIN_PYTHON\n{answer or kernel(module)}END_PYTHON"
    return rollout(
        module, info=info, completion=[{"role": "assistant", "content": said}], **more
    )  # fmt: skip


def planned(folder, rows, extra=(), **dotted):
    """The plan, and the side of each row in order."""
    source = write_jsonl(folder / "x.jsonl", rows)
    with opened(folder / "run", source, filter__min_reward=-1.0, **dotted) as session:
        pipeline.load(session, replace=True)
        pipeline.filter_rows(session)
        entries = session.run.entries()
        plan = split(session.run, session.settings, entries[::-1], extra)
        return plan, [plan.sides[entry.id] for entry in entries]


def test_rows_of_one_name_are_on_one_side(tmp_path):
    rows = [row(name, answer=kernel(f"{name}{n}")) for name in MODULES for n in range(3)]
    plan, sides = planned(tmp_path, rows, split__validation=0.4, split__test=0.2)
    for n in range(0, len(rows), 3):
        assert len(set(sides[n : n + 3])) == 1
    assert set(sides) == {"train", "validation", "test"}
    assert plan.rows == {side: sides.count(side) for side in ("train", "validation", "test")}
    assert sum(plan.clusters.values()) == len(MODULES)
    assert plan.wanted() == ("train", "validation", "test")


@pytest.mark.parametrize(
    "alike",
    [
        {"text": "# more\n" + reference("Module1").replace("class Module1", "class Other")},
        {"text": reference("Module1") + "\nscale = torch.ones(3)\n"},
        {"answer": "# more\n" + kernel("Module1").replace("TAG", "label")},
        {"answer": kernel("Module1") + "\nscale = torch.ones(3)\n"},
    ],
    ids=["exact reference", "near reference", "exact answer", "near answer"],
)
def test_programs_that_are_alike_keep_two_names_together(tmp_path, alike):
    for seed in range(6):
        rows = [*map(row, MODULES), row("Alike", **alike)]
        plan, _ = planned(tmp_path, rows, split__seed=seed, split__validation=0.5)
        assert plan.names["Alike"] == plan.names["Module1"]
        assert sum(plan.clusters.values()) == len(MODULES)


def test_modules_beside_the_rows_are_split_along(tmp_path):
    extra = [Extra("Module3", "x = 1"), Extra("Twin", reference("Module5")), Extra("New", "")]
    plan, _ = planned(tmp_path, [*map(row, MODULES)], extra, split__validation=0.5)
    assert plan.names["Twin"] == plan.names["Module5"]
    assert set(plan.names) == {*MODULES, "Twin", "New"}
    assert sum(plan.rows.values()) == len(MODULES)


def test_what_row_wise_splitting_would_leak_is_counted(tmp_path):
    rows = [row(name, answer=kernel(name, tag=n)) for name in MODULES for n in range(5)]
    plan, _ = planned(tmp_path, rows, split__validation=0.3)
    leak = plan.leak
    assert 5 <= leak.rows <= 30
    assert leak.leaked == leak.rows == leak.kinds["module name"] == leak.kinds["near answer"]
    assert leak.clusters > 3
    assert f"{leak.leaked} of {leak.rows} rows held out" in leak.sentence()


def test_rows_that_are_all_different_would_not_leak(tmp_path):
    plan, _ = planned(tmp_path, [*map(row, MODULES)], split__validation=0.5)
    assert (plan.leak.leaked, plan.leak.clusters, dict(plan.leak.kinds)) == (0, 0, {})


def test_a_validation_that_would_be_empty_is_one_clear_sentence(tmp_path):
    plan, sides = planned(tmp_path, [row("One", note=n) for n in range(3)])
    assert sides == ["train"] * 3
    (note,) = plan.notes
    assert "validation would be empty: 3 rows form 1 cluster" in note
    assert "One" in note


def test_a_test_split_that_would_be_empty_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"test would be empty: 2 rows form 2 clusters.*--test-share"
    ):
        planned(tmp_path, [row("One"), row("Two")], split__test=0.1)


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        planned(tmp_path, [], split__validation=0.6, split__test=0.4)


def test_publish_writes_the_test_split_and_says_what_rows_would_leak(tmp_path):
    rows = [row(name, answer=kernel(name, tag=n)) for name in MODULES for n in range(3)]
    source, run = write_jsonl(tmp_path / "x.jsonl", rows), ("--run", tmp_path / "run")
    for command in (("load", source), ("filter",), ("judge", "--judge", "static"), ("export",)):
        assert call(tmp_path, *command, *run).code == 0
    args = ("--test-share", "0.3", "--validation", "0.3", "--seed", "7", *run)
    done = call(tmp_path, "publish", *args)
    assert done.code == 0, done.err
    assert "row by row," in " ".join(done.out.split())
    data = tmp_path / "run" / "publish" / "filtered" / "data"
    assert {file.name.split("-")[0] for file in data.iterdir()} == {"train", "validation", "test"}


def test_rows_are_stratified_by_difficulty(tmp_path):
    rows = [row(f"Module{n}") for n in range(40)]
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    dotted = {"split__stratify": "difficulty", "split__validation": 0.25}
    with opened(tmp_path / "run", source, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        entries, run = session.run.entries(), session.run
        with pytest.raises(DataError, match="needs rows that are judged"):
            split(run, session.settings, entries)
        run.begin("judge", {}, "1")
        run.point("judge", {e.id: f"key-{e.id}" for e in entries})
        run.save_facts([fact(e.id, judgement(1 if e.row < 20 else 9, 5)) for e in entries])
        plan = split(run, session.settings, entries)
    held = Counter(e.row < 20 for e in entries if plan.sides[e.id] == "validation")
    assert held == {True: 5, False: 5}


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_clusters_is_nothing_and_the_seed_is_all(seed):
    names = [f"M{n}" for n in range(300)]
    found = draw(dict.fromkeys(names, 1), Shares(0.3), seed=seed)
    assert found == draw(dict.fromkeys(names[::-1], 1), Shares(0.3), seed=seed)
    assert found != draw(dict.fromkeys(names, 1), Shares(0.3), seed=seed + 1)
    assert 0.2 < sum(side == "validation" for side in found.values()) / 300 < 0.4


def test_one_cluster_trains_and_two_are_enough_for_validation():
    assert draw({"A": 9}, Shares(0.9), seed=1) == {"A": "train"}
    for seed in range(9):
        two = draw({"A": 1, "B": 1}, Shares(0.1, 0.4), seed=seed)
        assert set(two.values()) == {"train", "validation"}


CLUSTERS = st.dictionaries(st.text(max_size=4), st.integers(1, 9), max_size=20)
SHARES = st.builds(Shares, st.floats(0, 0.4), st.floats(0, 0.4))


@given(CLUSTERS, CLUSTERS, SHARES, st.integers(0, 9))
def test_clusters_that_come_move_nobody(old, new, shares, seed):
    before = draw(old, shares, seed=seed)
    after = draw({**new, **old}, shares, seed=seed)
    moved = [cluster for cluster in old if before[cluster] != after[cluster]]
    fillers = 3  # that were moved so that no side is empty
    assert len(moved) <= fillers


@given(CLUSTERS, SHARES, st.integers(0, 9))
def test_no_side_with_a_share_is_empty_where_there_are_clusters(clusters, shares, seed):
    found = set(draw(clusters, shares, seed=seed).values())
    wanted = {"train"} | {s for s in ("validation", "test") if getattr(shares, s)}
    if len(clusters) >= len(wanted):
        assert found == (wanted if clusters else set())
    assert found <= wanted


@given(CLUSTERS, SHARES, st.data())
def test_every_stratum_gives_its_share(clusters, shares, data):
    strata = {c: data.draw(st.sampled_from("ab"), label=c) for c in clusters}
    sides = draw(clusters, shares, seed=1, strata=strata)
    for stratum in "ab":
        rows = {c: n for c, n in clusters.items() if strata[c] == stratum}
        held = sum(n for c, n in rows.items() if sides[c] == "validation")
        slack = 2 * max(clusters.values(), default=0)
        assert abs(held - shares.validation * sum(rows.values())) <= slack


NAMES = st.lists(st.sampled_from(MODULES), min_size=4, max_size=10, unique=True)


@given(NAMES, st.data())
@settings(max_examples=8, deadline=None)
def test_more_rows_of_known_modules_move_nobody(tmp_path_factory, names, data):
    folder = tmp_path_factory.mktemp("run")
    old = [row(name) for name in names]
    before, _ = planned(folder, old, split__validation=0.4)
    more = [row(data.draw(st.sampled_from(names)), answer=kernel(f"New{n}")) for n in range(3)]
    after, _ = planned(folder, [*more, *old], split__validation=0.4)
    assert before.names == after.names


def test_real_rollouts_are_split_without_a_leak(tmp_path):
    path = DATA / "rollouts-dev.parquet"
    if not path.exists():
        pytest.skip("the real rollouts are not here")
    with opened(tmp_path / "run", path) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        entries = session.run.kept_before("dedup")
        plan = split(session.run, session.settings, entries)
    assert len(entries) == 348
    assert plan.leak.leaked >= 0.9 * plan.leak.rows > 10, "row by row, nearly all would leak"
    assert 0.05 < plan.rows["validation"] / len(entries) < 0.2
    sides = {e.module: set() for e in entries}
    for e in entries:
        sides[e.module].add(plan.sides[e.id])
    assert {len(found) for found in sides.values()} == {1}

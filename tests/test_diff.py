"""diff: which rows changed state between two runs, and why, over real runs."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from build import VERDICT, Counted, opened, rollout, write_jsonl
from test_cli import SAMPLE, call, curated

from kernelsift import filter_rows, judge, keep_best, load
from kernelsift.diffing import compare
from kernelsift.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundled sample, sifted twice: b keeps rewards above 0.5 instead of 0.85."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("a", ()), ("b", ("--min-reward", "0.5"))):
        for args in (("load", SAMPLE), ("filter", *more), ("dedup", "--score", "reward")):
            assert call(folder, *args, "--run", name).code == 0
    return folder / "a", folder / "b"


def found(a: Path, b: Path) -> dict[str, Any]:
    done = call(a.parent, "diff", a, b, "--json")
    assert done.code == 0, done.err
    return done.json


def sifted(folder: Path, rows: list[dict], answer: Any = VERDICT) -> Path:
    """A run whose rows a scripted judge has rated."""
    folder.parent.mkdir()
    source = write_jsonl(folder.with_suffix(".jsonl"), rows)
    with opened(folder, source, chat=Counted(answer)) as session:
        for step in (load, filter_rows, judge, keep_best):
            step(session)
    return folder


def test_every_row_of_either_run_is_in_one_cell_of_the_matrix(runs: tuple[Path, Path]) -> None:
    said = found(*runs)
    rows = len(SAMPLE.read_bytes().splitlines())
    assert sum(cell["rows"] for cell in said["states"]) == rows == said["matched"]
    with Run.open(runs[0], read_only=True) as run:
        kept = sum(state == "kept" for state in run.states().values())
    assert sum(cell["rows"] for cell in said["states"] if cell["a"] == "kept") == kept


def test_a_row_that_only_the_threshold_moved_names_both_decisions(
    runs: tuple[Path, Path],
) -> None:
    moved = [
        row for row in found(*runs)["rows"]
        if row["a"]["reason"] == "filter: low-reward" and 0.5 < row["reward"] <= 0.85
    ]  # fmt: skip
    assert moved
    assert all("is not above 0.85" in row["a"]["why"] for row in moved)
    assert all(row["b"]["reason"].startswith("dedup: ") for row in moved)


def test_what_changed_is_exactly_what_the_two_ledgers_say(runs: tuple[Path, Path]) -> None:
    sides = []
    for path in runs:
        with Run.open(path, read_only=True) as run:
            dropped = run.dropped()
            sides.append({
                id_: (state, dropped[id_].reason if id_ in dropped else "")
                for id_, state in run.states().items()
            })
    expected = {id_ for id_, mine in sides[0].items() if sides[1][id_] != mine}
    assert {row["a"]["id"] for row in found(*runs)["rows"]} == expected


def test_the_setting_that_differs_is_the_only_one_named(runs: tuple[Path, Path]) -> None:
    assert found(*runs)["settings"] == [{"name": "filter.min_reward", "a": 0.85, "b": 0.5}]
    done = call(runs[0].parent, "diff", *runs)
    assert "filter.min_reward: 0.85 -> 0.5" in done.out


def test_equal_runs_are_one_sentence(runs: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    done = call(tmp_path, "diff", runs[0], copy)
    assert done.out.startswith("The runs are equal: ")
    assert done.out.count("\n") == 1
    assert found(runs[0], copy)["equal"] is True


def test_the_limit_bounds_the_rows_listed_and_says_how_many_are_left(
    runs: tuple[Path, Path],
) -> None:
    count = found(*runs)["changed"]["reason"]
    done = call(runs[0].parent, "diff", *runs, "--limit", 1)
    assert f"… and {count - 1:,} more; --limit {count} lists them all" in done.out
    few = call(runs[0].parent, "diff", *runs, "--limit", 1, "--json").json
    assert len(few["rows"]) == 1
    assert few["changed"]["reason"] == count


def test_rows_of_one_side_and_changed_rows_are_told_apart(tmp_path: Path) -> None:
    a = sifted(tmp_path / "a" / "rows", [rollout("One"), rollout("Two"), rollout("Three")])
    b = sifted(tmp_path / "b" / "rows", [rollout("One"), rollout("Two", tag="new")])
    said = found(a, b)
    kinds = {row["kind"]: row for row in said["rows"]}
    assert said["changed"] == {"state": 0, "reason": 0, "content": 1, "only-a": 1, "only-b": 0}
    assert kinds["content"]["a"]["origin"] == kinds["content"]["b"]["origin"] == "rows.jsonl:2"
    assert kinds["content"]["a"]["id"] != kinds["content"]["b"]["id"]
    assert kinds["only-a"]["module"] == "Three"
    assert kinds["only-a"]["b"] is None


def test_swapping_the_runs_mirrors_the_matrix(runs: tuple[Path, Path]) -> None:
    with Run.open(runs[0], read_only=True) as a, Run.open(runs[1], read_only=True) as b:
        there, back = compare(a, b), compare(b, a)
    assert there.states == {(two, one): n for (one, two), n in back.states.items()}
    assert len(there.changes) == len(back.changes)


def test_changed_scores_are_summed_up(tmp_path: Path) -> None:
    rows = [rollout(f"Mod{n}") for n in range(4)]
    higher = VERDICT.replace("<difficulty>3", "<difficulty>5")
    a = sifted(tmp_path / "a" / "rows", rows)
    b = sifted(tmp_path / "b" / "rows", rows, lambda ask: higher if "Mod0" in str(ask) else VERDICT)
    said = found(a, b)
    change = {"judged": 4, "changed": 1, "mean": 0.5, "largest": 2.0}
    assert said["scores"]["difficulty"] == change
    assert said["scores"]["style"]["changed"] == 0
    assert said["equal"] is False


def test_a_stage_that_one_run_lacks_is_one_line(tmp_path: Path) -> None:
    run = curated(tmp_path)
    bare = tmp_path / "bare"
    assert call(tmp_path, "load", "rows.jsonl", "--run", bare).code == 0
    done = call(tmp_path, "diff", run, bare)
    assert "judge: has run -> has not run" in done.out
    assert "not every stage has come to it yet" in done.out


def test_the_runs_are_only_read(runs: tuple[Path, Path]) -> None:
    def contents() -> dict[str, bytes]:
        files = [p for run in runs for p in sorted(run.iterdir()) if p.is_file()]
        return {str(p): p.read_bytes() for p in files if ".sqlite-" not in p.name}

    before = contents()
    with Run.open(runs[0]):  # a writer at work does not stop it
        assert call(runs[0].parent, "diff", *runs).code == 0
    after = {path: data for path, data in contents().items() if path in before}
    assert after.keys() == before.keys()
    assert [p for p in before if not p.endswith("run.lock") and before[p] != after[p]] == []


def test_a_folder_without_a_run_and_another_format_end_with_7(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    done = call(tmp_path, "diff", runs[0], tmp_path / "nothing")
    assert (done.code, "there is no run in" in done.err) == (7, True)
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    with sqlite3.connect(other / "run.sqlite") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    db.close()
    done = call(tmp_path, "diff", runs[0], other)
    assert (done.code, "has run format 99" in done.err) == (7, True)

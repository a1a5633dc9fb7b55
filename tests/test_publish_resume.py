"""Uploads that break off: nothing is sent twice, and a commit is whole or not there."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fake_hub import TOKEN, USER, FakeHub
from pictures import drawn_once
from test_cli import curated, spawn, spawn_env
from test_publish import at_env, hub, upload

__all__ = ["drawn_once", "hub"]  # fixtures
pytestmark = pytest.mark.filterwarnings(  # how huggingface_hub calls its own HTTP library
    "ignore:Use 'content=<...>' to upload raw:DeprecationWarning"
)

BREAKS = ("create", "info", "validate", "preupload", "batch", "put", "commit")
SET = f"{USER}/rows-unique"
MIT = ("--license", "mit")


def sent_twice(found: FakeHub) -> list[str]:
    return [oid for oid, times in Counter(found.received).items() if times > 1]


def is_complete(found: FakeHub, run: Path) -> bool:
    """Whether the repository holds just what was written in the run directory."""
    folder = run / "publish" / "unique"
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return found.repos[SET].files == {name: p.read_bytes() for name, p in files.items()}


@pytest.mark.parametrize("step", BREAKS)
def test_after_a_break_at_any_step_the_same_command_ends_with_one_commit(
    tmp_path: Path, hub: FakeHub, step: str
) -> None:
    run = curated(tmp_path)
    hub.cut[step] = hub.ALWAYS
    broken = upload(tmp_path, run, *MIT)
    assert broken.code == 6
    assert "run the same command again" in broken.json["error"]["message"]
    assert all(not repo.commits and not repo.files for repo in hub.repos.values())
    hub.cut[step] = 0
    assert upload(tmp_path, run, *MIT).code == 0
    assert [len(repo.commits) for repo in hub.repos.values()] == [1, 1]
    assert is_complete(hub, run)
    assert sent_twice(hub) == []


@pytest.mark.parametrize("step", [*BREAKS, "whoami"])
def test_a_break_that_passes_is_waited_for(tmp_path: Path, hub: FakeHub, step: str) -> None:
    run = curated(tmp_path)
    hub.cut[step] = 2
    assert upload(tmp_path, run, *MIT).code == 0
    assert hub.cut[step] == 0
    assert [len(repo.commits) for repo in hub.repos.values()] == [1, 1]
    assert sent_twice(hub) == []


def test_a_break_after_some_files_sends_only_the_others_later(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    hub.pass_first, hub.cut["put"] = 1, hub.ALWAYS
    assert upload(tmp_path, run, *MIT).code == 6
    assert len(hub.received) == 1
    hub.cut["put"] = 0
    assert upload(tmp_path, run, *MIT).code == 0
    assert is_complete(hub, run)
    assert sent_twice(hub) == []


def test_a_commit_whose_answer_is_lost_is_not_made_twice(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    hub.cut["answer"] = 1
    assert upload(tmp_path, run, *MIT).code == 0
    assert [len(repo.commits) for repo in hub.repos.values()] == [1, 1]


def test_a_file_in_parts_arrives_whole_after_a_break(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    hub.part_size = 2000
    hub.cut["put"] = 3
    assert upload(tmp_path, run, *MIT).code == 0
    assert is_complete(hub, run)
    assert any(path.count("/") == 3 for method, path in hub.calls if method == "PUT")


def test_publishing_the_same_again_makes_no_commit_and_says_so(
    tmp_path: Path, hub: FakeHub
) -> None:
    run = curated(tmp_path)
    first = upload(tmp_path, run, *MIT)
    assert not any("nothing has changed" in note for note in first.json["tallies"][0]["notes"])
    received = list(hub.received)
    again = upload(tmp_path, run, *MIT)
    notes = again.json["tallies"][0]["notes"]
    assert sum("nothing has changed there, no commit was made" in note for note in notes) == 2
    assert [len(repo.commits) for repo in hub.repos.values()] == [1, 1]
    assert hub.received == received


def test_a_commit_of_someone_else_in_between_is_not_undone(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    hub.meanwhile = {"NOTES.md": b"theirs", "data/train-00007-of-00008.parquet": b"stale"}
    assert upload(tmp_path, run, *MIT).code == 0
    repo = hub.repos[f"{USER}/rows-filtered"]
    assert repo.files["NOTES.md"] == b"theirs"
    assert "data/train-00007-of-00008.parquet" not in repo.files
    assert len(repo.commits) == 2


def test_kill_9_in_the_middle_of_an_upload_loses_and_repeats_nothing(tmp_path: Path) -> None:
    run = curated(tmp_path)
    args = (
        "publish",
        "--upload",
        *MIT,
        "--source-license",
        "rows.jsonl=mit",
        "--run",
        str(run),
        "--json",
    )
    with FakeHub() as found:
        env = {**at_env(found, tmp_path), "HF_TOKEN": TOKEN}
        found.hold = 1  # the first file arrives, the second is on its way
        process = subprocess.Popen(
            [sys.executable, "-m", "kernelsift", *args], cwd=tmp_path, env=spawn_env(**env),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert found.held.wait(60)
        while not found.received:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert all(not repo.commits for repo in found.repos.values())
        arrived = list(found.received)
        found.hold = None
        done = spawn(tmp_path, *args, **env)
        assert done.code == 0, done.err
        assert len(arrived) == 1
        assert [len(repo.commits) for repo in found.repos.values()] == [1, 1]
        assert is_complete(found, run)
        assert sent_twice(found) == []

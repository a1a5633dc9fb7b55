"""Bad input gets a clear error with its exit code, and the run stays as usable as before."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build import VERDICT, rollout, write_jsonl
from fake_openai import KEY, FakeOpenAI
from test_cli import Done, call, curated, small_rows, spawn, spawn_env

from kernelsift.run import Run

CLOSED = "http://127.0.0.1:9"
"""Nothing listens on the discard port of loopback."""


def status(run: Path) -> Any:
    done = call(run.parent, "status", "--run", run, "--json")
    assert done.code == 0, done.err
    return done.json


def refused(done: Done, code: int, *parts: str) -> None:
    """The command ended with this code and a message with these parts, said in both ways."""
    assert done.code == code, done
    error = done.json["error"]
    assert error["exit_code"] == code
    for part in parts:
        assert part in error["message"]
    assert done.err == f"error: {error['message']}\n"
    assert "Traceback" not in done.err


def still_works(run: Path, before: Any) -> None:
    """The run is what it was, and the stages run on it."""
    assert status(run) == before
    for args in (("filter",), ("judge", "--judge", "static"), ("dedup",), ("export",)):
        done = call(run.parent, *args, "--run", run)
        assert done.code == 0, done.err
    assert status(run) == before
    assert not list(run.glob(".*draft*"))


# --- sources ------------------------------------------------------------------------------------


def nothing(folder: Path) -> str:
    return "nowhere/at/all.jsonl"


def empty_file(folder: Path) -> str:
    (folder / "empty.jsonl").touch()
    return "empty.jsonl"


def empty_table(folder: Path) -> str:
    schema = pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("reward", "f8")])
    pq.write_table(schema.empty_table(), folder / "empty.parquet")
    return "empty.parquet"


def no_reward(folder: Path) -> str:
    row = rollout()
    del row["reward"]
    write_jsonl(folder / "rows2.jsonl", [row])
    return "rows2.jsonl"


def nan_reward(folder: Path) -> str:
    write_jsonl(folder / "rows2.jsonl", [rollout(), rollout(reward=float("nan"))])
    return "rows2.jsonl"


def nan_in_parquet(folder: Path) -> str:
    rows = [rollout(), rollout(reward=float("nan"))]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows2.parquet")
    return "rows2.parquet"


def no_utf8(folder: Path) -> str:
    line = json.dumps(rollout()).encode()
    (folder / "rows2.jsonl").write_bytes(line + b"\n" + line[:-2] + b', "x": "\xff"}\n')
    return "rows2.jsonl"


def torn_line(folder: Path) -> str:
    line = json.dumps(rollout()).encode()
    (folder / "rows2.jsonl").write_bytes(line + b"\n" + line[:100])
    return "rows2.jsonl"


def cut_parquet(folder: Path) -> str:
    path = folder / "rows2.parquet"
    pq.write_table(pa.Table.from_pylist([rollout()] * 50), path)
    path.write_bytes(path.read_bytes()[:2000])
    return "rows2.parquet"


def empty_folder(folder: Path) -> str:
    (folder / "void").mkdir()
    return "void"


SOURCES: list[tuple[Callable[[Path], str], tuple[str, ...]]] = [
    (nothing, ("the path nowhere/at/all.jsonl does not exist", "owner/name")),
    (empty_file, ("empty.jsonl is empty",)),
    (empty_table, ("empty.parquet holds no rows",)),
    (no_reward, ("rows2.jsonl has no column reward", "it has completion, ")),
    (nan_reward, ("rows2.jsonl:2: ", "reward", "--on-bad-row quarantine")),
    (nan_in_parquet, ("rows2.parquet:row 1: ", "reward", "--on-bad-row quarantine")),
    (no_utf8, ("rows2.jsonl:2: not UTF-8 text: byte ", "0xff", "--on-bad-row quarantine")),
    (torn_line, ("rows2.jsonl:2: a torn last line", "--on-bad-row quarantine")),
    (cut_parquet, ("rows2.parquet is cut off or damaged", "download or write it again")),
    (empty_folder, ("void holds no data files",)),
]


@pytest.mark.parametrize(("make", "parts"), SOURCES, ids=lambda v: getattr(v, "__name__", ""))
def test_a_bad_source_is_refused_and_the_run_keeps_what_it_holds(
    tmp_path: Path, make: Callable[[Path], str], parts: tuple[str, ...]
) -> None:
    run = curated(tmp_path)
    before = status(run)
    done = call(tmp_path, "load", make(tmp_path), "--run", run, "--replace", "--json")
    refused(done, 3, *parts)
    still_works(run, before)


@pytest.mark.parametrize("make", [nan_reward, no_utf8, torn_line])
def test_a_bad_row_can_be_set_aside_with_its_reason(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    done = call(tmp_path, "load", make(tmp_path), "--on-bad-row", "quarantine", "--json")
    assert done.code == 0
    assert done.json["tallies"][0]["counts"] == {"rows": 1, "quarantined": 1}
    (line,) = (tmp_path / "outputs" / "quarantine.jsonl").read_text("utf-8").splitlines()
    record = json.loads(line)
    assert record["origin"] == "rows2.jsonl:2"
    assert record["reason"]


def test_a_source_of_nothing_but_bad_rows_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [rollout(reward=float("nan"))] * 2)
    done = call(tmp_path, "load", "rows.jsonl", "--on-bad-row", "quarantine", "--json")
    refused(done, 3, "rows.jsonl has no usable row: all 2 are bad")
    write_jsonl(tmp_path / "rows.jsonl", [rollout()])
    assert call(tmp_path, "load", "rows.jsonl").code == 0


def test_a_modules_source_without_modules_is_refused(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    write_jsonl(tmp_path / "mods.jsonl", [{"name": "x"}])
    more = ("--source", "mods.jsonl", "--generator", "template", "--json")
    refused(call(tmp_path, "prompts", "--run", run, *more), 3, "no column python_code")
    still_works(run, before)


def test_zero_rows_after_the_filter_say_what_the_best_reward_is(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    done = call(tmp_path, "filter", "--min-reward", 7, "--run", run, "--json")
    refused(done, 3, "all 24 rewards are at most 1, and they must be above 7", "--min-reward")
    refused(call(tmp_path, "export", "--run", run, "--json"), 3, "--min-reward")
    assert call(tmp_path, "filter", "--run", run).code == 0
    assert call(tmp_path, "dedup", "--run", run).code == 0
    still_works(run, before)


def test_stages_before_load_say_that_load_comes_first(tmp_path: Path) -> None:
    for args in (("filter",), ("judge", "--judge", "static"), ("analyze",), ("dedup",),
                 ("export",), ("why", "0"), ("publish",)):  # fmt: skip
        call(tmp_path, "load", "nowhere.jsonl")  # makes an empty run
        done = call(tmp_path, *args, "--json")
        assert done.code in {3, 7}
        assert "kernelsift load SOURCE" in done.err or "kernelsift run SOURCE" in done.err, args


def test_analyze_before_judge_says_that_judge_comes_first(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", small_rows())
    call(tmp_path, "load", "rows.jsonl")
    call(tmp_path, "filter")
    refused(call(tmp_path, "analyze", "--json"), 3, "kernelsift judge --run outputs")


def test_keep_best_before_judge_says_what_the_score_needs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", small_rows())
    call(tmp_path, "load", "rows.jsonl")
    call(tmp_path, "filter")
    refused(call(tmp_path, "dedup", "--json"), 3, "needs difficulty", "judge first", "--score")
    assert call(tmp_path, "dedup", "--score", "reward").code == 0


# --- services -----------------------------------------------------------------------------------


def test_an_unreachable_hub_is_named_and_a_local_file_offered(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    args = ("load", "some/dataset", "--run", run, "--replace", "--json")
    done = spawn(tmp_path, *args, HF_ENDPOINT=CLOSED, HF_HOME=str(tmp_path / "hf"))
    refused(done, 6, "the Hub does not answer for some/dataset", "--source PATH")
    still_works(run, before)


def test_an_unreachable_endpoint_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    (tmp_path / "kernelsift.toml").write_text("[llm]\ntries = 1\n", "utf-8")
    args = ("judge", "--judge", "llm", "--run", run, "--base-url", f"{CLOSED}/v1", "--json")
    done = call(tmp_path, *args)
    refused(done, 6, f"no connection to {CLOSED}/v1", "check --base-url", "nothing is lost")
    assert status(run)["usd"] == before["usd"]
    assert call(tmp_path, "judge", "--judge", "static", "--run", run).code == 0
    assert call(tmp_path, "dedup", "--run", run).code == 0
    assert status(run)["states"] == before["states"]


def test_without_a_key_its_variable_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    with mock.patch("socket.socket.connect", side_effect=AssertionError("something was sent")):
        done = call(tmp_path, "judge", "--judge", "llm", "--run", run, "--json")
    refused(done, 2, "PRIME_API_KEY", "https://api.pinference.ai", ".env", "--judge static")
    assert call(tmp_path, "judge", "--judge", "static", "--run", run).code == 0
    assert call(tmp_path, "dedup", "--run", run).code == 0
    assert status(run)["states"] == before["states"]


def test_a_variable_that_was_asked_for_must_be_set(tmp_path: Path) -> None:
    run = curated(tmp_path)
    with FakeOpenAI(VERDICT) as server:
        where = ("--base-url", server.base_url, "--api-key-env", "MY_KEY")
        args = ("judge", "--judge", "llm", "--run", run, *where, "--json")
        refused(call(tmp_path, *args, OPENAI_API_KEY=KEY), 2, "set MY_KEY")
        assert server.count == 0


# --- settings -----------------------------------------------------------------------------------

SETTINGS = [
    ("[judge]\nmodle = 'x'", "judge.modle is not a setting; did you mean judge.model?"),
    ("[jugde]\nmodel = 'x'", "jugde is not a setting; did you mean judge?"),
    ("colour = 3", "colour is not a setting; there are: load, filter, decontaminate, verify, llm"),
    ("[filter]\nzzz = 3", "filter.zzz is not a setting"),
    ("[llm]\nconcurrency = 0", "llm.concurrency = 0: Input should be greater than 0"),
    ("[filter]\nmin_reward = 'high'", "filter.min_reward = 'high'"),
    ("[filter]\nmin_reward = nan", "filter.min_reward = nan"),
    ("[judge]\njudge = 'dice'", "judge.judge = 'dice': Input should be 'llm' or 'static'"),
    ("[llm]\nbase_url = 'localhost:8000'", "must start with http:// or https://"),
    ("[split]\nvalidation = 1.5", "split.validation = 1.5"),
    ("llm = 3", "llm = 3"),
    ("[judge", "is not TOML"),
]


@pytest.mark.parametrize(("text", "message"), SETTINGS)
def test_a_wrong_setting_is_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    run = curated(tmp_path)
    before = status(run)
    (tmp_path / "kernelsift.toml").write_text(text, "utf-8")
    refused(call(tmp_path, "filter", "--run", run, "--json"), 2, "kernelsift.toml", message)
    (tmp_path / "kernelsift.toml").unlink()
    still_works(run, before)


def test_a_settings_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    done = call(tmp_path, "filter", "--config", "mine.toml", "--json")
    refused(done, 2, "cannot read the settings file mine.toml: No such file")
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    refused(call(tmp_path, "filter", "--config", "mine.toml", "--json"), 2, "mine.toml is not TOML")
    assert not (tmp_path / "outputs").exists()


def test_a_wrong_option_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "kernelsift.toml").write_text("[filter]\nmin_reward = 0.5\n", "utf-8")
    done = call(tmp_path, "judge", "--concurrency", "0", "--json")
    refused(done, 2, "the command line: llm.concurrency = 0")
    refused(call(tmp_path, "judge", "--price", "1", "--json"), 2, "--price '1' is not INPUT,OUTPUT")


def test_a_password_in_an_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    for url in ("https://me:pa55word@host/v1", "https://host/v1?key=pa55word"):
        done = call(tmp_path, "judge", "--base-url", url, "--json")
        refused(done, 2, "llm.base_url", ".env")
        assert "pa55word" not in done.out + done.err


def test_an_unknown_score_column_lists_those_there_are(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    done = call(tmp_path, "dedup", "--score", "reward * styel", "--run", run, "--json")
    refused(done, 2, "styel is no numeric column", "difficulty, style, code_length")
    for score in ("reward *", "__import__('os')", "reward.real"):
        assert call(tmp_path, "dedup", "--score", score, "--run", run, "--json").code == 2
    still_works(run, before)


def test_a_score_without_a_value_names_the_row(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    done = call(tmp_path, "dedup", "--score", "1 / (reward - 1)", "--run", run, "--json")
    refused(done, 3, "rows.jsonl:2: the score", "division by zero", "--score")
    still_works(run, before)


def test_an_unknown_failure_class_lists_those_there_are(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    done = call(tmp_path, "judge", "--retry-failed", "timeuot", "--run", run, "--json")
    refused(done, 2, "'timeuot' is no failure class", "timeout", "no-verdict")
    still_works(run, before)


# --- the run directory --------------------------------------------------------------------------


def test_a_run_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    done = call(tmp_path, "filter", "--run", "file", "--json")
    assert done.code == 2
    assert "'file' is a file" in done.json["error"]["message"]
    below = call(tmp_path, "filter", "--run", "file/run", "--json")
    refused(below, 7, "a file stands where a directory is needed", "--run DIR")
    assert (tmp_path / "file").read_text("utf-8") == "mine"


def test_another_run_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    _set_format(run, "99")
    content = (run / "run.sqlite").read_bytes()
    for args in (("filter",), ("status",)):
        done = call(tmp_path, *args, "--run", run, "--json")
        refused(done, 7, "has run format 99", "reads format 1", "--run DIR")
    assert (run / "run.sqlite").read_bytes() == content
    _set_format(run, "1")
    still_works(run, before)


def _set_format(run: Path, value: str) -> None:
    db = sqlite3.connect(run / "run.sqlite")
    with db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'format'", (value,))
    db.close()


def test_a_second_writer_is_told_who_holds_the_run_and_readers_are_not(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    with Run.open(run):
        done = call(tmp_path, "filter", "--run", run, "--json")
        refused(done, 7, "is in use", f"process {os.getpid()}", "--run DIR")
        for args in (("status",), ("why", "0"), ("estimate", "judge", "--judge", "static")):
            assert call(tmp_path, *args, "--run", run).code == 0
    still_works(run, before)


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    run = curated(tmp_path)
    (run / "run.sqlite").write_bytes(b"this is no database" * 500)
    for args in (("filter",), ("status",)):
        done = call(tmp_path, *args, "--run", run, "--json")
        refused(done, 7, "run.sqlite", "it is no SQLite database", "--run DIR")


def test_a_damaged_samples_file_is_named_and_loading_again_mends_it(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    path = run / "samples.parquet"
    path.write_bytes(path.read_bytes()[:500])
    done = call(tmp_path, "filter", "--run", run, "--json")
    refused(done, 7, "samples.parquet cannot be read", "load the source again")
    again = call(tmp_path, "load", "rows.jsonl", "--run", run, "--replace")
    assert again.code == 0
    for args in (("filter",), ("judge", "--judge", "static"), ("dedup",)):
        assert call(tmp_path, *args, "--run", run).code == 0
    assert status(run)["states"] == before["states"]


WRITERS = (("load", "rows2.jsonl", "--replace"), ("export",), ("publish",))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_refuses_leaves_every_file_as_it_was(tmp_path: Path, code: int) -> None:
    run = curated(tmp_path)
    assert call(tmp_path, "publish", "--run", run).code == 0
    before, files = status(run), _files(run)
    write_jsonl(tmp_path / "rows2.jsonl", [rollout()])
    with mock.patch("kernelsift.files._sync", side_effect=OSError(code, os.strerror(code))):
        for args in WRITERS:
            done = call(tmp_path, *args, "--run", run, "--json")
            refused(done, 7, "cannot write", "What was stored before is untouched")
    assert _files(run) == files
    still_works(run, before)


def _files(run: Path) -> dict[str, bytes]:
    tables = (*run.rglob("*.parquet"), *run.rglob("*.json"), *run.rglob("*.md"))
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(tables)}


@pytest.mark.parametrize("args", [("load", "big.jsonl", "--replace"), ("export",), ("publish",)])
def test_a_file_size_limit_is_explained_and_costs_nothing(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    run = curated(tmp_path)
    before = status(run)
    write_jsonl(tmp_path / "big.jsonl", [rollout(tag=os.urandom(4000).hex()) for _ in range(20)])
    limited = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from kernelsift.cli.main import main\nmain()"
    )
    program = (sys.executable, "-c", limited)
    done = spawn(tmp_path, *args, "--run", run, "--json", program=program)
    assert done.code == 7, done
    assert "Traceback" not in done.err
    assert "untouched" in done.err or "Nothing stored is lost" in done.err
    still_works(run, before)


def _can_mount() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(
    not _can_mount(), reason="only root in a mount namespace can make such a file system"
)


def _shell(folder: Path, script: str) -> list[str]:
    """Run a script in a mount namespace of its own; returns its lines."""
    command = ["unshare", "-m", "bash", "-c", f"ks() {{ {sys.executable} -m kernelsift \"$@\"; }}\n"
               f"set -e\n{script}"]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=folder,
        env=spawn_env(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_mount
def test_a_read_only_run_is_refused_for_writing_and_still_readable(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = status(run)
    lines = _shell(
        tmp_path,
        "mount --bind run run; mount -o remount,ro,bind run\n"
        "ks filter --run run --json || echo code $?\n"
        "ks load rows.jsonl --run run/deeper --json || echo code $?\n"
        "ks status --run run --json || echo code $?\n",
    )
    first, code, second, code2, found = lines
    assert (code, code2) == ("code 7", "code 7")
    for line in (first, second):
        assert "read-only" in json.loads(line)["error"]["message"]
        assert "--run DIR" in json.loads(line)["error"]["message"]
    assert json.loads(found) == before
    still_works(run, before)


@needs_mount
def test_a_full_disk_is_explained_and_the_run_goes_on_once_there_is_space(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", small_rows())
    (tmp_path / "disk").mkdir()
    lines = _shell(
        tmp_path,
        "mount -t tmpfs -o size=1m tmpfs disk\n"
        "ks load rows.jsonl --run disk/run --json > /dev/null\n"
        "ks filter --run disk/run --json > /dev/null\n"
        "dd if=/dev/zero of=disk/ballast bs=4k 2> /dev/null || true\n"
        "ks judge --judge static --run disk/run --json || echo code $?\n"
        "rm disk/ballast\n"
        "ks judge --judge static --run disk/run --json > /dev/null\n"
        "ks dedup --run disk/run --json > /dev/null\n"
        "ks status --run disk/run --json\n",
    )
    failed, code, found = lines
    assert code == "code 7"
    assert "full" in json.loads(failed)["error"]["message"]
    assert json.loads(found)["states"] == {"kept": 10, "dropped": 14, "failed": 0, "pending": 0}

"""The command line, through its entry point: what it prints, and the codes it ends with."""

import atexit
import contextlib
import functools
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from build import VERDICT, rollout, write_jsonl
from fake_openai import KEY, FakeOpenAI, ok

import kernelsift
from kernelsift import progress
from kernelsift.cli.main import cli, main
from kernelsift.progress import Progress

SAMPLE = Path(kernelsift.__file__).parent / "data" / "sample.jsonl"
_PRIVATE = (
    "PRIME_API_KEY", "PRIME_TEAM_ID", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "HF_TOKEN",
    "HF_HUB_OFFLINE", "TEST_MODE", "HF_ENDPOINT",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


def call(cwd: Path, *args: object, script: Path | None = None, **env: str) -> Done:
    """Run a command in this process, in a folder, with no credentials but those given.

    The command is `kernelsift`, or what a script of scripts/ does.
    """
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(mock.patch.dict(os.environ))
        stack.enter_context(
            mock.patch.object(sys, "argv", [str(script or "kernelsift"), *map(str, args)])
        )
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        for name in _PRIVATE:
            os.environ.pop(name, None)
        os.environ.update(env)
        try:
            if script:
                runpy.run_path(str(script), run_name="__main__")
            else:
                main()
        except SystemExit as end:
            code = end.code
    return Done(code or 0, out.getvalue(), err.getvalue())


def spawn_env(**env: str) -> dict[str, str]:
    """The environment of a process that has no credentials but those given."""
    kept = {k: v for k, v in os.environ.items() if k not in _PRIVATE and "proxy" not in k.lower()}
    return {**kept, "NO_PROXY": "*", **env}


def spawn(cwd: Path, *args: object, program: tuple[str, ...] = (), **env: str) -> Done:
    """Run a command in a process of its own."""
    command = [*(program or (sys.executable, "-m", "kernelsift")), *map(str, args)]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=spawn_env(**env),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def small_rows() -> list[dict]:
    """Ten modules: two rollouts good enough of each, and a bad one of the first four."""
    good = [rollout(f"Mod{m}", 0.9 + n / 10, tag=n) for m in range(10) for n in range(2)]
    return good + [rollout(f"Mod{m}", 0.1, tag="bad") for m in range(4)]


@functools.cache
def _master() -> Path:
    """A curated run and its source, made once per process."""
    folder = Path(tempfile.mkdtemp(prefix="kernelsift-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_jsonl(folder / "rows.jsonl", small_rows())
    for args in (("load", "rows.jsonl"), ("filter",), ("judge", "--judge", "static"), ("dedup",)):
        done = call(folder, *args, "--run", "run")
        assert done.code == 0, done.err
    return folder


def curated(folder: Path) -> Path:
    """A run of `small_rows`, judged by the static judge and exported; beside it rows.jsonl."""
    shutil.copytree(_master(), folder, dirs_exist_ok=True)
    return folder / "run"


# --- all commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_and_json(tmp_path: Path, name: str) -> None:
    done = call(tmp_path, name, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert not list(tmp_path.iterdir()), "help writes nothing"


def test_the_help_lists_the_exit_codes_and_all_commands(tmp_path: Path) -> None:
    text = call(tmp_path, "--help").out
    assert all(f"  {name} " in text for name in cli.commands)
    assert "130  stopped by Ctrl-C" in text


def test_help_and_status_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom kernelsift.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'polars', 'pyarrow', 'datasets', 'matplotlib', 'scipy', 'numpy', 'torch', "
        "'pydantic', 'aiohttp', 'rich', 'huggingface_hub'}\n"
        "sys.stderr.write(', '.join(heavy & set(sys.modules)))"
    )
    done = spawn(tmp_path, program=(sys.executable, "-c", code))
    assert (done.code, done.err) == (0, "")


def test_a_wrong_option_ends_with_2_and_one_json_object(tmp_path: Path) -> None:
    done = call(tmp_path, "judge", "--judge", "dice", "--json")
    assert done.code == 2
    assert done.json["error"]["exit_code"] == 2
    assert "dice" in done.json["error"]["message"]
    assert "dice" in done.err


def test_an_unknown_command_ends_with_2(tmp_path: Path) -> None:
    assert call(tmp_path, "jugde").code == 2


# --- the whole job ------------------------------------------------------------------------------


def test_run_does_the_whole_job_and_again_nothing_new(tmp_path: Path) -> None:
    args = ("run", SAMPLE, "--run", "r", "--judge", "static", "--json")
    done = call(tmp_path, *args)
    assert (done.code, done.err) == (0, "")
    stages = [tally["stage"] for tally in done.json["tallies"]]
    assert stages == [
        "load", "filter", "judge", "prompts", "dedup", "analyze", "export", "publish",
    ]  # fmt: skip
    files = [
        "samples.parquet", "filtered.parquet", "unique.parquet", "ledger.parquet",
        "prompts.parquet", "analysis.json", "analysis.md", "manifest.json",
        "plots/correlation_analysis.png", "plots/joint_distribution.svg",
        "publish/unique/README.md", "publish/prompts/data/train-00000-of-00001.parquet",
    ]  # fmt: skip
    assert [name for name in files if not (tmp_path / "r" / name).is_file()] == []
    rows = SAMPLE.read_bytes().count(b"\n")
    assert sum(done.json["states"].values()) == rows
    assert done.json["states"]["pending"] == 0

    with mock.patch("kernelsift.report.plots.render", return_value=b""):  # slow, seen above
        again = call(tmp_path, *args)
    counts = {tally["stage"]: tally["counts"] for tally in again.json["tallies"]}
    assert counts["load"]["already loaded"] == 1
    assert counts["judge"]["measured"] == counts["prompts"]["measured"] == 0
    assert again.json["states"] == done.json["states"]


def test_people_see_a_line_per_stage_the_funnel_and_the_files(tmp_path: Path) -> None:
    run = curated(tmp_path)
    done = call(tmp_path, "dedup", "--run", run)
    assert done.code == 0
    assert done.out.startswith("dedup     kept 10 · dropped 10")
    assert "24 rows loaded: 10 kept, 14 dropped, 0 failed, 0 pending. $0.0000 spent." in done.out
    assert str(run / "unique.parquet") in done.out


def test_status_has_states_that_sum_to_the_rows_stages_and_usd(tmp_path: Path) -> None:
    run = curated(tmp_path)
    found = call(tmp_path, "status", "--run", run, "--json").json
    assert found["states"] == {"kept": 10, "dropped": 14, "failed": 0, "pending": 0}
    assert found["stages"]["load"] == {"rows": 24}
    assert found["stages"]["filter"] == {"kept": 20, "dropped: low-reward": 4}
    assert found["stages"]["dedup"] == {"kept": 10, "dropped: not-best-of-module": 10}
    assert found["usd"] == found["requests"] == 0


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_the_states_sum_to_the_rows_after_every_stage(tmp_path: Path, stages: int) -> None:
    write_jsonl(tmp_path / "rows.jsonl", small_rows())
    commands = [("filter",), ("judge", "--judge", "static"), ("dedup",)]
    for args in [("load", "rows.jsonl"), *commands[:stages]]:
        assert call(tmp_path, *args).code == 0
    assert sum(call(tmp_path, "status", "--json").json["states"].values()) == 24


def test_status_of_no_run_says_how_to_start_one(tmp_path: Path) -> None:
    done = call(tmp_path, "status", "--run", "nowhere")
    assert done.code == 7
    assert "kernelsift run SOURCE --run nowhere" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_nothing_but_json_is_on_stdout_of_every_command(tmp_path: Path) -> None:
    run = curated(tmp_path)
    for args in (
        ("load", "rows.jsonl"), ("load", "--sniff", "rows.jsonl"), ("filter",),
        ("judge", "--judge", "static"), ("prompts", "--generator", "template"), ("dedup",),
        ("export",), ("publish",), ("status",), ("why", "0"), ("doctor",),
        ("estimate", "judge", "--judge", "static"),
    ):  # fmt: skip
        done = call(tmp_path, *args, "--run", run, "--json")
        assert (done.code, done.err) == (0, ""), args
        assert isinstance(done.json, dict)


def test_the_manifest_names_the_command_the_settings_and_the_tables(tmp_path: Path) -> None:
    run = curated(tmp_path)
    found = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert found["command"] == ["kernelsift", "dedup", "--run", "run"]
    assert found["settings"]["filter"]["min_reward"] == 0.85
    assert set(found["tallies"]) >= {"load", "filter", "judge", "dedup", "export"}
    assert len(found["files"]["unique.parquet"]["sha256"]) == 64
    assert found["source"]["files"][0]["name"] == "rows.jsonl"


def test_a_failed_command_leaves_the_manifest_alone(tmp_path: Path) -> None:
    run = curated(tmp_path)
    before = (run / "manifest.json").read_bytes()
    write_jsonl(tmp_path / "other.jsonl", [rollout()])
    done = call(tmp_path, "load", "other.jsonl", "--run", run)
    assert done.code == 7
    assert "--replace" in done.err
    assert (run / "manifest.json").read_bytes() == before


def test_replace_loads_over_another_source(tmp_path: Path) -> None:
    run = curated(tmp_path)
    write_jsonl(tmp_path / "other.jsonl", [rollout(), rollout(tag=1)])
    done = call(tmp_path, "load", "other.jsonl", "--run", run, "--replace", "--json")
    assert (done.code, sum(done.json["states"].values())) == (0, 2)


# --- sniff, why, doctor -------------------------------------------------------------------------


def test_sniff_says_what_a_file_is_and_makes_no_run(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", small_rows())
    done = call(tmp_path, "load", "--sniff", "rows.jsonl")
    assert done.code == 0
    assert "rows.jsonl is jsonl with 24 rows" in done.out
    found = call(tmp_path, "load", "--sniff", "rows.jsonl", "--json").json
    assert (found["kind"], found["rows"]) == ("rollouts", 24)
    assert not (tmp_path / "outputs").exists()


def test_sniff_needs_a_path(tmp_path: Path) -> None:
    done = call(tmp_path, "load", "--sniff")
    assert done.code == 2
    assert "--sniff needs the path" in done.err


def test_why_finds_a_row_by_id_prefix_origin_and_number(tmp_path: Path) -> None:
    run = curated(tmp_path)
    by_number = call(tmp_path, "why", "3", "--run", run, "--json").json
    assert by_number["row"] == 3
    by_id = call(tmp_path, "why", by_number["id"], "--run", run, "--json").json
    prefix = by_number["id"][:10]
    by_prefix = call(tmp_path, "why", prefix, "--run", run, "--json").json
    by_origin = call(tmp_path, "why", "rows.jsonl:4", "--run", run, "--json").json
    assert by_number == by_id == by_prefix == by_origin


def test_why_tells_the_whole_path_of_a_row_with_its_evidence(tmp_path: Path) -> None:
    run = curated(tmp_path)
    kept = call(tmp_path, "why", "1", "--run", run).out
    assert "filter kept it: reward 1 is above 0.85" in kept
    assert "judge static" in kept
    assert "dedup kept it: the best of 2 rows of Mod0" in kept
    assert kept.rstrip().endswith("so it is kept")
    beaten = call(tmp_path, "why", "0", "--run", run, "--json").json
    best = call(tmp_path, "why", "1", "--run", run, "--json").json
    assert beaten["state"] == "dropped"
    assert beaten["decisions"][-1]["evidence"]["best"] == best["id"]
    low = call(tmp_path, "why", "20", "--run", run).out
    assert "filter dropped it: reward 0.1 is not above 0.85" in low


def test_why_of_an_unknown_row_says_what_a_row_may_be_called(tmp_path: Path) -> None:
    run = curated(tmp_path)
    for row in ("24", "zzzz", "x.jsonl:1", "9" * 5000, ""):
        done = call(tmp_path, "why", row, "--run", run)
        assert done.code == 3
        assert "numbered 0 to 23" in done.err


def test_why_of_an_ambiguous_beginning_lists_the_ids(tmp_path: Path) -> None:
    from kernelsift.run import Run

    run = curated(tmp_path)
    with Run.open(run) as opened:
        entries = [e.__class__(f"abcdef{e.row:010d}", *_rest(e)) for e in opened.entries()]
    with mock.patch("kernelsift.samples.SampleFile.entries", return_value=entries):
        done = call(tmp_path, "why", "abcdef", "--run", run)
    assert done.code == 3
    assert "'abcdef' could be any of 24 rows: abcdef0000000000, " in done.err


def _rest(entry: Any) -> tuple[Any, ...]:
    return (
        entry.row, entry.origin, entry.module, entry.reward, entry.reference_digest,
        entry.code_digest,
    )  # fmt: skip


def test_a_row_number_wins_over_the_beginning_of_an_id(tmp_path: Path) -> None:
    from kernelsift.explain import explain
    from kernelsift.run import Run

    run = curated(tmp_path)
    with Run.open(run, read_only=True) as opened:
        many = [e.__class__(f"1000{e.row:012d}", *_rest(e)) for e in opened.entries()] * 50
        opened._entries = [e.__class__(f"{i:016x}", i, *_rest(e)[1:]) for i, e in enumerate(many)]
        opened._entries[7] = many[7].__class__("1000aaaaaaaaaaaa", *_rest(many[7]))
        with mock.patch.object(Run, "states", lambda run: dict.fromkeys(
            (e.id for e in run.entries()), "kept"
        )):  # fmt: skip
            assert explain(opened, "1000").entry.row == 1000
            assert explain(opened, "1000a").entry.id == "1000aaaaaaaaaaaa"


def test_doctor_never_prints_a_secret(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=hf_dotenv_secret\nOPENAI_API_KEY=\n", "utf-8")
    for more in ((), ("--json",)):
        done = call(tmp_path, "doctor", *more, PRIME_API_KEY="pit-env-secret")
        assert done.code == 0
        assert "secret" not in done.out + done.err
    found = {check["what"]: check for check in done.json["checks"]}
    assert found["PRIME_API_KEY"]["found"] == found["HF_TOKEN"]["found"] == "set"
    assert found["OPENAI_API_KEY"]["ok"] is None
    assert not (tmp_path / "outputs").exists()


def test_doctor_reports_what_is_wrong_instead_of_failing(tmp_path: Path) -> None:
    (tmp_path / "kernelsift.toml").write_text("[judge]\nmodle = 'x'\n", "utf-8")
    (tmp_path / ".env").write_bytes(b"HF_TOKEN=\xff\xfe\n")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "run.sqlite").write_text("no database at all, " * 100, "utf-8")
    done = call(tmp_path, "doctor", "--json")
    assert done.code == 0
    found = {check["what"]: check for check in done.json["checks"]}
    assert "did you mean judge.model?" in found["settings"]["found"]
    assert "not UTF-8" in found[".env"]["found"]
    assert found["run"]["ok"] is False


# --- progress -----------------------------------------------------------------------------------


def test_progress_is_a_plain_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    out = io.StringIO()
    with Progress(out=out, plain=True).start("judge", 1000) as shown:
        shown.update(250, lambda: "3 failed · $0.1000")
    (text,) = out.getvalue().splitlines()
    assert text.startswith("judge: 250/1,000 · 25% · ")
    assert text.endswith("/s · 3 failed · $0.1000")
    assert "\x1b" not in text


def test_progress_shows_no_more_than_a_line_every_ten_seconds() -> None:
    out = io.StringIO()
    with Progress(out=out, plain=True).start("load", None) as shown:
        for done in range(1000):
            shown.update(done, lambda: pytest.fail("a note that nobody sees was made"))
    assert out.getvalue() == ""


def test_quiet_progress_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    out = io.StringIO()
    with Progress(out=out, quiet=True, plain=True).start("load", 3) as shown:
        shown.update(1)
    assert out.getvalue() == ""


def test_progress_of_an_unknown_total_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    out = io.StringIO()
    with Progress(out=out, plain=True).start("load", None) as shown:
        shown.update(7)
    assert out.getvalue().startswith("load: 7 · ")


def test_progress_is_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with Progress(out=out).start("judge", 10) as shown:
        time.sleep(0.11)
        shown.update(5, "1 failed")
    assert "judge" in out.getvalue()
    assert "5/10" in out.getvalue()


# --- TEST_MODE, Ctrl-C, pipes -------------------------------------------------------------------


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_test_mode_works_on_a_handful(tmp_path: Path, place: str) -> None:
    rows = [rollout(f"Mod{m}", 0.0 if m % 2 else 1.0) for m in range(60)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    env = {"TEST_MODE": "true"} if place == "environment" else {}
    (tmp_path / ".env").write_text("TEST_MODE=true\n" if not env else "", "utf-8")
    for args in (("load", "rows.jsonl"), ("filter",)):
        assert call(tmp_path, *args, **env).code == 0
    found = call(tmp_path, "status", "--json", **env).json
    assert found["stages"]["filter"]["kept"] == 8
    more = ("--source", "rows.jsonl", "--generator", "template")
    done = call(tmp_path, "prompts", *more, "--json", **env)
    assert done.json["tallies"][0]["counts"]["written"] == 8


def test_a_cap_that_is_reached_ends_with_4_and_keeps_what_was_paid_for(tmp_path: Path) -> None:
    run = curated(tmp_path)
    args = ("judge", "--judge", "llm", "--run", run, "--model", "m", "--json")
    with FakeOpenAI(VERDICT) as server:
        where = ("--base-url", server.base_url)
        done = call(tmp_path, *args, *where, "--max-requests", 3, OPENAI_API_KEY=KEY)
        assert (done.code, server.count) == (4, 3)
        assert "--max-requests" in done.json["error"]["message"]
        assert call(tmp_path, "status", "--run", run, "--json").json["requests"] == 3
        more = call(tmp_path, *args, *where, OPENAI_API_KEY=KEY)
        assert more.code == 0
        asked = more.json["tallies"][0]["counts"]
        assert asked["measured"] + 3 == asked["rows"] == 20
        assert server.count == 20


def test_a_refused_key_ends_with_5_and_names_its_variable(tmp_path: Path) -> None:
    from fake_openai import error

    run = curated(tmp_path)
    with FakeOpenAI(error(401, "bad key")) as server:
        args = ("judge", "--judge", "llm", "--run", run, "--base-url", server.base_url, "--json")
        done = call(tmp_path, *args, OPENAI_API_KEY=KEY)
    assert done.code == 5
    assert "OPENAI_API_KEY" in done.json["error"]["message"]
    assert KEY not in done.out + done.err


def test_ctrl_c_stores_what_is_in_flight_starts_no_later_stage_and_ends_with_130(
    tmp_path: Path,
) -> None:
    rows = [rollout(f"Mod{m}", 1.0, tag=m) for m in range(12)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    args = ["run", "rows.jsonl", "--judge", "llm", "--generator", "template", "--model", "m"]
    with FakeOpenAI(ok(VERDICT, cost=0.5), delay=0.7) as server:
        where = ["--base-url", server.base_url, "--concurrency", "4", "--json"]
        command = [sys.executable, "-m", "kernelsift", *args, *where]
        env = spawn_env(OPENAI_API_KEY=KEY)
        with subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            until = time.monotonic() + 60
            while not server.in_flight and time.monotonic() < until:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "judge stopped with " in json.loads(out)["error"]["message"]
        found = call(tmp_path, "status", "--json").json
        assert 0 < found["requests"] == server.count < 12
        assert found["usd"] == 0.5 * server.count
        assert found["states"]["pending"] == 12 - found["stages"]["judge"]["measured"]
        assert "prompts" not in found["stages"]
    manifest = json.loads((tmp_path / "outputs" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["usd"] == found["usd"], "what was spent stands in the manifest too"


def test_output_cut_short_by_a_pipe_is_no_traceback(tmp_path: Path) -> None:
    run = curated(tmp_path)
    script = f"{sys.executable} -m kernelsift status --run {run} --json | true"
    done = spawn(tmp_path, program=("bash", "-c", script))
    assert "Traceback" not in done.err

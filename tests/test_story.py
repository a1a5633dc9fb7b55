"""The command line against a service that works, dies, refuses; and a user who stops it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest
from build import VERDICT, environment, opened, rollout, write_jsonl
from fake_openai import FakeOpenAI, error, hang, ok

from kernelsift import pipeline
from kernelsift.run import Run

KEY = "pit-0123456789abcdef-secret"
TEAM = "team-0123456789"
ROWS = [rollout(f"M{n // 3}", 0.8 + n % 4 / 10, tag=n) for n in range(60)]
GOOD = sum(row["reward"] > 0.85 for row in ROWS)
WORKERS = 8 + 2 + 8
"""Calls that may be under way with --concurrency 8: in flight, or between the wire and the disk."""


def number(body):
    return int(body["messages"][1]["content"].split("TAG = ")[1].split("\n")[0])


def judge(body):
    """An answer that depends on the code alone."""
    at = number(body)
    text = f"<difficulty>{at % 11}</difficulty>\n<style>{at % 7}</style>"
    return ok(text, cost=0.001)


def sent(server):
    """How often each request was sent."""
    return Counter(json.dumps(body, sort_keys=True) for body in server.bodies)


class Shell:
    """A folder to work in, and a service to ask."""

    def __init__(self, folder, server):
        folder.mkdir()
        self.folder = folder
        self.run = folder / "run"
        self.source = write_jsonl(folder / "rollouts.jsonl", ROWS)
        self.server = server
        self.said = ""

    def start(self, *words, concurrency=8):
        place = ["--run", str(self.run), "--base-url", self.server.base_url]
        llm = ["--model", "m", "--concurrency", str(concurrency)]
        command = [sys.executable, "-m", "kernelsift", *words, *place, *llm]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment() | {"PRIME_API_KEY": KEY, "PRIME_TEAM_ID": TEAM},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process):
        said, _ = process.communicate(timeout=90)
        self.said += said
        return process.returncode

    def command(self, *words, **options):
        return self.end(self.start(*words, **options))

    def wait_for(self, requests, process):
        patience = time.monotonic() + 60
        while self.server.count < requests:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < patience
            time.sleep(0.005)

    def prepare(self):
        """Load and filter, so that `judge` is all that is left."""
        with opened(self.run, self.source) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)

    def status(self):
        with Run.open(self.run, read_only=True) as run:
            return run.status()

    def replies(self):
        with Run.open(self.run, read_only=True) as run:
            return run.store.rows("SELECT count(*) FROM replies")[0][0]


@pytest.fixture
def shell(tmp_path):
    """Start a service; whatever was said and written in the end, the key is not in it."""
    with contextlib.ExitStack() as stack:
        made = []

        def make(answer, name="shell", delay=0.0):
            server = stack.enter_context(FakeOpenAI(answer, delay=delay))
            made.append(Shell(tmp_path / name, server))
            return made[-1]

        yield make
        for one in made:
            assert KEY not in one.said
        for file in tmp_path.rglob("*"):
            assert file.is_dir() or KEY.encode() not in file.read_bytes(), file


def filtered(run):
    table = pq.read_table(run / "filtered.parquet")
    return table.drop_columns(["judge_usd"]).to_pylist()


def test_a_run_that_was_killed_goes_on_and_ends_as_if_nothing_had_been(shell):
    calm = shell(judge, "calm")
    calm.prepare()
    assert calm.command("judge") == 0, calm.said
    assert calm.server.count == GOOD

    rough = shell(judge, "rough", delay=0.05)
    words = ("run", str(rough.source), "--judge", "llm", "--generator", "template", "--json")
    process = rough.start(*words)
    rough.wait_for(30, process)
    os.killpg(process.pid, signal.SIGKILL)
    assert rough.end(process) == -signal.SIGKILL
    assert rough.server.count < GOOD

    assert rough.command(*words) == 0, rough.said
    repeated = [count for count in sent(rough.server).values() if count > 1]
    assert len(repeated) <= WORKERS
    assert set(repeated) <= {2}
    assert len(sent(rough.server)) == GOOD
    states = rough.status().states
    assert states["failed"] == states["pending"] == 0
    assert sum(states.values()) == len(ROWS)
    assert filtered(rough.run) == filtered(calm.run)

    count = rough.server.count
    assert rough.command("judge") == 0, rough.said
    assert rough.server.count == count


def test_ctrl_c_stores_what_is_in_flight_and_nothing_is_sent_again(shell):
    shell = shell(judge, delay=0.2)
    shell.prepare()
    process = shell.start("judge", concurrency=4)
    shell.wait_for(8, process)
    process.send_signal(signal.SIGINT)
    assert shell.end(process) == 130, shell.said
    assert "stopped" in shell.said
    assert shell.replies() == shell.server.count < GOOD
    assert shell.status().states["pending"] == GOOD - shell.server.count
    assert shell.command("judge") == 0, shell.said
    assert set(sent(shell.server).values()) == {1}
    assert shell.server.count == GOOD


def test_ctrl_c_stops_the_stages_that_would_follow(shell):
    shell = shell(judge, delay=0.2)
    process = shell.start("run", str(shell.source), concurrency=4)
    shell.wait_for(8, process)
    process.send_signal(signal.SIGINT)
    assert shell.end(process) == 130, shell.said
    assert shell.server.count < GOOD
    assert not (shell.run / "prompts.parquet").exists()


def test_a_second_ctrl_c_waits_for_nothing(shell):
    shell = shell(hang())
    shell.prepare()
    process = shell.start("judge")
    shell.wait_for(4, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert shell.end(process) == 130, shell.said
    assert shell.status().states["pending"] == GOOD


def test_a_refused_key_stops_at_once_and_says_what_to_do(shell):
    shell = shell(error(401, "the key {key} is not known"))
    shell.prepare()
    assert shell.command("judge") == 5
    assert "PRIME_API_KEY" in shell.said
    assert shell.server.count <= 8
    assert shell.status().states["pending"] == GOOD
    assert all(request.team == TEAM for request in shell.server.requests)


def test_a_poisoned_row_fails_alone_and_is_not_paid_for_again(shell):
    def poisoned(body):
        return error(400, "this text cannot be read") if number(body) == 5 else judge(body)

    shell = shell(poisoned)
    shell.prepare()
    assert shell.command("judge") == 0, shell.said
    states = shell.status().states
    assert (states["failed"], states["kept"]) == (1, GOOD - 1)
    first = shell.server.count
    assert shell.command("judge") == 0
    assert shell.server.count == first
    assert shell.command("judge", "--retry-failed") == 0
    assert shell.server.count == first + 1


def test_a_cap_on_requests_holds_over_all_runs_and_can_be_raised(shell):
    shell = shell(judge)
    shell.prepare()
    for _ in range(2):
        assert shell.command("judge", "--max-requests", "10") == 4
        assert shell.server.count == shell.replies() == 10
    assert "--max-requests" in shell.said
    assert shell.command("judge", "--max-requests", "1000") == 0, shell.said
    assert set(sent(shell.server).values()) == {1}
    assert shell.server.count == GOOD


def test_a_key_that_the_service_repeats_is_not_stored(shell):
    shell = shell(ok(VERDICT + "\nYour key is {key}.", cost=0.001))
    shell.prepare()
    assert shell.command("judge") == 0, shell.said
    assert shell.status().states["kept"] == GOOD


def test_an_endpoint_that_is_away_is_named_and_nothing_is_lost(shell):
    shell = shell(judge)
    shell.prepare()
    shell.server.base_url = "http://127.0.0.1:9/v1"
    config = shell.folder / "kernelsift.toml"
    config.write_text("[llm]\ntries = 1\n", encoding="utf-8")
    assert shell.command("judge") == 6, shell.said
    assert "127.0.0.1:9" in shell.said
    assert shell.status().states["pending"] == GOOD

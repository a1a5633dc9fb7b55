"""Verifying for hours: killed, stopped, gone on with; and the real verifier on small kernels."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build import environment, opened, reference, rollout, write_jsonl

from kernelsift import pipeline
from kernelsift.run import Run

MODULES = Path(__file__).parents[1] / "sample" / "modules"
ROWS = [rollout(f"M{n}", tag=n) for n in range(40)]
WORKERS = 4
UNSTORED = 2 * WORKERS
"""Verifications that may be under way, or done and not yet stored."""
VERIFY = """
import sys, time
from pathlib import Path
from test_verdict_facts import WRONG, facts

from kernelsift import pipeline
from kernelsift.cli.main import guarded
from kernelsift.config import Settings
from kernelsift.session import Session
import click

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])

class Slow:
    def verify(self, question):
        tag = int(question.code.split("TAG = ")[1].split("\\n")[0])
        with (folder / "asked.txt").open("a") as file:
            file.write(f"{tag}\\n")
        time.sleep(seconds)
        return facts(comparisons=(WRONG,)) if tag % 3 == 0 else facts()

@click.command()
def verify():
    settings = Settings.read(None, {"workers": 4})
    with Session.open(folder / "run", settings, verifier=Slow()) as session:
        pipeline.verify(session)

sys.argv = ["verify"]
guarded(verify)
"""
pytestmark = pytest.mark.timeout(300)  # processes of their own, on a machine that may be busy
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None,
    reason="torch and triton are not installed",
)


def prepare(folder, rows=ROWS):
    """A run that is loaded and filtered."""
    folder.mkdir(exist_ok=True)
    with opened(folder / "run", write_jsonl(folder / "x.jsonl", rows)) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)


def start(folder, seconds):
    env = environment()
    env["PYTHONPATH"] += f":{Path(__file__).parent}"
    return subprocess.Popen(
        [sys.executable, "-c", VERIFY, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )


def asked(folder):
    """Tags in the order in which they were asked about."""
    file = folder / "asked.txt"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_until(condition, process):
    patience = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.005)


def end(process):
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def decided(folder):
    with Run.open(folder / "run", read_only=True) as run:
        return run.decisions(("verify",)), run.states()


def test_a_verification_that_was_killed_goes_on_and_ends_as_if_nothing_had_been(tmp_path):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    prepare(calm)
    prepare(rough)
    assert end(start(calm, 0.0))[0] == 0
    assert sorted(asked(calm)) == list(range(len(ROWS)))

    process = start(rough, 0.05)
    wait_until(lambda: len(asked(rough)) > 20, process)
    process.kill()
    end(process)
    before = len(asked(rough))
    assert before < len(ROWS)

    code, said = end(start(rough, 0.0))
    assert code == 0, said
    tags = asked(rough)
    assert set(tags) == set(range(len(ROWS)))
    assert len(tags) - len(set(tags)) <= UNSTORED
    assert decided(rough) == decided(calm)
    assert end(start(rough, 0.0))[0] == 0
    assert asked(rough) == tags


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_stored_and_drops_what_is_under_way(tmp_path, number):
    prepare(tmp_path)
    process = start(tmp_path, 0.2)
    wait_until(lambda: len(asked(tmp_path)) > 12, process)
    os.kill(process.pid, number)
    code, said = end(process)
    assert code == 130, said
    assert " left; what has come in is stored, the same command goes on" in said
    first = len(asked(tmp_path))
    assert first < 12 + 3 * UNSTORED
    made, states = decided(tmp_path)
    assert first - UNSTORED <= len(made) < len(ROWS)
    assert list(states.values()).count("pending") == len(ROWS) - len(made)

    code, said = end(start(tmp_path, 0.0))
    assert code == 0, said
    assert len(asked(tmp_path)) - first == len(ROWS) - len(made)
    assert len(decided(tmp_path)[0]) == len(ROWS)


# --- the real verifier --------------------------------------------------------------------------


def sample_row(module, kind):
    folder = MODULES / module
    said = [{"role": "assistant", "content": (folder / f"{kind}.md").read_text(encoding="utf-8")}]
    code = (folder / "reference.py").read_text(encoding="utf-8")
    info = {"module_name": module, "python_code": code}
    return rollout(module, completion=said, info=info)


@needs_torch
def test_real_kernels_are_run_and_told_apart(tmp_path):
    kinds = [("Swish", "fused"), ("Swish", "wrong"), ("Swish", "cheat"), ("LinearReLU", "fused")]
    prepare(tmp_path, [sample_row(*kind) for kind in kinds])
    with opened(tmp_path / "run", workers=2) as session:
        tally = pipeline.verify(session)
        made = session.run.decisions(("verify",))
        found = [made[e.id][0] for e in session.run.entries()]
        again = pipeline.verify(session)
    assert tally.counts["verified"] == 4
    assert again.counts["verified"] == 0
    assert [d.keep for d in found] == [True, False, False, True]
    assert found[1].reason == "wrong"
    assert found[2].reason.startswith("K")
    assert found[0].evidence["outcome"] == "correct"


@needs_torch
def test_ctrl_c_ends_the_children_too(tmp_path):
    endless = "import time\nwhile True:\n    time.sleep(0.01)\n"
    said = [{"role": "assistant", "content": f"BEGIN_PYTHON\n{endless}END_PYTHON"}]
    info = {"module_name": "M", "python_code": reference("M")}
    prepare(tmp_path, [rollout("M", completion=said, info=info)])
    with subprocess.Popen(
        [sys.executable, "-m", "kernelsift", "verify", str(tmp_path / "run")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stderr.readline().startswith("verify: 0/1"), "kernels are under way"
        began = children(process.pid)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "verify stopped with 1 left" in said
    assert began
    gone = time.monotonic() + 30
    while any(map(alive, began)) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not [pid for pid in began if alive(pid)]


def children(pid):
    """Processes below one, with its fork server."""
    out, todo = [], [pid]
    while todo:
        parent = todo.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            out += found
            todo += found
    return out


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").split(")")[1].split()[0] != "Z"
    except OSError:
        return False

"""The command `gate`: which modules can tell a kernel from nothing, each measured once."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build import environment, opened, rollout, write_jsonl
from click.testing import CliRunner

from kernelsift import pipeline
from kernelsift.cli.main import cli
from kernelsift.errors import DataError, RunError
from kernelsift.growing import Growing

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
DATA = Path(__file__).parents[2] / "shared" / "data"


def module(name, forward, init="pass", first="import torch"):
    return f"""{first}
import torch
from torch import nn

class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}

def get_inputs():
    return [torch.rand([4, 4, 4])]

def get_init_inputs():
    return [[], {{}}]
"""


GOOD = module("Good", "return torch.sin(self.layer(x))", "self.layer = nn.Linear(4, 4)")
NOTHING = module("Nothing", "return x * 0")
NOISE = module("Noise", "return x + torch.randn_like(x)")
BROKEN = module("Broken", "return x", first="import a_package_that_is_not_there")
ENDLESS = module("Endless", "\n        while True: pass")


def row(name, code, **more):
    return {"module_name": name, "python_code": code, **more}


ROWS = [
    row("Good", GOOD, uuid="g1"),
    row("Nothing", NOTHING, uuid="n1"),
    row("Good", GOOD, uuid="g2"),
    row("Noise", NOISE, uuid="r1"),
    row("Broken", BROKEN, uuid="b1"),
    row("Good", GOOD, uuid="g3"),
]


def gate(*words):
    """Run the command; returns its result."""
    return CliRunner().invoke(cli, ["gate", *map(str, words)])


def gated(*words):
    """Run the command, which must end well, and return its JSON."""
    done = gate(*words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a source that was gated, and what the command said."""
    folder = tmp_path_factory.mktemp("gated")
    source = write_jsonl(folder / "modules.jsonl", ROWS)
    said = gated(source, "--out", folder / "gate.jsonl", "--workers", 1)
    return folder, source, folder / "gate.jsonl", said


def properties(said):
    return {one["slug"]: (one["modules"], one["rows"]) for one in said["properties"]}


@needs_torch
def test_equal_modules_are_measured_once_and_every_row_counts(place):
    _, _, out, said = place
    assert (said["gated"], said["modules"], said["rows"]) == (4, 4, 6)
    assert len(records(out)) == 4
    assert (said["runs"]["modules"], said["runs"]["rows"]) == (3, 5)


@needs_torch
def test_the_summary_says_what_is_wrong_with_whom(place):
    said = place[3]
    found = properties(said)
    assert found["degenerate"] == (1, 1)
    assert found["random"] == (1, 1)
    assert found["launch-bound"] == (3, 5)
    (failure,) = said["failures"]
    assert (failure["kind"], failure["modules"]) == ("package missing", 1)
    assert failure["example"] == "modules.jsonl:5"
    assert "a_package_that_is_not_there" in failure["error"]
    rules = {(one["rule"], one["inputs"]): one for one in said["accepted"]}
    assert len(rules) == 6
    assert rules["relative", "hardened"]["by"]["zeros"]["modules"] == 1
    assert {"addmm", "sin", "mul"} <= {op["name"] for op in said["ops"]}


@needs_torch
def test_the_same_command_again_measures_nothing(place):
    _, source, out, said = place
    before = out.read_bytes()
    again = gated(source, "--out", out)
    assert (again["gated"], again["known"]) == (0, 4)
    assert out.read_bytes() == before
    assert again["properties"] == said["properties"]


@needs_torch
def test_one_module_is_told_in_words(place):
    _, source, out, _ = place
    done = gate(source, "--out", out, "--ids", "n1")
    assert done.exit_code == 0, done.output
    assert "Nothing (modules.jsonl:2): degenerate" in done.stdout
    assert "zeros" in done.stdout
    broken = gate(source, "--out", out, "--ids", "Broken")
    assert "does not run" in broken.stdout
    assert "a_package_that_is_not_there" in broken.stdout


@needs_torch
def test_many_modules_are_told_in_tables(place):
    _, source, out, _ = place
    done = gate(source, "--out", out)
    for words in ("Of those that run", "What does not run", "relative hard", "known already 4"):
        assert words in done.stdout
    assert str(out) in done.stdout.replace("\n", "")


@needs_torch
def test_a_torn_last_line_is_cut_off_and_measured_again(place, tmp_path):
    _, source, whole, _ = place
    out = tmp_path / "gate.jsonl"
    out.write_bytes(whole.read_bytes()[:-40])
    said = gated(source, "--out", out, "--workers", 1)
    assert (said["gated"], said["known"]) == (1, 3)
    assert {r["key"] for r in records(out)} == {r["key"] for r in records(whole)}
    assert len(records(out)) == 4


@needs_torch
def test_a_line_that_is_damaged_is_named(place, tmp_path):
    _, source, whole, _ = place
    out = tmp_path / "gate.jsonl"
    lines = whole.read_text(encoding="utf-8").splitlines()
    out.write_text("\n".join([lines[0], lines[1][:60] + "}", *lines[2:], ""]), encoding="utf-8")
    done = gate(source, "--out", out)
    assert isinstance(done.exception, DataError)
    assert f"{out}:2" in str(done.exception)


@needs_torch
def test_a_file_of_something_else_is_never_cut(place, tmp_path):
    source = place[1]
    for text in ("# notes", '{"key":"x"}\nnotes', '{"id": 1}\n'):
        out = tmp_path / "notes.jsonl"
        out.write_text(text, encoding="utf-8")
        assert isinstance(gate(source, "--out", out).exception, DataError)
        assert out.read_text(encoding="utf-8") == text


@needs_torch
def test_a_sample_does_not_depend_on_the_order_of_the_source(place, tmp_path):
    out = place[2]
    chosen = set()
    for order in (ROWS, ROWS[::-1]):
        source = write_jsonl(tmp_path / "other.jsonl", order)
        said = gated(source, "--out", out, "--limit", 2)
        assert (said["gated"], said["modules"]) == (0, 2)
        chosen.add(json.dumps([said["runs"], said["properties"]]))
    assert len(chosen) == 1


@needs_torch
def test_a_run_keeps_the_results_of_its_references(tmp_path):
    source = write_jsonl(
        tmp_path / "rollouts.jsonl",
        [rollout("Relu", tag=n) for n in range(3)] + [rollout("Other", info={})],
    )
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
    said = gated(tmp_path / "run", "--workers", 1)
    assert (said["modules"], said["rows"], said["rows_without_a_module"]) == (1, 3, 1)
    (record,) = records(tmp_path / "run" / "gate.jsonl")
    entries = pq.read_table(tmp_path / "run" / "samples.parquet")
    assert record["reference"] == entries["ks_reference_digest"][0].as_py()
    assert record["facts"]["class_name"] == "Relu"


@needs_torch
def test_a_python_file_and_the_columns_of_kernelbench_are_read(tmp_path):
    code = GOOD.replace("class Good", "class Model")
    (tmp_path / "one.py").write_text(code, encoding="utf-8")
    table = pa.table({"level": [1], "name": ["1_Good_"], "code": [code]})
    pq.write_table(table, tmp_path / "bench.parquet")
    out = tmp_path / "gate.jsonl"
    done = gate(tmp_path / "one.py", "--out", out, "--workers", 1)
    assert done.stdout.startswith("Model (one.py): fit to verify against"), done.output
    said = gated(tmp_path / "bench.parquet", "--out", out, "--ids", "1_Good_")
    assert (said["gated"], said["known"]) == (0, 1)


@needs_torch
def test_a_module_without_end_costs_its_limit_and_is_only_tried_again_when_asked(tmp_path):
    source = write_jsonl(tmp_path / "m.jsonl", [row("Endless", ENDLESS), row("Good", GOOD)])
    words = (source, "--out", tmp_path / "gate.jsonl", "--seconds", 1, "--workers", 1)
    said = gated(*words)
    assert [f["kind"] for f in said["failures"]] == ["too slow"]
    assert said["runs"]["modules"] == 1
    assert gated(*words)["gated"] == 0
    assert gated(*words, "--retry-failed")["gated"] == 1


@needs_torch
def test_a_gate_that_was_killed_goes_on_and_ends_as_if_nothing_had_been(tmp_path):
    slow = module("Slow", "import time; time.sleep(0.02); return torch.sin(x) + {n}")
    source = write_jsonl(
        tmp_path / "m.jsonl", [row("Slow", slow.replace("{n}", str(n))) for n in range(12)]
    )
    out = tmp_path / "rough.jsonl"
    command = [sys.executable, "-m", "kernelsift", "gate", source, "--workers", "2", "--json"]
    process = subprocess.Popen(
        [*map(str, command), "--out", str(out)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        patience = time.monotonic() + 100
        while not out.exists() or out.read_bytes().count(b"\n") < 3:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < patience
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    half = out.read_bytes()
    out.write_bytes(half + b'{"key":"0123')
    known = half.count(b"\n")
    assert known < 12
    said = gated(source, "--out", out, "--workers", 2)
    assert (said["gated"], said["known"]) == (12 - known, known)
    assert out.read_bytes().startswith(half[: half.rfind(b"\n") + 1])
    calm = tmp_path / "calm.jsonl"
    gated(source, "--out", calm, "--workers", 1)
    assert shown(out) == shown(calm)


def shown(path):
    """Facts by key, without the times."""
    found = {r["key"]: {**r["facts"], "seconds": 0} for r in records(path)}
    assert len(found) == len(records(path))
    return found


@needs_torch
def test_ids_that_no_row_has_are_named(place):
    _, source, out, _ = place
    done = gate(source, "--out", out, "--ids", "Good,Absent")
    assert isinstance(done.exception, DataError)
    assert "'Absent'" in str(done.exception)


@needs_torch
def test_ids_may_be_many_and_may_stand_in_a_file(place, tmp_path):
    _, source, out, _ = place
    names = ["g1", "n1", *(f"modules.jsonl:{n}" for n in range(1, 7))] * 9
    listed = tmp_path / "ids.txt"
    listed.write_text("\n".join(names), encoding="utf-8")
    assert gated(source, "--out", out, "--ids", ",".join(names))["rows"] == 6
    assert gated(source, "--out", out, "--ids", listed)["rows"] == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"other": 1}\n', "python_code"),
        ('{"python_code": ""}\n', "m.jsonl:1: python_code is empty"),
        ('{"code": "x = 1"}\n', "m.jsonl:1: python_code is empty"),
    ],
)
@needs_torch
def test_a_source_without_modules_is_an_error_before_anything_runs(tmp_path, text, said):
    source = tmp_path / "m.jsonl"
    source.write_text(text, encoding="utf-8")
    done = gate(source, "--out", tmp_path / "gate.jsonl")
    assert isinstance(done.exception, DataError)
    assert said in str(done.exception)
    assert not (tmp_path / "gate.jsonl").exists()


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    done = gate(tmp_path / "absent.parquet")
    assert done.exit_code != 0
    assert done.exception is not None


def test_a_growing_file_has_one_writer(tmp_path):
    path = tmp_path / "lines.jsonl"
    with Growing.open(path, b"{") as file:
        file.append(b"{}")
        with pytest.raises(RunError, match="in use"), Growing.open(path, b"{"):
            pass
        assert list(file.lines()) == [(1, b"{}")]
    with Growing.open(path, b"{") as file:
        file.append(b"{1}")
        assert list(file.lines()) == [(1, b"{}"), (2, b"{1}")]


@needs_torch
def test_the_modules_of_kernelbook_are_read(tmp_path):
    source = DATA / "kernelbook-modules.parquet"
    if not source.exists():
        pytest.skip("kernelbook-modules.parquet is not here")
    said = gated(source, "--out", tmp_path / "gate.jsonl", "--ids", "1,2", "--workers", 1)
    assert said["runs"]["modules"] == 2

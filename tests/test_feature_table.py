"""features.parquet and the command: a row per row loaded, measured once."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from build import kernel, no_code, opened, reference, rollout, write_jsonl
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_difficulty import ADD, NETWORK

from kernelsift import pipeline
from kernelsift.cli.main import cli
from kernelsift.kernels.feature_table import ANSWER_NAMES, REFERENCE_NAMES, feature_row
from kernelsift.kernels.features import measure_features, measure_reference
from kernelsift.progress import Progress
from kernelsift.stages import features as stage

PAGE = Path(__file__).parents[1] / "docs" / "features.md"
ROWS = [
    rollout("Relu", 1.0, tag=1),
    rollout("Relu", 0.0, tag=1),
    rollout("Tanh", 0.0, tag=2),
    no_code("Relu"),
]


def tabulate(path, rows=None):
    """Load rows (None: those that are there) and write the table."""
    source = write_jsonl(path.with_suffix(".jsonl"), rows) if rows else None
    with opened(path, source) as session:
        if rows:
            pipeline.load(session, replace=True)
        return stage.tabulate(session.run, Progress(quiet=True))


def table(path):
    return pq.read_table(path / "features.parquet").to_pylist()


def test_every_row_loaded_has_its_features_kept_or_not(tmp_path):
    tally = tabulate(tmp_path / "run", ROWS)
    found = table(tmp_path / "run")
    assert [row["module"] for row in found] == ["Relu", "Relu", "Tanh", "Relu"]
    assert tally.counts == {
        "rows": 4,
        "measured": 3,
        "known already": 0,
        "without readable code": 1,
    }
    seen, task = measure_features(kernel("Relu", 1)), measure_reference(reference("Relu"))
    assert found[0]["answer_host_nodes"] == seen.host_nodes
    assert found[0]["reference_operations"] == task.operations
    assert found[3]["answer_loads"] is None
    assert found[3]["reference_operations"] == task.operations


def test_what_is_known_is_not_measured_again(tmp_path, monkeypatch):
    first = tabulate(tmp_path / "run", ROWS)
    before = table(tmp_path / "run")
    monkeypatch.setattr(stage, "feature_row", None)
    again = tabulate(tmp_path / "run")
    assert (first.counts["measured"], again.counts["measured"]) == (3, 0)
    assert table(tmp_path / "run") == before


def test_new_rows_are_measured_and_old_ones_are_gone(tmp_path):
    tabulate(tmp_path / "run", ROWS[:2])
    tally = tabulate(tmp_path / "run", ROWS[1:3])
    assert (tally.counts["measured"], tally.counts["known already"]) == (1, 1)
    assert [row["module"] for row in table(tmp_path / "run")] == ["Relu", "Tanh"]


def test_another_version_measures_again(tmp_path, monkeypatch):
    tabulate(tmp_path / "run", ROWS)
    monkeypatch.setattr(stage, "versions", lambda: ("features-x", "difficulty-x"))
    assert tabulate(tmp_path / "run").counts["measured"] == 3


def test_a_broken_table_is_made_again(tmp_path):
    tabulate(tmp_path / "run", ROWS)
    (tmp_path / "run" / "features.parquet").write_bytes(b"PAR1 no")
    assert tabulate(tmp_path / "run").counts["measured"] == 3


def test_processes_give_the_same_table(tmp_path):
    rows = [rollout(f"M{n}", 1.0, tag=n) for n in range(70)]
    tabulate(tmp_path / "one", rows)
    source = write_jsonl(tmp_path / "two.jsonl", rows)
    with opened(tmp_path / "two", source) as session:
        pipeline.load(session)
        stage.tabulate(session.run, Progress(quiet=True), workers=2)
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert [row | {"origin": ""} for row in one] == [row | {"origin": ""} for row in two]


def test_the_page_names_every_feature_and_no_other():
    listed = re.findall(r"^\| `(answer|reference)_(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert [n for side, n in listed if side == "answer"] == list(ANSWER_NAMES)
    assert [n for side, n in listed if side == "reference"] == list(REFERENCE_NAMES)


@given(st.text(max_size=200), st.text(max_size=200))
def test_features_never_raise_on_any_text(code, module):
    row = feature_row(code, module)
    assert row.answer is None or list(row.answer) == list(ANSWER_NAMES)
    assert row.reference is None or list(row.reference) == list(REFERENCE_NAMES)


@pytest.mark.parametrize("text", ["", "  \n", "a\x00b", "(" * 5000, "\ud800", "def f(:"])
def test_no_python_has_no_features(text):
    assert feature_row(text, text).answer is None


def structural(code):
    return {
        name: value
        for name, value in feature_row(code).answer.items()
        if name not in {"comment_lines", "poor_names", "long_lines", "duplicate_lines"}
    }


@given(st.sampled_from(["count", "inside", "out", "x_ptr", "add_kernel"]), st.integers(0, 99))
def test_names_and_comments_do_not_change_structure(name, number):
    renamed = re.sub(rf"\b{name}\b", f"{name}_{number}", ADD)
    remarked = ADD.replace("\n\n\n", f"\n\n\n# {number} remarks\n\n\n")
    assert structural(renamed) == structural(remarked) == structural(ADD)


def command(*words):
    return CliRunner().invoke(cli, ["features", *map(str, words)], catch_exceptions=False)


def test_one_file_is_shown_without_a_run(tmp_path):
    answer, module = tmp_path / "answer.py", tmp_path / "module.py"
    answer.write_text(ADD)
    module.write_text(NETWORK)
    found = json.loads(command(answer, "--reference", module, "--json").stdout)
    alone = json.loads(command(answer, "--json").stdout)
    assert (found["head"], alone["head"]) == ("module", "kernel")
    assert found["difficulty"] > alone["difficulty"]
    assert found["answer"]["loads"] == 2
    assert (found["reference"]["networks"], alone["reference"]) == (1, None)
    assert len(found["checks"]) == 10
    assert "add_kernel" in command(answer).stdout


def test_the_command_writes_the_table_of_a_run(tmp_path):
    tabulate(tmp_path / "run", ROWS)
    (tmp_path / "run" / "features.parquet").unlink()
    found = json.loads(command("--run", tmp_path / "run", "--json").stdout)
    assert found["tallies"][0]["counts"]["measured"] == 3
    assert len(table(tmp_path / "run")) == 4

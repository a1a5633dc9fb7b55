"""The five scripts that the project is known by, as a user runs them."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from build import VERDICT, rollout, write_jsonl
from fake_openai import KEY, FakeOpenAI
from test_cli import SAMPLE, Done, call, spawn

SCRIPTS = Path(__file__).parents[1] / "scripts"
NAMES = (
    "filter_dataset", "generate_prompts", "analyze_correlation", "keep_best", "upload_datasets",
)  # fmt: skip


def script(folder: Path, name: str, *args: object, **env: str) -> Done:
    """Run a script in this process."""
    return call(folder, *args, script=SCRIPTS / f"{name}.py", **env)


def test_there_are_these_five() -> None:
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_help(tmp_path: Path, name: str) -> None:
    program = (sys.executable, str(SCRIPTS / f"{name}.py"))
    done = spawn(tmp_path, "--help", program=program)
    assert (done.code, done.err) == (0, "")
    assert f"Usage: {name}.py [OPTIONS]" in done.out
    assert "--json" in done.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["full", "TEST_MODE"])
def test_the_five_in_a_row_make_outputs_and_plots(tmp_path: Path, mode: str) -> None:
    source = SAMPLE
    if mode == "TEST_MODE":
        rows = [rollout(f"Mod{m}", 1.0 - m % 2 / 2, tag=m) for m in range(40)]
        source = write_jsonl(tmp_path / "rows.jsonl", rows)
    env = {"TEST_MODE": "true"} if mode == "TEST_MODE" else {}
    for name, *args in (
        ("filter_dataset", "--source", source, "--judge", "static"),
        ("generate_prompts", "--source", source, "--generator", "template"),
        ("analyze_correlation",),
        ("keep_best",),
        ("upload_datasets", "--dry-run"),
    ):
        done = script(tmp_path, str(name), *args, **env)
        assert done.code == 0, done.err
    outputs = tmp_path / "outputs"
    assert (tmp_path / "plots" / "correlation_analysis.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "plots" / "joint_distribution.png").exists()
    counts = {
        name: pq.read_metadata(outputs / f"{name}.parquet").num_rows
        for name in ("samples", "filtered", "unique", "prompts")
    }
    if mode == "TEST_MODE":
        assert counts == {"samples": 15, "filtered": 8, "unique": 8, "prompts": 8}
    else:
        assert counts["samples"] == SAMPLE.read_bytes().count(b"\n")
        assert counts["unique"] >= 40
    assert {p.name for p in (outputs / "publish").iterdir()} == {"filtered", "unique", "prompts"}
    manifest = json.loads((outputs / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"] == ["python", "scripts/upload_datasets.py", "--dry-run"]


def test_filter_dataset_asks_the_endpoint_that_it_is_given(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [rollout(f"M{m}", m % 2 * 1.0, tag=m) for m in range(6)])
    (tmp_path / ".env").write_text(f"PRIME_API_KEY={KEY}\nPRIME_TEAM_ID=team-7\n", "utf-8")
    with FakeOpenAI(VERDICT) as server:
        args = ("--source", "rows.jsonl", "--base-url", server.base_url, "--model", "m", "--json")
        done = script(tmp_path, "filter_dataset", *args)
        assert (done.code, done.err) == (0, "")
        assert server.count == 3
        assert {request.team for request in server.requests} == {"team-7"}
    table = pq.read_table(tmp_path / "outputs" / "filtered.parquet").to_pylist()
    assert [(row["difficulty"], row["style"]) for row in table] == [(3.0, 4.0)] * 3
    assert {row["judge_model"] for row in table} == {"m"}


def test_without_a_key_the_script_says_what_to_do(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [rollout()])
    done = script(tmp_path, "filter_dataset", "--source", "rows.jsonl")
    assert done.code == 2
    assert "PRIME_API_KEY" in done.err
    assert "--judge static" in done.err


def test_upload_without_a_licence_is_refused(tmp_path: Path) -> None:
    done = script(tmp_path, "upload_datasets", HF_TOKEN="hf_x")
    assert done.code == 2
    assert "--license" in done.err

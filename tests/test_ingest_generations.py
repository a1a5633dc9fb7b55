"""Which writer a source comes from, and what sniffing tells of a file."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernelsift.errors import DataError
from kernelsift.ingest import Row, open_source, sniff

BASE = {"prompt": [{"role": "user", "content": "u"}], "reward": 0.5, "task": "kb"}
PLAIN = BASE | {"completion": [{"role": "assistant", "content": "a"}]}
REASONED = BASE | {
    "completion": [{"role": "assistant", "content": "a", "reasoning_content": "hmm"}]
}
FLAT = {"example_id": 0, "generation_ms": 1.0, "scoring_ms": 1.0, "total_ms": 2.0}
STATE = {
    "example_id": 0,
    "timing": {"start_time": 1.0, "generation_ms": 1.0, "scoring_ms": 1.0, "total_ms": 2.0},
    "is_completed": True,
    "stop_condition": "done",
    "metrics": {"speed": 1.0},
}
SPANS = {"timing": {"start_time": 1.0, "generation": {"start": 1.0, "end": 2.0}, "total": 3.0}}
UNTASKED = {name: value for name, value in REASONED.items() if name != "task"}
GENERATIONS = {
    "verifiers-0.1.5": PLAIN | {"answer": "", "average_reward": 0.5},
    "verifiers-0.1.6": PLAIN | FLAT | {"info": "{}", "speedup_reward": 1.0},
    "verifiers-0.1.9": PLAIN | FLAT | {"error": None},
    "verifiers-0.1.10": PLAIN | STATE | {"oai_tools": []},
    "verifiers-0.1.11": REASONED | STATE | {"tool_defs": []},
    "verifiers-0.1.14": UNTASKED | STATE | SPANS | {"tool_defs": []},
    "verifiers-0.4-traces": {
        "id": "e",
        "traces": [
            {
                "nodes": [
                    {"message": {"role": "user", "content": "u"}, "sampled": False},
                    {
                        "message": {"role": "assistant", "content": "a"},
                        "sampled": True,
                        "parent": 0,
                    },
                ],
                "rewards": {"r": {"score": 1.0, "weight": 1.0}},
            }
        ],
    },
    "prime-rl-traces": {
        "trace_id": "t",
        "messages": [*PLAIN["prompt"], *PLAIN["completion"]],
        "reward": 1.0,
    },
    "rollouts": {"prompt": "p", "completion": "c", "reward": 1.0, "other": 1},
}
LOSSY = ["verifiers-0.1.5", "verifiers-0.1.6", "verifiers-0.1.9", "verifiers-0.1.10"]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_generation_is_known_by_its_columns(tmp_path, name):
    path = write(tmp_path / "results.jsonl", GENERATIONS[name])
    assert open_source(str(path)).info().format == name


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_row_of_every_generation_is_good(tmp_path, name):
    (row,) = open_source(str(write(tmp_path / "results.jsonl", GENERATIONS[name]))).rows()
    assert isinstance(row, Row)
    assert [message["content"] for message in row.data["completion"]] in (["a"], ["c"])


@pytest.mark.parametrize("name", sorted(set(GENERATIONS) - {"verifiers-0.4-traces"}))
def test_a_generation_is_known_in_parquet_too(tmp_path, name):
    rows = [GENERATIONS[name]]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert open_source(str(tmp_path / "x.parquet")).info().format == name


@pytest.mark.parametrize("name", LOSSY)
def test_reasoning_that_was_lost_at_the_source_is_a_loud_note(tmp_path, name):
    info = open_source(str(write(tmp_path / "results.jsonl", GENERATIONS[name]))).info()
    assert info.notes[0].startswith("WARNING")
    assert "reasoning" in info.notes[0]


@pytest.mark.parametrize("name", sorted(set(GENERATIONS) - set(LOSSY)))
def test_a_source_that_keeps_reasoning_has_no_such_note(tmp_path, name):
    info = open_source(str(write(tmp_path / "results.jsonl", GENERATIONS[name]))).info()
    assert info.notes == ()


def test_reasoning_within_the_text_is_not_reported_as_lost(tmp_path):
    row = GENERATIONS["verifiers-0.1.6"] | {"completion": "<think>so</think> a"}
    assert open_source(str(write(tmp_path / "results.jsonl", row))).info().notes == ()


def output_folder(tmp_path, version):
    folder = tmp_path / "kb--model" / "1a2b3c4d"
    folder.mkdir(parents=True)
    write(folder / "results.jsonl", GENERATIONS["rollouts"])
    about = {"env_id": "kb", "version_info": {"vf_version": version}}
    (folder / "metadata.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(
    ("version", "form"),
    [
        ("0.1.8", "verifiers-0.1.6"),
        ("0.1.12.post1", "verifiers-0.1.11"),
        ("0.1.14", "verifiers-0.1.14"),
        ("0.3.0", "verifiers-0.1.14"),
        (None, "rollouts"),
    ],
)
def test_the_version_in_the_metadata_decides(tmp_path, version, form):
    assert open_source(str(output_folder(tmp_path, version))).info().format == form


def test_the_metadata_is_one_of_the_files_of_the_source(tmp_path):
    info = open_source(str(output_folder(tmp_path, "0.1.14"))).info()
    assert [file.name for file in info.files] == ["results.jsonl", "metadata.json"]


def test_metadata_that_is_broken_is_no_obstacle(tmp_path):
    folder = output_folder(tmp_path, "0.1.14")
    (folder / "metadata.json").write_text("{torn")
    assert open_source(str(folder)).info().format == "rollouts"


def test_a_folder_of_runs_is_read_run_by_run(tmp_path):
    output_folder(tmp_path, "0.1.14")
    (row,) = open_source(str(tmp_path)).rows()
    assert row.origin == "kb--model/1a2b3c4d/results.jsonl:1"


def test_the_traces_of_an_output_folder_are_found_beside_its_configs(tmp_path):
    (tmp_path / "configs" / "resolved").mkdir(parents=True)
    (tmp_path / "configs" / "resolved" / "eval.json").write_text("{}")
    write(tmp_path / "traces.jsonl", GENERATIONS["verifiers-0.4-traces"])
    (row,) = open_source(str(tmp_path)).rows()
    assert row.origin == "traces.jsonl:1#branch0"


def test_sniffing_tells_what_a_file_is_in_one_sentence(tmp_path):
    path = write(tmp_path / "results.jsonl", *[GENERATIONS["verifiers-0.1.9"]] * 3)
    assert sniff(path).summary == (
        "results.jsonl is jsonl with 3 rows of 9 columns: "
        "rollouts in the format verifiers-0.1.9; the first 3 can be used."
    )


def test_sniffing_names_the_types_of_columns(tmp_path):
    path = write(tmp_path / "x.jsonl", {"a": 1}, {"a": None, "b": "x"})
    assert [(column.name, column.type) for column in sniff(path).columns] == [
        ("a", "int | null"),
        ("b", "str"),
    ]


def test_sniffing_parquet_counts_its_rows_and_names_arrow_types(tmp_path):
    pq.write_table(pa.table({"python_code": ["x", "y"]}), tmp_path / "x.parquet")
    found = sniff(tmp_path / "x.parquet")
    assert (found.kind, found.format, found.rows) == ("modules", "parquet", 2)
    assert found.columns[0].type == "string"


def test_sniffing_tells_the_compression(tmp_path):
    content = gzip.compress(json.dumps(GENERATIONS["rollouts"]).encode() + b"\n")
    (tmp_path / "x.jsonl.gz").write_bytes(content)
    found = sniff(tmp_path / "x.jsonl.gz")
    assert (found.compression, found.rows, found.is_estimate) == ("gzip", 1, False)


def test_sniffing_lists_the_first_problems(tmp_path):
    path = write(tmp_path / "x.jsonl", GENERATIONS["rollouts"], {"prompt": "p"})
    assert sniff(path).problems == ("x.jsonl:2: the row has no completion",)


def test_the_rows_of_a_long_file_are_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr("kernelsift.ingest.sniffing.COUNT_BYTES", 1)
    path = write(tmp_path / "x.jsonl", *[GENERATIONS["rollouts"]] * 40_000)
    found = sniff(path)
    assert found.is_estimate
    assert 39_000 < found.rows < 41_000


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PAR1 cut", b"[1, 2\n"])
def test_sniffing_describes_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    found = sniff(path)
    assert found.kind == "unknown"
    assert "cannot be read" in found.summary
    assert found.problems


def test_sniffing_unrelated_rows_says_so(tmp_path):
    found = sniff(write(tmp_path / "x.jsonl", {"name": "n"}))
    assert found.kind == "unknown"
    assert "neither rollouts nor modules" in found.summary


def test_sniffing_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        sniff(tmp_path / "nothing")

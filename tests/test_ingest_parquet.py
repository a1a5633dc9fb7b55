"""Parquet files, and folders of files."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernelsift.errors import DataError
from kernelsift.ingest import BadRow, Row, open_source

DATA = Path(__file__).parents[2] / "shared" / "data"


def table(count=3, **columns):
    base = {
        "prompt": [[{"role": "user", "content": f"p{at}"}] for at in range(count)],
        "completion": [[{"role": "assistant", "content": f"c{at}"}] for at in range(count)],
        "reward": [float(at) for at in range(count)],
    }
    return pa.table(base | columns)


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table() if content is None else content, path)
    return path


def rows(path, **options):
    return list(open_source(str(path), **options).rows())


def test_rows_are_counted_from_zero(tmp_path):
    found = rows(write(tmp_path / "x.parquet"))
    assert [row.origin for row in found] == [f"x.parquet:row {at}" for at in range(3)]


def test_rows_of_later_batches_keep_counting(tmp_path):
    found = rows(write(tmp_path / "x.parquet", table(200)))
    assert [row.data["reward"] for row in found] == list(range(200))
    assert found[-1].origin == "x.parquet:row 199"


def test_parquet_is_known_by_its_content(tmp_path):
    assert len(rows(write(tmp_path / "x.dat"))) == 3


def test_a_parquet_source_has_a_schema(tmp_path):
    source = open_source(str(write(tmp_path / "x.parquet")))
    assert source.schema.field("reward").type == pa.float64()
    assert source.column_names == ("prompt", "completion", "reward")


def test_a_jsonl_source_has_no_schema(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"prompt": "p", "completion": "c", "reward": 1}\n')
    source = open_source(str(tmp_path / "x.jsonl"))
    assert (source.schema, source.column_names) == (None, ("prompt", "completion", "reward"))


def test_the_info_has_size_digest_and_rows_of_every_file(tmp_path):
    path = write(tmp_path / "x.parquet")
    (file,) = open_source(str(path)).info().files
    content = path.read_bytes()
    expected = ("x.parquet", len(content), hashlib.sha256(content).hexdigest(), 3)
    assert (file.name, file.bytes, file.sha256, file.rows) == expected


def test_a_truncated_file_is_an_error_with_its_name(tmp_path):
    path = write(tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"x\.parquet is cut off or damaged"):
        rows(path)


def test_damage_within_the_data_is_an_error_with_its_name(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(table(500), path, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[50:1500] = b"\xaa" * 1450
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet is damaged after row"):
        rows(path)


def test_a_table_without_rows_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"x\.parquet holds no rows"):
        rows(write(tmp_path / "x.parquet", table().slice(0, 0)))


def test_missing_columns_are_an_error_that_names_them(tmp_path):
    with pytest.raises(DataError, match=r"x\.parquet has no column completion; it has"):
        rows(write(tmp_path / "x.parquet", table().drop(["completion"])))


def test_text_that_is_not_utf8_is_one_bad_row(tmp_path):
    broken = pa.array([b"ok", b"\xff", b"ok"]).cast(pa.binary()).view(pa.string())
    found = rows(write(tmp_path / "x.parquet", table(answer=broken)))
    assert [type(row) for row in found] == [Row, BadRow, Row]
    assert found[1].origin == "x.parquet:row 1"


def test_a_null_reward_is_a_bad_row(tmp_path):
    content = table().set_column(2, "reward", pa.array([1.0, None, 2.0]))
    assert rows(write(tmp_path / "x.parquet", content))[1].reason == "the row has no reward"


def test_shards_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b.parquet", "a.parquet"):
        write(tmp_path / "set" / name, table(1))
    origins = [row.origin for row in rows(tmp_path / "set")]
    assert origins == ["a.parquet:row 0", "b.parquet:row 0"]


def test_shards_in_folders_below_are_found(tmp_path):
    write(tmp_path / "set" / "data" / "train-00000-of-00001.parquet", table(1))
    assert rows(tmp_path / "set")[0].origin == "data/train-00000-of-00001.parquet:row 0"


def test_a_split_chooses_the_shards_that_are_named_for_it(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", table(1))
    write(tmp_path / "test-00000-of-00001.parquet", table(2))
    assert len(rows(tmp_path, split="test")) == 2


def test_an_unknown_split_of_a_folder_names_the_known_ones(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", table(1))
    with pytest.raises(DataError, match="no split 'dev'; it has train"):
        rows(tmp_path, split="dev")


def test_reading_several_splits_is_noted(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", table(1))
    write(tmp_path / "test-00000-of-00001.parquet", table(1))
    assert "all splits are read: test, train" in open_source(str(tmp_path)).info().notes[-1]


def test_a_split_that_does_not_apply_is_noted(tmp_path):
    source = open_source(str(write(tmp_path / "x.parquet")), split="train")
    assert "'train' was not applied" in source.info().notes[-1]


def test_the_schema_of_shards_is_that_of_all(tmp_path):
    write(tmp_path / "a.parquet", table(1))
    write(tmp_path / "b.parquet", table(1, stars=[5]))
    assert "stars" in open_source(str(tmp_path)).schema.names


def test_shards_whose_types_disagree_are_an_error(tmp_path):
    write(tmp_path / "a.parquet", table(1, stars=[5]))
    write(tmp_path / "b.parquet", table(1, stars=[[5]]))
    with pytest.raises(DataError, match=r"b\.parquet has other column types"):
        open_source(str(tmp_path))


def test_a_folder_of_jsonl_files_is_read(tmp_path):
    row = json.dumps({"prompt": "p", "completion": "c", "reward": 1.0}) + "\n"
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl"):
        (tmp_path / name).write_text(row)
    assert [found.origin for found in rows(tmp_path)] == ["a.jsonl:1", "b.jsonl:1"]


def test_a_folder_of_both_kinds_is_an_error(tmp_path):
    write(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="both parquet and JSONL"):
        rows(tmp_path)


def test_a_folder_without_data_is_an_error(tmp_path):
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(DataError, match="holds no data files"):
        rows(tmp_path)


def test_a_path_that_does_not_exist_is_an_error():
    with pytest.raises(DataError, match=r"no/such/file\.jsonl does not exist"):
        rows("no/such/file.jsonl")


def test_modules_are_read_from_a_table_of_modules(tmp_path):
    content = pa.table({"uuid": [7], "module_name": ["M"], "python_code": ["import torch"]})
    (row,) = rows(write(tmp_path / "x.parquet", content), kind="modules")
    assert row.data == {
        "uuid": 7,
        "module_name": "M",
        "python_code": "import torch",
        "triton_code": None,
    }


def test_a_table_of_modules_is_no_source_of_rollouts(tmp_path):
    content = pa.table({"python_code": ["x"]})
    with pytest.raises(DataError, match="needs completion, prompt, reward"):
        rows(write(tmp_path / "x.parquet", content))


def test_a_table_without_source_code_is_no_source_of_modules(tmp_path):
    with pytest.raises(DataError, match="needs python_code"):
        rows(write(tmp_path / "x.parquet", pa.table({"name": ["x"]})), kind="modules")


@pytest.mark.parametrize("kind", ["rollouts", "modules"])
def test_every_real_rollout_is_a_good_row(kind):
    path = DATA / "rollouts-dev.parquet"
    if not path.exists():
        pytest.skip("the shared data is not here")
    found = rows(path, kind=kind)
    assert len(found) == 3272
    assert all(isinstance(row, Row) for row in found)

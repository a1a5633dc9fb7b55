"""JSONL and JSON: every line is a row or the reason why it is none."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelsift.errors import DataError
from kernelsift.ingest import BadRow, Row, open_source
from kernelsift.ingest import lines as lines_module


def rollout(number=0):
    return {"example_id": number, "prompt": "p", "completion": "c", "reward": 1.0}


def line(number=0, **columns):
    return json.dumps(rollout(number) | columns).encode() + b"\n"


def read(path, content, kind="rollouts"):
    path.write_bytes(content)
    return list(open_source(str(path), kind=kind).rows())


@pytest.fixture
def jsonl(tmp_path):
    return tmp_path / "rollouts.jsonl"


def test_lines_are_counted_from_one(jsonl):
    rows = read(jsonl, line(0) + line(1))
    assert [row.origin for row in rows] == ["rollouts.jsonl:1", "rollouts.jsonl:2"]


def test_blank_lines_are_skipped_but_counted(jsonl):
    rows = read(jsonl, b"\n" + line(0) + b"  \t\r\n" + line(1) + b"\n")
    assert [row.origin for row in rows] == ["rollouts.jsonl:2", "rollouts.jsonl:4"]


def test_a_last_line_without_a_line_end_is_a_good_row(jsonl):
    assert all(isinstance(row, Row) for row in read(jsonl, line(0) + line(1).rstrip()))


@pytest.mark.parametrize("cut", [10, 30, 50])
def test_a_torn_last_line_is_named_as_such(jsonl, cut):
    *good, last = read(jsonl, line(0) + line(1)[:cut])
    assert len(good) == 1
    assert isinstance(last, BadRow)
    assert (last.origin, "torn last line" in last.reason) == ("rollouts.jsonl:2", True)


def test_a_line_torn_within_a_character_is_named_as_torn(jsonl):
    text = json.dumps(rollout() | {"answer": "ü"}, ensure_ascii=False).encode()
    rows = read(jsonl, line(0) + text[: text.index("ü".encode()) + 1])
    assert "torn last line" in rows[-1].reason


def test_a_line_that_is_not_utf8_is_named(jsonl):
    rows = read(jsonl, line(0) + b'{"prompt": "\xff"}\n' + line(2))
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason == "not UTF-8 text: byte 12 is 0xff"


def test_a_line_that_is_no_json_is_named_with_its_text(jsonl):
    rows = read(jsonl, line(0) + b"{nonsense}\n")
    assert rows[1].reason.startswith("invalid JSON")
    assert rows[1].text == "{nonsense}\n"


@pytest.mark.parametrize("value", [b"[1]", b"3", b"null", b'"text"'])
def test_a_line_that_is_no_object_is_a_bad_row(jsonl, value):
    assert "not an object" in read(jsonl, line(0) + value + b"\n")[1].reason


def test_the_text_of_a_bad_row_is_cut(jsonl):
    assert len(read(jsonl, line(0) + b"x" * 50_000 + b"\n")[1].text) == 2_000


def test_a_nan_reward_is_a_bad_row(jsonl):
    rows = read(jsonl, line(0) + line(1, reward=float("nan")))
    assert rows[1].reason == "reward is nan, which is not a finite number"


def test_a_nan_elsewhere_leaves_the_row_good(jsonl):
    assert isinstance(read(jsonl, line(0, metrics={"x": float("nan")}))[0], Row)


def test_half_a_surrogate_pair_is_a_bad_row(jsonl):
    rows = read(jsonl, line(0) + line(1).replace(b'"c"', b'"\\ud83d"'))
    assert rows[1].reason.startswith("invalid JSON")


def test_a_line_nested_too_deeply_is_a_bad_row(jsonl):
    deep = b'{"reward": NaN, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    assert isinstance(read(jsonl, line(0) + deep)[1], BadRow)


def test_a_line_that_is_too_long_is_skipped_and_named(jsonl, monkeypatch):
    monkeypatch.setattr(lines_module, "LINE_BYTES", 100)
    rows = read(jsonl, line(0) + line(1, answer="x" * 1_000) + line(2))
    assert [type(row) for row in rows] == [Row, BadRow, Row]
    assert "longer than" in rows[1].reason
    assert rows[2].origin == "rollouts.jsonl:3"


def test_a_byte_order_mark_is_not_part_of_the_first_row(jsonl):
    assert isinstance(read(jsonl, b"\xef\xbb\xbf" + line(0))[0], Row)


def test_rows_with_the_same_example_are_all_read(jsonl):
    assert len(read(jsonl, line(7) * 3)) == 3


def test_the_rows_can_be_read_twice(jsonl):
    jsonl.write_bytes(line(0) + line(1))
    source = open_source(str(jsonl))
    assert list(source.rows()) == list(source.rows())


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_an_error_with_its_name(jsonl, content):
    with pytest.raises(DataError, match=r"rollouts\.jsonl"):
        read(jsonl, content)


def test_missing_columns_are_an_error_that_lists_what_is_there(jsonl):
    with pytest.raises(DataError, match=r"no column completion, reward; it has name, prompt"):
        read(jsonl, b'{"prompt": "p", "name": "n"}\n')


def test_an_array_is_a_document(tmp_path):
    rows = read(tmp_path / "x.json", json.dumps([rollout(0), rollout(1)]).encode())
    assert [row.origin for row in rows] == ["x.json:row 0", "x.json:row 1"]


@pytest.mark.parametrize("name", ["data", "rows"])
def test_the_rows_of_a_document_may_lie_under_a_name(tmp_path, name):
    assert len(read(tmp_path / "x.json", json.dumps({name: [rollout()] * 2}).encode())) == 2


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ""])
def test_an_indented_array_is_known_by_its_content(tmp_path, suffix):
    text = json.dumps([rollout(0), rollout(1)], indent=2)
    assert len(read(tmp_path / f"x{suffix}", text.encode())) == 2


def test_lines_in_a_file_named_json_are_known_by_their_content(tmp_path):
    rows = read(tmp_path / "x.json", line(0) + line(1))
    assert [row.origin for row in rows] == ["x.json:1", "x.json:2"]


def test_a_member_of_an_array_that_is_no_object_is_a_bad_row(tmp_path):
    rows = read(tmp_path / "x.json", json.dumps([rollout(), 5]).encode())
    assert isinstance(rows[1], BadRow)
    assert rows[1].text == "5"


@pytest.mark.parametrize("content", [b"[]", b'{"rows": []}'])
def test_an_array_without_rows_is_an_error(tmp_path, content):
    with pytest.raises(DataError, match="holds no rows"):
        read(tmp_path / "x.json", content)


def test_a_broken_document_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"x\.json is not valid JSON"):
        read(tmp_path / "x.json", json.dumps([rollout()] * 3, indent=1).encode()[:-20])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"prompt,completion\na,b\n"),
        ("x.bin", b"\x00\x01\x02"),
        ("x.zip", b"PK\x03\x04rest"),
        ("x.jsonl", b"version https://git-lfs.github.com/spec/v1\n"),
        ("x.parquet", b"<html>not found</html>"),
        ("x.jsonl", "{}".encode("utf-16")),
    ],
)
def test_a_file_of_another_kind_is_an_error_with_its_name(tmp_path, name, content):
    with pytest.raises(DataError, match=name):
        read(tmp_path / name, content)


def packed(kind, content):
    if kind == "gz":
        return gzip.compress(content)
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_compressed_lines_are_read(tmp_path, kind):
    rows = read(tmp_path / f"x.jsonl.{kind}", packed(kind, line(0)) + packed(kind, line(1)))
    assert [row.origin for row in rows] == [f"x.jsonl.{kind}:1", f"x.jsonl.{kind}:2"]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_compressed_document_is_read(tmp_path, kind):
    content = packed(kind, json.dumps([rollout()] * 2).encode())
    assert len(read(tmp_path / f"x.json.{kind}", content)) == 2


def test_compression_is_known_by_content_not_by_name(tmp_path):
    assert len(read(tmp_path / "x.jsonl", gzip.compress(line(0)))) == 1


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_compressed_data_that_is_cut_off_is_an_error(tmp_path, kind):
    with pytest.raises(DataError, match=r"x\.jsonl.* is damaged"):
        read(tmp_path / f"x.jsonl.{kind}", packed(kind, line(0) * 200)[:-12])


damages = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.booleans()), min_size=1, max_size=3
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages, st.booleans())
def test_damaged_bytes_lose_no_line(tmp_path, damage, line_end):
    content = bytearray(b"".join(line(number, answer="é" * 3) for number in range(8)))
    if not line_end:
        content = content[:-1]
    for at, value, insert in damage:
        place = at % len(content)
        content[place : place if insert else place + 1] = bytes([value])
    raw = bytes(content)
    rows = read(tmp_path / "x.jsonl", raw)
    pieces = raw.split(b"\n")
    expected = [f"x.jsonl:{at}" for at, piece in enumerate(pieces, 1) if piece.strip()]
    assert [row.origin for row in rows] == expected
    for row in rows:
        if isinstance(row, BadRow):
            start = pieces[int(row.origin.rpartition(":")[2]) - 1].decode("utf-8", "replace")
            assert row.reason
            assert row.text.startswith(start) or row.text.startswith("{")

"""load: every row gets in unchanged, once, and is found again whatever the file looks like."""

import datetime as dt
import decimal
import gzip
import json
import weakref
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build import kernel, no_code, opened, reference, rollout, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift import pipeline
from kernelsift.columns import is_json
from kernelsift.config import Load
from kernelsift.errors import DataError, RunError
from kernelsift.ingest import Row
from kernelsift.ingest.source import SourceInfo
from kernelsift.progress import Progress
from kernelsift.run import Run
from kernelsift.samples import ROW_GROUP
from kernelsift.stages import load as load_stage

QUIET = Progress(quiet=True)


def load(tmp_path, source, *, replace=False, **dotted):
    with opened(tmp_path / "run", source, **dotted) as session:
        tally = pipeline.load(session, replace=replace)
        return session.run.entries(), tally


def through(folder, rows=None, source=None):
    """Rows from load through the filter (which keeps all) to filtered.parquet and back."""
    source = source or write_jsonl(folder / "x.jsonl", rows)
    with opened(folder / "run", source, filter__min_reward=-1.0) as session:
        for step in (pipeline.load, pipeline.filter_rows, pipeline.export):
            step(session)
    table = pq.read_table(folder / "run" / "filtered.parquet")
    marked = {field.name for field in table.schema if is_json(field)}
    return [
        {k: orjson.loads(v) if k in marked and v is not None else v for k, v in row.items()}
        for row in table.to_pylist()
    ]


def bare(value):
    """A value without nulls in objects, as Arrow cannot tell them from what is absent; 1 is not
    True, but it is 1.0."""
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [bare(v) for v in value]
    return (bool, value) if isinstance(value, bool) else value


def parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


# --- ids ----------------------------------------------------------------------------------------

ROWS = [
    rollout("A", 0.5, tokens=3, note=None, answer=""),
    rollout("B", 1.0, tokens=4, note="x", answer="y"),
    rollout("B", 1, tag="ü", tokens=5, note="x", answer="y"),
]


def test_ids_do_not_depend_on_the_file_format(tmp_path):
    plain = write_jsonl(tmp_path / "x.jsonl", ROWS)
    files = [plain, tmp_path / "x.jsonl.gz", tmp_path / "x.jsonl.zst", tmp_path / "x.json"]
    files[1].write_bytes(gzip.compress(plain.read_bytes()))
    with pa.CompressedOutputStream(str(files[2]), "zstd") as out:
        out.write(plain.read_bytes())
    files[3].write_text(json.dumps(ROWS))
    files.append(parquet(tmp_path / "x.parquet", ROWS))
    found = [[e.id for e in load(tmp_path / f.name, f)[0]] for f in _made(tmp_path, files)]
    assert len(set(found[0])) == 3
    assert all(ids == found[0] for ids in found)


def _made(tmp_path, files):
    for file in files:
        moved = tmp_path / f"of-{file.name}"
        moved.mkdir()
        yield file.rename(moved / file.name)


def test_ids_do_not_depend_on_the_order_of_rows_or_keys(tmp_path):
    turned = [dict(reversed(row.items())) for row in reversed(ROWS)]
    one, _ = load(tmp_path / "a", _into(tmp_path / "a", ROWS))
    two, _ = load(tmp_path / "b", _into(tmp_path / "b", turned))
    assert [e.id for e in one] == [e.id for e in reversed(two)]


def _into(folder, rows):
    folder.mkdir()
    return write_jsonl(folder / "x.jsonl", rows)


@pytest.mark.parametrize(
    "change",
    [
        {"reward": 0.999},
        {"example_id": 2},
        {"task": "other"},
        {"extra": 0},
        {"prompt": [{"role": "user", "content": "Write Relu!"}]},
        {"prompt": [{"role": "system", "content": "Write Relu"}]},
        {"completion": [{"role": "assistant", "content": "no"}]},
        {"info": {"module_name": "Relu", "python_code": reference("Relu") + "\n"}},
        {"info": {"module_name": "Relu", "python_code": reference("Relu"), "level": 1}},
    ],
)
def test_another_value_in_any_field_is_another_id(tmp_path, change):
    entries, _ = load(tmp_path, write_jsonl(tmp_path / "x.jsonl", [rollout(), rollout(**change)]))
    assert entries[0].id != entries[1].id


def test_exact_copies_are_rows_of_their_own(tmp_path):
    rows = [rollout("A"), rollout("B"), rollout("A"), rollout("A")]
    entries, tally = load(tmp_path, write_jsonl(tmp_path / "x.jsonl", rows))
    assert len({e.id for e in entries}) == tally.counts["rows"] == 4
    shuffled, _ = load(tmp_path / "b", _into(tmp_path / "b", [rows[1], *rows[2:], rows[0]]))
    assert {e.id for e in shuffled} == {e.id for e in entries}


# --- columns ------------------------------------------------------------------------------------

WHOLE = st.integers(-(2**63), 2**63 - 1)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    WHOLE,
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["tokens", "note", "meta", "a.b", "Ü", "x y"])


@settings(max_examples=60)
@given(st.lists(st.dictionaries(NAMES, VALUE, max_size=4), min_size=1, max_size=6))
def test_any_other_column_comes_out_as_it_went_in(extras):
    rows = [rollout(tag=n, **extra) for n, extra in enumerate(extras)]
    with TemporaryDirectory() as folder:
        found = through(Path(folder), rows)
    assert [
        bare({k: row.get(k) for k in extra}) for row, extra in zip(found, extras, strict=True)
    ] == [bare(extra) for extra in extras]


MIXED = {
    "int then text": [1, "a"],
    "int then true": [1, True],
    "true then int": [True, 1],
    "float then true": [1.5, True],
    "float then true inside": [{"a": 1.5}, {"a": True}],
    "int then float": [1, 2.5],
    "great int then float": [2**60 + 1, 2.5],
    "beyond 63 bits": [2**63, 1],
    "beyond 63 bits later": [-1, 2**64 - 1],
    "list then object": [[1], {"a": 1}],
    "list then int": [[1], 2],
    "lists of two kinds": [[1], ["a"]],
    "list of two kinds": [[1, "a", None], []],
    "empty object": [{}, None],
    "empty object then fields": [{}, {"a": 1}],
    "empty object inside": [[{}], [{"a": 1}]],
    "other fields": [{"a": 1}, {"b": "x"}],
    "one field of two kinds": [{"a": 1}, {"a": "x"}],
    "empty list": [[], [[]]],
    "nothing": [None, None],
    "late": [None, {"a": [1]}],
}


@pytest.mark.parametrize("values", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_values_of_many_kinds_in_one_column_are_kept(tmp_path, values, apart):
    """Together in one chunk of rows, or the second one when the file is already being written."""
    extras = [{"x": values[0]}, *[{}] * (ROW_GROUP if apart else 0), {"x": values[1]}]
    found = through(tmp_path, [rollout(tag=n, **extra) for n, extra in enumerate(extras)])
    assert bare([found[0].get("x"), found[-1].get("x")]) == bare(values)


def test_a_column_that_appears_late_is_there_for_all_rows(tmp_path):
    rows = [rollout(tag=n) for n in range(2 * ROW_GROUP)] + [rollout(late={"deep": [1, 2]})]
    found = through(tmp_path, rows)
    assert found[-1]["late"] == {"deep": [1, 2]}
    assert [row["late"] for row in found[:-1]] == [None] * (2 * ROW_GROUP)


TYPES = {
    "int8": ([1, None], pa.int8()),
    "uint64": ([2**64 - 1, 0], pa.uint64()),
    "float32": ([0.5, None], pa.float32()),
    "decimal": ([decimal.Decimal("1.20"), None], pa.decimal128(10, 2)),
    "day": ([dt.date(2026, 1, 2), None], pa.date32()),
    "instant": ([dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), None], pa.timestamp("us", "UTC")),
    "local time": ([dt.datetime(2026, 1, 2, 3), None], pa.timestamp("ms")),  # noqa: DTZ001
    "span": ([dt.timedelta(seconds=1), None], pa.duration("us")),
    "bytes": ([b"\xff\x00", None], pa.binary()),
    "large text": (["x", None], pa.large_string()),
    "category": (["x", "y"], pa.dictionary(pa.int32(), pa.string())),
    "map": ([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    "fixed list": ([[1, 2], None], pa.list_(pa.int64(), 2)),
    "struct": ([{"a": [1]}, None], pa.struct({"a": pa.list_(pa.int8()), "b": pa.int8()})),
    "all null": ([None, None], pa.null()),
    "typed nulls": ([None, None], pa.int16()),
}  # fmt: skip


@pytest.mark.parametrize(("values", "kind"), TYPES.values(), ids=TYPES)
def test_a_typed_column_keeps_its_type_and_its_values(tmp_path, values, kind):
    table = pa.Table.from_pylist([rollout(tag=n) for n in range(2)])
    table = table.append_column(pa.field("x", kind), pa.array(values, kind))
    pq.write_table(table, tmp_path / "x.parquet")
    found = through(tmp_path, source=tmp_path / "x.parquet")
    assert [bare(row["x"]) for row in found] == values
    schema = pq.read_schema(tmp_path / "run" / "filtered.parquet")
    assert schema.field("x").type == pq.read_schema(tmp_path / "x.parquet").field("x").type


def test_a_typed_column_that_a_repair_has_filled_is_widened(tmp_path):
    """verifiers 0.1.9 writes its times into `timing`; the columns may be there, all null."""
    table = pa.Table.from_pylist([rollout(timing={"total_ms": 1.5, "generation_ms": 1.0})])
    table = table.append_column(pa.field("total_ms", pa.null()), pa.nulls(1))
    pq.write_table(table, tmp_path / "x.parquet")
    (row,) = through(tmp_path, source=tmp_path / "x.parquet")
    assert row["total_ms"] == 1.5


def test_the_export_names_every_sample_and_its_module(tmp_path):
    (row,) = through(tmp_path, [rollout("Relu")])
    assert row["module_name"] == "Relu"
    with Run.open(tmp_path / "run") as run:
        assert row["sample_id"] == run.entries()[0].id
    assert not [name for name in row if name.startswith("ks_")]


# --- bad rows -----------------------------------------------------------------------------------


def without(name):
    row = rollout()
    del row[name]
    return json.dumps(row).encode()


BAD = {
    "not a number": (json.dumps(rollout(reward=float("nan"))).encode(), "not a finite number"),
    "infinite": (json.dumps(rollout(reward=float("inf"))).encode(), "not a finite number"),
    "text reward": (json.dumps(rollout(reward="high")).encode(), "not a number"),
    "no reward": (without("reward"), "no reward"),
    "null reward": (json.dumps(rollout(reward=None)).encode(), "no reward"),
    "no completion": (without("completion"), "no completion"),
    "not UTF-8": (b'{"prompt": "\xff"}', "not UTF-8"),
    "no JSON": (b"{oops}", "invalid JSON"),
    "no object": (b"[1]", "not an object"),
    "half a pair": (json.dumps(rollout(note="\ud800")).encode(), ""),
}


@pytest.mark.parametrize(("line", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_stops_the_load_and_is_named(tmp_path, line, reason):
    source = tmp_path / "x.jsonl"
    source.write_bytes(json.dumps(rollout()).encode() + b"\n" + line + b"\n")
    with pytest.raises(DataError, match=rf"^x\.jsonl:2: .*{reason}.*quarantine"):
        load(tmp_path, source)
    assert not (tmp_path / "run" / "samples.parquet").exists()


@pytest.mark.parametrize(("line", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_set_aside_with_its_reason_and_counted(tmp_path, line, reason):
    source = tmp_path / "x.jsonl"
    good = json.dumps(rollout()).encode()
    source.write_bytes(b"\n".join([good, line, good, b""]))
    entries, tally = load(tmp_path, source, load__on_bad_row="quarantine")
    assert [e.origin for e in entries] == ["x.jsonl:1", "x.jsonl:3"]
    assert (tally.counts["rows"], tally.counts["quarantined"]) == (2, 1)
    (record,) = map(json.loads, (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines())
    assert record["origin"] == "x.jsonl:2"
    assert reason in record["reason"]


def test_a_torn_last_line_is_named_as_such(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(), rollout(tag=1)])
    source.write_bytes(source.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"x\.jsonl:2: a torn last line"):
        load(tmp_path, source)


def test_a_parquet_file_that_is_cut_off_is_named(tmp_path):
    source = parquet(tmp_path / "x.parquet", [rollout()])
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"x\.parquet is cut off or damaged"):
        load(tmp_path, source)


def test_a_source_without_rows_is_an_error(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout()])
    source.write_text("\n\n")
    with pytest.raises(DataError):
        load(tmp_path, source)


def test_a_source_with_only_bad_rows_is_an_error(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(reward="high")])
    with pytest.raises(DataError, match="no usable row: all 1 are bad"):
        load(tmp_path, source, load__on_bad_row="quarantine")
    assert not (tmp_path / "run" / "samples.parquet").exists()


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path, tmp_path / "no.jsonl")


# --- once ---------------------------------------------------------------------------------------


def test_loading_the_same_source_again_does_nothing(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", ROWS)
    load(tmp_path, source)
    before = (tmp_path / "run" / "samples.parquet").stat()
    _, tally = load(tmp_path, source)
    after = (tmp_path / "run" / "samples.parquet").stat()
    assert tally.counts == {"rows": 3, "already loaded": 1}
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_source_whose_content_has_changed_is_loaded_again(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", ROWS)
    load(tmp_path, source)
    entries, _ = load(tmp_path, write_jsonl(source, ROWS[:1]))
    assert len(entries) == 1


def test_another_source_needs_to_be_told_that_it_may_replace(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    load(tmp_path, write_jsonl(one, ROWS))
    with pytest.raises(RunError, match=r"holds rollouts of .*one\.jsonl.*--replace"):
        load(tmp_path, write_jsonl(two, ROWS[:1]))
    assert len(load(tmp_path, one)[0]) == 3
    assert len(load(tmp_path, two, replace=True)[0]) == 1


def test_a_load_that_fails_leaves_the_run_as_it_was(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(tag=n) for n in range(600)])
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        before = session.run.states()
    files = {p: p.read_bytes() for p in (tmp_path / "run").glob("*.parquet")}
    with source.open("ab") as file:
        file.write(without("reward") + b"\n")
    with opened(tmp_path / "run", source) as session:
        with pytest.raises(DataError, match=r"x\.jsonl:601"):
            pipeline.load(session)
        assert session.run.states() == before
    assert {p: p.read_bytes() for p in files} == files
    assert not list((tmp_path / "run").glob(".*draft*"))


def test_a_limit_stops_the_reading(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(tag=n) for n in range(9)])
    assert len(load(tmp_path, source, load__limit=4)[0]) == 4


def test_enough_good_rows_stop_the_reading(tmp_path):
    rewards = [1.0, 0.1, 0.85, 1.0, 1.0, 1.0]
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(reward=r, tag=r) for r in rewards])
    entries, _ = load(tmp_path, source, load__enough=2)
    assert [e.reward for e in entries] == [1.0, 0.1, 0.85, 1.0]


def test_the_search_for_enough_good_rows_has_an_end(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(reward=0.0) for _ in range(500)])
    entries, _ = load(tmp_path, source, load__enough=2)
    assert len(entries) == load_stage.TEST_SCAN


# --- names --------------------------------------------------------------------------------------


def module_of(tmp_path, **change):
    (entry,), _ = load(tmp_path, write_jsonl(tmp_path / "x.jsonl", [rollout(**change)]))
    return entry.module


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "Relu"),
        ({"module_name": "Top"}, "Relu"),
        ({"info": {}, "module_name": " Top "}, "Top"),
        ({"info": {"module_name": "  "}, "module_name": "Top"}, "Top"),
        ({"info": {"module_name": 5, "python_code": reference("Gelu")}}, "Gelu"),
        ({"info": {"python_code": reference("Gelu")}}, "Gelu"),
        ({"info": {}, "python_code": reference("Gelu")}, "Gelu"),
        ({"info": {}}, "example 1"),
        ({"info": json.dumps({"module_name": "InText"})}, "InText"),
        ({"info": {"python_code": "no python ("}}, "example 1"),
    ],
)
def test_a_module_has_the_first_name_that_is_found(tmp_path, change, name):
    assert module_of(tmp_path, **change) == name


def test_rows_with_one_prompt_and_no_name_are_of_one_module(tmp_path):
    nameless = {"info": None, "example_id": None}
    other = [{"role": "user", "content": "Write another"}]
    rows = [rollout(**nameless), rollout(tag=1, **nameless), rollout(prompt=other, **nameless)]
    entries, _ = load(tmp_path, write_jsonl(tmp_path / "x.jsonl", rows))
    names = [e.module for e in entries]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("prompt ")


def test_the_code_and_the_reference_are_found(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(), no_code()])
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
        first, second = session.run.samples.read(session.run.entries())
    assert (first.code, first.reference) == (kernel("Relu"), reference("Relu"))
    assert (second.code, second.entry.code_digest) == ("", "")
    assert first.completion is None


def test_only_the_rows_that_are_wanted_are_read(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(tag=n) for n in range(600)])
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
        wanted = [session.run.entries()[n] for n in (3, 255, 256, 599)]
        found = list(session.run.samples.read(wanted, completion=True))
    assert [s.id for s in found] == [e.id for e in wanted]
    assert "TAG = 599\n" in found[-1].code
    assert found[-1].completion.startswith("I think.")


# --- memory -------------------------------------------------------------------------------------


class Prompt(list):
    """A value of a row that can be watched; it lives as long as the row."""


class Counting:
    """A source that counts how many of its rows are alive at once."""

    schema = None
    column_names = ()

    def __init__(self, total):
        self.total = total
        self.peak = 0

    def info(self):
        return SourceInfo(spec="x", kind="rollouts", format="rollouts")

    def rows(self):
        alive = []
        for number in range(self.total):
            late = 1.5 if number > self.total // 2 else None
            data = rollout(tag=number, late=late)
            data["prompt"] = Prompt(data["prompt"])
            alive = [found for found in alive if found() is not None]
            alive.append(weakref.ref(data["prompt"]))
            self.peak = max(self.peak, len(alive))
            yield Row(f"x:{number}", data)


def test_no_more_than_two_chunks_of_rows_are_alive(tmp_path, monkeypatch):
    source = Counting(8 * ROW_GROUP)
    monkeypatch.setattr(load_stage, "open_source", lambda *_, **__: source)
    with Run.open(tmp_path / "run") as run:
        load_stage.load(run, Load(source="x"), QUIET, passing=0.85)
        assert len(run.entries()) == 8 * ROW_GROUP
    assert ROW_GROUP <= source.peak <= 2 * ROW_GROUP + 2

"""What is published beside the rows: a card that the Hub can read, pictures, manifest, licences."""

import contextlib
import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from build import Counted, opened, reference, rollout, write_jsonl
from fake_hub import FakeHub
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import drawn_once, real_pictures
from test_cli import call, curated
from test_publish import SETS, hub, published, upload

from kernelsift import export, filter_rows, judge, load, publish
from kernelsift.publishing import shards

__all__ = ["drawn_once", "hub", "real_pictures"]  # fixtures
pytestmark = pytest.mark.filterwarnings(  # how huggingface_hub calls its own HTTP library
    "ignore:Use 'content=<...>' to upload raw:DeprecationWarning"
)
PNG = b"\x89PNG\r\n\x1a\n"
ALL = ("--license", "mit", "--source-license", "rows.jsonl=bsd-3-clause")


def card_of(run: Path, name: str = "unique") -> str:
    return (run / "publish" / name / "README.md").read_text(encoding="utf-8")


# --- what the Hub and datasets make of it ---------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_the_hub_s_own_parser_reads_the_card_and_gives_back_the_same_text(
    tmp_path: Path, name: str
) -> None:
    from huggingface_hub import DatasetCard

    run = published(tmp_path, *ALL)
    text = card_of(run, name)
    found = DatasetCard(text)
    data = found.data.to_dict()
    assert data["license"] == "mit"
    assert data["task_categories"] == ["text-generation"]
    assert [one["split"] for one in data["configs"][0]["data_files"]] == ["train", "validation"]
    assert found.text.strip() == text.split("\n---\n", 1)[1].strip()
    assert found.data.to_yaml(line_break="\n") in text


@pytest.mark.parametrize("name", SETS)
def test_datasets_loads_the_folder_by_its_card_with_the_same_rows_splits_and_types(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    run = published(tmp_path, *ALL)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = run / "publish" / name
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train", "validation"]
    table = pq.read_table(run / f"{name}.parquet")
    for split, loaded in found.items():
        files = sorted((folder / "data").glob(f"{split}-*.parquet"))
        mine = pa.concat_tables([pq.read_table(file) for file in files])
        assert loaded.to_list() == mine.to_pylist()
        assert loaded.features == datasets.Features.from_arrow_schema(table.schema)
    assert sum(len(loaded) for loaded in found.values()) == table.num_rows


# --- shards ---------------------------------------------------------------------------------------


def test_a_large_set_is_cut_into_shards_that_datasets_reads_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    monkeypatch.setattr(shards, "GROUP_ROWS", 4)
    run = curated(tmp_path)
    assert call(tmp_path, "publish", "--run", run).code == 0
    data = run / "publish" / "filtered" / "data"
    files = sorted(data.glob("train-*.parquet"))
    assert len(files) > 2
    assert [f.name for f in files] == [
        f"train-{n:05d}-of-{len(files):05d}.parquet" for n in range(len(files))
    ]
    ids = [row["sample_id"] for file in files for row in pq.read_table(file).to_pylist()]
    everything = pq.read_table(run / "filtered.parquet")["sample_id"].to_pylist()
    assert ids == [id_ for id_ in everything if id_ in set(ids)], "the order of the table"
    for file in files:
        found = pq.read_metadata(file)
        assert all(found.row_group(n).num_rows <= 4 for n in range(found.num_row_groups))
        assert found.row_group(0).column(0).has_offset_index
    assert not list(data.glob(".*")), "no draft is left"


def test_a_row_group_is_bounded_in_bytes_and_a_giant_row_is_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "GROUP_BYTES", 10_000)
    texts = ["x" * 3000] * 9 + ["y" * 50_000] + ["z" * 10] * 5
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    found = shards.write_shards(
        tmp_path / "in.parquet", tmp_path / "out", ("train",), lambda t: ["train"] * t.num_rows
    )
    (name,) = found["train"].files
    file = pq.ParquetFile(tmp_path / "out" / name)
    groups = [file.read_row_group(n) for n in range(file.num_row_groups)]
    assert [text for group in groups for text in group["text"].to_pylist()] == texts
    assert all(group.nbytes <= 10_000 or group.num_rows == 1 for group in groups)


@given(
    rows=st.lists(st.tuples(st.sampled_from(["train", "test"]), st.integers(0, 3000)), max_size=40),
    bounds=st.tuples(st.integers(1, 9), st.integers(1, 9000), st.integers(1, 5000)),
)
@settings(max_examples=40, deadline=None)
def test_shards_hold_every_row_once_in_order_whatever_the_bounds(
    rows: list[tuple[str, int]], bounds: tuple[int, int, int]
) -> None:
    sides = [side for side, _ in rows]
    texts = [f"{number} " + "x" * size for number, (_, size) in enumerate(rows)]
    names = ("GROUP_ROWS", "GROUP_BYTES", "SHARD_BYTES")
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        for name, bound in zip(names, bounds, strict=True):
            stack.enter_context(mock.patch.object(shards, name, bound))
        folder = Path(place)
        table = pa.table({
            "text": pa.array(texts, pa.string()),
            "side": pa.array(sides, pa.string()),
        })
        pq.write_table(table, folder / "in.parquet")
        found = shards.write_shards(
            folder / "in.parquet", folder / "out", ("train", "test"),
            lambda part: part["side"].to_pylist(),
        )  # fmt: skip
        for side, written in found.items():
            files = [pq.ParquetFile(folder / "out" / name) for name in written.files]
            back = [text for file in files for text in file.read()["text"].to_pylist()]
            assert back == [text for text, mine in zip(texts, sides, strict=True) if mine == side]
            assert written.rows == len(back)
            groups = [f.read_row_group(n) for f in files for n in range(f.num_row_groups)]
            fits = (g.num_rows <= bounds[0] and g.nbytes <= bounds[1] for g in groups)
            assert all(fit or g.num_rows == 1 for fit, g in zip(fits, groups, strict=True))


def test_a_split_without_rows_has_no_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "in.parquet")
    found = shards.write_shards(
        tmp_path / "in.parquet", tmp_path / "out", ("train", "test"), lambda _: ["train"] * 2
    )
    assert (found["test"].rows, found["test"].files) == (0, ())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["train-00000-of-00001.parquet"]


# --- pictures, commands, manifest -----------------------------------------------------------------


@pytest.mark.usefixtures("real_pictures")
@pytest.mark.parametrize("name", ["filtered", "unique"])
def test_every_picture_that_the_card_shows_lies_beside_it(tmp_path: Path, name: str) -> None:
    run = published(tmp_path)
    folder = run / "publish" / name
    linked = re.findall(r"!\[.*?\]\((.*?)\)", card_of(run, name))
    assert linked == ["plots/funnel.png", "plots/scores.png"]
    assert all((folder / path).read_bytes().startswith(PNG) for path in linked)
    assert {p.name for p in (folder / "plots").iterdir()} == {"funnel.png", "scores.png"}


def test_the_card_lists_the_commands_that_made_the_tables_in_order(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [rollout(f"M{m}") for m in range(12)])
    steps = (
        ("load", "rows.jsonl"), ("filter", "--min-reward", "0.5"), ("judge", "--judge", "static"),
        ("dedup",), ("publish", *ALL, "--json"),
    )  # fmt: skip
    for args in steps:
        assert call(tmp_path, *args, "--run", "run").code == 0
    block = card_of(tmp_path / "run").split("## How it was made")[1].split("```")[1]
    assert block.strip().splitlines()[1:] == [
        "kernelsift load rows.jsonl --run run",
        "kernelsift filter --min-reward 0.5 --run run",
        "kernelsift judge --judge static --run run",
        "kernelsift dedup --run run",
        "kernelsift publish --license mit --source-license rows.jsonl=bsd-3-clause --run run",
    ]


@pytest.mark.parametrize("name", SETS)
def test_the_manifest_has_the_digest_of_every_file_and_the_settings_of_every_stage(
    tmp_path: Path, name: str
) -> None:
    run = published(tmp_path)
    folder = run / "publish" / name
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    found = json.loads(text)
    files = [p for p in folder.rglob("*") if p.is_file()]
    written = {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in written.items()}
    listed = {path: one["sha256"] for path, one in found["files"].items()}
    assert listed == {p: d for p, d in digests.items() if p not in {"README.md", "manifest.json"}}
    assert found["stages"]["filter"]["settings"] == {"min_reward": 0.85}
    assert sum(found["states"].values()) == 24
    assert str(tmp_path) not in text


@pytest.mark.usefixtures("real_pictures")
def test_the_same_run_published_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    run = published(tmp_path)
    assert call(tmp_path, "publish", "--run", run).code == 0

    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (run / "publish").rglob("*") if p.is_file()}

    first = contents()
    assert call(tmp_path, "publish", "--run", run).code == 0
    assert contents() == first


def test_rows_that_the_judge_failed_on_are_counted_apart(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [rollout(f"Mod{m}") for m in range(6)])
    good = "<difficulty>3</difficulty><style>4</style>"
    answer = Counted(lambda ask: "I refuse to say" if "class Mod3" in str(ask) else good)
    with opened(tmp_path / "run", source, chat=answer) as session:
        for step in (load, filter_rows, judge, export, publish):
            step(session)
    section = card_of(tmp_path / "run", "filtered").split("## Judge")[1].split("## ")[0]
    assert "rated 5 rows" in section
    assert "1 row got no rating: no-verdict 1." in section


# --- licences -------------------------------------------------------------------------------------


def test_without_a_licence_of_the_source_nothing_is_uploaded(tmp_path: Path, hub: FakeHub) -> None:
    done = upload(tmp_path, curated(tmp_path), "--license", "mit", sources=False)
    assert done.code == 2
    message = done.json["error"]["message"]
    assert "no licence is given for the source rows.jsonl" in message
    assert "say --source-license rows.jsonl=LICENCE" in message
    assert hub.calls == []


def test_a_dry_run_goes_on_and_shows_what_is_missing(tmp_path: Path) -> None:
    run = curated(tmp_path)
    done = call(tmp_path, "publish", "--run", run)
    assert done.code == 0
    assert "no licence of the source rows.jsonl is given: an upload will ask" in done.out
    assert "**not given**" in card_of(run)
    assert "license" not in card_of(run).split("---\n")[1]


def test_the_licence_of_a_source_may_stand_in_the_settings(tmp_path: Path) -> None:
    run = curated(tmp_path)
    text = '[publish.source_license]\n"rows.jsonl" = "BSD-3-Clause (per row: info.license)"\n'
    (tmp_path / "kernelsift.toml").write_text(text, "utf-8")
    done = call(tmp_path, "publish", "--run", run)
    assert "source-license" not in done.out
    assert "BSD-3-Clause (per row: info.license)" in card_of(run)


def test_prompts_ask_for_the_licence_of_their_own_source(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    write_jsonl(tmp_path / "modules.jsonl", [rollout(f"M{m}") for m in range(12)])
    more = ("--source", "modules.jsonl", "--generator", "template")
    assert call(tmp_path, "prompts", *more, "--run", run).code == 0
    done = upload(tmp_path, run, *ALL, sources=False)
    assert "no licence is given for the source modules.jsonl" in done.json["error"]["message"]
    assert upload(tmp_path, run, *ALL, "--source-license", "modules.jsonl=mit").code == 0
    assert "| `modules.jsonl` | – | mit |" in card_of(run, "prompts")


@pytest.mark.parametrize("text", ["mit", "=mit", "rows.jsonl="])
def test_a_source_licence_without_name_or_value_is_refused(tmp_path: Path, text: str) -> None:
    done = call(tmp_path, "publish", "--run", curated(tmp_path), "--source-license", text)
    assert done.code == 2
    assert "is not NAME=LICENCE" in done.err


def test_licences_that_rows_name_themselves_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [rollout(f"M{m}") for m in range(6)]
    for number, row in enumerate(rows):
        row["info"]["license"] = "MIT" if number < 4 else "BSD-3-Clause"
    write_jsonl(tmp_path / "rows.jsonl", rows)
    for args in (("load", "rows.jsonl"), ("filter",), ("publish",)):
        assert call(tmp_path, *args).code == 0
    card = card_of(tmp_path / "outputs", "filtered")
    assert "Rows name their own licence in `info.license`: `MIT` 4, `BSD-3-Clause` 2." in card


def test_a_table_that_is_older_than_the_decisions_is_not_published(tmp_path: Path) -> None:
    run = curated(tmp_path)
    stale = (run / "unique.parquet").read_bytes()
    assert call(tmp_path, "dedup", "--score", "-reward", "--run", run).code == 0
    assert call(tmp_path, "publish", "--run", run).code == 0
    (run / "unique.parquet").write_bytes(stale)
    done = call(tmp_path, "publish", "--run", run, "--json")
    assert done.code == 3
    assert "kernelsift export" in done.json["error"]["message"]


# --- results of the stages that compare -----------------------------------------------------------


def test_the_card_says_what_dedup_dropped_and_how_large_clusters_are(tmp_path: Path) -> None:
    run = curated(tmp_path)
    assert call(tmp_path, "publish", "--run", run).code == 0
    section = card_of(run).split("## Duplicates")[1].split("## ")[0]
    assert "Of 20 rows 10 were dropped as repeats. 10 clusters have several rows" in section
    assert "the largest has 2." in section
    assert "| dropped | not-best-of-module | 10 |" in section
    assert "| `by` | `module-name` |" in section
    assert "Duplicates were not dropped" in card_of(run, "filtered")


def test_the_card_says_which_benchmarks_rows_were_compared_with_and_what_was_found(
    tmp_path: Path,
) -> None:
    run = curated(tmp_path)
    (tmp_path / "held").mkdir()
    own = reference("Mod3").replace("torch.relu(x)", "torch.relu(x) + torch.sin(x).mean() - 3")
    (tmp_path / "held" / "Mod3.py").write_text(own, "utf-8")
    rows = [rollout(f"Mod{m}", tag=m) for m in range(6)]
    rows[3]["info"]["python_code"] = own
    write_jsonl(tmp_path / "rows.jsonl", rows)
    about = ("--benchmark", "Ours", "--version", "v7", "--license", "MIT", "--source", "here")
    steps = (
        ("decontaminate", "--build-index", "held", *about, "--out", "ours.idx"),
        ("load", "rows.jsonl", "--replace", "--run", run), ("filter", "--run", run),
        ("decontaminate", "--index", "ours.idx", "--run", run), ("publish", "--run", run),
    )  # fmt: skip
    for args in steps:
        done = call(tmp_path, *args)
        assert done.code == 0, done.err
    section = card_of(run, "filtered").split("## Benchmark contamination")[1].split("\n## ")[0]
    assert "Of 6 rows 1 were dropped because they hold a benchmark problem" in section
    assert "Ours (v7): 1 problems, MIT, here" in section
    assert "| dropped, by benchmark and kind of match | Ours, ast | 1 |" in section
    assert str(tmp_path) not in card_of(run, "filtered")


# --- why ------------------------------------------------------------------------------------------


def test_why_says_to_which_side_a_row_was_published_and_with_which_cluster(tmp_path: Path) -> None:
    run = published(tmp_path)
    files = (run / "publish" / "filtered" / "data").glob("*.parquet")
    sides = {
        row["sample_id"]: file.name.split("-")[0]
        for file in files
        for row in pq.read_table(file, columns=["sample_id"]).to_pylist()
    }
    assert set(sides.values()) == {"train", "validation"}
    for id_, side in sides.items():
        found = call(tmp_path, "why", id_, "--run", run, "--json").json
        assert found["split"] == {"side": side, "cluster": found["module"], "rows": 2}
    text = call(tmp_path, "why", next(iter(sides)), "--run", run).out
    assert f"split: it was written to {sides[next(iter(sides))]}, with all 2 rows" in text


def test_why_says_nothing_of_a_split_where_there_was_none(tmp_path: Path) -> None:
    run = curated(tmp_path)
    assert call(tmp_path, "why", "0", "--run", run, "--json").json["split"] is None
    assert "split:" not in call(tmp_path, "why", "0", "--run", run).out


def test_a_row_that_was_dropped_is_on_no_side(tmp_path: Path) -> None:
    run = published(tmp_path)
    found = call(tmp_path, "why", "rows.jsonl:21", "--run", run, "--json").json
    assert (found["state"], found["split"]) == ("dropped", None)

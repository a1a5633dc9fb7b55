"""publish: the data sets as they go on the Hub, and the way there, against a fake Hub."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from build import rollout, write_jsonl
from fake_hub import TOKEN, USER, FakeHub, Repo
from pictures import drawn_once, real_pictures
from test_bad_input import CLOSED
from test_cli import SAMPLE, Done, call, curated, spawn

from kernelsift.splits import Shares, draw

__all__ = ["drawn_once", "real_pictures"]  # fixtures
SETS = ("filtered", "unique", "prompts")
pytestmark = pytest.mark.filterwarnings(  # how huggingface_hub calls its own HTTP library
    "ignore:Use 'content=<...>' to upload raw:DeprecationWarning"
)


def published(folder: Path, *args: object) -> Path:
    """A curated run with prompts, published dry."""
    run = curated(folder)
    done = call(folder, "prompts", "--generator", "template", "--run", run)
    assert done.code == 0, done.err
    done = call(folder, "publish", "--run", run, *args)
    assert done.code == 0, done.err
    return run


def front_matter(card: Path) -> dict[str, Any]:
    return yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])


def side(folder: Path, name: str) -> list[dict[str, Any]]:
    files = sorted((folder / "data").glob(f"{name}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


# --- what is written ----------------------------------------------------------------------------


def test_the_default_writes_everything_and_uploads_nothing(tmp_path: Path) -> None:
    run = curated(tmp_path)
    done = call(tmp_path, "publish", "--run", run)
    assert done.code == 0
    assert "dry run: written, not uploaded; --upload sends it" in done.out
    assert "no licence is given: an upload will ask for --license" in done.out
    assert sorted(p.name for p in (run / "publish").iterdir()) == ["filtered", "unique"]


@pytest.mark.parametrize("name", SETS)
def test_the_card_s_front_matter_parses_and_lists_files_that_exist(
    tmp_path: Path, name: str
) -> None:
    run = published(tmp_path, "--license", "cc-by-4.0")
    folder = run / "publish" / name
    found = front_matter(folder / "README.md")
    assert found["pretty_name"] == f"rows: {name}"
    assert found["license"] == "cc-by-4.0"
    (config,) = found["configs"]
    assert [one["split"] for one in config["data_files"]] == ["train", "validation"]
    for one in config["data_files"]:
        assert list(folder.glob(one["path"]))
    listed = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert listed == {
        "README.md",
        "manifest.json",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        *([] if name == "prompts" else ["plots/funnel.png", "plots/scores.png"]),
    }


@pytest.mark.parametrize("name", SETS)
def test_the_sides_hold_every_row_of_the_table_once(tmp_path: Path, name: str) -> None:
    run = published(tmp_path)
    table = pq.read_table(run / f"{name}.parquet").to_pylist()
    folder = run / "publish" / name
    both = side(folder, "train") + side(folder, "validation")
    assert sorted(map(repr, both)) == sorted(map(repr, table))


def test_datasets_loads_what_was_written(tmp_path: Path) -> None:
    run = published(tmp_path)
    code = (
        "import sys, datasets\n"
        "for name in sys.argv[2:]:\n"
        "    files = {s: f'{sys.argv[1]}/publish/{name}/data/{s}-*.parquet'"
        " for s in ('train', 'validation')}\n"
        "    found = datasets.load_dataset('parquet', data_files=files)\n"
        "    print(name, found['train'].num_rows + found['validation'].num_rows)\n"
    )
    import sys

    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = spawn(tmp_path, run, *SETS, program=(sys.executable, "-c", code), **env)
    assert done.code == 0, done.err
    rows = {name: pq.read_metadata(run / f"{name}.parquet").num_rows for name in SETS}
    assert done.out.split() == [str(x) for name in SETS for x in (name, rows[name])]


def test_no_module_is_on_both_sides_of_any_set(tmp_path: Path) -> None:
    run = published(tmp_path)
    train, validation = set(), set()
    for name in SETS:
        folder = run / "publish" / name
        train |= {row["module_name"] for row in side(folder, "train")}
        validation |= {row["module_name"] for row in side(folder, "validation")}
    assert train
    assert validation
    assert not train & validation


def test_the_card_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    run = curated(tmp_path)
    source = tmp_path / "deep" / "rows.jsonl"
    source.parent.mkdir()
    write_jsonl(source, [rollout(f"M{m}") for m in range(30)])
    args = ("--run", tmp_path / "deep" / "run")
    call(tmp_path, "load", source, *args)
    call(tmp_path, "filter", *args)
    more = ("--source", source, "--generator", "template")
    assert call(tmp_path, "prompts", *more, *args).code == 0
    assert call(tmp_path, "publish", *args).code == 0
    for card in (run.parent / "deep" / "run" / "publish").rglob("README.md"):
        text = card.read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert "deep" not in text
        assert "`rows.jsonl`" in text
        assert "kernelsift publish --run run" in text


def test_the_card_has_the_funnel_the_judge_and_the_author_of_prompts(tmp_path: Path) -> None:
    run = published(tmp_path)
    card = (run / "publish" / "unique" / "README.md").read_text(encoding="utf-8")
    assert "Every one of the 24 input rows is in exactly one line." in card
    assert re.search(r"\| filter \| dropped: low-reward \| 4 \|", card)
    assert re.search(r"\| dedup \| dropped: not-best-of-module \| 10 \|", card)
    assert "not from a language model" in card
    prompts = (run / "publish" / "prompts" / "README.md").read_text(encoding="utf-8")
    assert "by a template" in prompts
    assert "| prompts | written | 10 |" in prompts


def test_publishing_again_replaces_a_set_whole(tmp_path: Path) -> None:
    run = published(tmp_path)
    stray = run / "publish" / "unique" / "data" / "train-00009-of-00010.parquet"
    stray.write_bytes(b"old")
    first = (run / "publish" / "unique" / "README.md").read_bytes()
    assert call(tmp_path, "publish", "--run", run).code == 0
    assert not stray.exists()
    assert (run / "publish" / "unique" / "README.md").read_bytes() == first
    assert not list((run / "publish").glob(".*"))


def test_tables_of_another_source_are_not_published(tmp_path: Path) -> None:
    run = curated(tmp_path)
    write_jsonl(tmp_path / "other.jsonl", [rollout("Other", tag=9)])
    assert call(tmp_path, "load", "other.jsonl", "--replace", "--run", run).code == 0
    done = call(tmp_path, "publish", "--run", run, "--json")
    assert done.code == 3
    assert "kernelsift export" in done.json["error"]["message"]
    call(tmp_path, "filter", "--run", run)
    assert (
        call(tmp_path, "publish", "--run", run).code == 3 or not (run / "unique.parquet").exists()
    )


# --- splits -------------------------------------------------------------------------------------


def _share(names: list[str], seed: int = 42) -> float:
    sides = draw(dict.fromkeys(names, 1), Shares(0.1), seed=seed)
    return sum(one == "validation" for one in sides.values()) / len(sides)


def test_about_a_tenth_of_many_modules_goes_to_validation() -> None:
    for seed in range(5):
        assert 0.08 < _share([f"Module{n}" for n in range(5000)], seed) < 0.12


def test_about_a_tenth_of_the_bundled_sample_goes_to_validation() -> None:
    rows = [json.loads(line) for line in SAMPLE.read_bytes().splitlines()]
    assert 0.08 <= _share([row["info"]["module_name"] for row in rows]) <= 0.12


def test_a_side_without_rows_has_no_file_and_no_line_in_the_card(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [rollout("Only")])
    for args in (("load", "rows.jsonl"), ("filter",), ("publish",)):
        assert call(tmp_path, *args).code == 0
    folder = tmp_path / "outputs" / "publish" / "filtered"
    (data,) = (folder / "data").iterdir()
    assert data.name.startswith("train-")
    (config,) = front_matter(folder / "README.md")["configs"]
    assert [one["split"] for one in config["data_files"]] == ["train"]


# --- upload -------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with FakeHub() as found:
        at(monkeypatch, found.endpoint)
        yield found


def at(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let uploads of this process go to an address (the library reads HF_ENDPOINT at import)."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("kernelsift.hub.PAUSES", (0, 0, 0))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def at_env(hub: FakeHub, folder: Path) -> dict[str, str]:
    """Where a process of its own uploads to."""
    home = {"HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return {"HF_ENDPOINT": hub.endpoint, **home}


def upload(
    folder: Path, run: Path, *args: object, token: str = TOKEN, sources: bool = True
) -> Done:
    """Upload in this process; with `sources` the licence of rows.jsonl is given, too."""
    args = (*args, *(("--source-license", "rows.jsonl=mit") if sources else ()))
    env = {"HF_TOKEN": token, "HF_HOME": str(folder / "hf")} if token else {}
    done = call(folder, "publish", "--upload", "--run", run, *args, "--json", **env)
    assert not token or token not in done.out + done.err
    assert "Traceback" not in done.err
    for path in run.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
    return done


def test_without_a_licence_nothing_is_uploaded(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    done = upload(tmp_path, run)
    assert done.code == 2
    assert "does not guess one: say --license" in done.json["error"]["message"]
    assert hub.calls == []


def test_without_a_token_its_variable_is_named(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    done = upload(tmp_path, curated(tmp_path), "--license", "mit", token="")
    assert done.code == 2
    assert "set HF_TOKEN" in done.json["error"]["message"]
    assert hub.calls == []


def test_upload_makes_private_repositories_with_one_commit_each(tmp_path: Path) -> None:
    run = published(tmp_path)
    with FakeHub() as hub:
        licences = ("--license", "mit", "--source-license", "rows.jsonl=mit")
        args = ("publish", "--upload", *licences, "--run", run, "--json")
        env = at_env(hub, tmp_path)
        (tmp_path / ".env").write_text(f"HF_TOKEN={TOKEN}\n", "utf-8")
        done = spawn(tmp_path, *args, **env)
        assert done.code == 0, done.err
        assert set(hub.repos) == {f"{USER}/rows-{name}" for name in SETS}
        for name in SETS:
            repo = hub.repos[f"{USER}/rows-{name}"]
            assert repo.private
            assert len(repo.commits) == 1
            folder = run / "publish" / name
            local = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
            assert repo.files == local
            assert front_matter(folder / "README.md")["license"] == "mit"
        assert hub.unknown == [], "nothing but the upload was asked for"
        assert not any("torch/" in agent or "agent/" in agent for agent in hub.agents)
    (tally,) = done.json["tallies"]
    assert f"unique: {hub.endpoint}/datasets/{USER}/rows-unique" in tally["notes"]
    (tmp_path / ".env").unlink()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in done.out + done.err


def test_a_second_upload_removes_stale_data_and_nothing_else(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    stale = {
        "data/train-00001-of-00002.parquet": b"old",
        "plots/old.png": b"old",
        ".gitattributes": b"x",
        "NOTES.md": b"y",
    }
    hub.repos["org/base-unique"] = Repo(private=True, files=dict(stale))
    more = ("--license", "mit", "--namespace", "org", "--name", "base")
    assert upload(tmp_path, run, *more).code == 0
    files = hub.repos["org/base-unique"].files
    assert set(files) == {
        ".gitattributes", "NOTES.md", "README.md", "manifest.json", "plots/funnel.png",
        "plots/scores.png", "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
    }  # fmt: skip
    assert len(hub.repos["org/base-unique"].commits) == 1
    assert "GET /api/whoami-v2" not in {" ".join(one) for one in hub.calls}


def test_a_public_repository_is_not_filled_unless_asked_to(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    hub.repos[f"{USER}/rows-filtered"] = Repo(private=False)
    done = upload(tmp_path, run, "--license", "mit")
    assert done.code == 2
    assert "it is public: nothing was sent" in done.json["error"]["message"]
    assert hub.repos[f"{USER}/rows-filtered"].files == {}
    assert upload(tmp_path, run, "--license", "mit", "--public").code == 0
    assert not hub.repos[f"{USER}/rows-unique"].private


def test_a_refused_token_ends_with_5_and_advice(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    done = upload(tmp_path, run, "--license", "mit", token="hf_wrong")
    assert done.code == 5
    assert "check that HF_TOKEN is valid" in done.json["error"]["message"]
    assert hub.repos == {}


def test_a_licence_that_the_hub_does_not_know_is_refused(tmp_path: Path, hub: FakeHub) -> None:
    run = curated(tmp_path)
    done = upload(tmp_path, run, "--license", "no-such-licence")
    assert done.code == 2
    assert "check --license" in done.json["error"]["message"]
    assert all(not repo.commits for repo in hub.repos.values())


def test_an_unreachable_hub_ends_with_6_and_the_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, CLOSED)
    run = curated(tmp_path)
    done = upload(tmp_path, run, "--license", "mit", "--namespace", "org")
    assert done.code == 6
    assert f"{CLOSED} cannot be reached" in done.json["error"]["message"]
    assert (run / "publish" / "unique" / "README.md").exists()


def test_a_name_that_the_hub_does_not_allow_is_refused(tmp_path: Path, hub: FakeHub) -> None:
    done = upload(tmp_path, curated(tmp_path), "--license", "mit", "--name", "a/b c")
    assert done.code == 2
    assert "the Hub allows no such name" in done.json["error"]["message"]
    assert hub.repos == {}

"""Hub datasets, against a small server on this machine that speaks as the Hub does."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kernelsift.errors import DataError
from kernelsift.ingest import open_source
from kernelsift.ingest.hub import is_hub_id

SOURCES = Path(__file__).parents[1] / "src"
COMMIT = "a1" * 20
SCRIPT = """
import json, sys
from kernelsift.errors import KernelsiftError
from kernelsift.ingest import open_source

for spec, split, revision in json.loads(sys.argv[1]):
    try:
        source = open_source(spec, split=split, revision=revision)
        rows = list(source.rows())
        found = {
            "info": source.info().model_dump(mode="json"),
            "origins": [row.origin for row in rows],
            "rewards": [row.data["reward"] for row in rows],
            "schema": source.schema.names,
            "columns": source.column_names,
        }
    except KernelsiftError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(found))
"""


def parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def rollouts(*rewards):
    count = len(rewards)
    return parquet(prompt=["p"] * count, completion=["c"] * count, reward=list(rewards))


REPOSITORIES = {
    "o/good": {
        "data/train-00000-of-00001.parquet": rollouts(1.0, 0.5, 0.0),
        "data/test-00000-of-00001.parquet": rollouts(2.0),
    },
    "o/splits": {
        "data/test-00000-of-00001.parquet": rollouts(1.0),
        "data/dev-00000-of-00001.parquet": rollouts(1.0),
    },
    "o/columns": {"data/train-00000-of-00001.parquet": parquet(prompt=["p"])},
    "o/gated": {"data/train-00000-of-00001.parquet": rollouts(1.0)},
    "o/nothing": {"model.bin": b"no data"},
}


def entry(name, content):
    return {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply_json(self, value):
        self.reply(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_GET(self):
        path = self.path.partition("?")[0].replace("%2F", "/")
        match = re.fullmatch(r"(?:/api)?/datasets/(\w+/\w+)(?:/(\w+)/(\w+)(?:/(.*))?)?", path)
        name, verb, revision, rest = match.groups() if match else (None,) * 4
        if name == "o/broken":
            self.reply(503)
        elif name == "o/denied":
            self.reply(403)
        elif name == "o/private":
            self.reply(401, X_Error_Message="Invalid username or password.")
        elif name not in REPOSITORIES:
            self.reply(404, X_Error_Code="RepoNotFound")
        elif revision not in {None, "main", "branch", COMMIT}:
            self.reply(404, X_Error_Code="RevisionNotFound")
        else:
            self.answer(name, verb, rest)

    def do_HEAD(self):
        self.do_GET()

    def answer(self, name, verb, rest):
        files = REPOSITORIES[name]
        if verb in {None, "revision"}:
            siblings = [{"rfilename": file} for file in files]
            self.reply_json({"id": name, "sha": COMMIT, "siblings": siblings, "tags": []})
        elif verb == "tree":
            folders = sorted({str(Path(file).parent) for file in files} - {"."})
            inside = [entry(*item) for item in files.items() if str(Path(item[0]).parent) == rest]
            top = [entry(*item) for item in files.items() if "/" not in item[0]]
            below = [{"type": "directory", "path": at, "oid": "0", "size": 0} for at in folders]
            self.reply_json(inside if rest else top + below)
        elif name == "o/gated":
            self.reply(403, X_Error_Code="GatedRepo")
        elif rest in files:
            tag = entry(rest, files[rest])["oid"]
            self.reply(200, files[rest], ETag=f'"{tag}"', X_Repo_Commit=COMMIT)
        else:
            self.reply(404, X_Error_Code="EntryNotFound")


def ask(home, endpoint, *questions, **settings):
    """Open each (spec, split, revision) in a process of its own, since HF_ENDPOINT is read once."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(SOURCES),
    } | settings
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(questions)],
        env=clean | settings,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


QUESTIONS = {
    "good": ("o/good", None, None),
    "test": ("o/good", "test", None),
    "branch": ("o/good", "train", "branch"),
    "unknown split": ("o/good", "dev", None),
    "no train": ("o/splits", None, None),
    "no revision": ("o/good", None, "gone"),
    "missing": ("o/missing", None, None),
    "private": ("o/private", None, None),
    "gated": ("o/gated", None, None),
    "denied": ("o/denied", None, None),
    "columns": ("o/columns", None, None),
    "nothing": ("o/nothing", None, None),
    "broken": ("o/broken", None, None),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    home = tmp_path_factory.mktemp("hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        found = dict(zip(QUESTIONS, ask(home, endpoint, *QUESTIONS.values()), strict=True))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    gone = ("o/good", None, None)
    (found["gone"],) = ask(home, endpoint, gone)
    pinned = ("o/good", "train", COMMIT)
    other = ("o/good", "train", "b2" * 20)
    names = ("offline", "pinned", "other commit")
    replies = ask(home, endpoint, gone, pinned, other, HF_HUB_OFFLINE="1")
    found |= dict(zip(names, replies, strict=True))
    return found


def test_a_row_names_dataset_commit_split_and_position(answers):
    place = f"o/good@{COMMIT[:12]}:train"
    assert answers["good"]["origins"] == [f"{place}:0", f"{place}:1", f"{place}:2"]


def test_the_rows_of_a_hub_dataset_are_read(answers):
    assert answers["good"]["rewards"] == [1.0, 0.5, 0.0]


def test_the_commit_is_pinned_in_the_info(answers):
    info = answers["good"]["info"]
    assert (info["revision"], info["split"], info["rows"]) == (COMMIT, "train", 3)


def test_a_branch_is_resolved_to_its_commit(answers):
    assert answers["branch"]["info"]["revision"] == COMMIT


def test_any_split_can_be_read(answers):
    assert answers["test"]["rewards"] == [2.0]


def test_a_hub_source_has_a_schema(answers):
    names = ["prompt", "completion", "reward"]
    assert (answers["good"]["schema"], answers["good"]["columns"]) == (names, names)


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        ("unknown split", "DataError", "no split 'dev': choose one of train, test"),
        ("no train", "DataError", "several splits"),
        ("no revision", "DataError", "no such revision"),
        ("missing", "DataError", "HF_TOKEN"),
        ("private", "DeniedError", "HF_TOKEN"),
        ("gated", "DeniedError", "HF_TOKEN"),
        ("denied", "DeniedError", "HF_TOKEN"),
        ("columns", "DataError", "no column completion, reward"),
        ("nothing", "DataError", "cannot be read as a dataset"),
        ("broken", "UnreachableError", "HF_ENDPOINT"),
        ("gone", "UnreachableError", "--source PATH"),
        ("offline", "UnreachableError", "HF_HUB_OFFLINE"),
        ("other commit", "UnreachableError", "o/good"),
    ],
)
def test_what_the_hub_refuses_becomes_an_error_with_the_next_step(answers, question, error, words):
    found = answers[question]
    assert found.get("error") == error, found
    assert words in found["message"]


def test_a_pinned_dataset_that_was_read_once_is_read_offline(answers):
    assert answers["pinned"]["rewards"] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("spec", ["siro1/kernelbook-glm4-evals", "a/b", "A-1/b.c_d"])
def test_an_owner_and_a_name_are_a_hub_id(spec):
    assert is_hub_id(spec)


@pytest.mark.parametrize("spec", ["a", "a/b/c", "./a", "/a/b", "a/", "a b/c", "../a", "a/b..c"])
def test_other_texts_are_no_hub_id(spec):
    assert not is_hub_id(spec)


def test_what_is_neither_a_path_nor_a_hub_id_is_an_error_that_says_so():
    with pytest.raises(DataError, match=r"x\.jsonl does not exist, and .* not a Hub dataset"):
        open_source("x.jsonl")


def test_a_local_folder_wins_over_a_hub_dataset(tmp_path, monkeypatch):
    (tmp_path / "o" / "good").mkdir(parents=True)
    row = json.dumps({"prompt": "p", "completion": "c", "reward": 1}) + "\n"
    (tmp_path / "o" / "good" / "x.jsonl").write_text(row)
    monkeypatch.chdir(tmp_path)
    assert [row.origin for row in open_source("o/good").rows()] == ["x.jsonl:1"]

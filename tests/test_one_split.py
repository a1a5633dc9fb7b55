"""Every way out of a run puts a row on the same side."""

import pyarrow.parquet as pq
from click.testing import CliRunner

from kernelsift.cli.main import cli
from kernelsift.trainers.formats import TRAINERS


def kernelsift(*words):
    done = CliRunner().invoke(cli, list(words))
    assert done.exit_code == 0, done.output


def sides_of(files):
    return {
        row["sample_id"]: path.name.split("-")[0].split(".")[0]
        for path in files
        for row in pq.read_table(path, columns=["sample_id"]).to_pylist()
    }


def test_what_is_published_and_what_is_trained_on_are_split_alike(tmp_path):
    run = str(tmp_path / "run")
    whole = ("run", "kernelsift:sample", "--judge", "static", "--run", run)
    kernelsift(*whole, "--plots", str(tmp_path / "plots"))
    kernelsift("export", "--run", run, "--format", "trl")
    assert TRAINERS["trl"].suffix == ".parquet"
    published = sides_of((tmp_path / "run" / "publish" / "unique" / "data").glob("*.parquet"))
    trained = sides_of((tmp_path / "run" / "export" / "trl").glob("*.parquet"))
    assert len(trained) == len(published) > 50
    assert set(trained.values()) == {"train", "validation"}
    assert trained == published

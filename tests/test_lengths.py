"""Token lengths: what they say of a set, and that an estimate says it is one."""

import json

import pytest

pytest.importorskip("jinja2", reason="chat templates need jinja2: the extra `tokens`")
from build import opened, rollout, write_jsonl
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kernelsift import pipeline, training
from kernelsift.cli.main import cli
from kernelsift.errors import DataError
from kernelsift.report.lengths import draw
from kernelsift.trainers.lengths import PERCENTILES, Lengths, RowLength, percentile
from kernelsift.trainers.template import compiled
from kernelsift.trainers.tokens import BYTES_PER_TOKEN, Estimate


def lengths(*totals):
    rows = tuple(RowLength(f"{n:04}", total, total // 3) for n, total in enumerate(totals))
    return Lengths(rows, "a tokenizer", exact=True, template="chatml")


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.floats(0.5, 100))
def test_a_percentile_is_the_least_length_that_holds_as_many_rows(values, q):
    values.sort()
    found = percentile(values, q)
    assert found in values
    assert sum(v <= found for v in values) >= q / 100 * len(values) - 1e-6
    assert sum(v < found for v in values) < q / 100 * len(values) + 1e-6


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=100))
def test_the_sequence_length_covers_what_it_says_and_the_buckets_hold_every_row(totals):
    found = lengths(*totals)
    for q, size in found.covering().items():
        assert size % 256 == 0
        assert sum(t <= size for t in totals) >= q / 100 * len(totals) - 1e-6
    assert sum(rows for _, _, rows in found.buckets()) == len(totals)
    assert found.cut() == {n: sum(t > n for t in totals) for n in (2048, 4096, 8192, 16384, 32768)}
    assert found.percentiles()["whole"][-1] == max(totals)


def test_an_estimate_counts_bytes_not_characters():
    assert Estimate(2).count("aaaa") == 2
    assert Estimate(2).count("éé") == 2
    assert Estimate(2).count("") == 0
    assert "estimate" in Estimate().label
    assert f"{BYTES_PER_TOKEN:g}" in Estimate().label


def test_the_command_prints_lengths_of_prompt_and_completion_apart(tmp_path):
    source = write_jsonl(tmp_path / "r.jsonl", [rollout("A"), rollout("B"), rollout("C")])
    place = ["--run", str(tmp_path / "run")]
    runner = CliRunner()
    for words in (["load", str(source)], ["filter"]):
        assert runner.invoke(cli, [*words, *place], catch_exceptions=False).exit_code == 0
    found = runner.invoke(cli, ["lengths", "--plot", "--json", *place], catch_exceptions=False)
    values = json.loads(found.output)
    assert values["rows"] == 3
    assert not values["exact"]
    assert values["percentiles"].keys() == {"prompt", "completion", "whole"}
    assert [float(q) for q in values["percentiles"]["whole"]] == list(PERCENTILES)
    whole, prompt = (values["percentiles"][n]["100"] for n in ("whole", "prompt"))
    assert 0 < prompt < whole
    assert sorted(f.rsplit(".")[-1] for f in values["files"]) == ["png", "svg"]
    shown = runner.invoke(cli, ["lengths", *place], catch_exceptions=False).output
    assert "no tokenizer is named" in shown
    assert "seq_len 256 holds 100 % of the rows" in shown


def test_a_template_that_refuses_a_row_is_an_error_that_names_the_row(tmp_path):
    source = write_jsonl(tmp_path / "r.jsonl", [rollout("A")])
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
        tools = training.instruments(None, None, None)
        strict = compiled("strict", "{{ raise_exception('no user') }}")
        with pytest.raises(DataError, match=r"strict refuses r.jsonl:1 .*no user"):
            training.lengths(session, training.Instruments(strict, tools.counter))


def test_the_picture_is_drawn_for_any_set_and_always_the_same(tmp_path):
    for totals in ((700,), (500, 500), range(200, 40_000, 97)):
        found = lengths(*totals)
        first, again = (draw(found, tmp_path / str(n)) for n in range(2))
        assert [path.suffix for path in first] == [".png", ".svg"]
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]

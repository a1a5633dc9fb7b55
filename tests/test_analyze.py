"""kernelsift analyze: what it reads from a run, and what it says of it."""

import json
import re

import pytest
from build import Counted, judgement, opened, reference, rollout, write_jsonl

from kernelsift import pipeline
from kernelsift.covariates import operations_of
from kernelsift.model import Failure
from kernelsift.report.schema import Analysis
from kernelsift.stages.analyze import stand_for
from kernelsift.verdict import parse_verdict, unread_scores


def said(place: int) -> str:
    """A judge's answer: every tenth row gets no verdict at all, every 15th no style."""
    if place % 10 == 0:
        return "I cannot say."
    style = "" if place % 15 == 0 else f"<style>{place % 3}</style>"
    return f"<difficulty>{place % 7}</difficulty>{style}"


@pytest.fixture
def analysed(tmp_path):
    """Analyse 45 rows, 12 of them rejected by the filter; returns analysis and page."""

    def run(**dotted):
        rows = []
        for place in range(45):
            row = rollout(
                f"M{place // 2}", reward=1 + place / 100 if place < 33 else 0.0, tag=place
            )
            row["completion"][0]["reasoning_content"] = "hm " * (place + 1)
            rows.append(row)
        source = write_jsonl(tmp_path / "x.jsonl", rows)

        def answer(ask):
            (tag,) = re.findall(r"TAG = (\d+)", ask.messages[1].content)
            return said(int(tag))

        with opened(tmp_path / "run", source, chat=Counted(answer), **dotted) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)
            pipeline.judge(session)
            tally = pipeline.analyze(session)
        text = (tmp_path / "run" / "analysis.json").read_text(encoding="utf-8")
        page = (tmp_path / "run" / "analysis.md").read_text(encoding="utf-8")
        return Analysis.model_validate_json(text), page, tally

    return run


def test_scores_that_could_not_be_read_are_counted_each_for_itself(analysed):
    found, page, _ = analysed()
    assert found.missing == {"no-verdict": 5}
    assert (found.judge.unread_difficulty, found.judge.unread_style) == (4, 5)
    assert "4 have no readable difficulty, and 5 no readable style" in page
    assert "(4 without a readable difficulty, 5 without a readable style)" in page


def test_lengths_and_operations_are_read_from_the_rows(analysed):
    found, page, _ = analysed()
    assert found.partials.given[:2] == ("code length", "reasoning length")
    assert found.partials.without == 0
    assert "## With lengths and operation class held constant" in page
    assert operations_of(reference("Relu"))[0] == "elementwise"
    assert operations_of("def (") is None


def test_the_rewards_of_all_rows_decide_whether_a_correction_is_offered(analysed):
    found, page, _ = analysed()
    assert found.reward_filter.rewards.n == 45
    assert found.reward_filter.rewards.most_common_share == pytest.approx(12 / 45)
    assert all(one.corrected is None for one in found.corrections)
    assert "no model-based correction for the filter" in page


def test_rows_that_were_judged_although_rejected_stand_for_all_of_them(analysed):
    found, page, tally = analysed(**{"judge.also_rejected": 12})
    whole = found.full_range
    assert (found.judged, whole.passed, whole.rejected) == (28, 28, 11)
    assert whole.stands_for == pytest.approx(12)
    assert tally.counts["rejected by the filter, judged all the same"] == 11
    assert "1 of 12 have none" in page
    assert found.corrections == ()


def test_the_weights_of_a_draw_sum_to_the_rows_it_was_drawn_from():
    chances = {"a": 0.1, "b": 0.1, "c": 0.5, "d": 0.5, "e": 0.25}
    everyone = {id_: judgement() for id_ in chances}
    assert stand_for(chances, everyone) == pytest.approx({i: 1 / c for i, c in chances.items()})
    some = stand_for(chances, {id_: judgement() for id_ in "abc"})
    assert some["a"] / some["c"] == pytest.approx(10 / 4)
    assert sum(some.values()) == pytest.approx(28)
    assert stand_for({}, {}) == {}


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("<difficulty>3</difficulty>", ("style",)),
        ("<style>3</style>", ("difficulty",)),
        ("<difficulty>3</difficulty><style>4-5</style>", ("style",)),
        ("<difficulty>11</difficulty><style>4</style>", ("difficulty",)),
        ("nothing", ("difficulty", "style")),
        ("", ("difficulty", "style")),
    ],
)
def test_a_failure_names_the_score_that_could_not_be_read(text, unread):
    found = parse_verdict(text)
    assert isinstance(found, Failure)
    assert unread_scores(found) == unread


def test_the_same_run_gives_the_same_file_again(analysed):
    first, again = analysed(), analysed()
    assert json.loads(first[0].model_dump_json()) == json.loads(again[0].model_dump_json())

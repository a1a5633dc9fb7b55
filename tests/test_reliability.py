"""kernelsift reliability and probes: what a run's judgements say of their judge."""

import csv
import hashlib
import json
import math
import re
from dataclasses import replace

import pytest
from build import Counted, opened, rollout, write_jsonl
from click.testing import CliRunner
from fake_openai import KEY, FakeOpenAI
from hypothesis import given
from hypothesis import strategies as st

from kernelsift import pipeline, probing, trusting
from kernelsift.cli.main import cli
from kernelsift.credentials import Secrets
from kernelsift.errors import ConfigError, DataError
from kernelsift.files import write_text
from kernelsift.label_files import Scale
from kernelsift.llm.chat import Ask
from kernelsift.model import SampleId
from kernelsift.reliability.cautions import cautions_of
from kernelsift.reliability.schema import Probes, Reliability
from kernelsift.trusting import Asked

KERNEL = """\
import torch
import triton
import triton.language as tl

BLOCK = 256


@triton.jit
def scale_{name}(source, target, count, width: tl.constexpr):
    # one block of the {name}
    places = tl.program_id(0) * width + tl.arange(0, width)
    inside = places < count
    tl.store(target + places, tl.load(source + places, mask=inside) * {factor}, mask=inside)


class {name}New(torch.nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        scale_{name}[(triton.cdiv(x.numel(), BLOCK),)](x, out, x.numel(), width=BLOCK)
        return out
"""


def verdict(difficulty: int, style: int) -> str:
    return f"<difficulty>{difficulty}</difficulty>\n<style>{style}</style>"


def number(*parts: object, below: int) -> int:
    """A whole number that looks random and is always the same."""
    text = repr(parts).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % below


def modules(count: int, each: int = 2) -> list[dict]:
    """Rollouts of real-looking kernels, `each` per module."""
    rows = []
    for place in range(count):
        name = f"Module{place}"
        for attempt in range(each):
            code = KERNEL.format(name=name, factor=attempt + 2)
            text = f"I think.\n\nBEGIN_PYTHON\n{code}END_PYTHON"
            completion = [{"role": "assistant", "content": text}]
            rows.append(rollout(name, tag=attempt, completion=completion))
    return rows


def noisy(model: str = "m"):
    """A judge with an opinion of its own on each module, and some noise on each asking."""

    def answer(ask: Ask) -> str:
        shown = ask.messages[-1].content
        name = re.search(r"class (\w+)New", shown)[1]
        style = 2 + number(name, below=6) + number(name, model, ask.sample, shown, below=2)
        return verdict(3 + number(name, below=4), style)

    return answer


def judged(tmp_path, script=None, count=12, **dotted):
    """Load, filter and judge; the session stays open for the test."""
    source = tmp_path / "rows.jsonl"
    if not source.exists():
        write_jsonl(source, modules(count))
    chat = Counted(script or noisy())
    session = opened(tmp_path / "run", source, chat, judge__model="m", **dotted)
    return session, chat


def prepare(session) -> None:
    pipeline.load(session)
    pipeline.filter_rows(session)
    pipeline.judge(session)


def report_of(tmp_path, script=None, asked=None, **dotted) -> Reliability:
    opening, _ = judged(tmp_path, script, **dotted)
    with opening as session:
        prepare(session)
        return trusting.reliability(session, asked or Asked()).report


def score_of(report: Reliability, name: str):
    return next(found for found in report.scores if found.score == name)


def value_of(measures, name: str):
    return next(measure for measure in measures if measure.name == name)


# ---- what the run has ---------------------------------------------------------------------------


def test_a_run_that_was_not_judged_is_refused_with_the_next_step(tmp_path):
    opening, _ = judged(tmp_path)
    with opening as session:
        pipeline.load(session)
        with pytest.raises(DataError, match="has been judged; run `kernelsift judge"):
            trusting.reliability(session, Asked())


def test_several_answers_per_row_are_occasions_of_one_judge(tmp_path):
    report = report_of(tmp_path, judge__samples=3)
    (group,) = score_of(report, "style").retest
    assert group.raters == ("m", "m #2", "m #3")
    icc = value_of(group.measures, "ICC(A,1)")
    assert 0.5 < icc.value < 1
    assert icc.ci.low < icc.value < icc.ci.high
    assert icc.items == 24
    assert icc.clusters == 12
    assert group.of_mean == pytest.approx(3 * icc.value / (1 + 2 * icc.value))
    assert score_of(report, "style").between is None


def test_a_judge_without_noise_agrees_with_itself_without_an_interval(tmp_path):
    report = report_of(tmp_path, judge__samples=2)
    (group,) = score_of(report, "difficulty").retest
    kappa = value_of(group.measures, "quadratic kappa")
    assert kappa.value == pytest.approx(1)
    assert "no resample differs" in kappa.ci_why


def test_raising_the_samples_counts_no_answer_twice(tmp_path):
    report_of(tmp_path)
    report = report_of(tmp_path, judge__samples=2)
    (group,) = score_of(report, "style").retest
    assert group.raters == ("m", "m #2")


def test_another_model_over_the_same_rows_is_another_rater(tmp_path):
    report_of(tmp_path)
    opening, _ = judged(tmp_path, noisy("other"))
    with opening as session:
        other = session.settings.judge.model_copy(update={"model": "other"})
        both = session.settings.model_copy(update={"judge": other})
        pipeline.judge(replace(session, settings=both))
        report = trusting.reliability(session, Asked()).report
    between = score_of(report, "style").between
    assert between.raters == ("m", "other")
    assert value_of(between.measures, "Spearman").value > 0.5
    assert between.difference.value == pytest.approx(0, abs=1)
    assert report.judge == "other"


def test_a_panel_is_as_many_raters_with_their_pairs(tmp_path):
    panel = tuple({"model": name} for name in ("a", "b", "c"))
    report = report_of(tmp_path, judge__panel=panel, judge__samples=2)
    style = score_of(report, "style")
    assert [group.raters[0] for group in style.retest] == ["a", "b", "c"]
    assert style.between.raters == ("a", "b", "c")
    assert [pair.raters for pair in style.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_other_settings_of_the_same_judge_are_a_rater_of_their_own(tmp_path):
    report_of(tmp_path)
    report = report_of(tmp_path, judge__show="completion")
    assert score_of(report, "style").between.raters == ("m", "m (earlier settings)")


def test_rows_without_a_score_are_named_with_their_class_before_anything_else(tmp_path):
    def broken(ask):
        shown = ask.messages[1].content
        return "no idea" if "Module3New" in shown else noisy()(ask)

    report = report_of(tmp_path, broken)
    assert (report.coverage.rows, report.coverage.scored) == (24, 22)
    assert report.coverage.failed == {"no-verdict": 2}
    assert report.cautions[0].startswith("2 of 24 rows (8.3 %) have no score: no-verdict 2.")


def test_difficulty_within_modules_is_perfect_when_the_judge_sees_only_the_module(tmp_path):
    within = score_of(report_of(tmp_path), "difficulty").within
    assert within.measure.value == pytest.approx(1)
    assert (within.repeated, within.agreeing, within.by_construction) == (12, 12, False)


def test_difficulty_that_follows_the_answer_shows_within_modules(tmp_path):
    def by_answer(ask):
        return verdict(number(ask.messages[1].content, below=11), 4)

    within = score_of(report_of(tmp_path, by_answer), "difficulty").within
    assert within.measure.value < 0.5
    assert within.agreeing < within.repeated == 12


def test_a_floor_is_named_with_what_it_does_to_rank_correlations(tmp_path):
    def floor(ask):
        return verdict(4, 0 if number(ask.messages[1].content, below=8) else 1)

    report = report_of(tmp_path, floor)
    text = "\n".join(report.cautions)
    assert re.search(r"style uses 1\.\d of 11 levels", text)
    assert "ties cap every rank correlation at 0." in text
    assert "of the rows have the lowest style" in text
    assert score_of(report, "difficulty").ties.why == "all 24 values of a column are 4"


def test_the_static_judge_is_said_to_repeat_itself(tmp_path):
    report = report_of(tmp_path, judge__judge="static")
    assert any("static judge computes its scores" in text for text in report.cautions)
    assert not any("--samples" in text for text in report.cautions)


def test_the_report_is_written_and_read_back_alike(tmp_path):
    report = report_of(tmp_path, judge__samples=2)
    text = (tmp_path / "run" / "reliability.json").read_text(encoding="utf-8")
    assert Reliability.model_validate_json(text) == report
    assert "NaN" not in text


def test_the_order_of_the_source_changes_no_number(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, rows in ((first, modules(12)), (second, modules(12)[::-1])):
        folder.mkdir()
        write_jsonl(folder / "rows.jsonl", rows)
    assert report_of(first, judge__samples=2) == report_of(second, judge__samples=2)


# ---- human labels -------------------------------------------------------------------------------


def label_rows(session, raters=("ann",), shift=0):
    """Labels near the judge's style, of half of the modules and more."""
    rows = []
    for id_, fact in session.run.latest("judge").items():
        for rater in raters:
            style = min(10, max(0, fact.body.style + number(id_, rater, below=3) - 1 + shift))
            rows.append({"id": str(id_), "rater": rater, "style": style})
    return rows


def with_labels(tmp_path, make, name="labels.csv", **dotted):
    opening, _ = judged(tmp_path, **dotted)
    with opening as session:
        prepare(session)
        rows = make(session)
        path = tmp_path / name
        if name.endswith(".csv"):
            with path.open("w", encoding="utf-8", newline="") as out:
                writer = csv.DictWriter(out, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
        else:
            write_jsonl(path, rows)
        return trusting.reliability(session, Asked(labels=path)).report


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_labels_give_agreement_calibration_and_a_corrected_mean(tmp_path, name):
    report = with_labels(tmp_path, lambda s: label_rows(s)[:34], name, count=30)
    (validity,) = report.validity
    assert (validity.score, validity.labelled) == ("style", 34)
    assert value_of(validity.measures, "quadratic kappa").value > 0.6
    assert validity.near == 1
    assert sum(block.items for block in validity.calibration) == 34
    assert all(
        a.human < b.human
        for a, b in zip(validity.calibration, validity.calibration[1:], strict=False)
    )
    assert validity.mean.ci.low < validity.mean.value < validity.mean.ci.high
    assert validity.mean.labelled + validity.mean.unlabelled == 60
    assert validity.humans is None
    assert any("Only 34 rows have a style label" in text for text in report.cautions)


def test_a_judge_that_is_too_mild_is_found_and_calibrated(tmp_path):
    report = with_labels(tmp_path, lambda s: label_rows(s, shift=-2), count=30)
    (validity,) = report.validity
    assert validity.shift.ci.low > 1
    assert validity.error_calibrated < validity.error / 1.5


def test_several_human_raters_show_how_far_humans_agree(tmp_path):
    report = with_labels(tmp_path, lambda s: label_rows(s, ("ann", "bob")))
    assert report.validity[0].humans.raters == ("ann", "bob")


def test_rows_can_be_named_by_position_and_another_scale_is_stretched(tmp_path):
    def rows(session):
        return [{"row": n, "difficulty": 1 + n % 5} for n in range(20)]

    report = with_labels(tmp_path, rows, reliability__label_low=1, reliability__label_high=5)
    assert report.validity[0].score == "difficulty"
    assert report.validity[0].labelled == 20


@given(st.floats(1, 5))
def test_a_scale_is_stretched_to_zero_to_ten(value):
    assert Scale(1, 5).stretched(value) == pytest.approx((value - 1) * 2.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,style\nnobody,3\n", r"labels.csv:2: id 'nobody' is no row of this run"),
        ("row,style\n99,3\n", r"labels.csv:2: row '99' is no row"),
        ("row,style\n0,11\n", r"labels.csv:2: style is 11; labels run from 0 to 10"),
        ("row,style\n0,good\n", r"labels.csv:2: style is 'good', which is no number"),
        ("row,style\n0,nan\n", r"labels.csv:2: style is 'nan', which is no number"),
        ("row,style\n0,3\n0,4\n", r"labels.csv:3: human has labelled 0 before"),
        ("row,style\n0,3,4\n", r"labels.csv:2: 2 columns are named"),
        ("row,weight,style\n0,-1,3\n", r"labels.csv:2: weight is -1"),
        ("row,style\n0,\n", r"has no label"),
        ("row,name\n0,x\n", r"has no label"),
        ("", r"has no label"),
    ],
    ids=lambda value: value.replace("\n", "|") if "," in value else "",
)
def test_a_bad_line_of_labels_is_an_error_with_its_place(tmp_path, text, message):
    opening, _ = judged(tmp_path)
    with opening as session:
        prepare(session)
        write_text(tmp_path / "labels.csv", text)
        with pytest.raises(DataError, match=message):
            trusting.reliability(session, Asked(labels=tmp_path / "labels.csv"))


def test_a_line_that_is_no_json_is_an_error_with_its_place(tmp_path):
    opening, _ = judged(tmp_path)
    with opening as session:
        prepare(session)
        write_text(tmp_path / "labels.jsonl", '{"row": 0, "style": 1}\n[1]\n')
        with pytest.raises(DataError, match=r"labels.jsonl:2: a JSON object is needed"):
            trusting.reliability(session, Asked(labels=tmp_path / "labels.jsonl"))


def test_a_scale_without_width_is_refused():
    from kernelsift.config import Settings

    with pytest.raises(ConfigError, match="label_low 3 must be below label_high 3"):
        Settings.read(None, {"reliability.label_low": 3, "reliability.label_high": 3})


# ---- canary -------------------------------------------------------------------------------------


def canary_of(tmp_path, script=None):
    opening, _ = judged(tmp_path, script)
    with opening as session:
        prepare(session)
        return trusting.save_canary(session, tmp_path / "canary.jsonl")


def drift_of(tmp_path, script, *, again=False):
    opening, chat = judged(tmp_path, script)
    with opening as session:
        asked = Asked(canary=tmp_path / "canary.jsonl", again=again)
        report = trusting.reliability(session, asked).report
    return report, chat.count


def milder(ask: Ask) -> str:
    difficulty, style = (int(n) for n in re.findall(r">(\d+)<", noisy()(ask)))
    return verdict(difficulty, style + 1)


def test_a_canary_set_of_the_run_has_distinct_answers_and_their_scores(tmp_path):
    assert canary_of(tmp_path) == 24
    lines = [json.loads(line) for line in (tmp_path / "canary.jsonl").read_text().splitlines()]
    assert len({line["code"] for line in lines}) == 24
    assert all(0 <= line["style"] <= 10 for line in lines)


def test_a_judge_that_has_become_milder_is_found_by_the_canaries(tmp_path):
    canary_of(tmp_path)
    report, asked = drift_of(tmp_path, milder)
    style = next(d for d in report.drift if d.score == "style")
    difficulty = next(d for d in report.drift if d.score == "difficulty")
    assert style.shift.value == pytest.approx(1, abs=0.35)
    assert style.moved > 0.6
    assert difficulty.shift.value == pytest.approx(0)
    assert asked == 24
    assert any("style of the canary set by m moved by +" in text for text in report.cautions)


def test_canaries_are_asked_about_once_and_anew_only_when_told(tmp_path):
    canary_of(tmp_path)
    assert drift_of(tmp_path, noisy())[1] == 24
    assert drift_of(tmp_path, milder)[1] == 0
    report, asked = drift_of(tmp_path, milder, again=True)
    assert asked == 24
    assert next(d for d in report.drift if d.score == "style").shift.value > 0.5
    assert drift_of(tmp_path, noisy())[1] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"style": 3}, "canary.jsonl:1: there is no code"),
        ({"code": "x = 1"}, "canary.jsonl:1: there is no score"),
        ({"code": "x = 1", "style": 12}, "canary.jsonl:1: style is 12"),
    ],
    ids=["code", "score", "range"],
)
def test_a_bad_canary_is_an_error_with_its_place(tmp_path, line, message):
    opening, _ = judged(tmp_path)
    with opening as session:
        prepare(session)
        write_jsonl(tmp_path / "canary.jsonl", [line])
        with pytest.raises(DataError, match=message):
            trusting.reliability(session, Asked(canary=tmp_path / "canary.jsonl"))


# ---- probes -------------------------------------------------------------------------------------


def probes_of(tmp_path, script, rows=20, **dotted) -> tuple[Probes, Counted]:
    opening, chat = judged(tmp_path, script, **dotted)
    with opening as session:
        prepare(session)
        before = chat.count
        report = probing.probe(session, rows=rows).report
        chat.asks = chat.asks[before:]
    return report, chat


def result_of(report: Probes, name: str, judge: str = "m"):
    return next(found for found in report.judges[judge] if found.probe == name)


def reads_comments(ask: Ask) -> str:
    """A judge that goes by comments and names alone, and believes praise."""
    shown = ask.messages[1].content
    style = 4 + 2 * ("# one block" in shown) + 3 * ("expert" in shown) - 3 * ("tmp0" in shown)
    return verdict(5, style)


def test_probes_tell_what_a_judge_goes_by(tmp_path):
    report, _ = probes_of(tmp_path, reads_comments)
    found = {name: result_of(report, name) for name in ("rename", "strip", "inline", "praise")}
    assert found["rename"].style_shift.value == pytest.approx(-3)
    assert found["strip"].style_right.value == 1
    assert found["inline"].style_right.value == 0
    assert found["praise"].style_right.value == 0
    assert found["praise"].style_wrong_way == 1
    assert len(found["praise"].violations) == 20
    assert {(v.before, v.after) for v in found["praise"].violations} == {(6, 9)}
    assert found["praise"].difficulty_right.value == 1


def test_reasoning_moves_no_judge_that_is_shown_the_code_alone(tmp_path):
    def by_length(ask):
        return verdict(5, 9 if len(ask.messages[1].content) < 6000 else 1)

    report, _ = probes_of(tmp_path, by_length)
    assert result_of(report, "reasoning").style_right.value == 1
    assert result_of(report, "reasoning").violations == ()


def test_reasoning_moves_a_judge_that_is_shown_the_whole_answer(tmp_path):
    def by_length(ask):
        return verdict(5, 9 if len(ask.messages[1].content) < 6000 else 1)

    report, _ = probes_of(tmp_path, by_length, judge__show="completion")
    found = result_of(report, "reasoning")
    assert found.style_right.value == 0
    assert found.style_shift.value == -8


def test_a_shift_has_an_interval_by_module(tmp_path):
    report, _ = probes_of(tmp_path, noisy(), rows=24)
    shift = result_of(report, "rename").style_shift
    assert shift.clusters == 12
    assert shift.ci.low < shift.value < shift.ci.high


def test_probing_again_asks_nothing(tmp_path):
    _, first = probes_of(tmp_path, reads_comments)
    _, second = probes_of(tmp_path, reads_comments)
    assert first.count == 20 * 7  # the reasoning probe leaves the code, and so the request, alike
    assert second.count == 0


def test_what_the_stage_judge_has_paid_for_is_not_paid_again(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", modules(12))
    with FakeOpenAI(verdict(3, 4)) as server:
        there = {"llm__base_url": server.base_url, "judge__model": "m"}
        with opened(tmp_path / "run", tmp_path / "rows.jsonl", **there) as opening:
            session = replace(opening, secrets=Secrets({"OPENAI_API_KEY": KEY}))
            prepare(session)
            judged_before = server.count
            probing.probe(session, rows=10, only=("rename", "reasoning"))
    assert judged_before == 24
    assert server.count == 24 + 10  # the renamed ones alone


def test_rows_that_cannot_be_judged_are_counted_by_class(tmp_path):
    def fails(ask):
        return "no idea" if "tmp0" in ask.messages[1].content else verdict(3, 4)

    found = result_of(probes_of(tmp_path, fails)[0], "rename")
    assert (found.rows, dict(found.unjudged)) == (0, {"no-verdict": 20})
    assert found.style_shift.why == "there are no items"


def test_the_static_judge_can_be_probed_offline(tmp_path):
    report, chat = probes_of(tmp_path, None, judge__judge="static")
    assert chat.count == 0
    assert result_of(report, "reasoning", "static").style_right.value == 1
    assert result_of(report, "reorder", "static").style_right.value == 1


def test_an_unknown_probe_is_named_with_those_that_are(tmp_path):
    opening, _ = judged(tmp_path)
    with opening as session:
        prepare(session)
        with pytest.raises(DataError, match="'reverse' is no probe; there are rename, strip"):
            probing.probe(session, rows=3, only=("reverse",))


# ---- the commands -------------------------------------------------------------------------------


@pytest.fixture
def static_run(tmp_path):
    opening, _ = judged(tmp_path, judge__judge="static")
    with opening as session:
        prepare(session)
    return tmp_path / "run"


def command(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_shows_what_to_know_first_and_then_tables(static_run):
    shown = command("reliability", "--run", static_run)
    assert shown.index("! ") < shown.index("24 rows to judge") < shown.index("effective levels")
    assert str(static_run / "reliability.json") in shown


def test_the_commands_print_one_json_object(static_run):
    report = Reliability.model_validate_json(command("reliability", "--run", static_run, "--json"))
    assert report.coverage.scored == 24
    given = ("--judge", "static", "--rows", 5, "--only", "rename", "--json")
    found = Probes.model_validate_json(command("probes", "--run", static_run, *given))
    assert [one.probe for one in found.judges["static"]] == ["rename"]


def test_the_commands_save_and_judge_a_canary_set(static_run, tmp_path):
    file = tmp_path / "canary.jsonl"
    assert "24 rows written" in command("reliability", "--run", static_run, "--save-canary", file)
    given = ("--run", static_run, "--judge", "static", "--canary", file)
    assert "now less expected" in command("reliability", *given)


def test_violations_are_listed_by_the_command(static_run):
    shown = command("probes", "--run", static_run, "--judge", "static", "--rows", 12)
    assert "as it should" in shown
    assert "violations" in shown


# ---- cautions -----------------------------------------------------------------------------------


def test_nothing_is_cautioned_of_where_all_is_well(tmp_path):
    def wide(ask):
        shown = ask.messages[1].content
        name = re.search(r"class (\w+)New", shown)[1]
        return verdict(2 + number(name, below=7), 2 + number(name, 1, shown, below=7))

    panel = ({"model": "a"}, {"model": "b"})
    report = report_of(tmp_path, wide, count=40, judge__panel=panel, judge__samples=2)
    left = cautions_of(report.judge, report.coverage, report.scores, (), ())
    assert [text.split(":")[0] for text in left] == ["No human labels"]


def test_ids_of_probes_hide_no_row_of_the_run(tmp_path):
    probes_of(tmp_path, reads_comments, rows=3)
    opening, _ = judged(tmp_path)
    with opening as session:
        states = session.run.status().states
        assert sum(states.values()) == 24
        assert session.run.fact("judge", SampleId(session.run.entries()[0].id)) is not None
        assert not math.isnan(trusting.reliability(session, Asked()).report.coverage.scored)

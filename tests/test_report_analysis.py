"""The content of analysis.json and the text of analysis.md."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from test_report_stats import any_rows, some_rows

from kernelsift.report.analysis import Analysis, JudgedBy, RewardFilter, analyse, render_markdown
from kernelsift.report.stats import Scored

JUDGE = JudgedBy(judge="openai/gpt-5.2", prompt_version="original-1:9f2c")
MISSING = Counter({"no-verdict": 120, "refusal": 7, "server": 0})


def an_analysis(rows, **changes):
    """Analyse rows with few resamples."""
    given_ = {"judge": JUDGE, "missing": MISSING, "resamples": 50} | changes
    return analyse(rows, **given_)


def slugs(analysis):
    """The kinds of caution in an analysis."""
    return {caution.slug for caution in analysis.cautions}


@given(any_rows)
@settings(max_examples=40, deadline=None)
def test_finite_rows_always_give_strict_json_that_reads_back(rows):
    analysis = an_analysis(rows, resamples=20)
    text = analysis.model_dump_json()
    json.loads(text, parse_constant=pytest.fail)
    assert Analysis.model_validate_json(text) == analysis
    assert "nan" not in render_markdown(analysis).lower()


def test_the_order_of_rows_changes_no_byte():
    rows = some_rows(100)
    a, b = an_analysis(rows), an_analysis(rows[::-1])
    assert a.model_dump_json() == b.model_dump_json()


def test_the_schema_version_is_in_the_file():
    assert json.loads(an_analysis([]).model_dump_json())["schema_version"] == 2


def test_the_text_counts_the_rows_without_a_verdict_by_class():
    text = render_markdown(an_analysis(some_rows(50)))
    assert "- Judged: **50** of 177 rows" in text
    assert "- Without a verdict, and in no number below: **127**" in text
    assert "  - no-verdict: 120\n  - refusal: 7\n" in text
    assert "server" not in text


def test_the_text_names_the_judge_and_its_prompt():
    text = render_markdown(an_analysis(some_rows(5)))
    assert "- Judge: `openai/gpt-5.2`, prompt version `original-1:9f2c`" in text


def test_a_model_that_answered_under_another_name_is_shown():
    judge = JUDGE.model_copy(update={"returned_models": ("gpt-5.2-2025-12-11",)})
    assert "- Answered by: `gpt-5.2-2025-12-11`" in render_markdown(an_analysis([], judge=judge))


def test_a_known_filter_is_named_as_a_range_restriction():
    known = RewardFilter(min_reward=0.85, dropped=10_981)
    analysis = an_analysis(some_rows(50), reward_filter=known)
    assert "range-restriction" in slugs(analysis)
    assert "10,981 rows at or below it are not in this analysis" in render_markdown(analysis)


def test_an_unknown_filter_is_not_talked_about():
    analysis = an_analysis(some_rows(50))
    assert "range-restriction" not in slugs(analysis)
    assert "filter" not in render_markdown(analysis).lower()


def test_every_sentence_quotes_an_interval_and_a_strength():
    text = render_markdown(an_analysis(some_rows(300)))
    lines = re.findall(r"^- \w+ and \w+: .*", text, re.MULTILINE)
    assert len(lines) == 9
    for line in lines:
        assert re.search(r"(negligible|weak|moderate|strong) \(.* 95 % CI [+−]0\.\d+ to", line)


def test_a_style_pressed_to_the_floor_is_warned_of():
    analysis = an_analysis(some_rows(2000))
    titles = [c.title for c in analysis.cautions if c.slug == "floor-effect"]
    assert titles == ["Style has a floor effect"]


@pytest.mark.parametrize(("low", "warned"), [(79, False), (81, True)])
def test_more_than_80_percent_in_levels_0_to_2_is_a_floor_effect(low, warned):
    rows = [
        replace(row, style=float(i % 3 if i < low else 8), difficulty=float(i % 11))
        for i, row in enumerate(some_rows(100))
    ]
    assert ("floor-effect" in slugs(an_analysis(rows))) == warned


def test_scores_over_the_whole_scale_raise_no_warning_about_them():
    rng = np.random.default_rng(0)
    spread = [
        Scored(f"{i:03d}", f"{i}", float(rng.lognormal()), *map(float, rng.integers(0, 11, 2)))
        for i in range(500)
    ]
    assert slugs(an_analysis(spread, missing={})) <= {"negligible-but-significant"}


def test_a_score_that_is_nearly_one_high_value_is_warned_of():
    rows = [replace(row, difficulty=7.0) for row in some_rows(200)]
    assert "narrow-scale" in slugs(an_analysis(rows))


def test_a_reward_of_timing_noise_is_warned_of_despite_outliers():
    assert "flat-reward" in slugs(an_analysis(some_rows(400, outliers=True)))


def test_a_reward_that_varies_is_not_warned_of():
    rows = [replace(row, reward=i / 100) for i, row in enumerate(some_rows(200))]
    assert "flat-reward" not in slugs(an_analysis(rows))


def test_shared_modules_are_warned_of_with_the_largest():
    rows = [
        replace(row, module="same" if i < 30 else row.id) for i, row in enumerate(some_rows(99))
    ]
    text = next(c.text for c in an_analysis(rows).cautions if c.slug == "shared-modules")
    assert "99 rows come from 70 modules (up to 30 rows of one)" in text


def test_rows_of_distinct_modules_are_not_warned_of():
    rows = [replace(row, module=row.id) for row in some_rows(50)]
    assert "shared-modules" not in slugs(an_analysis(rows))


def test_a_small_p_of_a_negligible_correlation_is_called_negligible():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 11, 9000)
    rows = [
        Scored(f"{i:05d}", f"{i}", 0.02 * int(x[i]) + float(rng.normal()), float(x[i]), 1.0)
        for i in range(9000)
    ]
    text = next(
        c.text for c in an_analysis(rows).cautions if c.slug == "negligible-but-significant"
    )
    assert "yet the link is negligible" in text


def test_the_static_judge_is_said_not_to_be_a_language_model():
    judge = JudgedBy(judge="static", prompt_version="static-1")
    text = render_markdown(an_analysis(some_rows(5), judge=judge))
    assert "ratings come from static features of the code, not from a language model" in text


def test_no_rows_at_all_still_make_a_readable_page():
    text = render_markdown(an_analysis([], missing={}))
    assert "no Pearson correlation, because there are no rows" in text
    assert "No rows." in text


def test_group_tables_have_a_line_per_level():
    rows = [replace(row, style=float(i % 3)) for i, row in enumerate(some_rows(30))]
    tail = render_markdown(an_analysis(rows)).split("## Reward by style")[1]
    assert re.findall(r"^\| (\d+) \| 10 \|", tail, re.MULTILINE) == ["0", "1", "2"]


def test_a_name_with_a_pipe_or_line_end_cannot_break_the_page():
    judge = JudgedBy(judge="evil|\n# name `x`", prompt_version="v")
    text = render_markdown(an_analysis([], judge=judge, missing={"a|b\n# c": 1}))
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        "# Difficulty, style and reward"
    ]

"""The table that the first runs published, read again: what a reader must be told about it."""

import numpy as np
import pytest
from published_table import ROWS, STYLE, published_rows

from kernelsift.report.analysis import JudgedBy, RewardFilter, analyse, render_markdown
from kernelsift.report.correction import reward_shape


@pytest.fixture(scope="module")
def published():
    """The analysis of the published table; below the filter were 10,981 rewards, mostly 0."""
    rows = published_rows()
    rewards = [row.reward for row in rows] + [0.0] * (18_162 - len(rows))
    known = RewardFilter(min_reward=0.85, dropped=10_981, rewards=reward_shape(rewards))
    judge = JudgedBy(judge="openai/gpt-5.2", prompt_version="original-1:x",
                     unread_difficulty=127, unread_style=141)  # fmt: skip
    return analyse(rows, judge=judge, missing={"no-verdict": ROWS - sum(STYLE)},
                   reward_filter=known, resamples=60)  # fmt: skip


def caution(analysis, slug, word=""):
    """The text of the one caution of this kind."""
    (found,) = [c for c in analysis.cautions if c.slug == slug and word in c.title]
    return f"{found.title}. {found.text}"


def test_the_marginals_are_those_that_were_published(published):
    style, difficulty = published.style, published.difficulty
    assert (style.spread.mean, style.spread.sd) == pytest.approx((1.60, 1.37), abs=0.005)
    assert (difficulty.spread.mean, difficulty.spread.sd) == pytest.approx((4.15, 1.76), abs=0.012)
    assert sum(style.histogram[4:8]) / 7040 == pytest.approx(0.090, abs=0.0005)
    assert (style.mode, style.floor_share) == (1, 559 / 7040)
    assert style.effective_levels == pytest.approx(3.6, abs=0.05)
    assert difficulty.effective_levels == pytest.approx(6.7, abs=0.1)


def test_the_correlations_and_their_interval_are_those_that_were_published(published):
    found = published.correlation("style", "reward")
    assert (found.n, round(found.r, 3)) == (7040, -0.034)
    assert (round(found.ci.low, 3), round(found.ci.high, 3)) == (-0.057, -0.011)
    assert round(found.p, 3) == 0.004
    assert published.correlation("difficulty", "reward").r == pytest.approx(0.07, abs=1e-6)
    assert published.correlation("difficulty", "style").r == pytest.approx(-0.49, abs=0.01)


def test_the_floor_of_style_is_named_and_difficulty_has_none(published):
    text = caution(published, "floor-effect")
    assert "Style has a floor effect. 86.3 % of rows score 0, 1 or 2" in text
    assert "59.2 % score exactly 1; it uses 3.6 effective levels of 11" in text


def test_the_missing_verdicts_are_named_with_the_score_that_they_lack(published):
    text = caution(published, "unjudged-rows")
    assert "141 of 7,181 rows (2.0 %)" in text
    assert "(127 without a readable difficulty, 141 without a readable style)" in text


def test_the_restricted_range_is_named_and_no_formula_is_offered_for_it(published):
    text = caution(published, "range-restriction")
    assert "Rows with a reward of 0.85 or less (10,981) were not judged" in text
    assert [one.corrected for one in published.corrections] == [None, None]
    page = render_markdown(published)
    assert "no model-based correction for the filter, because its assumptions do not hold" in page
    assert "61.2 % of all rows have the same reward (0;" in page


def test_the_cap_that_ties_put_on_rank_correlations_is_named(published):
    assert published.correlation("style", "reward", "spearman").largest == pytest.approx(
        -0.886, abs=0.0005
    )
    assert published.correlation("difficulty", "reward", "spearman").largest == pytest.approx(
        0.983, abs=0.0015
    )
    assert "−0.886 for style and reward" in caution(published, "tied-ranks")


def test_the_significant_correlation_is_called_negligible_and_never_significant(published):
    page = render_markdown(published)
    assert "Style and reward: negligible (Pearson r = −0.034" in page
    assert "style – reward (Pearson r = −0.034)" in caution(published, "negligible-but-significant")
    assert "significant" not in page
    adjusted = published.correlation("style", "reward")
    assert adjusted.p < adjusted.p_bh <= adjusted.p_holm


def test_the_histograms_are_whole(published):
    assert published.style.histogram == STYLE
    assert int(np.sum(published.difficulty.histogram)) == 7040

"""Correlations, intervals, distributions and groups of judged rows."""

import json
import math
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift.errors import DataError
from kernelsift.report import stats
from kernelsift.report.bootstrap import correlation_draws, percentile_interval
from kernelsift.report.stats import Scored


def some_rows(count: int, *, modules: int = 2967, seed: int = 1, outliers: bool = False):
    """Rows of a usual shape: style pressed to the floor, reward near 1, modules of several rows."""
    rng = np.random.default_rng(seed)
    share = np.array([559, 4168, 1350, 180, 75, 270, 244, 120, 50, 20, 4], float)
    style = rng.choice(11, size=count, p=share / share.sum())
    difficulty = np.clip(np.round(5 - 0.6 * style + rng.normal(0, 1.6, count)), 0, 10)
    reward = np.maximum(0.85, rng.normal(1.006, 0.05, count))
    if outliers:
        reward[:: max(1, count // 20)] = 1000.0
    module = rng.integers(max(1, min(modules, count)), size=count)
    columns = zip(module, reward, difficulty, style, strict=True)
    return [
        Scored(id=f"{i:06d}", module=f"M{m}", reward=float(r), difficulty=float(d), style=float(s))
        for i, (m, r, d, s) in enumerate(columns)
    ]


scores = st.one_of(st.integers(0, 10).map(float), st.floats(0, 10))
any_rows = st.lists(
    st.builds(
        Scored,
        id=st.text(max_size=3),
        module=st.text(max_size=1),
        reward=st.floats(allow_nan=False, allow_infinity=False),
        difficulty=scores,
        style=scores,
    ),
    max_size=40,
)


@pytest.mark.parametrize(("a", "b"), stats.PAIRS)
def test_pearson_and_its_interval_are_those_of_scipy(a, b):
    rows = some_rows(300)
    expected = scipy.stats.pearsonr(stats.column(rows, a), stats.column(rows, b))
    interval = expected.confidence_interval(0.95)
    found = next(c for c in stats.correlations(rows) if (c.a, c.b, c.method) == (a, b, "pearson"))
    assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.ci.low, found.ci.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("a", "b"), stats.PAIRS)
def test_spearman_is_that_of_scipy(a, b):
    rows = some_rows(300)
    expected = scipy.stats.spearmanr(stats.column(rows, a), stats.column(rows, b))
    found = next(c for c in stats.correlations(rows) if (c.a, c.b, c.method) == (a, b, "spearman"))
    assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_the_spearman_interval_has_the_error_of_bonett_and_wright():
    found = next(c for c in stats.correlations(some_rows(300)) if c.method == "spearman")
    width = math.atanh(found.ci.high) - math.atanh(found.ci.low)
    error = math.sqrt((1 + found.r**2 / 2) / (300 - 3))
    assert width == pytest.approx(2 * scipy.stats.norm.ppf(0.975) * error)


def test_a_perfect_correlation_has_an_interval_of_no_width():
    rows = [Scored(str(i), "m", reward=i / 10, difficulty=i, style=10 - i) for i in range(11)]
    found = stats.correlations(rows)[6]
    assert (found.r, found.ci.low, found.ci.high) == pytest.approx((-1, -1, -1))


@pytest.mark.parametrize(
    ("r", "word"),
    [
        (0.0, "negligible"),
        (-0.0999, "negligible"),
        (0.1, "weak"),
        (-0.2999, "weak"),
        (0.3, "moderate"),
        (0.4999, "moderate"),
        (-0.5, "strong"),
        (1.0, "strong"),
    ],
)
def test_strength_words_change_at_the_documented_sizes(r, word):
    assert stats.strength_of(r) == word


def test_weighted_draws_are_the_correlations_of_the_drawn_rows():
    rows = stats.ordered(some_rows(60, modules=12))
    columns = np.stack([stats.column(rows, name) for name in stats.COLUMNS])
    clusters = np.unique([row.module for row in rows], return_inverse=True)[1]
    pearson, spearman = correlation_draws(columns, clusters, seed=3, resamples=20)
    rng = np.random.default_rng(3)
    count = clusters.max() + 1
    for draw, picked in enumerate(rng.integers(count, size=(20, count))):
        drawn = np.concatenate([columns[:, clusters == module] for module in picked], axis=1)
        assert pearson[draw] == pytest.approx(np.corrcoef(drawn))
        assert spearman[draw] == pytest.approx(scipy.stats.spearmanr(drawn, axis=1).statistic)


def test_rows_that_are_copies_widen_the_cluster_interval_only():
    single = some_rows(200, modules=10**9)
    single = [replace(row, module=row.id) for row in single]
    copies = [replace(row, id=f"{row.id}-{i}") for row in single for i in range(9)]
    few, many = stats.correlations(single)[0], stats.correlations(copies)[0]
    wide = many.cluster_ci.high - many.cluster_ci.low
    assert wide == pytest.approx(few.ci.high - few.ci.low, rel=0.25)
    assert wide > 2.5 * (many.ci.high - many.ci.low)
    assert many.widest == many.cluster_ci


def test_a_cluster_interval_covers_a_known_correlation_about_95_times_in_100():
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(2, 60))[:, np.repeat(np.arange(60), 5)]
        x, y = shared + 0.5 * rng.normal(size=(2, 300))
        clusters = np.repeat(np.arange(60), 5)
        draws, _ = correlation_draws(np.stack([x, y]), clusters, seed=seed, resamples=300)
        low, high = percentile_interval(draws[:, 0, 1])
        hits += low <= 0 <= high
    assert 180 <= hits <= 199


def test_few_modules_give_no_cluster_interval_but_a_reason():
    found = stats.correlations(some_rows(50, modules=3))[0]
    assert found.cluster_ci is None
    assert found.cluster_why == "the rows come from 3 modules; at least 10 are needed"


def test_a_column_constant_in_most_resamples_has_no_cluster_interval():
    rows = [replace(row, difficulty=3.0, module=row.id) for row in some_rows(40)]
    rows[0] = replace(rows[0], difficulty=4.0)
    found = stats.correlations(rows)[0]
    assert found.r is not None
    assert found.cluster_ci is None
    assert "resamples" in found.cluster_why


@pytest.mark.parametrize("count", range(4))
def test_fewer_than_four_rows_give_a_reason_and_no_number(count):
    for found in stats.correlations(some_rows(count)):
        assert found.r is None
        assert found.ci is None
        assert "at least 4 are needed" in found.why
        assert found.why in found.sentence


def test_a_constant_column_gives_a_reason_that_names_it():
    rows = [replace(row, reward=0.1) for row in some_rows(50)]
    found = stats.correlations(rows)
    assert found[0].why == "all 50 rows have the same reward (0.1)"
    assert found[6].r is not None


def test_values_equal_up_to_rounding_count_as_constant():
    rows = [replace(row, reward=1 + i * 1e-16) for i, row in enumerate(some_rows(50))]
    assert stats.correlations(rows)[0].r is None


def test_an_interval_with_zero_in_it_is_said_to_leave_the_direction_open():
    found = next(c for c in stats.correlations(some_rows(40)) if c.ci.low < 0 < c.ci.high)
    assert found.strength == "negligible"
    assert "contains zero and reaches moderate values" in found.sentence


def test_a_tiny_p_with_a_negligible_r_is_called_too_small_to_matter():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 11, 20_000)
    y = 0.02 * x + rng.normal(size=20_000)
    rows = [Scored(f"{i:05d}", f"{i}", float(y[i]), float(x[i]), 1.0) for i in range(20_000)]
    found = stats.correlations(rows, resamples=50)[0]
    assert found.p < 1e-4
    assert found.strength == "negligible"
    assert found.sentence.endswith("told apart from zero, but too small to matter.")


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_the_size_of_rewards_does_not_change_a_correlation(factor):
    rows = some_rows(60)
    sized = [replace(row, reward=row.reward * factor) for row in rows]
    a, b = stats.correlations(rows)[0], stats.correlations(sized)[0]
    assert a.r == pytest.approx(b.r)


@given(any_rows, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_finite_values_break_the_numbers(rows, shuffler: random.Random):
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    found = stats.correlations(rows, resamples=30)
    assert found == stats.correlations(shuffled, resamples=30)
    for one in found:
        json.loads(one.model_dump_json(), parse_constant=pytest.fail)
        assert (one.r is None) == (one.why is not None)


def test_another_seed_gives_another_cluster_interval():
    rows = some_rows(100)
    a, b = (stats.correlations(rows, seed=seed)[0] for seed in (1, 2))
    assert a.r == b.r
    assert a.cluster_ci != b.cluster_ci


def test_seven_thousand_rows_are_bootstrapped_in_a_few_seconds_of_a_core():
    rows = some_rows(7000)
    start = time.process_time()
    stats.correlations(rows)
    assert time.process_time() - start < 16  # 2 s where nothing else runs


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_refused_with_its_row(value):
    with pytest.raises(DataError, match="row 000002: reward is"):
        stats.ordered(replace(row, reward=value) if row.id == "000002" else row
                      for row in some_rows(5))  # fmt: skip


@pytest.mark.parametrize("value", [-0.1, 10.5, float("nan")])
def test_a_score_off_the_scale_is_refused(value):
    with pytest.raises(DataError, match="scores run from 0 to 10"):
        stats.ordered([replace(some_rows(1)[0], style=value)])


def test_effective_levels_run_from_one_to_eleven():
    assert stats.score_spread(np.full(50, 3.0)).effective_levels == pytest.approx(1)
    assert stats.score_spread(np.arange(11.0)).effective_levels == pytest.approx(11)


def test_floor_ceiling_and_mode_are_shares_of_the_rows():
    found = stats.score_spread(np.array([0.0, 0.0, 1, 5, 5, 5, 10, 10, 10, 10]))
    assert (found.floor_share, found.ceiling_share) == (0.2, 0.4)
    assert (found.mode, found.mode_share) == (10, 0.4)
    assert found.histogram == (2, 1, 0, 0, 0, 3, 0, 0, 0, 0, 4)


@pytest.mark.parametrize(("score", "level"), [(0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (10.0, 10)])
def test_a_level_is_the_nearest_integer_halves_upwards(score, level):
    assert stats.level_of(score) == level


def test_spread_is_that_of_numpy():
    values = stats.column(some_rows(101), "reward")
    found = stats.spread_of(values)
    assert (found.mean, found.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (found.q1, found.median, found.q3) == pytest.approx(
        np.quantile(values, [0.25, 0.5, 0.75])
    )


def test_one_row_has_no_standard_deviation():
    assert stats.spread_of(np.array([2.0])).sd is None


def test_groups_partition_the_rows_and_show_the_other_score():
    rows = some_rows(200)
    groups = stats.groups_by(rows, "style")
    assert sum(group.n for group in groups) == 200
    ones = [row for row in rows if row.style == 1]
    group = next(group for group in groups if group.level == 1)
    assert group.mean_other == pytest.approx(np.mean([row.difficulty for row in ones]))
    assert group.reward.median == pytest.approx(np.median([row.reward for row in ones]))


def test_a_small_share_is_not_shown_as_nothing():
    assert [stats.percent(x) for x in (0, 0.0001, 0.5)] == ["0.0 %", "< 0.1 %", "50.0 %"]

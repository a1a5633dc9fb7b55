"""Partial correlations, adjusted p-values, weighted rows, and a correction that mostly refuses."""

import importlib
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from test_report_stats import some_rows

from kernelsift.reliability.ranks import kendall_by_level
from kernelsift.report import stats
from kernelsift.report.adjusted import benjamini_hochberg, holm
from kernelsift.report.analysis import JudgedBy, RewardFilter, analyse, render_markdown
from kernelsift.report.correction import corrections, reward_shape, thorndike
from kernelsift.report.full_range import full_range
from kernelsift.report.partials import change_of, partials
from kernelsift.report.stats import Covariates, Scored

JUDGE = JudgedBy(judge="m", prompt_version="v")
KINDS = ("matmul", "softmax", "reduction", "activation")


def oracle(name: str):
    """A library of the group `oracles`, or a skipped test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as e:
            pytest.skip(f"{e}; uv pip install --group oracles")


def with_covariates(rows, seed=0):
    """Rows with code, reasoning and operations that go with their scores."""
    rng = np.random.default_rng(seed)
    return [
        replace(row, covariates=Covariates(
            int(rng.lognormal(7 + 0.1 * row.style, 0.5)),
            int(rng.lognormal(8 + 0.2 * row.difficulty, 1)),
            tuple(kind for kind in KINDS if rng.random() < 0.15 + 0.05 * row.difficulty),
        ))
        for row in rows
    ]  # fmt: skip


def confounded_rows(count=3000):
    """Difficulty only lengthens the reasoning, and length only lowers style."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(5, 1.6, count)
    length = 8 + 0.35 * (difficulty - 5) + 0.35 * rng.normal(size=count)
    style = 5 - 1.3 * (length - 8) + 0.6 * rng.normal(size=count)
    reward = rng.normal(1, 0.05, count)
    columns = zip(difficulty.clip(0, 10), style.clip(0, 10), np.exp(length), reward, strict=True)
    return [
        Scored(f"{i:05d}", f"M{i // 2}", float(r), float(d), float(s),
               covariates=Covariates(None, int(n), None))
        for i, (d, s, n, r) in enumerate(columns)
    ]  # fmt: skip


def mixture(seed: int, count: int = 6000, drawn: int = 400):
    """Reward 0 for failures and N(1, 0.05) for the 41 % that pass; quality drives passing alone.

    Returns the full-range r of style and reward, the rewards of all rows, and the judged rows:
    those that passed, and a sample of the others with their weights.
    """
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=count)
    passing = 0.5 * quality + rng.normal(size=count) > 0.25
    reward = np.where(passing, rng.normal(1, 0.05, count), 0.0)
    style = np.clip(np.round(5 + 1.5 * (0.8 * quality + 0.6 * rng.normal(size=count))), 0, 10)
    difficulty = rng.integers(0, 11, count)
    others = np.flatnonzero(~passing)
    chosen = rng.choice(others, drawn, replace=False)
    weights = dict.fromkeys(chosen.tolist(), len(others) / drawn)
    judged = [
        Scored(f"{i:05d}", f"M{i // 3}", float(reward[i]), float(difficulty[i]), float(style[i]),
               weight=weights.get(i, 1.0), rejected=i in weights)
        for i in range(count) if passing[i] or i in weights
    ]  # fmt: skip
    return float(np.corrcoef(style, reward)[0, 1]), reward.tolist(), judged


def test_kendall_of_weighted_rows_is_that_of_the_repeated_rows():
    rng = np.random.default_rng(0)
    for levels in (2, 5, 11):
        values = np.stack([rng.integers(0, levels, 120), rng.normal(size=120).round(1)], axis=1)
        weights = rng.integers(0, 3, (6, 120)).astype(float)
        for swap in (values, values[:, ::-1]):
            for counts, found in zip(weights, kendall_by_level(swap)(weights), strict=True):
                repeated = np.repeat(swap, counts.astype(int), axis=0)
                assert found == pytest.approx(scipy.stats.kendalltau(*repeated.T).statistic)


def test_kendall_of_the_rows_is_that_of_scipy_with_an_interval_round_it():
    rows = some_rows(400)
    for found in (c for c in stats.correlations(rows) if c.method == "kendall"):
        expected = scipy.stats.kendalltau(stats.column(rows, found.a), stats.column(rows, found.b))
        assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue))
        assert found.cluster_ci.low < found.r < found.cluster_ci.high
        assert "Kendall tau-b = " in found.sentence


def test_many_rows_get_fewer_draws_for_kendall_and_the_page_says_how_many():
    assert stats.kendall_resamples(11, 1000, 1000) == 1000
    assert stats.kendall_resamples(11, 7000, 1000) == 519
    assert stats.kendall_resamples(11, 10**6, 1000) == 200
    page = render_markdown(analyse(some_rows(300), judge=JUDGE, missing={}, resamples=70))
    assert "(70 resamples, 70 of them for Kendall;" in page


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlations_are_those_of_pingouin(method):
    pingouin, pandas = oracle("pingouin"), oracle("pandas")
    rows = with_covariates(some_rows(300))
    frame = pandas.DataFrame({name: stats.column(rows, name) for name in stats.COLUMNS})
    frame["code length"] = [math.log1p(row.covariates.code_length) for row in rows]
    frame["reasoning length"] = [math.log1p(row.covariates.reasoning_length) for row in rows]
    for kind in KINDS:
        frame[kind] = [float(kind in row.covariates.operations) for row in rows]
    found = [c for c in partials(rows, resamples=10).correlations if c.method == method]
    assert len(found) == 12
    for one in found:
        given = [n for g in one.given for n in (KINDS if g == "operation class" else (g,))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = pingouin.partial_corr(frame, one.a, one.b, given, method=method)
        (r,), (p,), ((low, high),) = expected["r"], expected["p_val"], expected["CI95"]
        assert (one.r, one.p) == pytest.approx((r, p), abs=1e-6)
        if method == "pearson":  # pingouin rounds its interval to two digits
            assert (one.ci.low, one.ci.high) == pytest.approx((low, high), abs=0.0051)


def test_a_draw_of_modules_is_the_partial_correlation_of_the_drawn_rows():
    rows = with_covariates(some_rows(200, modules=20))
    clear = next(c for c in partials(rows, resamples=300).correlations if c.a == "difficulty")
    copies = [replace(r, id=f"{r.id}-{i}") for r in rows for i in range(4)]
    again = next(c for c in partials(copies, resamples=300).correlations if c.a == "difficulty")
    assert again.r == pytest.approx(clear.r)
    assert again.cluster_ci.low == pytest.approx(clear.cluster_ci.low, abs=1e-9)
    assert again.ci.high - again.ci.low < 0.6 * (clear.ci.high - clear.ci.low)


def test_a_correlation_that_length_makes_is_said_to_vanish_given_length():
    rows = confounded_rows()
    found = analyse(rows, judge=JUDGE, missing={}, resamples=60)
    assert found.correlation("difficulty", "style").r < -0.4
    for one in found.partials.correlations:
        if (one.a, one.b) == ("difficulty", "style"):
            assert abs(one.r) < 0.05
            assert one.change == "vanishes"
    (told,) = [c for c in found.cautions if c.slug == "confounded"]
    assert told.title == "Difficulty and style are confounded by length"
    assert told.text.startswith("With reasoning length held constant, Pearson r falls from −0.")
    assert "vanishes: reasoning length alone can account for it" in render_markdown(found)


def test_what_is_not_known_or_constant_is_left_out_with_a_sentence():
    rows = [
        replace(row, covariates=Covariates(500, row.covariates.reasoning_length, None))
        for row in confounded_rows(100)
    ]
    found = partials(rows, resamples=20)
    assert found.given == ("reasoning length",)
    assert found.notes == (
        "Code length is not held constant: it is the same in all rows.",
        "Operation class is not held constant: it is known for no row.",
    )


def test_a_few_rows_without_a_length_are_left_out_and_counted():
    rows = with_covariates(some_rows(100))
    rows[:7] = [replace(row, covariates=Covariates(10, None, ())) for row in rows[:7]]
    found = partials(rows, resamples=20)
    assert found.without == 7
    assert {one.n for one in found.correlations} == {93}


def test_what_is_given_may_explain_a_score_wholly():
    rows = [
        replace(row, covariates=Covariates(int(2**row.difficulty - 1), None, None))
        for row in some_rows(60)
    ]
    found = next(c for c in partials(rows, resamples=20).correlations if c.method == "pearson")
    assert found.r is None
    assert "what is given explains difficulty or reward wholly" in found.sentence


def test_no_change_is_claimed_where_the_interval_holds_the_plain_correlation():
    found = analyse(confounded_rows(24)[::2], judge=JUDGE, missing={}, resamples=60)
    changed = [one for one in found.partials.correlations if one.change == "unclear"]
    assert changed
    for one in changed:
        assert one.widest.low <= one.plain <= one.widest.high
        assert one.sentence.endswith("which the interval holds, too: no change is shown.")


@pytest.mark.parametrize(
    ("plain", "partial", "change"),
    [
        (-0.47, 0.01, "vanishes"),
        (-0.47, -0.09, "nearly vanishes"),
        (0.3, -0.2, "turns"),
        (0.5, 0.2, "shrinks"),
        (0.5, 0.4, "stays"),
        (0.02, 0.01, "stays"),
        (0.04, 0.3, "appears"),
    ],
)
def test_what_becomes_of_a_correlation_has_a_word(plain, partial, change):
    assert change_of(plain, partial) == change


@given(st.lists(st.floats(0, 1), max_size=30))
def test_adjusted_p_values_are_those_of_scipy_and_of_holms_definition(p_values):
    if p_values:
        expected = scipy.stats.false_discovery_control(p_values, method="bh")
        assert benjamini_hochberg(p_values) == pytest.approx(list(expected))
    for place, adjusted in enumerate(holm(p_values)):
        below = sorted(p for p in p_values if p <= p_values[place])
        steps = [(len(p_values) - rank) * p for rank, p in enumerate(below)]
        assert adjusted == pytest.approx(min(1.0, max(steps)))


def test_every_p_value_of_the_report_is_adjusted_for_all_of_them():
    _, _, judged = mixture(0, 1500, 200)
    found = analyse(with_covariates(judged), judge=JUDGE, missing={}, resamples=40)
    tested = [*found.correlations, *found.partials.correlations, *found.full_range.correlations]
    assert found.hypotheses == len(tested) == 9 + 24 + 9
    assert [one.p_holm for one in tested] == pytest.approx(holm([one.p for one in tested]))
    assert all(one.p <= one.p_bh <= one.p_holm for one in tested)


def test_weighted_rows_give_the_correlation_of_all_rows_where_the_passed_ones_do_not():
    apart, restricted, truths = [], [], []
    for seed in range(12):
        truth, _, judged = mixture(seed)
        every = full_range(judged, resamples=2)
        r = next(c.r for c in every.correlations if (c.a, c.method) == ("style", "pearson"))
        passed = [row for row in judged if not row.rejected]
        columns = [stats.column(passed, name) for name in ("style", "reward")]
        restricted.append(np.corrcoef(*columns)[0, 1])
        apart.append(r - truth)
        truths.append(truth)
    assert np.mean(truths) == pytest.approx(0.28, abs=0.02)
    assert abs(np.mean(restricted)) < 0.03
    assert abs(np.mean(apart)) < 0.02
    assert np.abs(apart).mean() < 0.05


def test_the_interval_of_all_rows_holds_the_truth_and_the_page_puts_both_side_by_side():
    truth, _, judged = mixture(3, 3000, 300)
    known = RewardFilter(min_reward=0.5, dropped=1770, drawn=310)
    found = analyse(judged, judge=JUDGE, missing={}, resamples=150, reward_filter=known)
    one = next(c for c in found.full_range.correlations if (c.a, c.method) == ("style", "pearson"))
    assert one.cluster_ci.low < truth < one.cluster_ci.high
    assert found.judged == sum(not row.rejected for row in judged)
    page = render_markdown(found)
    assert "300 rejected rows were judged; they stand for" in page
    assert "passed rows tend to score higher" in page
    assert "10 of 310 have none" in page


def test_passed_rows_give_the_same_numbers_with_and_without_rejected_rows_beside_them():
    _, _, judged = mixture(1, 900, 100)
    passed = [row for row in judged if not row.rejected]
    a, b = (stats.correlations(rows, resamples=30) for rows in (passed, passed[::-1]))
    whole = analyse(judged, judge=JUDGE, missing={}, resamples=30)
    alone = analyse(passed, judge=JUDGE, missing={}, resamples=30)
    bare = {"p_holm": None, "p_bh": None}
    assert a == b == tuple(c.model_copy(update=bare) for c in whole.correlations)
    assert whole.style == alone.style
    assert alone.full_range is None


def test_the_area_between_passed_and_rejected_rows_is_that_of_the_repeated_rows():
    rng = np.random.default_rng(0)
    rows = [
        Scored(f"{i:03d}", f"M{i}", 1.0 * (i % 3 > 0), 5.0, float(rng.integers(0, 11)),
               weight=4.0 if i % 3 == 0 else 1.0, rejected=i % 3 == 0)
        for i in range(90)
    ]  # fmt: skip
    found = full_range(rows, resamples=50).separations[1]
    passed = [row.style for row in rows if not row.rejected]
    rejected = [row.style for row in rows if row.rejected]
    expected = scipy.stats.mannwhitneyu(passed, rejected).statistic
    assert found.auc == pytest.approx(expected / (len(passed) * len(rejected)))
    assert found.difference == pytest.approx(np.mean(passed) - np.mean(rejected))
    assert found.auc_ci.low < found.auc < found.auc_ci.high


def test_the_correction_is_refused_in_every_one_of_200_mixtures():
    for seed in range(200):
        _, rewards, judged = mixture(seed, 600, 2)
        passed = [row for row in judged if not row.rejected]
        plain = [
            stats.Correlation(a="style", b="reward", method="pearson", n=len(passed), modules=1,
                              r=0.1, sentence="")
        ]  # fmt: skip
        (found,) = corrections(passed, plain, reward_shape(rewards))
        assert found.corrected is None
        broken = {check.name for check in found.assumptions if not check.holds}
        assert {"stretch", "one scale", "one hump"} <= broken


def test_on_linear_normal_data_the_correction_finds_the_correlation_of_all_rows():
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reward = rng.normal(size=4000)
        style = np.clip(
            5 + 1.2 * (0.4 * reward + math.sqrt(1 - 0.16) * rng.normal(size=4000)), 0, 10
        )
        rows = [Scored(f"{i:04d}", f"M{i}", float(reward[i]), 5.0, float(style[i]))
                for i in np.flatnonzero(reward > 0)]  # fmt: skip
        known = RewardFilter(min_reward=0, dropped=2000, rewards=reward_shape(reward.tolist()))
        made = analyse(rows, judge=JUDGE, missing={}, reward_filter=known, resamples=2)
        (one,) = made.corrections
        if one.corrected is not None:
            assert one.ci.low < one.corrected < one.ci.high
            assert "model-based, not measured" in one.sentence
            assert one.sentence in render_markdown(made)
            found.append((one.restricted, one.corrected))
    assert len(found) >= 15
    assert np.mean(found, axis=0) == pytest.approx((0.25, 0.40), abs=0.03)


def test_a_bend_or_an_uneven_spread_among_the_passed_rows_refuses_the_correction():
    rng = np.random.default_rng(0)
    reward = rng.normal(size=2000)
    bent = 4 + 0.3 * reward + 0.5 * reward**2 + 0.4 * rng.normal(size=2000)
    fanned = 5 + 0.3 * reward + (0.2 + 0.4 * np.abs(reward)) * rng.normal(size=2000)
    for values, name in ((bent, "linear"), (fanned, "even spread")):
        rows = [Scored(f"{i:04d}", f"M{i}", float(reward[i]), 5.0, float(np.clip(values[i], 0, 10)))
                for i in np.flatnonzero(reward > -0.5)]  # fmt: skip
        plain = stats.correlations(rows, resamples=2)
        (found,) = corrections(rows, plain, reward_shape(reward.tolist()))
        assert found.corrected is None
        assert name in {check.name for check in found.assumptions if not check.holds}


def test_case_2_is_thorndikes_formula():
    assert thorndike(0.233, 1.7) == pytest.approx(0.377, abs=0.001)
    assert thorndike(0.5, 1.0) == 0.5

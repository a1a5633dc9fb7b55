"""Agreement, rank ties, calibration, corrected means: known values, limits, what is undefined."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from kernelsift.reliability import agreement, ranks
from kernelsift.reliability.calibration import cross_validated, isotonic
from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.prediction import Labelled, Unlabelled, ppi_mean
from kernelsift.reliability.ratings import Rater, Rating, Ratings
from kernelsift.reliability.resample import Resampling, mean, rank_correlation, within
from kernelsift.reliability.resample import agreement as measured
from kernelsift.reliability.within import Groups

NAN = float("nan")
HOW = Resampling(resamples=300)
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
"""Shrout & Fleiss 1979, table 2: six targets, four judges."""
KRIPPENDORFF = np.array(
    [[1, 1, NAN, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
     [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [NAN, 5, 5, 5], [NAN, NAN, 1, 1],
     [NAN, NAN, 3, NAN]]
)  # fmt: skip
"""Krippendorff 2011, section C: twelve units, four observers, missing data; in Gwet 2014 too."""
EACH = (agreement.ICC, agreement.ALPHA_ORDINAL, agreement.ALPHA_INTERVAL, agreement.ALPHA_NOMINAL,
        agreement.QWK, agreement.ac2())  # fmt: skip
IDS = [coefficient.name for coefficient in EACH]


def ratings_of(values, modules=None):
    """A matrix as ratings of one judge's occasions."""
    return Ratings.of(
        Rating(f"{i:04d}", str(i if modules is None else modules[i]), Rater("j", k), float(score))
        for i, row in enumerate(values)
        for k, score in enumerate(row)
        if not np.isnan(score)
    )


@pytest.mark.parametrize(
    ("coefficient", "expected"),
    [
        (agreement.ALPHA_NOMINAL, 0.743),
        (agreement.ALPHA_ORDINAL, 0.815),
        (agreement.ALPHA_INTERVAL, 0.849),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_alpha_has_the_values_of_krippendorffs_example(coefficient, expected):
    assert coefficient.value(KRIPPENDORFF) == pytest.approx(expected, abs=5e-4)


def test_icc_has_the_value_of_the_table_of_shrout_and_fleiss():
    assert agreement.ICC.value(SHROUT_FLEISS) == pytest.approx(0.29, abs=5e-3)


def test_icc_within_groups_has_the_value_of_the_table_of_shrout_and_fleiss():
    groups = np.repeat(np.arange(6), 4)
    assert Groups.of(SHROUT_FLEISS.ravel(), groups).value() == pytest.approx(0.17, abs=5e-3)


def test_ac2_has_the_values_that_irrcac_gives_for_gwets_example():
    assert agreement.ac2([1, 2, 3, 4, 5]).value(KRIPPENDORFF) == pytest.approx(0.91400, abs=5e-6)


@pytest.mark.parametrize("number", range(6))
def test_ac2_has_the_values_of_irrcac_with_missing_and_constant_ratings(number):
    known = json.loads((Path(__file__).parent / "known_agreement.json").read_text())[number]
    values = np.array([[NAN if score is None else score for score in row] for row in known["rows"]])
    assert agreement.ac2().value(values) == pytest.approx(known["ac2"], abs=1e-9)


def test_quadratic_kappa_of_cohens_kind_is_that_of_the_weighted_table():
    table = np.array([[30, 10, 2], [6, 25, 9], [1, 7, 20]])
    pairs = np.array(
        [(i, j) for i in range(3) for j in range(3) for _ in range(table[i, j])], float
    )
    i, j = np.indices((3, 3))
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    expected = 1 - ((i - j) ** 2 * table).sum() / ((i - j) ** 2 * chance).sum()
    assert agreement.QWK.value(pairs) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("coefficient", EACH, ids=IDS)
def test_raters_that_always_agree_have_agreement_one(coefficient):
    values = np.repeat(np.arange(8.0)[:, None], 2, axis=1)
    assert coefficient.value(values) == pytest.approx(1)


@pytest.mark.parametrize("coefficient", EACH[:-1], ids=IDS[:-1])
def test_without_any_variation_agreement_is_undefined_and_says_why(coefficient):
    found = coefficient.value(np.full((9, 2), 3.0))
    assert isinstance(found, Undefined)
    assert str(found).startswith("not defined, because all ratings are 3, and without variation")


def test_ac2_of_ratings_that_are_all_equal_is_one():
    assert agreement.ac2().value(np.full((9, 2), 3.0)) == pytest.approx(1)


@pytest.mark.parametrize("coefficient", EACH, ids=IDS)
@pytest.mark.parametrize(
    "values",
    [np.empty((0, 2)), np.full((5, 2), NAN), np.array([[1.0, 2.0]]), np.ones((4, 1)),
     np.array([[1.0, NAN], [NAN, 2.0], [3.0, NAN]])],
    ids=["no items", "all missing", "one item", "one rater", "never both"],
)  # fmt: skip
def test_what_cannot_be_computed_is_undefined_and_never_a_number(coefficient, values):
    found = coefficient.value(values)
    assert isinstance(found, Undefined)
    assert found.why


@pytest.mark.parametrize("coefficient", EACH, ids=IDS)
def test_one_constant_rater_beside_one_that_varies_is_a_finite_number(coefficient):
    values = np.stack([np.full(30, 4.0), np.arange(30) % 11.0], axis=1)
    found = coefficient.value(values)
    assert isinstance(found, float)
    assert -1 <= found <= 1


@given(st.integers(0, 10**6))
def test_doubling_every_item_by_weight_or_by_hand_is_the_same(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 11, size=(12, 2)).astype(float)
    times = rng.integers(0, 4, size=12)
    times[:3] += 1
    by_hand = np.repeat(values, times, axis=0)
    for coefficient in EACH:
        expected = coefficient.weighted(by_hand, np.ones((1, len(by_hand))))
        assert coefficient.weighted(values, times[None].astype(float)) == pytest.approx(expected)
    weights, ones = times[None].astype(float), np.ones((1, len(by_hand)))
    assert ranks.spearman_weighted(values, weights) == pytest.approx(
        ranks.spearman_weighted(by_hand, ones), nan_ok=True
    )
    assert ranks.kendall_weighted(values)(values, weights) == pytest.approx(
        ranks.kendall_weighted(by_hand)(by_hand, ones), nan_ok=True
    )


@given(st.integers(0, 10**6))
def test_weighted_rank_correlations_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 7, size=(25, 2)).astype(float)
    values[0] = [0, 6]
    one = np.ones((1, 25))
    assert ranks.spearman_weighted(values, one)[0] == pytest.approx(spearmanr(*values.T).statistic)
    found = ranks.kendall_weighted(values)(values, one)[0]
    assert found == pytest.approx(kendalltau(*values.T).statistic)


def test_ties_cap_the_rank_correlation_of_the_published_style_scores_at_0_886():
    counts = [559, 4168, 1350, 180, 75, 270, 244, 120, 50, 20, 4]
    scores = np.repeat(np.arange(11.0), counts)
    assert ranks.largest(scores) == pytest.approx(0.886, abs=5e-4)
    assert ranks.largest(scores) == pytest.approx(spearmanr(scores, np.arange(7040)).statistic)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=3, max_size=40))
def test_no_pairing_beats_the_largest_rank_correlation(pairs):
    x, y = np.array(pairs, float).T
    for method in ("spearman", "kendall"):
        most, found = ranks.largest(x, y, method), ranks.correlation(x, y, method)
        if not isinstance(found, Undefined):
            assert found <= most + 1e-9
            assert most <= 1


def test_a_constant_column_has_no_rank_correlation_and_no_largest_one():
    flat = np.full(9, 2.0)
    for found in (ranks.correlation(flat, np.arange(9.0), "kendall"), ranks.largest(flat)):
        assert str(found) == "not defined, because all 9 values of a column are 2"


def test_an_interval_by_modules_is_wider_than_one_that_takes_rows_for_independent():
    rng = np.random.default_rng(5)
    module = np.repeat(np.arange(25), 12)
    quality = 2 * rng.normal(size=25)[module]
    scores = np.round(5 + quality[:, None] + rng.normal(size=(300, 2)))
    clustered = measured(agreement.ICC, ratings_of(scores, module), HOW).ci
    independent = measured(agreement.ICC, ratings_of(scores), HOW).ci
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)


def test_every_measure_holds_its_value_in_its_interval_and_repeats_itself():
    rng = np.random.default_rng(6)
    scores = np.clip(np.round(rng.normal(5, 2, 90)[:, None] + rng.normal(size=(90, 2))), 0, 10)
    ratings = ratings_of(scores, np.arange(90) // 3)
    found = [measured(c, ratings, HOW) for c in EACH]
    found += [rank_correlation(ratings, m, HOW) for m in ("spearman", "kendall")]
    found += [within(scores[:, 0], np.arange(90) // 3, HOW)]
    for measure in found:
        assert measure.ci.low < measure.value < measure.ci.high
        assert measure.ci.high <= 1
        assert measure.clusters == 30
    assert found[0] == measured(agreement.ICC, ratings, HOW)


def test_fewer_than_ten_modules_give_a_value_without_an_interval():
    found = measured(agreement.ALPHA_ORDINAL, ratings_of(KRIPPENDORFF, [0, 1, 2] * 4), HOW)
    assert found.value == pytest.approx(0.815, abs=5e-4)
    assert found.ci is None
    assert "come from 3 modules, and at least 10 are needed" in found.ci_why


def test_equal_raters_have_no_interval_because_no_resample_differs():
    scores = np.repeat((np.arange(40) % 7)[:, None], 2, axis=1)
    found = measured(agreement.QWK, ratings_of(scores), HOW)
    assert (found.value, found.ci) == (pytest.approx(1), None)
    assert "no resample differs" in found.ci_why


def test_tasks_that_occur_once_say_nothing_about_agreement_within_tasks():
    found = within(np.arange(12.0), np.arange(12), HOW)
    assert found.why == "no module occurs twice"


def test_a_task_with_one_score_throughout_is_counted_as_agreeing():
    groups = Groups.of(np.array([3, 3, 3, 5, 6, 7.0]), np.array([0, 0, 0, 1, 1, 2]))
    assert (groups.repeated, groups.agreeing) == (2, 1)


def test_the_order_of_ratings_changes_nothing():
    rng = np.random.default_rng(1)
    listed = [
        Rating(f"{i}", f"m{i % 4}", Rater(j), float(rng.integers(11)))
        for i in range(20)
        for j in "ab"
    ]
    first = Ratings.of(listed)
    second = Ratings.of(rng.permutation(np.array(listed, dtype=object)).tolist())
    assert first.items == second.items
    assert np.array_equal(first.values, second.values)


def test_samples_of_a_judge_are_occasions_and_their_mean_stands_for_the_judge():
    ratings = Ratings.of([
        Rating("x", "m", Rater("a", 0), 2.0),
        Rating("x", "m", Rater("a", 1), 4.0),
        Rating("y", "m", Rater("a", 0), 5.0),
        Rating("y", "m", Rater("b"), 7.0),
    ])
    assert ratings.judges == ("a", "b")
    assert ratings.of_judge("a").values.shape == (2, 2)
    assert ratings.of_judge("b").items == ("y",)
    assert np.array_equal(ratings.per_judge().values, [[3, NAN], [5, 7]], equal_nan=True)


def test_a_rater_cannot_score_an_item_twice():
    with pytest.raises(ValueError, match="a has scored x twice"):
        Ratings.of([Rating("x", "m", Rater("a"), 1.0), Rating("x", "m", Rater("a"), 2.0)])


@given(st.integers(0, 10**6))
def test_calibrated_scores_never_turn_the_judges_order_round(seed):
    rng = np.random.default_rng(seed)
    judge = rng.integers(0, 11, size=30).astype(float)
    human = np.clip(judge + rng.normal(0, 3, size=30), 0, 10)
    fitted = isotonic(judge, human)
    grid = fitted(np.linspace(-1, 11, 50))
    assert (np.diff(grid) >= -1e-12).all()
    assert sum(block.items for block in fitted.blocks()) == 30
    assert fitted(judge).mean() == pytest.approx(human.mean())


def test_calibration_repairs_a_judge_that_uses_its_scale_in_its_own_way():
    rng = np.random.default_rng(2)
    human = rng.integers(0, 11, size=300).astype(float)
    judge = np.round(human**2 / 10)
    fitted = cross_validated(judge, human, np.arange(300) // 5)
    assert np.abs(fitted - human).mean() < np.abs(judge - human).mean() / 3


def test_one_label_is_too_few_to_calibrate_and_to_correct():
    one = np.array([3.0])
    assert isinstance(isotonic(one, one), Undefined)
    assert isinstance(ppi_mean(Labelled(one, one), Unlabelled(np.ones(5))), Undefined)


def test_a_judge_that_knows_the_truth_narrows_the_interval_and_a_random_one_is_ignored():
    rng = np.random.default_rng(3)
    truth = rng.normal(5, 2, size=2200)
    human, rest = truth[:200] + rng.normal(0, 0.2, 200), truth[200:]
    good = ppi_mean(Labelled(human, truth[:200]), Unlabelled(rest))
    noise = rng.normal(5, 2, size=2200)
    bad = ppi_mean(Labelled(human, noise[:200]), Unlabelled(noise[200:]))
    alone = good.labels_only_ci.high - good.labels_only_ci.low
    assert good.ci.high - good.ci.low < 0.45 * alone
    assert bad.trust < 0.15
    assert bad.ci.high - bad.ci.low < 1.02 * alone


def test_a_constant_judge_leaves_the_mean_of_the_labels():
    found = ppi_mean(Labelled(np.array([1.0, 2, 6]), np.full(3, 4.0)), Unlabelled(np.full(9, 4.0)))
    assert (found.value, found.trust) == (pytest.approx(3), 0)


def test_trust_zero_is_the_mean_of_the_labels_and_clusters_widen_it():
    rng = np.random.default_rng(4)
    module = np.repeat(np.arange(20), 5)
    human = rng.normal(size=20)[module] + 0.1 * rng.normal(size=100)
    judge = human + rng.normal(size=100)
    others, of = rng.normal(size=400), np.repeat(np.arange(20, 100), 5)
    plain = ppi_mean(Labelled(human, judge), Unlabelled(others), trust=0)
    clustered = ppi_mean(Labelled(human, judge, module), Unlabelled(others, of), trust=0)
    assert plain.value == clustered.value == pytest.approx(human.mean())
    assert clustered.ci.high - clustered.ci.low > 1.8 * (plain.ci.high - plain.ci.low)


def test_weights_undo_a_selection_of_what_is_labelled():
    rng = np.random.default_rng(8)
    human = rng.normal(5, 2, size=40_000)
    judge = human + rng.normal(size=40_000)
    chance = np.where(human > 5, 0.09, 0.01)
    known = rng.random(40_000) < chance
    weighed = Labelled(human[known], judge[known], weights=1 / chance[known])
    found = ppi_mean(weighed, Unlabelled(judge[~known]))
    skewed = ppi_mean(Labelled(human[known], judge[known]), Unlabelled(judge[~known]))
    assert abs(found.value - 5) < 0.15 < abs(skewed.value - 5)


def test_the_interval_of_a_mean_is_near_that_of_the_textbook_for_independent_items():
    rng = np.random.default_rng(9)
    values = rng.normal(size=200)
    found = mean("x", values, np.arange(200), Resampling(2000))
    half = 1.972 * values.std(ddof=1) / 200**0.5
    assert found.ci.high - found.value == pytest.approx(half, rel=0.06)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_intervals_hold_the_truth_in_93_to_97_per_cent_of_simulated_runs():
    """Half a point of slack below: two standard errors of 1,000 runs are 1.4."""

    def make(rng, modules):
        module = np.repeat(np.arange(modules), rng.geometric(1 / 2, size=modules))
        quality = 1.3 * rng.normal(size=modules)[module] + 1.3 * rng.normal(size=len(module))
        seen = quality[:, None] + rng.normal(size=(len(module), 2))
        return np.clip(np.round(5 + seen), 0, 10), module

    big, _ = make(np.random.default_rng(0), 60_000)
    rng = np.random.default_rng(1)
    hits = dict.fromkeys([c.name for c in EACH if c.name != "Krippendorff alpha (nominal)"], 0)
    truth = {c.name: c.value(big) for c in EACH if c.name in hits}
    for run in range(1000):
        scores, module = make(rng, 100)
        ratings = ratings_of(scores, module)
        for coefficient in EACH:
            if coefficient.name in hits:
                found = measured(coefficient, ratings, Resampling(400, run)).ci
                hits[coefficient.name] += found.low <= truth[coefficient.name] <= found.high
    for name, count in hits.items():
        assert 925 <= count <= 975, (name, count)


def test_nothing_warns_on_the_way_to_a_statistic():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for coefficient in EACH:
            coefficient.value(KRIPPENDORFF)
            coefficient.value(np.full((3, 2), NAN))

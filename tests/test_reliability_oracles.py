"""The statistics of reliability beside the libraries that are known for them.

They are in the dependency group `oracles`, for tests alone (two of them are GPL). irrCAC wants
scipy 1.12, so its values are kept in known_agreement.json instead.
"""

import contextlib
import importlib
import warnings

import numpy as np
import pytest

from kernelsift.reliability import agreement
from kernelsift.reliability.calibration import isotonic
from kernelsift.reliability.outcome import Undefined
from kernelsift.reliability.prediction import Labelled, Unlabelled, ppi_mean
from kernelsift.reliability.within import Groups


@contextlib.contextmanager
def quiet():
    """Other people's deprecations and divisions by zero are not this test's subject."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def oracle(name: str):
    """A library of the group `oracles`, or a skipped test."""
    with quiet():
        try:
            return importlib.import_module(name)
        except ImportError as e:
            pytest.skip(f"{e}; uv pip install --group oracles")


def tables(count: int, *, missing: bool, raters: int | None = None, seed: int = 0):
    """Random ratings 0-10 of several shapes, now and then with a constant rater."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        items, k = int(rng.integers(6, 40)), raters or int(rng.integers(2, 6))
        quality = rng.normal(size=(items, 1)) * rng.choice([0.2, 2.0]) + rng.choice([1.0, 5.0])
        scores = np.clip(np.round(quality + rng.normal(size=(items, k))), 0, 10)
        if number % 5 == 0:
            scores[:, 0] = 3
        if missing:
            scores[rng.random(scores.shape) < 0.2] = np.nan
        yield scores


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_that_of_krippendorff_on_a_thousand_tables_with_missing_ratings(level):
    library = oracle("krippendorff")
    mine = {"nominal": agreement.ALPHA_NOMINAL, "ordinal": agreement.ALPHA_ORDINAL,
            "interval": agreement.ALPHA_INTERVAL}[level]  # fmt: skip
    compared = 0
    for scores in tables(1000, missing=True):
        found = mine.value(scores)
        with quiet():
            try:
                expected = library.alpha(reliability_data=scores.T, level_of_measurement=level)
            except ValueError:
                expected = np.nan
        if isinstance(found, Undefined):
            one_pair = ((~np.isnan(scores)).sum(axis=1) >= 2).sum() < 2
            assert one_pair or not np.isfinite(expected), (scores, expected)
        else:
            assert found == pytest.approx(expected, abs=1e-6)
            compared += 1
    assert compared > 950


def test_quadratic_kappa_is_that_of_scikit_learn_on_a_thousand_tables():
    library = oracle("sklearn.metrics")
    for scores in tables(1000, missing=False, raters=2):
        found = agreement.QWK.value(scores)
        with quiet():
            expected = library.cohen_kappa_score(
                *scores.T.astype(int), weights="quadratic", labels=range(11)
            )
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_icc_is_that_of_pingouin_where_items_with_missing_ratings_are_left_out(missing):
    library, pandas = oracle("pingouin"), oracle("pandas")
    compared = 0
    for scores in tables(60, missing=missing, raters=3):
        found = agreement.ICC.value(scores)
        long = pandas.DataFrame(scores).reset_index().melt(id_vars="index")
        with quiet():
            try:
                table = library.intraclass_corr(
                    long, "index", "variable", "value", nan_policy="omit"
                )
            except AssertionError:  # it wants five items
                continue
        expected = table.set_index("Type").loc["ICC(A,1)", "ICC"]
        assert found == pytest.approx(expected, abs=1e-6)
        compared += 1
    assert compared > 40


def test_icc_within_groups_of_equal_size_is_that_of_pingouin():
    library, pandas = oracle("pingouin"), oracle("pandas")
    for scores in tables(40, missing=False, raters=3):
        items, k = scores.shape
        long = pandas.DataFrame(scores).reset_index().melt(id_vars="index")
        with quiet():
            table = library.intraclass_corr(long, "index", "variable", "value")
        expected = table.set_index("Type").loc["ICC(1,1)", "ICC"]
        found = Groups.of(scores.ravel(), np.repeat(np.arange(items), k)).value()
        assert found == pytest.approx(expected, abs=1e-6)


def test_calibration_is_that_of_scikit_learn_between_and_beyond_known_scores():
    library = oracle("sklearn.isotonic")
    rng = np.random.default_rng(1)
    for _ in range(200):
        judge = rng.integers(0, 11, size=40).astype(float)
        human = np.clip(judge + rng.normal(0, 3, size=40), 0, 10)
        weights = rng.uniform(0.1, 3, size=40)
        grid = np.linspace(-2, 12, 57)
        expected = library.IsotonicRegression(out_of_bounds="clip").fit(judge, human, weights)
        assert isotonic(judge, human, weights)(grid) == pytest.approx(
            expected.predict(grid), abs=1e-6
        )


@pytest.mark.parametrize("trust", [None, 0.0, 0.5, 1.0])
def test_the_powered_mean_and_its_interval_are_those_of_ppi_py(trust):
    library = oracle("ppi_py")
    rng = np.random.default_rng(2)
    for _ in range(100):
        n, others = int(rng.integers(20, 200)), int(rng.integers(200, 3000))
        truth = rng.normal(5, 2, size=n + others)
        judge = rng.uniform(-0.5, 1) * truth + rng.normal(0, rng.uniform(0.1, 3), n + others)
        human = truth[:n]
        found = ppi_mean(Labelled(human, judge[:n]), Unlabelled(judge[n:]), trust)
        with quiet():
            given = human, judge[:n], judge[n:]
            low, high = library.ppi_mean_ci(*given, alpha=0.05, lam=trust)
            value = library.ppi_mean_pointestimate(*given, lam=trust)
        assert found.value == pytest.approx(float(np.squeeze(value)), abs=1e-3)
        assert found.ci.low == pytest.approx(float(np.squeeze(low)), abs=1e-3)
        assert found.ci.high == pytest.approx(float(np.squeeze(high)), abs=1e-3)

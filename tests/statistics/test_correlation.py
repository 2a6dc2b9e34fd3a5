"""Correlations against scipy and pingouin."""

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from bids_alps.statistics.correlation import correlate, correlation


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(4)
    age = rng.normal(50, 10, 40)
    return pd.DataFrame(
        {"age": age, "score": age / 10 + rng.normal(0, 1, 40), "y": 2 - age / 50 + rng.normal(0, 1, 40)}
    )


def test_pearson_and_spearman_are_those_of_scipy(table):
    y, x = table.y.to_numpy(), table.score.to_numpy()
    pearson, spearman = stats.pearsonr(y, x), stats.spearmanr(y, x)
    found = correlation(y, x)
    assert (found["r"], found["p"]) == pytest.approx((pearson.statistic, pearson.pvalue), abs=1e-10)
    interval = pearson.confidence_interval()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((interval.low, interval.high), abs=1e-10)
    ranked = correlation(y, x, kind="spearman")
    assert (ranked["r"], ranked["p"]) == pytest.approx((spearman.statistic, spearman.pvalue), abs=1e-10)


def test_partial_is_that_of_pingouin(table):
    direct = pingouin.partial_corr(table, x="score", y="y", covar="age").iloc[0]
    found = correlate(table, ["y"], ["score"], ["age"]).set_index("kind").loc["partial"]
    assert found["r"] == pytest.approx(direct["r"], abs=1e-10)
    assert found["p"] == pytest.approx(direct.filter(regex="^p").iloc[0], abs=1e-10)


def test_constant_or_few_values_have_no_correlation():
    assert np.isnan(correlation(np.ones(9), np.arange(9.0))["p"])
    assert np.isnan(correlation(np.array([1.0, 2.0, np.nan]), np.arange(3.0))["r"])

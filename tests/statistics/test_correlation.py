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


def test_pearson_and_spearman_equal_scipy(table):
    y, x = table.y.to_numpy(), table.score.to_numpy()
    pearson, spearman = stats.pearsonr(y, x), stats.spearmanr(y, x)
    found = correlation(y, x)
    assert (found["r"], found["p"]) == pytest.approx((pearson.statistic, pearson.pvalue), abs=1e-10)
    interval = pearson.confidence_interval()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((interval.low, interval.high), abs=1e-10)
    ranked = correlation(y, x, kind="spearman")
    assert (ranked["r"], ranked["p"]) == pytest.approx((spearman.statistic, spearman.pvalue), abs=1e-10)


def test_partial_correlation_equals_pingouin(table):
    direct = pingouin.partial_corr(table, x="score", y="y", covar="age").iloc[0]
    found = correlate(table, ["y"], ["score"], ["age"]).set_index("kind").loc["partial"]
    assert found["r"] == pytest.approx(direct["r"], abs=1e-10)
    assert found["p"] == pytest.approx(direct.filter(regex="^p").iloc[0], abs=1e-10)


def test_constant_or_few_values_have_no_correlation():
    assert np.isnan(correlation(np.ones(9), np.arange(9.0))["p"])
    assert np.isnan(correlation(np.array([1.0, 2.0, np.nan]), np.arange(3.0))["r"])


def test_the_spearman_interval_follows_fieller():
    """In R: r <- cor(y, x, method = "spearman"); tanh(atanh(r) + c(-1, 1) * qnorm(.975) * 1.03 / sqrt(n - 3))."""
    y = np.array([1.2, 2.9, 3.1, 4.8, 3.9, 6.2, 5.8, 8.1])
    found = correlation(y, np.arange(1.0, 9.0), kind="spearman")
    expected = 0.952380952381, 0.741574098599, 0.992013976477
    assert (found["r"], found["ci_low"], found["ci_high"]) == pytest.approx(expected, rel=1e-9)


def test_each_covariate_of_a_partial_correlation_costs_a_degree_of_freedom(table):
    found = correlation(table.y.to_numpy(), table.score.to_numpy(), covariates=table[["age"]].to_numpy())
    reach = 1.959964 / np.sqrt(len(table) - 3 - 1)
    assert np.arctanh(found["ci_high"]) - np.arctanh(found["r"]) == pytest.approx(reach)
    assert np.arctanh(found["r"]) - np.arctanh(found["ci_low"]) == pytest.approx(reach)


def test_within_group_correlation_uses_deviations_from_group_means(table):
    split = table.assign(group=np.where(np.arange(len(table)) % 2, "a", "b"))
    split["y"] += 5 * (split["group"] == "a")
    found = correlate(split, ["y"], ["score"], group="group").set_index(["group", "kind"]).loc[("all", "within")]
    own = split[["y", "score"]] - split.groupby("group")[["y", "score"]].transform("mean")
    assert found["r"] == pytest.approx(np.corrcoef(own["y"], own["score"])[0, 1])


def test_a_group_without_pairs_costs_no_degree_of_freedom() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"group": np.repeat(["a", "b"], 12), "y": rng.normal(size=24), "x": rng.normal(size=24)})
    table.loc[table["group"] == "a", "x"] = np.nan
    found = correlate(table, ["y"], ["x"], group="group")
    within = found[found["kind"] == "within"].iloc[0]
    part = table[table["group"] == "b"]
    assert within["p"] == pytest.approx(stats.pearsonr(part["x"], part["y"]).pvalue)

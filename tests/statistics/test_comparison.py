"""Comparisons of groups against a published table and against R.

Constants are those of R 4.2.2 on the cohort of `closed`::

    oneway.test(y ~ group, cohort); oneway.test(y ~ group, cohort, var.equal = TRUE); kruskal.test(y ~ group, cohort)
"""

import numpy as np
import pandas as pd
import pytest
from simulated_cohort import PARK, sample

from bids_alps.statistics.comparison import compare_all, compare_groups

from .closed_forms import cohort


@pytest.fixture(scope="module")
def park():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"group": ["control"] * 51 + ["patient"] * 69})
    for name, (mean_a, sd_a, mean_b, sd_b) in PARK.items():
        table[name] = np.concatenate([sample(rng, 51, mean_a, sd_a), sample(rng, 69, mean_b, sd_b)])
    return table


def test_published_moments_reproduce_the_published_result(park):
    families = {"index": ["alps_bilateral"], "diffusivity": list(PARK)[1:]}
    omnibus, found = compare_groups(park, families, "group", test="student")
    assert omnibus.empty
    found = found.set_index("outcome")
    p = found["p"].to_dict()
    assert 0.008 <= p["alps_bilateral"] <= 0.009
    assert p["dyy_projection"] == pytest.approx(0.005, abs=0.001)
    assert found["p_bonferroni"]["dyy_projection"] == pytest.approx(9 * p["dyy_projection"])
    significant = found.index[found["p_bonferroni"] < 0.05]
    assert list(significant) == ["alps_bilateral", "dyy_projection"]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("welch", [4.2485351207, 2, 37.6466902245, 0.0216908394]),
        ("student", [4.05957633802, 2, 57, 0.02247678909]),
        ("mann-whitney", [7.90852459016, 2, np.nan, 0.01917280721]),
    ],
)
def test_omnibus_tests_equal_r(test, expected):
    table = cohort()
    samples = {str(name): part["y"].to_numpy() for name, part in table.groupby("group")}
    found = compare_all(samples, test)
    np.testing.assert_allclose([found[k] for k in ("statistic", "df", "df_error", "p")], expected, rtol=1e-8)


def test_correction_runs_over_outcomes_and_pairs_of_a_family():
    table = cohort().assign(z=lambda all_: all_["y"] + all_["age"] / 100)
    omnibus, pairs = compare_groups(table, {"f": ["y", "z"]}, "group", test="welch")
    assert len(pairs) == 6
    np.testing.assert_allclose(pairs["p_bonferroni"], np.minimum(6 * pairs["p"], 1))
    assert (pairs["p"] <= pairs["p_holm"]).all()
    assert (pairs["p_holm"] <= pairs["p_bonferroni"] + 1e-15).all()
    np.testing.assert_allclose(omnibus["p_bonferroni"], np.minimum(2 * omnibus["p"], 1))


def test_the_reference_group_comes_first():
    _, pairs = compare_groups(cohort(), {"f": ["y"]}, "group", reference="patient")
    assert list(zip(pairs["group_a"], pairs["group_b"], strict=True)) == [
        ("patient", "control"),
        ("patient", "mild"),
        ("control", "mild"),
    ]


def test_one_test_is_chosen_for_all_groups():
    """One skewed small group takes every pair to ranks, so that the omnibus test and its pairs agree."""
    values = np.concatenate([np.linspace(0, 1, 12), np.linspace(0, 1, 12), np.exp(np.linspace(0, 6, 12))])
    table = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 12), "y": values})
    omnibus, pairs = compare_groups(table, {"f": ["y"]}, "group")
    assert list(omnibus["test"]) == ["Kruskal-Wallis"]
    assert set(pairs["test"]) == {"mann-whitney"}


def test_impossible_comparisons_are_missing():
    table = pd.DataFrame({"group": ["a", "a", "b", "b", None], "x": [1, 1, 1, 1, 2], "y": [1, 2, np.nan, 3, 4]})
    _, found = compare_groups(table, {"f": ["x", "y"]}, "group")
    assert list(found["test"]) == ["none", "none"]
    assert list(found["n_b"]) == [2, 1]
    assert list(found["n_missing"]) == [0, 1]
    assert compare_groups(table.assign(group="a"), {"f": ["x"]}, "group")[1].empty

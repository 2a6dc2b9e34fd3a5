"""Comparisons against a published table and against the libraries called directly."""

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from bids_alps.statistics.comparison import compare, compare_categories, compare_groups, describe_groups

PARK = {  # Park 2023, Table 2: mean and SD of 51 controls and of 69 patients, 1e-3 mm^2/s
    "alps_bilateral": (1.601, 0.245, 1.481, 0.241),
    "dxx_projection": (0.629, 0.066, 0.610, 0.081),
    "dyy_projection": (0.422, 0.074, 0.467, 0.094),
    "dzz_projection": (1.112, 0.092, 1.112, 0.096),
    "dxx_association": (0.636, 0.097, 0.627, 0.095),
    "dyy_association": (1.114, 0.134, 1.159, 0.130),
    "dzz_association": (0.381, 0.089, 0.384, 0.083),
    "dxx_subcortical": (1.013, 0.134, 0.997, 0.144),
    "dyy_subcortical": (0.654, 0.122, 0.648, 0.144),
    "dzz_subcortical": (0.598, 0.131, 0.627, 0.133),
}


def sample(rng, n, mean, sd):
    values = rng.normal(size=n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"group": ["control"] * 51 + ["patient"] * 69})
    for name, (mean_a, sd_a, mean_b, sd_b) in PARK.items():
        table[name] = np.concatenate([sample(rng, 51, mean_a, sd_a), sample(rng, 69, mean_b, sd_b)])
    return table


def test_published_moments_give_the_published_result(cohort):
    families = {"index": ["alps_bilateral"], "diffusivity": list(PARK)[1:]}
    found = compare_groups(cohort, families, "group", test="student").set_index("outcome")
    assert found.loc["alps_bilateral", "p"] == pytest.approx(0.008, abs=0.001)
    assert found.loc["dyy_projection", "p"] == pytest.approx(0.005, abs=0.001)
    assert found.loc["dyy_projection", "p_bonferroni"] == pytest.approx(9 * found.loc["dyy_projection", "p"])
    significant = found.index[found["p_bonferroni"] < 0.05]
    assert list(significant) == ["alps_bilateral", "dyy_projection"]


@pytest.mark.parametrize("test", ["welch", "student", "mann-whitney"])
def test_same_numbers_as_the_libraries(cohort, test):
    a, b = (cohort.loc[cohort.group == name, "alps_bilateral"].to_numpy() for name in ("control", "patient"))
    expected = {
        "welch": lambda: stats.ttest_ind(b, a, equal_var=False),
        "student": lambda: stats.ttest_ind(b, a),
        "mann-whitney": lambda: stats.mannwhitneyu(b, a),
    }[test]()
    found = compare(a, b, test=test)
    assert found["p"] == pytest.approx(expected.pvalue, abs=1e-12)
    assert found["hedges_g"] == pytest.approx(pingouin.compute_effsize(b, a, eftype="hedges"), rel=2e-3)


def test_swapping_groups_turns_the_effect_round(cohort):
    a, b = cohort["dxx_projection"][:51].to_numpy(), cohort["dxx_projection"][51:].to_numpy()
    one, other = compare(a, b), compare(b, a)
    assert one["hedges_g"] == pytest.approx(-other["hedges_g"])
    assert one["p"] == pytest.approx(other["p"])


def test_what_cannot_be_compared_is_missing():
    table = pd.DataFrame({"group": ["a", "a", "b", "b", None], "x": [1, 1, 1, 1, 2], "y": [1, 2, "old", 3, 4]})
    found = compare_groups(table, {"f": ["x", "y"]}, "group")
    assert list(found["test"]) == ["none", "none"]
    assert list(found["n_b"]) == [2, 1]
    assert compare_groups(table.assign(group="a"), {"f": ["x"]}, "group").empty


def test_description_counts_levels_and_numbers():
    table = pd.DataFrame({"group": ["a", "a", "b"], "age": [20, 30, "n/k"], "sex": ["F", "M", "F"]})
    found = describe_groups(table, ["age", "sex"], "group").set_index(["variable", "group", "level"])
    assert found.xs("age").loc["a"]["mean"].item() == 25
    assert found.xs("age").loc["b"]["n"].item() == 0
    assert found.loc[("sex", "all", "F"), "n"] == 2


def test_categories_by_fisher_where_counts_are_small():
    table = pd.DataFrame({"group": ["a"] * 6 + ["b"] * 6, "sex": ["F"] * 5 + ["M"] * 2 + ["F"] * 0 + ["M"] * 5})
    found = compare_categories(table, ["sex"], "group").iloc[0]
    assert found["test"] == "Fisher"
    assert found["p"] == pytest.approx(stats.fisher_exact([[5, 0], [1, 6]]).pvalue)

"""A paper's first table: counts, chi-square tests against R and closed forms, balance of groups.

N-1 chi-square in R 4.2.2::

    t <- matrix(c(20, 31, 40, 29), 2); n <- sum(t); x <- chisq.test(t, correct = FALSE)$statistic * (n - 1) / n
    c(x, pchisq(x, 1, lower = FALSE))                                   # 4.09178744, 0.04309205
    fisher.test(matrix(c(5, 1, 0, 6), 2))$p.value                       # 0.01515152
    chisq.test(matrix(c(6, 1, 1, 1, 6, 1), 3), simulate.p.value = TRUE, B = 200000)$p.value   # 0.0180
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_alps.statistics.categories import compare_categories
from bids_alps.statistics.descriptives import compare_participants, describe_groups, standardized_difference
from bids_alps.statistics.variables import Variable

AGE = Variable(name="age", kind="number", decided_by="its name")
SEX = Variable(name="sex", kind="category", decided_by="its name")


def spread(counts):
    """Return a variable and a group with given counts, one row of them a level."""
    rows = [(f"level{i}", f"group{j}") for i, row in enumerate(counts) for j, n in enumerate(row) for _ in range(n)]
    return pd.Series([row[0] for row in rows]), pd.Series([row[1] for row in rows])


def test_the_published_chi_square_is_the_n_minus_1_test():
    found = compare_categories(*spread([[20, 40], [31, 29]]), test="student")
    assert found["test"] == "N-1 chi-square"
    assert found["statistic"] == pytest.approx(4.09178744, rel=1e-6)
    assert found["p"] == pytest.approx(0.04309205, rel=1e-5)


def test_small_counts_use_fisher_or_monte_carlo():
    found = compare_categories(*spread([[5, 0], [1, 6]]))
    assert found["test"] == "Fisher"
    assert found["p"] == pytest.approx(0.01515152, rel=1e-6)
    found = compare_categories(*spread([[6, 1], [1, 6], [1, 1]]), seed=1)
    assert found["test"] == "Monte Carlo chi-square"
    assert found["p"] == pytest.approx(0.0180, abs=0.005)
    assert compare_categories(*spread([[6, 1], [1, 6], [1, 1]]), seed=1) == found


def test_large_counts_use_chi_square():
    counts = np.array([[20, 40], [31, 29]])
    found = compare_categories(*spread(counts))
    assert found["p"] == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)


def test_without_variation_there_is_no_test():
    assert compare_categories(pd.Series(["F", "F"]), pd.Series(["a", "b"]))["test"] == "none"


@pytest.fixture
def people():
    return pd.DataFrame(
        {
            "group": ["a"] * 5 + ["b"] * 5,
            "age": [20.0, 30, 40, 50, np.nan, 40, 50, 60, 70, 80],
            "sex": ["F", "F", "F", "M", None, "M", "M", "F", "M", "M"],
        }
    )


def test_description_counts_numbers_levels_percent_and_missing(people):
    found = describe_groups(people, [AGE, SEX], "group").set_index(["variable", "group", "level"])
    age = found.loc["age"].droplevel("level")
    assert (age.loc["a", "mean"], age.loc["a", "n"], age.loc["a", "missing"]) == (35, 4, 1)
    assert found.loc[("sex", "a", "F"), "percent"] == 75
    assert found.loc[("sex", "all", "F"), "n"] == 4
    assert set(found["type_source"]) == {"its name"}


def test_every_row_names_its_variable(people):
    found = compare_participants(people, [AGE, SEX], "group", test="student")
    assert list(found["variable"]) == ["age", "sex"]
    assert list(found["test"]) == ["student", "N-1 chi-square"]
    a, b = people["age"][:4], people["age"][5:]
    assert found.loc[0, "standardized_difference"] == pytest.approx(
        (b.mean() - a.mean()) / np.sqrt((a.var() + b.var()) / 2)
    )


def test_the_distance_of_a_binary_category_equals_that_of_its_fraction():
    a, b = pd.Series(["F"] * 30 + ["M"] * 70), pd.Series(["F"] * 50 + ["M"] * 50)
    expected = 0.2 / np.sqrt((0.3 * 0.7 + 0.5 * 0.5) / 2)
    assert standardized_difference(a, b, "category") == pytest.approx(expected)


def test_sd_and_quartiles_equal_r():
    """sd(x), quantile(x, c(.25, .5, .75)) of R."""
    table = pd.DataFrame({"age": [2.1, 3.4, 1.9, 5.6, 4.4, 3.8, 2.7, 6.1, 4.9]})
    found = describe_groups(table, [AGE]).iloc[0]
    assert found[["q1", "median", "q3"]].tolist() == pytest.approx([2.7, 3.8, 4.9])
    assert found["sd"] == pytest.approx(1.49647734512)
    assert found["mean"] == pytest.approx(3.87777777778)


def test_chi_square_has_no_yates_correction():
    found = compare_categories(*spread([[20, 40], [31, 29]]))  # chisq.test(correct = FALSE) of R
    assert (found["statistic"], found["p"]) == pytest.approx((4.12617220801, 0.0422247580959))


def test_the_requested_tests_are_used(people):
    a, b = people["age"][:4], people["age"][5:]
    for test, result in (
        ("mann-whitney", stats.mannwhitneyu(b, a)),
        ("welch", stats.ttest_ind(b, a, equal_var=False)),
        ("student", stats.ttest_ind(b, a)),
    ):
        found = compare_participants(people, [AGE], "group", test=test).iloc[0]
        assert found["test"] == test
        assert (found["statistic"], found["p"]) == pytest.approx((result.statistic, result.pvalue))

"""Two samples against R: t, Wilcoxon, shifts with exact intervals.

Constants are those of R 4.2.2 on the cohort of `closed`::

    a <- cohort$y[cohort$group == "control"]; b <- cohort$y[cohort$group == "patient"]
    wilcox.test(b, a, conf.int = TRUE); t.test(b, a)
    wilcox.test(b, a, paired = TRUE, conf.int = TRUE); t.test(b, a, paired = TRUE)
"""

from typing import Any

import numpy as np
import pingouin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bids_alps.statistics.samples import choose_test, compare, compare_pairs, find_shift, hedges_g

from .closed_forms import cohort


@pytest.fixture(scope="module")
def samples():
    table = cohort()
    return tuple(table.loc[table["group"] == name, "y"].to_numpy() for name in ("control", "patient"))


def numbers(found, *names):
    return [found[name] for name in names]


def test_welch_equals_r(samples):
    found = compare(*samples, test="welch")
    expected = [-2.45856317035, 36.55581043444, 0.01881269316, -0.19388106837, -0.01865247641]
    names = ("statistic", "df", "p", "difference_ci_low", "difference_ci_high")
    np.testing.assert_allclose(numbers(found, *names), expected, rtol=1e-8)


def test_mann_whitney_and_its_exact_interval_equal_r(samples):
    found = compare(*samples, test="mann-whitney")
    expected = [110.0, 0.01429727292, -0.11530230679, -0.20225886110, -0.01942328573]
    names = ("statistic", "p", "difference", "difference_ci_low", "difference_ci_high")
    np.testing.assert_allclose(numbers(found, *names), expected, rtol=1e-8)


def test_wilcoxon_and_its_exact_interval_equal_r(samples):
    found = compare_pairs(*samples, test="mann-whitney")
    expected = [0.032768249512, -0.105356910126, -0.202900029188, -0.007697118366]
    np.testing.assert_allclose(numbers(found, "p", "change", "change_ci_low", "change_ci_high"), expected, rtol=1e-8)


def test_paired_t_equals_r(samples):
    found = compare_pairs(*samples, test="welch")
    expected = [-2.46365770429, 19, 0.02346722027, -0.19654672906, -0.01598681572]
    np.testing.assert_allclose(
        numbers(found, "statistic", "df", "p", "change_ci_low", "change_ci_high"), expected, rtol=1e-8
    )


def test_interval_of_many_changes_is_that_of_their_walsh_averages_and_near_that_of_r():
    """Beyond exact counts: the rank below the middle by 1.96 SD of the statistic; R solves for the same quantile.

    i <- 1:60; x <- sin(i^2) + ((i * 7) %% 11) / 10 - 0.3; wilcox.test(x, conf.int = TRUE)
    """
    i = np.arange(1, 61)
    change = np.sin(i.astype(float) ** 2) + ((i * 7) % 11) / 10 - 0.3
    averages = np.sort([(a + b) / 2 for n, a in enumerate(change) for b in change[n:]])
    lost = round(60 * 61 / 4 - 1.959964 * np.sqrt(60 * 61 * 121 / 24))
    expected = [np.median(averages), averages[lost], averages[-1 - lost]]
    found = numbers(
        compare_pairs(np.zeros(60), change, test="mann-whitney"), "change", "change_ci_low", "change_ci_high"
    )
    np.testing.assert_allclose(found, expected, atol=1e-8)
    np.testing.assert_allclose(found, [0.15568357, -0.04884806, 0.34997628], atol=0.005)


def test_interval_of_many_differences_is_that_of_their_ranks():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=60), rng.normal(0.3, 1.2, size=70)
    differences = np.sort((b[:, None] - a).ravel())
    lost = round(60 * 70 / 2 - 1.959964 * np.sqrt(60 * 70 * 131 / 12))
    expected = [np.median(differences), differences[lost], differences[-1 - lost]]
    np.testing.assert_allclose(find_shift(a, b), expected, atol=1e-8)


def test_the_effect_size_equals_pingouin(samples):
    a, b = samples
    assert compare(a, b)["hedges_g"] == pytest.approx(pingouin.compute_effsize(b, a, eftype="hedges"), rel=2e-3)


def test_the_shift_of_many_values_is_the_median_difference():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(0.2, 1, size=301)
    shift, low, high = find_shift(a, b)
    assert shift == pytest.approx(np.median(b[:, None] - a), abs=1e-9)
    assert low < shift < high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=4, max_size=12), st.lists(st.integers(-5, 5), min_size=4, max_size=12))
def test_interval_and_test_agree_about_zero(a, b):
    """If the exact test rejects, the interval excludes zero; ties, which it cannot have, are broken."""
    x = np.array(a) + np.linspace(0, 0.01, len(a))
    y = np.array(b) + np.linspace(0.0003, 0.0107, len(b))
    found = compare(x, y, test="mann-whitney")
    outside = found["difference_ci_low"] > 1e-9 or found["difference_ci_high"] < -1e-9
    assert outside == (found["p"] <= 0.05)


def test_small_non_normal_samples_use_rank_tests():
    skewed = np.exp(np.linspace(0, 6, 12))
    assert compare(skewed, skewed * 1.5)["test"] == "mann-whitney"
    assert compare(np.linspace(0, 1, 12), np.linspace(1, 2, 12))["test"] == "welch"


def test_incomplete_pairs_are_counted():
    found = compare_pairs(np.array([1.0, 2, 3, np.nan]), np.array([2.0, 3.5, np.nan, np.nan]))
    assert (found["n_pairs"], found["n_incomplete"]) == (2, 1)


def test_swapping_samples_negates_the_effect(samples):
    one, other = compare(*samples), compare(*samples[::-1])
    assert one["hedges_g"] == pytest.approx(-other["hedges_g"])
    assert one["p"] == pytest.approx(other["p"])
    assert one["difference"] == pytest.approx(-other["difference"])


def test_constant_values_are_not_tested():
    assert compare(np.ones(5), np.ones(4))["test"] == "none"
    assert compare_pairs(np.ones(5), np.ones(5))["test"] == "none"
    assert np.isnan(compare(np.ones(1), np.arange(4.0))["p"])


def test_equal_samples_have_no_difference():
    values = stats.norm.ppf(np.linspace(0.05, 0.95, 20))
    assert compare(values, values)["p"] == pytest.approx(1)


SMALL = np.array([1.62, 1.48, 1.55, 1.71, 1.39, 1.66, 1.52]), np.array([1.44, 1.35, 1.58, 1.29, 1.41, 1.37])


def test_student_equals_r():
    found = compare(*SMALL, test="student")  # t.test(b, a, var.equal = TRUE)
    expected = [-2.63687097385, 11, 0.0231219634373, -0.283941018608, -0.025582790916]
    names = ("statistic", "df", "p", "difference_ci_low", "difference_ci_high")
    np.testing.assert_allclose(numbers(found, *names), expected, rtol=1e-9)
    assert found["sd_a"] == pytest.approx(np.sqrt(((SMALL[0] - SMALL[0].mean()) ** 2).sum() / 6))


def test_hedges_g_and_its_interval_equal_formulas_in_r():
    """In R: g <- J * d with J <- gamma(df / 2) / gamma((df - 1) / 2) / sqrt(df / 2), g -+ qnorm(.975) * se."""
    expected = [-1.364269250643, -2.574234886466, -0.154303614821]
    np.testing.assert_allclose(hedges_g(*SMALL), expected, rtol=1e-10)


def test_the_requested_test_is_used(samples):
    a, b = samples
    direct: dict[str, Any] = {
        "welch": stats.ttest_ind(b, a, equal_var=False),
        "student": stats.ttest_ind(b, a),
        "mann-whitney": stats.mannwhitneyu(b, a, method="exact"),
    }
    for name, result in direct.items():
        found = compare(a, b, test=name)
        assert found["test"] == name
        assert (found["statistic"], found["p"]) == pytest.approx((result.statistic, result.pvalue))


def test_the_effect_of_changes_is_corrected_cohens_d_with_borensteins_interval(samples):
    a, b = samples
    change, n = b - a, len(a)
    d = change.mean() / change.std(ddof=1) * (1 - 3 / (4 * (n - 1) - 1))  # Hedges' approximation of the factor
    reach = 1.959964 * np.sqrt(1 / n + d**2 / (2 * n))
    found = compare_pairs(a, b, test="welch")
    np.testing.assert_allclose(
        numbers(found, "effect", "effect_ci_low", "effect_ci_high"), [d, d - reach, d + reach], rtol=1e-3
    )


def test_thirty_values_are_enough_for_a_t_test():
    skewed = np.exp(np.linspace(0, 6, 30))
    assert choose_test([skewed, skewed]) == "welch"
    assert choose_test([skewed, skewed[:29]]) == "mann-whitney"
    assert choose_test([np.array([1.0, 2.0]), skewed]) == "mann-whitney"

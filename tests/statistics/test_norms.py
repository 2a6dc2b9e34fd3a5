"""Leave-one-out scores against leaving one out."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.statistics.norms import find_norms, measure_norms, spline

from .closed_forms import cohort


def test_equals_fitting_without_the_value():
    rng = np.random.default_rng(6)
    age = rng.uniform(20, 80, 30)
    y = 2 - age / 100 + rng.normal(0, 0.1, 30)
    X = sm.add_constant(age)
    others = np.arange(30) != 7
    fitted = sm.OLS(y[others], X[others]).fit()
    predicted = fitted.get_prediction(X[7:8])
    error = y[7] - predicted.predicted_mean[0]
    t = error / np.sqrt(predicted.se_mean[0] ** 2 + fitted.scale)
    expected = stats.norm.ppf(stats.t.cdf(t, fitted.df_resid))
    assert measure_norms(y, age[:, None])[7] == pytest.approx(expected, abs=1e-10)


def test_missing_stays_missing_and_few_are_refused():
    y = np.array([1.0, 2.0, np.nan, 4.0, 3.0, 5.0, 2.0, 1.0])
    assert np.isnan(measure_norms(y, np.arange(8.0)[:, None])).tolist() == [n == 2 for n in range(8)]
    with pytest.raises(BadDataError, match="3 complete"):
        measure_norms(y[:4], np.arange(4.0)[:, None])


def test_patients_deviate_from_controls_but_not_from_everybody():
    rng = np.random.default_rng(1)
    n = 400
    age, group = rng.uniform(30, 75, 2 * n), np.repeat(["control", "patient"], n)
    index = 1.6 - 0.005 * (age - 50) + rng.normal(0, 0.12, 2 * n) - 0.24 * (group == "patient")  # 2 SD lower
    people = pd.DataFrame({"age": age, "group": group, "alps_bilateral": index})
    scores, sentence = find_norms(people, ["alps_bilateral"], "group", "control")
    low = scores["alps_bilateral_z"] < -1.96
    assert low[group == "patient"].mean() == pytest.approx(stats.norm.cdf(0.04), abs=0.06)
    assert low[group == "control"].mean() == pytest.approx(0.025, abs=0.02)
    assert "the participants of group control (n = 400), with age as a natural spline" in sentence
    everybody, sentence = find_norms(people, ["alps_bilateral"])
    assert (everybody["alps_bilateral_z"] < -1.96)[group == "patient"].mean() < 0.1
    assert "all participants" in sentence


def test_norms_given_age_and_sex_equal_r():
    """Controls and patients of `closed` in R 4.2.2.

    fit <- lm(y ~ age + sex, controls); qnorm(pt(rstudent(fit)[1:3], fit$df.residual - 1))
    new <- predict(fit, patients[1:3, ], se.fit = TRUE)
    qnorm(pt((patients$y[1:3] - new$fit) / sqrt(new$se.fit^2 + new$residual.scale^2), fit$df.residual))
    """
    table = cohort()
    scores, said = find_norms(table, ["y"], "group", "control")
    controls, patients = (scores.loc[table["group"] == name, "y_z"] for name in ("control", "patient"))
    np.testing.assert_allclose(controls[:3], [-0.409653736361, -0.129190075465, -0.151089030834], rtol=1e-8)
    np.testing.assert_allclose(patients[:3], [-2.469928595205, -0.101767557094, -0.464443142238], rtol=1e-8)
    assert "age as a linear term and sex" in said
    assert scores["in_reference"].sum() == 20


def test_ages_outside_the_reference_range_are_flagged():
    table = pd.DataFrame(
        {"age": [20.0, *range(30, 40), 60], "group": ["p", *["c"] * 10, "p"], "y": np.arange(12.0) ** 2}
    )
    scores, _ = find_norms(table, ["y"], "group", "c")
    assert scores["age_extrapolated"].tolist() == [True, *[False] * 10, True]
    assert scores["in_reference"].tolist() == [False, *[True] * 10, False]


def test_spline_is_linear_beyond_its_knots_and_smooth_at_them():
    knots = np.array([30.0, 50, 70])
    below, above = (spline(np.array(ages), knots)[:, 1] for ages in ([10.0, 20, 30], [70.0, 80, 90]))
    np.testing.assert_allclose(below, 0, atol=1e-12)
    assert above[2] - above[1] == pytest.approx(above[1] - above[0])
    # rms::rcspline.eval(40, knots, norm = 2): (40 - 30)^3 / (70 - 30)^2
    assert spline(np.array([40.0]), knots)[0, 1] == pytest.approx(1000 / 1600)


def test_the_size_of_the_reference_counts_who_was_used() -> None:
    rng = np.random.default_rng(0)
    sex = [None] * 10 + ["F", "M"] * 15
    people = pd.DataFrame({"age": rng.normal(50, 10, 40), "sex": sex, "group": "control", "y": rng.normal(size=40)})
    scores, sentence = find_norms(people, ["y"], "group", "control")
    assert scores["y_z"].notna().sum() == 30
    assert "(n = 30)" in sentence

"""Leave-one-out scores against leaving one out."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.statistics.norms import find_norms, measure_norms


def test_equals_fitting_without_the_value():
    rng = np.random.default_rng(6)
    age = rng.uniform(20, 80, 30)
    y = 2 - age / 100 + rng.normal(0, 0.1, 30)
    X = sm.add_constant(age)
    others = np.arange(30) != 7
    fitted = sm.OLS(y[others], X[others]).fit()
    told = fitted.get_prediction(X[7:8])
    error = y[7] - told.predicted_mean[0]
    t = error / np.sqrt(told.se_mean[0] ** 2 + fitted.scale)
    expected = stats.norm.ppf(stats.t.cdf(t, fitted.df_resid))
    assert measure_norms(y, age[:, None])[7] == pytest.approx(expected, abs=1e-10)


def test_missing_stays_missing_and_few_are_refused():
    y = np.array([1.0, 2.0, np.nan, 4.0, 3.0, 5.0, 2.0, 1.0])
    assert np.isnan(measure_norms(y, np.arange(8.0)[:, None])).tolist() == [n == 2 for n in range(8)]
    with pytest.raises(BadDataError, match="3 complete"):
        measure_norms(y[:4], np.arange(4.0)[:, None])


def test_patients_show_their_distance_from_the_controls_and_hide_in_a_norm_of_everybody():
    rng = np.random.default_rng(1)
    n = 400
    age, group = rng.uniform(30, 75, 2 * n), np.repeat(["control", "patient"], n)
    index = 1.6 - 0.005 * (age - 50) + rng.normal(0, 0.12, 2 * n) - 0.24 * (group == "patient")  # 2 SD lower
    people = pd.DataFrame({"age": age, "group": group, "alps_bilateral": index})
    scores, told = find_norms(people, ["alps_bilateral"], "group", "control")
    low = scores["alps_bilateral_z"] < -1.96
    assert low[group == "patient"].mean() == pytest.approx(stats.norm.cdf(0.04), abs=0.06)
    assert low[group == "control"].mean() == pytest.approx(0.025, abs=0.02)
    assert "the participants of group control (400), with age as a natural spline" in told
    everybody, told = find_norms(people, ["alps_bilateral"])
    assert (everybody["alps_bilateral_z"] < -1.96)[group == "patient"].mean() < 0.1
    assert "all participants" in told

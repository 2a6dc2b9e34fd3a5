"""Precision weights compared with metafor, other tests with pROC, glm and scipy.

Constants are those of R 4.2.2, metafor 3.8-1, pROC 1.18.0 on the cohort of `closed`::

    rma(yi = y, sei = y_se, mods = ~ group + age, data = cohort, method = "REML", test = "knha")
    var(roc(rep(0:1, c(20, 20)), c(control, patient)), method = "delong")
    glm(group == "patient" ~ scale(y) + age + sex, binomial, cohort[cohort$group != "mild", ])
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.statistics.discrimination import discriminate, fit_odds, measure_auc
from bids_alps.statistics.equivalence import assess_equivalence
from bids_alps.statistics.group_design import design_groups
from bids_alps.statistics.permutation import permute_groups
from bids_alps.statistics.precision import fit_random_effects, measure_precision

from .closed_forms import cohort


def samples():
    table = cohort()
    return (table.loc[table["group"] == name, "y"].to_numpy() for name in ("control", "patient"))


def test_random_effects_equal_metafor():
    table = cohort()
    columns: list[Any] = [np.ones(60), table["group"] == "mild", table["group"] == "patient", table["age"]]
    fitted = fit_random_effects(table["y"].to_numpy(), np.column_stack(columns).astype(float), table["y_se"].to_numpy())
    assert fitted.between == pytest.approx(0.010281901, rel=1e-5)
    assert fitted.beta[2] == pytest.approx(-0.1052182, rel=1e-6)
    assert np.sqrt(fitted.covariance[2, 2]) == pytest.approx(0.038080417, rel=1e-6)


def test_a_value_without_an_error_has_no_weight():
    with pytest.raises(BadDataError, match="not positive"):
        fit_random_effects(np.arange(4.0), np.ones((4, 1)), np.array([0.1, 0.1, 0.0, 0.1]))


def test_measurement_error_is_separated_from_differences_between_people():
    rng = np.random.default_rng(4)
    se = rng.uniform(0.05, 0.1, 4000)
    table = pd.DataFrame({"y": 1.5 + rng.normal(0, 0.1, 4000) + rng.normal(0, se), "y_se": se})
    row = measure_precision(table, ["y"]).iloc[0]
    assert row["sd_between"] == pytest.approx(0.1, rel=0.05)
    assert row["measurement_error_fraction"] == pytest.approx((se**2).mean() / (0.01 + (se**2).mean()), rel=0.1)


def test_auc_and_its_error_equal_proc():
    area, se, _, _ = measure_auc(*samples())
    assert (1 - area, se) == pytest.approx((0.725, 0.082078268), rel=1e-7)


def test_the_odds_ratio_equals_glm():
    table = cohort()
    found = fit_odds(table[table["group"] != "mild"], "y", "group", ["age", "sex"], reference="control")
    assert found["odds_ratio"] == pytest.approx(0.1596251, rel=1e-6)
    assert found["p"] == pytest.approx(0.010818403, rel=1e-5)


def test_separated_groups_have_no_interval_and_no_odds_ratio():
    table = pd.DataFrame({"group": list("aaaaaabbbbbb"), "y": np.arange(12.0)})
    row = discriminate(table, ["y"], "group").iloc[0]
    assert row["auc"] == 1
    assert np.isnan([row["auc_ci_low"], row["odds_ratio"]]).all()
    assert "do" in row["note"]


def test_equivalence_is_two_one_sided_tests():
    a, b = samples()
    margin, n = 0.2, len(a) + len(b) - 2
    result = stats.ttest_ind(b, a)
    row = {"outcome": "y", "group_a": "a", "group_b": "b", "df": float(n)}
    row |= {"difference": b.mean() - a.mean(), "statistic": result.statistic}
    found = assess_equivalence(pd.DataFrame([row]), margin).iloc[0]
    low = stats.ttest_ind(b + margin, a, alternative="greater").pvalue
    high = stats.ttest_ind(b - margin, a, alternative="less").pvalue
    assert found["p_equivalence"] == pytest.approx(max(low, high), rel=1e-9)


def test_permutation_without_covariates_agrees_with_scipy():
    table = cohort()
    table = table[table["group"] != "mild"].reset_index(drop=True)
    values = table["y"].to_numpy()
    design = design_groups(table, "group", [], outcome=values)
    observed, drawn = permute_groups(values[:, None], design, draws=20_000, seed=3)
    ours = (1 + (drawn[:, 0, 0] >= abs(observed[0, 0])).sum()) / 20_001

    def t(x, y):
        return stats.ttest_ind(x, y, equal_var=False).statistic

    theirs = stats.permutation_test(tuple(samples()), t, n_resamples=2000, random_state=3)
    assert ours == pytest.approx(theirs.pvalue, abs=0.008)

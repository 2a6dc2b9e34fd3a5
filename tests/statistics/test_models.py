"""Models compared with direct calls of the libraries; refused formulas."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from bids_alps.errors import BadDataError, UsageError
from bids_alps.statistics.mixed import fit_mixed
from bids_alps.statistics.models import fit_model

from .closed_forms import cohort, visits


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(2)
    n = 60
    age = rng.uniform(20, 70, n)
    group = np.where(np.arange(n) < 30, "a", "b")
    y = 1.5 - 0.005 * age + 0.1 * (group == "b") + rng.normal(0, 0.1, n)
    return pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(n)], "group": group, "age": age, "y": y})


def test_results_equal_statsmodels(table):
    found = fit_model(table, "y ~ group + age")
    direct = smf.ols("y ~ group + age", table).fit(cov_type="HC3", use_t=True)
    np.testing.assert_allclose(found.coefficients["estimate"], direct.params, rtol=1e-10)
    np.testing.assert_allclose(found.coefficients["p"], direct.pvalues, rtol=1e-8)
    np.testing.assert_allclose(found.coefficients["ci_low"], direct.conf_int()[0], rtol=1e-10)


def test_a_single_standardized_coefficient_is_the_correlation(table):
    slope = fit_model(table, "y ~ age").coefficients.set_index("term").loc["age", "standardized"]
    assert slope == pytest.approx(np.corrcoef(table.age, table.y)[0, 1])


def test_repeated_measures_use_a_mixed_model(table):
    noise = np.random.default_rng(0).normal(0, 0.05, len(table))
    twice = pd.concat([table, table.assign(y=table.y + noise)], ignore_index=True)
    found = fit_model(twice, "y ~ group + age")
    assert found.kind.startswith("mixed")
    direct = smf.mixedlm("y ~ group + age", twice.assign(y=twice.y * 100), groups=twice.participant_id).fit()
    np.testing.assert_allclose(found.coefficients["estimate"], direct.fe_params / 100, rtol=1e-6)


def test_missing_covariates_are_counted(table):
    gappy = table.assign(age=table.age.mask(table.index < 5))
    assert len(fit_model(gappy, "y ~ age").excluded) == 5


@pytest.mark.parametrize(
    ("formula", "error", "message"),
    [
        ("y ~ nothing", UsageError, "nothing"),
        ("y ~ +* age", UsageError, "cannot be used"),
        ("age", UsageError, "no outcome"),
        ("y ~ age + double", BadDataError, "rank"),
        ("constant ~ age", BadDataError, "constant"),
        ("y ~ C(participant_id)", BadDataError, "complete rows"),
    ],
)
def test_models_that_cannot_be_fitted_are_reported(table, formula, error, message):
    table = table.assign(double=2 * table.age, constant=1.0)
    with pytest.raises(error, match=message):
        fit_model(table, formula)


def test_random_effects_of_a_table_with_repeats_are_those_of_its_people(table):
    twice = pd.concat([table, table.assign(y=table.y + 0.01)], ignore_index=True)
    twice["site"] = np.where(np.arange(len(twice)) % 3 == 0, "a", np.where(np.arange(len(twice)) % 3 == 1, "b", "c"))
    twice["person"] = twice["participant_id"]
    with pytest.raises(BadDataError, match="participants repeat, but the random effects are grouped by site"):
        fit_model(twice, "y ~ age + (1 | site)")
    same = [fit_model(twice, f"y ~ age + (1 | {name})").coefficients for name in ("person", "participant_id")]
    np.testing.assert_allclose(same[0]["estimate"], same[1]["estimate"])


@pytest.mark.parametrize(
    "term", ["bs(age, df=4)", "cs(age, df=3, constraints='center')", "poly(age, 2)", "age + I(age**2)"]
)
def test_age_can_have_a_quadratic_term(table, term):
    gappy = table.assign(age=table.age.mask(table.index < 5))
    found = fit_model(gappy, f"y ~ group + {term}")
    assert list(found.excluded) == [0, 1, 2, 3, 4]
    linear = smf.ols("y ~ group + age", gappy).fit()
    group = found.coefficients.set_index("term").loc["group[T.b]"]
    assert group["estimate"] == pytest.approx(linear.params["group[T.b]"], abs=2 * linear.bse["group[T.b]"])


def test_quadratic_age_equals_statsmodels(table):
    found = fit_model(table, "y ~ group + age + I(age**2)")
    direct = smf.ols("y ~ group + age + I(age**2)", table).fit(cov_type="HC3", use_t=True)
    np.testing.assert_allclose(found.coefficients["estimate"], direct.params, rtol=1e-8)
    np.testing.assert_allclose(found.coefficients["p"], direct.pvalues, rtol=1e-6)


def test_a_group_of_one_is_reported(table):
    single = table.assign(group=np.where(table.index == 3, "c", table.group))
    found = fit_model(single, "y ~ group + age")
    direct = smf.ols("y ~ group + age", single).fit()
    np.testing.assert_allclose(found.coefficients["se"], direct.bse, rtol=1e-10)
    assert found.checks["method"].str.contains("1 runs determine a coefficient alone").any()


def test_residual_checks_equal_r():
    """m <- lm(y ~ group + age, cohort); shapiro.test(residuals(m)); n R^2 of squared residuals on the same terms."""
    checks = fit_model(cohort(), "y ~ group + age").checks.set_index("check")
    assert checks.loc["normality", "value"] == pytest.approx(0.9840596439, rel=1e-8)
    assert checks.loc["normality", "p"] == pytest.approx(0.621310753, rel=1e-6)
    assert checks.loc["equal variance", "value"] == pytest.approx(1.31845238323, rel=1e-8)


def test_mixed_model_residuals_exclude_only_fixed_effects():
    table = visits()
    X = np.column_stack([np.ones(len(table)), table["time"]])
    fitted = fit_mixed(table["y"].to_numpy(), X, np.ones((len(table), 1)), table["person"].to_numpy())
    np.testing.assert_allclose(fitted.residuals, table["y"] - X @ fitted.beta, atol=1e-9)
    assert abs(fitted.residuals.mean()) < 0.02 < table["y"].mean()

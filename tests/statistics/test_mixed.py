"""Mixed models against lme4 and lmerTest.

Constants are those of R 4.2.2, lme4 1.1-31, lmerTest 3.1-3 on the visits of `closed`::

    m <- lmer(y ~ group * time + age + (1 | person), visits); coef(summary(m)); VarCorr(m); anova(m)
    m <- lmer(y ~ group * time + age + (1 + time | person), visits); coef(summary(m)); as.data.frame(VarCorr(m))
    visits$v <- factor(visits$visit); anova(lmer(y ~ group + v + (1 | person), visits))
"""

import numpy as np
import pandas as pd
import pytest
from formulaic import model_matrix

from bids_alps.statistics.mixed import fit_mixed

from .closed_forms import visits

INTERCEPT = {  # estimate, standard error, degrees of freedom
    "Intercept": (1.791323752932, 0.092101566173, 22.06853074),
    "group[T.patient]": (-0.107900049148, 0.040398752040, 31.96164933),
    "time": (-0.027942067290, 0.013794177549, 42.99710942),
    "age": (-0.005308820397, 0.001706605187, 21.15871382),
    "group[T.patient]:time": (-0.026712479250, 0.019507938981, 42.99691217),
}
SLOPE = {
    "Intercept": (1.799667200632, 0.090856349355, 21.58031898),
    "group[T.patient]": (-0.108427660201, 0.038358860638, 22.04383838),
    "time": (-0.028310684222, 0.013917606524, 39.73246766),
    "age": (-0.005469190625, 0.001690729824, 21.08011308),
    "group[T.patient]:time": (-0.025801706379, 0.019682479002, 39.73254009),
}


def fit(formula, slope=False):
    table = visits()
    table["v"] = table["visit"].astype(str)
    matrices = model_matrix(formula, table)
    X = pd.DataFrame(matrices.rhs).astype(float)
    Z = np.column_stack([np.ones(len(X)), table["time"]]) if slope else np.ones((len(X), 1))
    return fit_mixed(table["y"].to_numpy(), X.to_numpy(), Z, table["person"].to_numpy()), list(X)


def rows(fitted, names):
    eye = np.eye(len(names))
    return {
        name: (fitted.beta[n], np.sqrt(fitted.covariance[n, n]), fitted.dof(eye[n])) for n, name in enumerate(names)
    }


def test_random_intercept_equals_lmertest():
    fitted, names = fit("y ~ group * time + age")
    for name, found in rows(fitted, names).items():
        np.testing.assert_allclose(found, INTERCEPT[name], rtol=1e-5)
    assert fitted.random_covariance[0, 0] == pytest.approx(0.0063640371, rel=1e-5)
    assert fitted.residual_variance == pytest.approx(0.0040327349, rel=1e-5)


def test_random_slope_equals_lmertest():
    fitted, names = fit("y ~ group * time + age", slope=True)
    for name, found in rows(fitted, names).items():
        np.testing.assert_allclose(found, SLOPE[name], rtol=1e-4)
    np.testing.assert_allclose(
        fitted.random_covariance, [[5.425728670e-3, 4.758799863e-4], [4.758799863e-4, 4.173849729e-5]], rtol=1e-3
    )
    assert fitted.singular  # as lme4 says of it


def test_joint_tests_equal_lmertest():
    fitted, _ = fit("y ~ group + v")
    f, df, dof, p = fitted.test(np.eye(4)[2:])
    assert (f, df) == (pytest.approx(8.49434, rel=1e-5), 2)
    assert dof == pytest.approx(42.446878, rel=1e-5)
    assert p == pytest.approx(0.00078908, rel=1e-4)


def test_f_of_one_contrast_is_t_squared():
    fitted, names = fit("y ~ group * time + age")
    contrast = np.eye(len(names))[1]
    f, _, dof, _ = fitted.test(contrast)
    t = contrast @ fitted.beta / np.sqrt(contrast @ fitted.covariance @ contrast)
    assert f == pytest.approx(t**2)
    assert dof == pytest.approx(fitted.dof(contrast))


def test_balanced_groups_reduce_to_the_t_test_of_means():
    """Of groups between participants with equal repeats, the exact test is that of the participants' means."""
    from scipy import stats

    rng = np.random.default_rng(4)
    person = np.repeat(np.arange(10), 3)
    group = (person % 2).astype(float)
    y = rng.normal(size=10)[person] + 0.5 * rng.normal(size=30)
    fitted = fit_mixed(y, np.column_stack([np.ones(30), group]), np.ones((30, 1)), person)
    contrast = np.array([0.0, 1.0])
    t = fitted.beta[1] / np.sqrt(fitted.covariance[1, 1])
    means = y.reshape(10, 3).mean(axis=1)
    exact = stats.ttest_ind(means[1::2], means[::2])
    assert t == pytest.approx(exact.statistic, rel=1e-5)
    assert fitted.dof(contrast) == pytest.approx(8, rel=1e-3)


def test_units_do_not_matter():
    table = visits()
    X, Z = np.column_stack([np.ones(len(table)), table["time"]]), np.ones((len(table), 1))
    one = fit_mixed(table["y"].to_numpy(), X, Z, table["person"].to_numpy())
    other = fit_mixed(10 * table["y"].to_numpy() + 5, X, Z, table["person"].to_numpy())
    np.testing.assert_allclose(other.beta[1], 10 * one.beta[1], rtol=1e-6)
    assert other.dof(np.array([0.0, 1.0])) == pytest.approx(one.dof(np.array([0.0, 1.0])), rel=1e-3)

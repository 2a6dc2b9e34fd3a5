"""Adjusted differences against emmeans with sandwich's HC3.

Constants are those of R 4.2.2, emmeans 1.8.4-1, sandwich 3.0-2 on the cohort of `closed`::

    m <- lm(y ~ group + age + sex + site, cohort); v <- vcovHC(m, "HC3")
    e <- emmeans(m, "group", vcov. = v); summary(e, infer = TRUE)
    summary(pairs(e, reverse = TRUE, adjust = "none"), infer = TRUE); summary(pairs(e, adjust = "holm")); sigma(m)
    linearHypothesis(m, c("groupmild=0", "grouppatient=0"), vcov. = v, test = "F")   # car 3.1-1
"""

import numpy as np
import pandas as pd
import pytest

from bids_alps.errors import BadDataError
from bids_alps.statistics.adjusted import compare_adjusted
from bids_alps.statistics.group_design import design_groups

from .closed_forms import cohort

MEANS = {
    "control": (1.51090150039, 1.45722176709),
    "mild": (1.50188364764, 1.43951711398),
    "patient": (1.40510271490, 1.35723467852),
}


@pytest.fixture(scope="module")
def found():
    return compare_adjusted(cohort(), {"f": ["y"]}, "group", ["age", "sex", "site"])


def test_marginal_means_equal_emmeans(found):
    means = found[2].set_index("group")
    for name, (mean, low) in MEANS.items():
        assert means.loc[name, "adjusted_mean"] == pytest.approx(mean, rel=1e-8)
        assert means.loc[name, "ci_low"] == pytest.approx(low, rel=1e-8)


def test_differences_equal_emmeans(found):
    pairs = found[1].set_index(["group_a", "group_b"])
    row = pairs.loc[("control", "patient")]
    names = ["difference", "difference_ci_low", "difference_ci_high", "statistic", "df", "p"]
    expected = [-0.10579878549621, -0.1773097330811, -0.0342878379113, -2.967454599404, 53, 0.0044982596770]
    np.testing.assert_allclose(row[names].astype(float), expected, rtol=1e-7)
    assert row["standardized"] == pytest.approx(-0.10579878549621 / 0.111619731372, rel=1e-7)
    np.testing.assert_allclose(pairs["p_holm"], [0.8237915738812, 0.0134947790310, 0.0219723202496], rtol=1e-9)


def test_the_omnibus_test_equals_the_wald_f_of_car(found):
    row = found[0].iloc[0]
    np.testing.assert_allclose([row["statistic"], row["p"]], [5.73133939, 0.00558005], rtol=1e-4)


def test_the_unadjusted_difference_is_included(found):
    row = found[1].iloc[1]
    table = cohort().groupby("group")["y"].mean()
    assert row["unadjusted_difference"] == pytest.approx(table["patient"] - table["control"])


def test_units_of_a_covariate_do_not_matter():
    table = cohort()
    one = compare_adjusted(table, {"f": ["y"]}, "group", ["age"])[1]
    other = compare_adjusted(table.assign(age=table["age"] * 365.25 + 7), {"f": ["y"]}, "group", ["age"])[1]
    np.testing.assert_allclose(other[["difference", "p"]], one[["difference", "p"]], rtol=1e-8)


def test_the_only_participant_of_a_site_is_excluded():
    table = cohort()
    table.loc[7, "site"] = "alone"
    design = design_groups(table, "group", ["site"], outcome=table["y"].to_numpy())
    assert design.singletons.tolist() == [n == 7 for n in range(60)]
    without = compare_adjusted(table.drop(7), {"f": ["y"]}, "group", ["site"])[1]
    np.testing.assert_allclose(
        compare_adjusted(table, {"f": ["y"]}, "group", ["site"])[1][["difference", "p"]], without[["difference", "p"]]
    )


def test_missing_covariates_exclude_only_their_participants():
    table = cohort()
    table.loc[:3, "age"] = np.nan
    assert compare_adjusted(table, {"f": ["y"]}, "group", ["age"])[1][["n_a", "n_b"]].iloc[0].sum() == 40 - 3


def test_groups_confounded_with_a_covariate_are_refused():
    table = cohort().assign(scanner=lambda all_: all_["group"].map({"control": "x", "mild": "y", "patient": "y"}))
    with pytest.raises(BadDataError, match="collinear"):
        compare_adjusted(table, {"f": ["y"]}, "group", ["scanner"])


def test_too_few_participants_are_refused():
    with pytest.raises(BadDataError, match="complete participants"):
        compare_adjusted(cohort().head(4), {"f": ["y"]}, "group", ["age"])


def test_two_groups_have_no_omnibus_test():
    table = cohort()
    assert compare_adjusted(table[table["group"] != "mild"], {"f": ["y"]}, "group", [])[0].empty
    assert isinstance(compare_adjusted(table, {}, "group", [])[1], pd.DataFrame)


def test_an_outcome_that_one_group_lacks_does_not_remove_the_others() -> None:
    table = cohort().assign(sparse=lambda all_: all_["y"].where(all_["group"] == "control"))
    _, pairs, means, notes = compare_adjusted(table, {"f": ["y", "sparse"]}, "group", ["age"])
    assert set(pairs["outcome"]) == set(means["outcome"]) == {"y"}
    assert len(notes) == 1
    assert "sparse is not in the adjusted comparison" in notes[0]


def test_no_complete_participant_is_refused() -> None:
    with pytest.raises(BadDataError, match="no participant has values"):
        compare_adjusted(cohort().assign(age=np.nan), {"f": ["y"]}, "group", ["age"])


def test_groups_of_one_participant_are_refused() -> None:
    table = pd.DataFrame({"group": ["control", "RLS"], "age": [30.0, 40.0], "y": [1.5, 1.4]})
    with pytest.raises(BadDataError, match="0 complete participants in 0 groups"):
        compare_adjusted(table, {"f": ["y"]}, "group", ["age"])

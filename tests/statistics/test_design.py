"""Formulas: their columns, and refused formulas."""

import numpy as np
import pandas as pd
import pytest

from bids_alps.errors import BadDataError, UsageError
from bids_alps.statistics.design import make_design, split_formula, variables_of

from .closed_forms import cohort


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        ("y ~ C(group, contr.treatment('control'))", ["group", "y"]),
        ("y ~ C(group, levels=['control', 'treatment'])", ["group", "y"]),
        ("y ~ bs(age, df=4) + poly(time, 2)", ["age", "time", "y"]),
        ("np.log(y) ~ a * b", ["a", "b", "y"]),
        ("y ~ `my column`:site + I(age**2)", ["age", "my column", "site", "y"]),
        ("y ~ group + (1 + time | person)", ["group", "person", "time", "y"]),
    ],
)
def test_only_names_of_values_are_variables(formula, names):
    assert variables_of(formula) == names


def test_a_column_named_like_a_function_excludes_nobody():
    table = cohort().assign(treatment=np.nan)
    design = make_design(table, "y ~ C(group, contr.treatment('control')) + age")
    assert len(design.rows) == 60


def test_random_part_is_split_off():
    assert split_formula("y ~ a + (1 | person) + b") == ("y ~ a  + b", "1", "person")


def test_terms_know_their_columns():
    design = make_design(cohort(), "y ~ group + age")
    assert design.terms == {"group": (1, 2), "age": (3,)}


def test_an_empty_level_has_no_column():
    table = cohort()
    table["group"] = pd.Categorical(table["group"], categories=["patient", "control", "mild", "nobody"])
    design = make_design(table[table["group"] != "mild"], "y ~ group")
    assert list(design.fixed) == ["Intercept", "group[T.control]"]


@pytest.mark.parametrize(
    ("formula", "error", "message"),
    [
        ("y ~ group | site", UsageError, "outside of parentheses. Write .* random intercept"),
        ("y ~ group + (1 | a) + (1 | b)", UsageError, "2 random-effects terms"),
        ("y ~ age**2", UsageError, r"Write I\(age\*\*2\)"),
        ("y ~ age^2", UsageError, r"Write I\(age\*\*2\)"),
        ("y ~ nothing", UsageError, "names no column: nothing"),
        ("y ~ +* age", UsageError, "cannot be used"),
        ("y ~ log(", UsageError, "cannot be used"),
        ("y ~ age.foo()", UsageError, "cannot be used"),
        ("age", UsageError, "has no outcome"),
        ("group ~ age", UsageError, "not a single number"),
        ("y ~ np.log(age - 50)", BadDataError, "no finite value"),
        ("y ~ age + double", BadDataError, "rank"),
        ("constant ~ age", BadDataError, "constant"),
        ("y ~ C(participant_id)", BadDataError, "complete rows"),
    ],
)
def test_unusable_formulas_are_refused_with_the_reason(formula, error, message):
    table = cohort().assign(double=lambda all_: 2 * all_["age"], constant=1.0)
    with pytest.raises(error, match=message):
        make_design(table, formula)


@pytest.mark.parametrize("formula", ["y ~ (a + b + c)**9", "y ~ (a + b)^ 4", "y ~ " + " * ".join("abcdefghij")])
def test_formulas_with_endless_interactions_are_refused(formula: str) -> None:
    with pytest.raises(UsageError, match="interactions"):
        split_formula(formula)


@pytest.mark.parametrize("formula", ["y ~ I(a**9) + b", "y ~ (a + b)**2", "y ~ bs(a, df=4) * b * c"])
def test_formulas_with_few_interactions_are_not(formula: str) -> None:
    assert split_formula(formula)[0] == formula

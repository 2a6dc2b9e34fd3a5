"""Models of a table of runs: each formula that can be fitted, a note for each that cannot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_alps.statistics.findings import Findings
from bids_alps.statistics.formulas import fit_models
from bids_alps.statistics.plan import Plan
from bids_alps.statistics.repeats import find_visits


@pytest.fixture
def runs() -> pd.DataFrame:
    n = 24
    age = np.linspace(20, 60, n)
    table = pd.DataFrame({"participant_id": [f"sub-{k:02}" for k in range(n)], "age": age})
    return find_visits(table.assign(y=1.6 - 0.005 * age + 0.1 * np.sin(np.arange(n) ** 2))).runs


def test_each_formula_has_its_tables_and_its_slope_is_that_of_least_squares(runs: pd.DataFrame) -> None:
    findings = Findings()
    found = fit_models(runs, Plan(formulas=("y ~ age", "y ~ nothing", "y ~ 1 + I(age * 2)")), findings)
    assert set(found) == {"models", "model_tests", "checks"}
    assert found["models"]["model"].unique().tolist() == ["y ~ age", "y ~ 1 + I(age * 2)"]
    slope = found["models"].set_index(["model", "term"]).loc[("y ~ age", "age"), "estimate"]
    assert slope == pytest.approx(np.polyfit(runs["age"], runs["y"], 1)[0])
    assert len(findings.notes) == 1
    assert "nothing" in findings.notes[0]
    assert (found["models"]["n"] == 24).all()


def test_formulas_that_all_fail_leave_no_table(runs: pd.DataFrame) -> None:
    findings = Findings()
    assert fit_models(runs, Plan(formulas=("y ~ nothing",)), findings) == {}
    assert len(findings.notes) == 1
    assert fit_models(runs, Plan(), Findings()) == {}

"""The analysis of whole cohorts: what is compared with what, and what is said about it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_alps.report.group_results import summarize_results
from bids_alps.report.methods_group import write_group_methods
from bids_alps.statistics.analysis import analyze
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import DIFFUSIVITIES, INDICES, Plan
from bids_alps.statistics.presets import analyze_presets
from bids_alps.statistics.variables import Variable

VARIABLES = tuple(
    Variable(name=name, kind="category" if name != "age" else "number", decided_by="")
    for name in ("group", "age", "sex")
)
GROUPED = Plan(group="group", reference="control", variables=VARIABLES)


def cohort(people: int = 40, sessions: tuple[str, ...] = (), **columns: Any) -> pd.DataFrame:
    """Return one row per run; the index falls by 0.1 with each session, and by 0.1 in patients."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(people):
        for k, session in enumerate(sessions or ("",)):
            middle = 1.6 - 0.1 * k - 0.1 * (n % 2) + rng.normal(0, 0.05)
            row: dict[str, Any] = {"participant_id": f"sub-{n:02}"} | ({"session_id": session} if session else {})
            row |= {name: middle + side for name, side in zip(INDICES, (0.01, -0.01, 0.0), strict=True)}
            row |= {name: 1e-3 * rng.normal(1, 0.08) for name in DIFFUSIVITIES}
            row |= {"status": "pass", "roi_preset": "alps", "group": ("control", "RLS")[n % 2]}
            rows.append(row | {"age": 40.0 + n % 30, "sex": "FM"[n // 2 % 2]})
    return pd.DataFrame(rows).assign(**columns)


def sentences(findings: Findings, plan: Plan) -> str:
    return " ".join(sentence for result in summarize_results(findings, plan) for sentence in result.sentences)


def test_pooled_datasets_are_sites() -> None:
    found = analyze(cohort(dataset=np.where(np.arange(40) % 3 == 0, "b", "a")), GROUPED)
    assert found.facts["covariates"] == ("age", "sex", "dataset")
    confounded = analyze(cohort(dataset=np.where(np.arange(40) % 2 == 0, "b", "a")), GROUPED)
    assert confounded.facts["covariates"] == ("age", "sex")
    assert any("group and dataset are completely confounded" in note for note in confounded.notes)


def test_equivalence_is_assessed_if_there_is_a_margin() -> None:
    """Two one-sided t-tests (Schuirmann 1987) from the difference and its 95 % interval."""
    margin = 0.15
    assert "equivalence" not in analyze(cohort(), GROUPED).tables
    found = analyze(cohort(), replace(GROUPED, margin=margin)).tables
    rows = found["adjusted"].query("family == 'index'").reset_index(drop=True)
    assert found["equivalence"]["outcome"].tolist() == list(INDICES)
    half_width = (rows["difference_ci_high"] - rows["difference_ci_low"]) / 2
    error = half_width / stats.t.ppf(0.975, rows["df"])
    nearer = margin - rows["difference"].abs()  # the further limit gives the smaller p
    np.testing.assert_allclose(found["equivalence"]["p_equivalence"], stats.t.sf(nearer / error, rows["df"]), rtol=1e-6)


def test_three_groups_are_shown_if_they_cannot_be_adjusted() -> None:
    names = [("control", "A", "B")[n % 3] for n in range(11)]
    runs = cohort(11, group=names, scanner=names)
    plan = Plan(group="group", variables=VARIABLES, covariates=("scanner",))
    found = analyze(runs, plan)
    assert "adjusted" not in found.tables
    assert set(found.tables["omnibus"]["covariates"]) == {"unadjusted"}
    text = sentences(found, plan)
    assert "Over all 3 groups" in text
    assert "Not shown" not in text


def test_a_crossover_is_described_over_its_visits() -> None:
    runs = cohort(20, ("ses-1", "ses-2"))
    drug = [("drug", "placebo")[(n // 2 % 4 == 0) ^ (n % 2)] for n in range(40)]
    plan = Plan(group="group", variables=VARIABLES)
    found = analyze(runs.assign(group=drug), plan)
    counts = found.tables["description"].query("variable == 'group'").set_index("level")["n"]
    assert counts.to_dict() == {"drug": 20, "placebo": 20}
    assert "group" not in found.people
    assert "20 participants analyzed" in found.flow.sentence


def test_two_converters_leave_the_comparison_in_place() -> None:
    later = cohort(4, ("ses-2",)).assign(group=["dementia", "dementia", "control", "RLS"])
    found = analyze(pd.concat([cohort(60, ("ses-1",)), later], ignore_index=True), GROUPED)
    assert not found.facts["within"]
    assert found.tables["adjusted"].loc[0, ["n_a", "n_b"]].tolist() == [30, 30]
    assert any("group changes within 2 participants (sub-00, sub-01)" in note for note in found.notes)


def test_a_group_known_at_one_session_belongs_to_the_participant() -> None:
    runs = cohort(20, ("ses-post", "ses-pre"))
    runs["acq_time"] = np.where(runs["session_id"] == "ses-pre", "2020", "2021")
    runs.loc[runs["session_id"] == "ses-post", "group"] = None
    found = analyze(runs, GROUPED)
    within = found.tables["within"].query("outcome == 'alps_bilateral'").set_index("group")
    assert within["n_pairs"].to_dict() == {"all": 20, "control": 10, "RLS": 10}
    assert found.tables["interaction"].loc[0, ["n_a", "n_b"]].tolist() == [10, 10]
    assert any("group is missing in some runs of 20 participants" in note for note in found.notes)


def test_the_change_is_compared_from_the_visit_at_which_groups_are() -> None:
    runs = pd.concat([cohort(4, ("ses-0",)), cohort(20, ("ses-1", "ses-2"))], ignore_index=True)
    found = analyze(runs, GROUPED)
    row = found.tables["interaction"].query("outcome == 'alps_bilateral' and level_b == 'ses-2'").iloc[0]
    assert row[["level_a", "n_a", "n_b"]].tolist() == ["ses-1", 10, 10]


def test_a_change_that_cannot_be_compared_is_not_called_insignificant() -> None:
    runs = cohort(20, ("ses-1", "ses-2"))
    runs = runs[(runs["session_id"] == "ses-1") | (runs["group"] == "control") | (runs["participant_id"] == "sub-01")]
    text = sentences(analyze(runs, GROUPED), GROUPED)
    assert "The change from ses-1 to ses-2 cannot be compared between control and RLS: n = 10 + 1." in text


def test_people_who_are_not_in_participants_tsv_are_not_in_the_change() -> None:
    runs = cohort(24, ("ses-1", "ses-2"))
    found = analyze(runs.assign(_matched=runs["participant_id"] < "sub-20"), GROUPED)
    assert found.tables["within"].query("group == 'all'")["n_pairs"].max() == 20


def test_a_column_called_participant_does_not_break_formulas() -> None:
    found = analyze(cohort(20, participant="x"), Plan(formulas=("alps_bilateral ~ age",)))
    assert found.tables["models"]["participants"].iloc[0] == 20


def test_runs_that_were_pooled_twice_are_excluded() -> None:
    runs = cohort(20).assign(dataset="output", _repeated_in=None)
    again = runs.assign(dataset="copy", _repeated_in="output")
    found = analyze(pd.concat([runs, again], ignore_index=True), GROUPED)
    assert found.tables["comparison"].loc[0, ["n_a", "n_b"]].tolist() == [10, 10]
    assert "20 pooled twice" in found.flow.sentence
    assert {reason for _, _, reason in found.flow.lost} == {"the same run as in dataset output"}


@pytest.mark.parametrize(
    "options", [{}, {"included": ("fail",)}, {"site": "site"}, {"precision": True}], ids=lambda options: str(options)
)
def test_the_specification_curve_marks_the_analysis_that_was_made(options: dict[str, Any]) -> None:
    runs = cohort(40, site=np.where(np.arange(40) // 4 % 2, "a", "b"), alps_bilateral_se=np.linspace(0.02, 0.09, 40))
    runs["alps_bilateral_uncorrected"] = runs["alps_bilateral"] - 0.02
    runs.loc[3:9, "status"] = "fail"
    plan = Plan(group="group", reference="control", variables=VARIABLES, **options)
    found = analyze_presets(runs, plan)["alps"].tables
    marked = found["sensitivity"].query("primary")
    adjusted = found["adjusted"].query("outcome == 'alps_bilateral'")
    assert len(marked) == 1
    np.testing.assert_allclose(marked[["difference", "p"]], adjusted[["difference", "p"]])


def test_a_permutation_beside_weights_is_said_to_be_unweighted() -> None:
    plan = Plan(group="group", reference="control", variables=VARIABLES, precision=True, permutations=50)
    found = analyze(cohort(30, alps_bilateral_se=0.05), plan)
    assert "by permutation (unweighted)" in sentences(found, plan)
    assert "participants unweighted" in " ".join(write_group_methods(found, plan).paragraphs)


def test_ages_in_bands_are_a_category() -> None:
    bands = [("20-29", "30-39", "40-49")[n % 3] for n in range(40)]
    found = analyze(cohort(40, age=bands), Plan(group="group", variables=VARIABLES[:1]))
    assert "norms" not in found.tables
    assert not any("Norms could not" in note for note in found.notes)


def test_a_section_that_fails_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = analyze(cohort(), GROUPED)
    monkeypatch.setattr("bids_alps.report.group_results._participants", lambda *_: {}["x"])
    shown = summarize_results(found, GROUPED)
    assert [result.title for result in shown][1:3] == ["Difference between groups (group)", "Participants by group"]
    assert "Not shown because of an error (KeyError: 'x')" in shown[2].sentences[0]


def test_errors_larger_than_the_variance_are_not_a_percentage() -> None:
    found = analyze(cohort(30, alps_bilateral_se=0.5), GROUPED)
    assert "are as large as its SD between participants" in sentences(found, GROUPED)

"""The group level on simulated cohorts: inclusion, comparisons, and the effect of each option."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_cohort import write_people, write_run, write_sixty

from bids_alps.cli import main
from bids_alps.io.root import write_root

pytestmark = [
    pytest.mark.medium,
    pytest.mark.untraced,
    pytest.mark.usefixtures("sixty", "unrendered"),  # charts of the sixty are rendered
]

DIFFERENCE = -0.12


def read(out, name):
    return pd.read_csv(out / f"group_{name}.tsv", sep="\t", na_values="n/a", keep_default_na=False)


def run(study, *chosen):
    bids, out = study
    write_root(out, bids)
    return main([str(bids), str(out), "group", "--permutations", "0", *chosen])


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    study = write_sixty(tmp_path_factory.mktemp("sixty"))
    assert run(study) == 0
    return study


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    """Write 30 controls and patients, patients lower; age differs between them and lowers the index."""
    root = tmp_path_factory.mktemp("thirty")
    bids, out = root / "bids", root / "out"
    rng = np.random.default_rng(5)
    group = np.repeat(["HC", "patient"], 15)
    age = np.round(np.where(group == "HC", 40, 55) + rng.normal(0, 8, 30))
    index = 1.6 - 0.004 * (age - 50) + DIFFERENCE * (group == "patient") + rng.normal(0, 0.05, 30)
    for n in range(30):
        write_run(out, {"sub": f"{n:02}"}, float(index[n]), seed=n)
    sex = np.array(["F", "M"])[np.arange(30) % 2]
    labels = [f"sub-{n:02}" for n in range(30)]
    write_people(bids, pd.DataFrame({"participant_id": labels, "group": group, "age": age, "sex": sex}))
    return root


@pytest.fixture
def study(thirty, tmp_path):
    """A copy of the 30 controls and patients, which a test may change."""
    shutil.copytree(thirty, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bids", tmp_path / "out"


def test_excluded_participants_are_listed_with_the_reason(sixty):
    _, out = sixty
    runs, excluded = read(out, "alps"), read(out, "exclusions")
    first = runs[(runs["session_id"] == "ses-1") & (runs["status"] != "fail") & (runs["roi_preset"] == "alps")]
    compared = read(out, "comparison")
    row = compared[(compared["outcome"] == "alps_bilateral") & (compared["roi_preset"] == "alps")].iloc[0]
    groups = runs.drop_duplicates("participant_id").set_index("participant_id")["group"]
    assert row["n_a"] == (groups[first["participant_id"]] == row["group_a"]).sum()
    missing = set(groups.index) - set(first["participant_id"])
    listed = excluded[(excluded["roi_preset"] == "alps") & (excluded["excluded_from"] == "comparison of groups")]
    assert set(listed["participant_id"]) == missing
    failed = excluded[(excluded["roi_preset"] == "alps") & (excluded["excluded_from"] == "all statistics")]
    assert set(failed["reason"]) == {"status fail (snr_b0)"}
    assert len(failed) == 5


def test_every_step_of_the_flow_adds_up(sixty):
    for _, steps in read(sixty[1], "flow").groupby("roi_preset"):
        counts = steps["runs"].to_numpy()
        np.testing.assert_array_equal(counts[:-1] - steps["excluded_runs"].to_numpy()[1:], counts[1:])


def test_the_page_shows_flow_difference_and_change(sixty):
    page = (sixty[1] / "group_alps.html").read_text()
    assert "108 runs of 60 participants identified; 5 failed their checks" in page
    assert "The bilateral index was lower in RLS than in control, adjusted for age, sex and site" in page
    assert "From ses-1 to ses-2 the bilateral index changed" in page
    assert "Specification curve" in page


def test_presets_are_analyzed_separately(sixty):
    rows = read(sixty[1], "within")
    whole = rows[(rows["outcome"] == "alps_bilateral") & (rows["group"] == "all")]
    assert list(whole["roi_preset"]) == ["alps", "alps_sphere"]
    assert len(set(whole["n_pairs"])) == 1
    assert whole["n_pairs"].iloc[0] < 50


def test_the_adjusted_difference_is_the_first_table_of_the_page(study):
    assert run(study) == 0
    row = read(study[1], "adjusted").set_index("outcome").loc["alps_bilateral"]
    assert row["covariates"] == "age, sex"
    assert row["difference_ci_low"] < DIFFERENCE < row["difference_ci_high"]
    assert row["unadjusted_difference"] < row["difference"]  # patients are older
    assert (row["group_a"], row["group_b"]) == ("HC", "patient")


@pytest.mark.slow
def test_the_requested_covariates_are_used(study):
    assert run(study, "--covariates", "Age", "pose") == 0
    assert set(read(study[1], "adjusted")["covariates"]) == {"age, pitch, roll, yaw"}
    assert run(study, "--covariates", "none") == 0
    row = read(study[1], "adjusted").iloc[0]
    assert row["difference"] == pytest.approx(row["unadjusted_difference"], rel=1e-6)
    assert run(study, "--covariates", "weight") == 64


@pytest.mark.slow
def test_another_reference_reverses_the_difference_and_defines_the_norm(study):
    assert run(study) == 0
    before, norms = read(study[1], "comparison").iloc[0], read(study[1], "norms")
    assert norms.loc[norms["in_reference"], "participant_id"].max() == "sub-14"
    assert run(study, "--reference-group", "patient") == 0
    after, norms = read(study[1], "comparison").iloc[0], read(study[1], "norms")
    assert after["difference"] == pytest.approx(-before["difference"], rel=1e-6)
    assert norms.loc[norms["in_reference"], "participant_id"].min() == "sub-15"
    assert run(study, "--reference-group", "nobody") == 64


def test_a_subset_contains_the_runs_that_meet_the_condition(study):
    assert run(study, "--subset", "age > 45 and sex == 'F'") == 0
    people = pd.read_csv(study[0] / "participants.tsv", sep="\t")
    meant = set(people.loc[(people["age"] > 45) & (people["sex"] == "F"), "participant_id"])
    assert set(people["participant_id"]) - meant == set(read(study[1], "exclusions")["participant_id"])
    assert "The analysis was restricted to age &gt; 45" in (study[1] / "group_alps.html").read_text()
    assert run(study, "--subset", "nothing > 4") == 64


def test_students_t_reproduces_a_published_result(study):
    assert run(study, "--test", "student") == 0
    compared, people = read(study[1], "comparison"), read(study[1], "participants").set_index("variable")
    assert set(compared["test"]) == {"student"}
    assert set(compared["df"]) == {28}
    assert people.loc["sex", "test"] == "N-1 chi-square"


@pytest.mark.slow
def test_weights_by_precision_replace_the_linear_model(study):
    assert run(study, "--weights", "precision") == 0
    indices = read(study[1], "adjusted").query("family == 'index'")
    assert set(indices["method"]) == {"random effects, weights by precision"}
    assert "Knapp" in (study[1] / "group_alps.html").read_text()


@pytest.mark.slow
def test_equivalence_is_tested_with_a_margin(study):
    assert run(study, "--equivalence-margin", "0.5") == 0
    assert (read(study[1], "equivalence")["p_equivalence"] < 0.05).all()
    assert run(study, "--equivalence-margin", "0.01") == 0
    assert (read(study[1], "equivalence")["p_equivalence"] > 0.05).all()
    assert run(study) == 0
    assert not (study[1] / "group_equivalence.tsv").exists()


@pytest.mark.slow
def test_permutations_are_run_on_request(study):
    assert run(study, "--permutations", "199") == 0
    rows = read(study[1], "adjusted").query("family == 'index'")
    assert set(rows["permutations"]) == {199}
    assert (rows["p_permutation"] >= 1 / 200).all()
    assert run(study) == 0
    assert "p_permutation" not in read(study[1], "adjusted")


def differ(study, labels, **changed):
    """Rewrite some index tables as if measured with other settings."""
    for label in labels:
        path = study[1] / f"sub-{label:02}" / "dwi" / f"sub-{label:02}_desc-alps_scalarstats.tsv"
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False).assign(**changed)
        table.to_csv(path, sep="\t", index=False)


@pytest.mark.slow
def test_runs_with_other_settings_are_excluded_with_a_banner_unless_pooled(study):
    differ(study, range(12, 18), pose_correction="false", settings_hash="ffff0000")
    assert run(study) == 0
    excluded = read(study[1], "exclusions")
    assert set(excluded["participant_id"]) == {f"sub-{n}" for n in range(12, 18)}
    assert excluded["reason"].str.contains("pose_correction false, others true").all()
    page = (study[1] / "group_alps.html").read_text()
    assert 'role="alert">6 of 30 runs were processed with a different method' in page
    assert run(study, "--pool-across", "pose_correction", "settings_hash") == 0
    assert read(study[1], "exclusions").empty
    assert "Pooled with --pool-across" in (study[1] / "group_alps.html").read_text()
    assert run(study, "--pool-across", "age") == 64


def test_without_a_majority_of_settings_nothing_is_compared(study):
    differ(study, range(15), distortion_corrected="false")
    assert run(study) == 0
    assert not (study[1] / "group_comparison.tsv").exists()
    page = (study[1] / "group_alps.html").read_text()
    assert "nothing was compared" in page
    assert "distortion_corrected" in page
    assert len(read(study[1], "alps")) == 30


@pytest.mark.slow
def test_tables_of_an_older_version_lack_settings(study):
    for path in study[1].rglob("*_desc-alps_scalarstats.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table.drop(columns=["settings_hash", "version", "alps_unreliable"]).to_csv(path, sep="\t", index=False)
    assert run(study) == 0
    assert read(study[1], "comparison")["n_a"].max() == 15


@pytest.mark.slow
def test_tables_of_an_earlier_run_are_removed(study):
    bids, out = study
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    write_people(bids, people.assign(site=np.array(["a", "b"])[np.arange(30) // 2 % 2]))
    assert run(study, "--harmonize", "site", "--model", "alps_bilateral ~ group") == 0
    assert (out / "group_harmonized.tsv").exists()
    (bids / "participants.tsv").unlink()
    assert run(study) == 0
    left = {path.name for path in out.glob("group_*")}
    assert not {"group_harmonized.tsv", "group_models.tsv", "group_comparison.tsv"} & left
    assert left == set(json.loads((out / "logs" / "group" / "receipt.json").read_text())["outputs"])


def two_sessions(tmp_path, *, change=-0.05, labels=("pre", "post")):
    """Write 20 participants of two sessions; three lack the first, four the last."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    rng = np.random.default_rng(9)
    for n in range(20):
        level = 1.5 + rng.normal(0, 0.1)
        for k, session in enumerate(labels):
            if (k == 0 and n < 3) or (k == 1 and n > 15):
                continue
            value = float(level + change * k + rng.normal(0, 0.02))
            write_run(out, {"sub": f"{n:02}", "ses": session}, value, seed=100 * n + k)
        rows = {"session_id": [f"ses-{name}" for name in labels], "drug": ["placebo", "verum"]}
        write_people(bids / f"sub-{n:02}", pd.DataFrame(rows), f"sub-{n:02}_sessions.tsv")
    group = np.array(["control", "patient"])[np.arange(20) % 2]
    write_people(bids, pd.DataFrame({"participant_id": [f"sub-{n:02}" for n in range(20)], "group": group}))
    return bids, out


@pytest.mark.slow
def test_sessions_are_compared_within_participants_in_the_given_order(tmp_path):
    study = two_sessions(tmp_path)
    assert run(study, "--sessions", "pre", "post") == 0
    row = read(study[1], "within").query("outcome == 'alps_bilateral' and group == 'all'").iloc[0]
    assert (row["level_a"], row["level_b"]) == ("ses-pre", "ses-post")
    assert (row["n_pairs"], row["n_incomplete"]) == (13, 7)
    assert row["change"] == pytest.approx(-0.05, abs=0.02)
    assert "in the order given by --sessions" in (study[1] / "group_alps.html").read_text()
    shutil.rmtree(study[1] / "logs")
    assert run(study) == 0
    row = read(study[1], "within").query("outcome == 'alps_bilateral' and group == 'all'").iloc[0]
    assert (row["level_a"], row["level_b"]) == ("ses-post", "ses-pre")  # by label, and the page says so
    assert "ordered by label" in (study[1] / "group_alps.html").read_text()


def test_a_within_participant_column_is_not_compared_between_participants(tmp_path):
    study = two_sessions(tmp_path)
    assert run(study, "--group-column", "drug") == 0
    assert not (study[1] / "group_comparison.tsv").exists()
    row = read(study[1], "within").query("outcome == 'alps_bilateral'").iloc[0]
    assert (row["factor"], row["level_a"], row["level_b"]) == ("drug", "placebo", "verum")
    assert row["n_pairs"] == 13
    assert row["test"] in ("paired t", "Wilcoxon")


def test_a_failing_formula_leaves_page_and_comparison(study):
    assert run(study, "--model", "alps_bilateral ~ group | age", "alps_bilateral ~ group + age") == 0
    page = (study[1] / "group_alps.html").read_text()
    assert "has a | outside of parentheses" in page
    assert set(read(study[1], "models")["model"]) == {"alps_bilateral ~ group + age"}
    assert (study[1] / "group_comparison.tsv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["latin-1", "no prefix", "ragged", "semicolons"])
def test_irregular_tables_are_read_with_a_note(study, damage):
    path = study[0] / "participants.tsv"
    text = path.read_text()
    changed, message = {
        "latin-1": (text.replace("patient", "pätient").encode("latin-1"), "read as Windows-1252"),
        "no prefix": (text.replace("sub-", "").encode(), "lack sub-"),
        "ragged": (text.replace("\tM\n", "\n").encode(), "fewer cells than columns"),
        "semicolons": (text.replace("\t", ";").encode(), "not by tabs"),
    }[damage]
    path.write_bytes(changed)
    assert run(study) == 0
    assert message in (study[1] / "group_alps.html").read_text()
    assert read(study[1], "comparison")["n_a"].max() == 15


def test_a_table_without_a_header_is_refused_and_the_tables_are_fresh(study, capsys):
    path = study[0] / "participants.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    assert run(study) == 65
    assert "line 1 is a row of values (sub-00)" in capsys.readouterr().err
    assert len(read(study[1], "alps")) == 30
    assert (study[1] / "group_alps.html").exists()


@pytest.mark.slow
def test_sites_confounded_with_groups_raise_a_banner(study):
    bids, out = study
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    site = np.where(np.arange(30) % 5 == 0, "b", "a")
    site = np.where(people["group"] == "HC", site, np.where(site == "a", "b", "a"))
    write_people(bids, people.assign(site=site))
    assert run(study, "--harmonize", "site") == 0
    page = (out / "group_alps.html").read_text()
    assert "Not recommended: tests of harmonized values" in page
    table = read(out, "harmonized")
    mean = (table["alps_left"] + table["alps_right"]) / 2
    np.testing.assert_allclose(table["alps_bilateral"], mean, atol=1e-5)


def test_participants_missing_from_the_adjusted_comparison_are_listed(study):
    bids, out = study
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str).assign(site="a")
    people.loc[4, "age"] = "n/a"
    people.loc[9:12, "site"], people.loc[20, "site"] = "b", "alone"
    write_people(bids, people)
    assert run(study) == 0
    listed = read(out, "exclusions").set_index("participant_id")["reason"].to_dict()
    assert listed == {
        "sub-04": "no value of age",
        "sub-20": "the only participant with their value of group or of a covariate",
    }


@pytest.mark.parametrize("chosen", [("--harmonize", "sitee"), ("--covariates", "agee"), ("--include-status", "warn")])
def test_a_misspelt_choice_is_refused_before_anything_is_written(
    study: tuple[Path, Path], chosen: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run(study, *chosen)
    except SystemExit as stopped:  # by the parser
        code = int(str(stopped.code))
    assert code == 64
    assert chosen[1] in capsys.readouterr().err
    assert not (study[1] / "group_alps.tsv").exists()


def test_the_receipt_tells_ratings_and_seed(study: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text("run\trating\nsub-01\tkeep\n")
    assert run(study, "--ratings", str(tmp_path / "r.tsv")) == 0
    settings = json.loads((study[1] / "logs" / "group" / "receipt.json").read_text())["settings"]
    assert settings["ratings"] == ["r.tsv"]
    assert isinstance(settings["random_seed"], int)


def test_one_failing_figure_costs_nothing_else(study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bids_alps.report.figures_group.draw_age", lambda *_: {}["x"])
    assert run(study) == 0
    page = (study[1] / "group_alps.html").read_text()
    assert "could not be drawn (KeyError" in page
    assert "Correlations" in page

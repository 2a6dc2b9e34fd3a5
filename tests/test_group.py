"""From tables of participants to tables of a cohort."""

import re
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from simulated_cohort import write_receipt, write_run

from bids_alps.cli import main
from bids_alps.group.atlases import join_atlases
from bids_alps.group.gather import columns_of, mark_repeated
from bids_alps.io.result_columns import QUALITY_COLUMNS
from bids_alps.io.root import write_root
from bids_alps.io.tables import Column, fill_rows, write_table
from bids_alps.report import figures_group, figures_statistics
from bids_alps.report.cohort import render_cohort
from bids_alps.statistics.comparability import METHOD
from bids_alps.statistics.correlation import correlate
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

pytestmark = pytest.mark.medium

DIFFERENCE = -0.12
SCRIPT_COLUMNS = (
    "id,scanner,x_proj_L,x_assoc_L,y_proj_L,z_assoc_L,x_proj_R,x_assoc_R,y_proj_R,z_assoc_R,alps_L,alps_R,alps"
)


@pytest.fixture(autouse=True)
def _unrendered_charts(monkeypatch, request):
    """Charts are made and not rendered, but for one test: that takes most of the time."""
    if request.node.name != "test_cohort_is_described_compared_and_modeled":
        for module in (figures_group, figures_statistics):
            monkeypatch.setattr(module, "svg_bytes", lambda figure: b"<svg></svg>")


@pytest.fixture
def cohort(tmp_path):
    """Write 12 + 12 participants whose means differ by a known amount; the index of the last one was withheld."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    rng = np.random.default_rng(3)
    people = ["participant_id\tgroup\tage\tsex\tsite"]
    noise = rng.normal(0, 0.1, 24)
    noise -= np.repeat([noise[:12].mean(), noise[12:].mean()], 12)
    for n in range(24):
        label, group = f"sub-{n + 1:02}", "control" if n < 12 else "patient"
        people.append(f"{label}\t{group}\t{30 + n % 12}\t{'FM'[n % 2]}\ta")
        index = 1.6 + DIFFERENCE * (n >= 12) + noise[n]
        write_run(out, {"sub": label.removeprefix("sub-")}, index, status="fail" if n == 23 else "pass", seed=n)
    (bids / "participants.tsv").write_text("\n".join(people) + "\n")
    write_root(out, bids)
    return bids, out


def test_cohort_is_described_compared_and_modeled(cohort):
    bids, out = cohort
    chosen = ["--model", "alps_bilateral ~ group + age", "--include-status", "fail"]
    assert main([str(bids), str(out), "group", *chosen]) == 0
    read = {path.stem: pd.read_csv(path, sep="\t", na_values="n/a") for path in out.glob("group_*.tsv")}
    assert len(read["group_alps"]) == 24
    assert len(read["group_rois"]) == 24 * 6
    found = read["group_comparison"].set_index("outcome").loc["alps_bilateral"]
    assert found["difference"] == pytest.approx(DIFFERENCE, abs=1e-6)
    assert found["difference_ci_low"] < DIFFERENCE < found["difference_ci_high"]
    assert len(read["group_comparison"]) == 12
    assert "group[T.patient]" in set(read["group_models"]["term"])
    assert "group_correlations" in read
    assert "Difference between groups (group)" in (out / "group_alps.html").read_text()
    for path in out.glob("group_*.tsv"):
        assert path.with_suffix(".json").exists()


def test_failed_runs_are_listed_and_excluded_unless_requested(cohort):
    bids, out = cohort
    largest = {}
    for name, chosen in {"default": [], "included": ["--include-status", "fail"]}.items():
        assert main([str(bids), str(out), "group", *chosen]) == 0
        largest[name] = pd.read_csv(out / "group_comparison.tsv", sep="\t")["n_b"].max()
        excluded = pd.read_csv(out / "group_exclusions.tsv", sep="\t")
        assert list(excluded["participant_id"]) == (["sub-24"] if name == "default" else [])
        assert list(excluded["reason"]) == (["status fail"] if name == "default" else [])
    assert largest == {"default": 11, "included": 12}


def test_an_invalid_formula_affects_nothing_else(cohort, caplog):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "--model", "alps_bilateral ~ nothing"]) == 0
    assert "names no column: nothing" in caplog.text
    assert (out / "group_comparison.tsv").exists()


def test_pooled_datasets_are_distinguished(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "-d", f"again={out}"]) == 0
    table = pd.read_csv(out / "group_alps.tsv", sep="\t")
    assert table.groupby("dataset").size().to_dict() == {"again": 24, "output": 24}


def test_a_label_in_two_datasets_means_two_participants(cohort, tmp_path):
    bids, out = cohort
    other = tmp_path / "other"
    shutil.copytree(out, other)
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    people.assign(age=people["age"] + 40, handedness="left").to_csv(other / "participants.tsv", sep="\t", index=False)
    assert main([str(bids), str(out), "group", "-d", f"other={other}"]) == 0
    table = pd.read_csv(out / "group_alps.tsv", sep="\t", na_values="n/a")
    ages = table.pivot_table("age", "participant_id", "dataset")
    assert (ages["other"] - ages["output"] == 40).all()
    assert table.groupby("dataset")["handedness"].count().to_dict() == {"other": 24, "output": 0}


def test_a_run_in_two_datasets_is_counted_once(cohort, caplog):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "-d", f"again={out}"]) == 0
    assert "Participants with runs in two datasets, which are counted once: " in caplog.text
    excluded = pd.read_csv(out / "group_exclusions.tsv", sep="\t")
    assert set(excluded.loc[excluded["dataset"] == "again", "reason"]) == {"the same run as in dataset output"}


def test_unmatched_and_repeated_participants_are_reported(cohort):
    bids, out = cohort
    lines = (bids / "participants.tsv").read_text().splitlines()
    (bids / "participants.tsv").write_text("\n".join([*lines[:2], lines[1], *lines[3:]]) + "\n")
    assert main([str(bids), str(out), "group"]) == 0
    page = (out / "group_alps.html").read_text()
    assert "Not in participants.tsv: sub-02." in page
    assert "Duplicate rows in participants.tsv, of which the first is used: sub-01." in page
    assert len(pd.read_csv(out / "group_alps.tsv", sep="\t")) == 24


def test_checks_are_columns_of_the_index_table(cohort):
    bids, out = cohort
    checks = [
        {"roi_preset": "alps", "name": "pitch", "value": 9.5, "status": "warn"},
        {"roi_preset": "alps", "name": "snr_b0", "value": 2.0, "status": "fail"},
        {"roi_preset": "alps", "name": "fa", "value": 0.4, "status": "pass"},
        {"roi_preset": "other", "name": "fa", "value": 0.1, "status": "fail"},
    ]
    write_table(
        out / "sub-03" / "dwi" / "sub-03_desc-quality_scalarstats.tsv",
        fill_rows(checks, QUALITY_COLUMNS),
        QUALITY_COLUMNS,
    )
    assert main([str(bids), str(out), "group"]) == 0
    row = pd.read_csv(out / "group_alps.tsv", sep="\t").set_index("participant_id").loc["sub-03"]
    assert (row["checks_failed"], row["checks_warned"]) == ("snr_b0", "pitch")
    assert (row["check_pitch"], row["check_fa"]) == (9.5, 0.4)


def test_the_table_of_the_script_has_its_thirteen_columns(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group"]) == 0
    table = pd.read_csv(out / "group_alps-sh.csv")
    assert ",".join(table.columns) == SCRIPT_COLUMNS


def test_sites_are_harmonized_and_shown(cohort):
    bids, out = cohort
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    people["site"] = ["ab"[n % 2] for n in range(24)]
    people["sex"] = ["FM"[n // 2 % 2] for n in range(24)]
    people.to_csv(bids / "participants.tsv", sep="\t", index=False)
    assert main([str(bids), str(out), "group", "--harmonize", "site"]) == 0
    page = (out / "group_alps.html").read_text()
    assert "Harmonized over site by ComBat, protecting group, age, sex." in page
    assert "before and after ComBat" in page
    assert "Index by age" in page
    assert "Correlations" in page


def test_a_non_numeric_age_is_missing_and_counted(cohort):
    bids, out = cohort
    text = (bids / "participants.tsv").read_text().replace("sub-05\tcontrol\t34", "sub-05\tcontrol\tn/k")
    (bids / "participants.tsv").write_text(text)
    assert main([str(bids), str(out), "group", "--model", "alps_bilateral ~ group + age"]) == 0
    found = pd.read_csv(out / "group_models.tsv", sep="\t").set_index("term")
    assert "age" in found.index
    assert set(found["n"]) == {22}
    assert set(found["n_excluded"]) == {1}


@pytest.mark.parametrize("people", ["one group", "one participant", "no participants.tsv"])
def test_a_small_cohort_is_still_described(cohort, people):
    bids, out = cohort
    if people == "one group":
        text = (bids / "participants.tsv").read_text()
        (bids / "participants.tsv").write_text(text.replace("patient", "control"))
    elif people == "one participant":
        for n in range(1, 24):
            shutil.rmtree(out / f"sub-{n + 1:02}")
    else:
        (bids / "participants.tsv").unlink()
    assert main([str(bids), str(out), "group", "--model", "alps_bilateral ~ age"]) == 0
    assert (out / "group_alps.tsv").exists()
    assert not (out / "group_comparison.tsv").exists()
    assert "Groups are not compared" in (out / "group_alps.html").read_text()


def test_an_output_without_results_is_reported(tmp_path, capsys):
    (tmp_path / "bids").mkdir()
    assert main([str(tmp_path / "bids"), str(tmp_path / "out"), "group"]) == 66
    assert "no results of any participant" in capsys.readouterr().err


def test_a_single_site_is_not_harmonized(cohort, caplog):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "--harmonize", "site"]) == 0
    assert "Not harmonized. ComBat: 1 site" in caplog.text
    assert (out / "group_comparison.tsv").exists()


PUTAMEN = {"age": -0.002, "score": 0.01}


@pytest.fixture
def atlas(cohort):
    """Add an atlas in which the FA of the left putamen depends on age and a score, and that of the right on neither."""
    bids, out = cohort
    rng = np.random.default_rng(8)
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    people = people.assign(age=rng.uniform(30, 70, 24).round(1), score=rng.normal(5, 2, 24).round(2))
    people.to_csv(bids / "participants.tsv", sep="\t", index=False)
    known = 0.5 + PUTAMEN["age"] * people["age"] + PUTAMEN["score"] * people["score"] + rng.normal(0, 0.01, 24)
    names = ("index", "name", "n_voxels", "fa_mean", "fa_sd", "md_mean")
    for label, fa in zip(people["participant_id"], known, strict=True):
        rows = [
            {"index": 1, "name": "Putamen, left", "n_voxels": 90, "fa_mean": fa, "fa_sd": 0.1, "md_mean": 7e-4},
            {"index": 2, "name": "Putamen, right", "n_voxels": 80, "fa_mean": rng.normal(0.4, 0.01), "md_mean": 7e-4},
        ]
        columns = [Column(name=name, description=name) for name in names]
        write_table(out / label / "dwi" / f"{label}_seg-basal_scalarstats.tsv", fill_rows(rows, columns), columns)
        write_receipt(out, {"sub": label.removeprefix("sub-")})
    return bids, out


def test_regions_of_an_atlas_are_gathered_compared_and_correlated(atlas):
    bids, out = atlas
    assert main([str(bids), str(out), "group"]) == 0
    table = pd.read_csv(out / "group_seg-basal.tsv", sep="\t")
    assert list(table["region"])[:2] == ["putamen_left", "putamen_right"]
    assert len(table) == 48
    compared = pd.read_csv(out / "group_comparison.tsv", sep="\t", na_values="n/a")
    regions = ["putamen_left_fa", "putamen_right_fa", "putamen_left_md", "putamen_right_md"]
    assert list(compared.loc[compared["family"] == "atlas", "outcome"]) == regions
    correlated = pd.read_csv(out / "group_correlations.tsv", sep="\t", na_values="n/a")
    assert set(regions) < set(correlated["outcome"])


def test_multiple_regression_recovers_the_simulated_slopes(atlas):
    bids, out = atlas
    assert main([str(bids), str(out), "group", "--model", "putamen_left_fa ~ age + score"]) == 0
    found = pd.read_csv(out / "group_models.tsv", sep="\t").set_index("term")
    for term, slope in PUTAMEN.items():
        row: dict[Any, Any] = found.loc[term].to_dict()
        assert row["ci_low"] < slope < row["ci_high"]
        assert row["standardized_ci_low"] < row["standardized"] < row["standardized_ci_high"]
        assert row["p"] < 0.001
    tests = pd.read_csv(out / "group_model_tests.tsv", sep="\t", na_values="n/a").set_index("term")
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    table = pd.read_csv(out / "group_seg-basal.tsv", sep="\t").query("region == 'putamen_left'")
    direct = smf.ols("fa_mean ~ age + score", people.merge(table, on="participant_id").iloc[:23]).fit()
    whole = tests.loc["all terms", ["statistic", "df", "df_error", "r2", "r2_adjusted"]].astype(float)
    expected = [direct.fvalue, 2, 20, direct.rsquared, direct.rsquared_adj]
    np.testing.assert_allclose(whole, expected, rtol=1e-5)


def test_a_region_name_in_two_atlases_is_distinguished():
    table = pd.DataFrame({"participant_id": ["sub-1"], "run": [None], "alps_left": [1.5]})
    row = {"participant_id": "sub-1", "region": "putamen", "name": "putamen", "index": 1.0}
    joined, names = join_atlases(table, {"one": [row | {"fa_mean": 0.4}], "Two": [row | {"fa_mean": 0.5}]})
    assert names == ("putamen_fa", "two_putamen_fa")
    assert joined.loc[0, list(names)].tolist() == [0.4, 0.5]


def test_regions_belong_to_their_run():
    table = pd.DataFrame({"participant_id": ["sub-1"] * 3, "run": [np.nan, "2", "3"], "alps_left": [1.5, 1.6, 1.7]})
    rows = [
        {"participant_id": "sub-1", "region": "a", "fa_mean": 0.1},
        {"participant_id": "sub-1", "run": "2", "region": "a", "fa_mean": 0.2},
    ]
    joined, _ = join_atlases(table, {"atlas": rows})
    np.testing.assert_equal(joined["a_fa"].to_numpy(), [0.1, 0.2, np.nan])


def test_a_table_of_another_kind_is_reported_and_ignored(cohort, caplog):
    bids, out = cohort
    (out / "sub-01" / "dwi" / "sub-01_seg-odd_scalarstats.tsv").write_text("what\tmean\na\t1\n")
    write_receipt(out, {"sub": "01"})
    assert main([str(bids), str(out), "group"]) == 0
    assert "sub-01_seg-odd_scalarstats.tsv: columns index, name or fa_mean are missing" in caplog.text
    assert not (out / "group_seg-odd.tsv").exists()


def test_participants_without_a_column_are_reported(cohort, capsys):
    bids, out = cohort
    (bids / "participants.tsv").write_text("label\tage\nsub-01\t30\n")
    assert main([str(bids), str(out), "group"]) == 65
    assert (
        "participants.tsv: no column participant_id. Name its first column participant_id." in capsys.readouterr().err
    )


def test_empty_or_constant_variables_affect_nothing_else(cohort):
    bids, out = cohort
    people = pd.read_csv(bids / "participants.tsv", sep="\t").assign(age=np.nan, sex="F", weight=70)
    people.to_csv(bids / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    assert main([str(bids), str(out), "group"]) == 0
    compared = pd.read_csv(out / "group_comparison.tsv", sep="\t", na_values="n/a")
    assert compared["p"].notna().all()


def test_unreadable_numbers_and_empty_groups_are_missing(cohort):
    bids, out = cohort
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    people.loc[0, "age"], people.loc[1, "group"], people.loc[2, "group"] = "89+", "n/a", ""
    people.to_csv(bids / "participants.tsv", sep="\t", index=False)
    assert main([str(bids), str(out), "group"]) == 0
    described = pd.read_csv(out / "group_description.tsv", sep="\t", na_values="n/a").set_index(["variable", "group"])
    assert described.loc[("age", "all"), "n"] == 21
    compared = pd.read_csv(out / "group_comparison.tsv", sep="\t")
    assert (len(compared), compared["n_a"].max()) == (12, 10)


def test_correlations_of_many_regions_are_drawn_in_part(tmp_path):
    names = [f"region{n}_fa" for n in range(41)]
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 42)), columns=[*names, "score"])
    row = {"participant_id": "sub-1", "alps_left": 1.5, "alps_right": 1.6, "alps_bilateral": 1.55, "status": "pass"}
    found = Findings(tables={"correlations": correlate(table, names, ["score"])})
    assert "The first 40 of 41 outcomes" in render_cohort(tmp_path, [row], {"alps": found}, plan=Plan())


def test_correlations_with_many_variables_are_drawn_in_part(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        figures_group, "draw_correlations", lambda table, _: drawn.extend(table["variable"]) or b"<svg/>"
    )
    names = [f"score{n}" for n in range(13)]
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 14)), columns=["alps_bilateral", *names])
    row = {"participant_id": "sub-1", "alps_left": 1.5, "alps_right": 1.6, "alps_bilateral": 1.55, "status": "pass"}
    found = Findings(tables={"correlations": correlate(table, ["alps_bilateral"], names)})
    page = render_cohort(tmp_path, [row], {"alps": found}, plan=Plan())
    assert "The first 12 of 13 variables" in page
    assert set(drawn) == set(names[:12])


def test_correlations_of_too_few_participants_are_not_drawn(tmp_path):
    table = pd.DataFrame({"alps_bilateral": [1.5, 1.6], "score": [1.0, 2.0]})
    row = {"participant_id": "sub-1", "alps_left": 1.5, "alps_right": 1.6, "alps_bilateral": 1.55, "status": "pass"}
    found = Findings(tables={"correlations": correlate(table, ["alps_bilateral"], ["score"])})
    assert "Pearson" not in render_cohort(tmp_path, [row], {"alps": found}, plan=Plan())


def test_the_page_links_every_table(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group"]) == 0
    linked = set(re.findall(r'<a href="([^"]+)" download>', (out / "group_alps.html").read_text()))
    assert linked == {path.name for path in out.glob("group_*.[tc]sv")}
    assert "group_rois.tsv" in linked


def test_groups_can_be_in_another_column(cohort):
    bids, out = cohort
    people = bids / "participants.tsv"
    numbered = people.read_text().replace("\tgroup\t", "\tarm\t", 1).replace("control", "1").replace("patient", "2")
    people.write_text(numbered)
    assert main([str(bids), str(out), "group", "--group-column", "arm", "--include-status", "fail"]) == 0
    found = pd.read_csv(out / "group_comparison.tsv", sep="\t").set_index("outcome").loc["alps_bilateral"]
    assert found["difference"] == pytest.approx(DIFFERENCE, abs=1e-6)


@pytest.mark.parametrize("name", ["lesions", "rois"])
def test_mask_and_region_datasets_are_not_pooled(cohort, name):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "-d", f"{name}={out}"]) == 0
    table = pd.read_csv(out / "group_alps.tsv", sep="\t")
    assert len(table) == 24
    assert "dataset" not in table


def test_runs_without_an_index_are_not_taken_for_the_same() -> None:
    runs = pd.DataFrame(
        {
            "dataset": ["output", "b", "output", "b", "output", "b"],
            "participant_id": ["sub-1", "sub-1", "sub-2", "sub-2", "sub-3", "sub-3"],
            "alps_left": [1.5, 1.5, None, None, 1.5, 1.6],
            "alps_right": [1.4, 1.4, None, None, 1.5, 1.5],
            "roi_preset": "alps",
        }
    )
    assert mark_repeated(runs)["_repeated_in"].fillna("").tolist() == ["", "output", "", "", "", ""]


def test_every_column_is_listed_once():
    names = [column.name for column in columns_of([{"participant_id": "sub-01", **dict.fromkeys(METHOD, "1")}])]
    assert len(names) == len(set(names))
    assert set(METHOD) <= set(names)


def test_a_chosen_column_of_numbers_is_of_groups(cohort):
    bids, out = cohort
    table = (bids / "participants.tsv").read_text()
    for old, new in (("\tgroup\t", "\tdose\t"), ("\tcontrol\t", "\t10\t"), ("\tpatient\t", "\t25\t")):
        table = table.replace(old, new)
    (bids / "participants.tsv").write_text(table)
    assert main([str(bids), str(out), "group", "--group-column", "dose"]) == 0
    compared = pd.read_csv(out / "group_comparison.tsv", sep="\t", dtype=str)
    assert {(row.group_a, row.group_b, row.n_a, row.n_b) for row in compared.itertuples()} == {("10", "25", "12", "11")}

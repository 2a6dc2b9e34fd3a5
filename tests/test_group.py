"""From tables of participants to tables of a cohort."""

import numpy as np
import pandas as pd
import pytest

from bids_alps.cli import main
from bids_alps.io.results import ALPS_COLUMNS, ROI_COLUMNS
from bids_alps.io.tables import write_table

DIFFERENCE = -0.12


@pytest.fixture
def cohort(tmp_path):
    """Write 12 + 12 participants whose means differ by a known amount; the last one failed its checks."""
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
        row = {column.name: 0.001 * (1 + 0.1 * rng.normal()) for column in ALPS_COLUMNS}
        row |= {"roi_preset": "alps", "alps": index, "status": "fail" if n == 23 else "pass"}
        rows = [row | {"hemisphere": side} for side in ("left", "right", "bilateral")]
        write_table(out / label / "dwi" / f"{label}_desc-alps_scalarstats.tsv", rows, ALPS_COLUMNS)
        regions = [{"roi_preset": "alps", "roi": "projection_left", "dxx": 0.001}]
        write_table(out / label / "dwi" / f"{label}_seg-alps_scalarstats.tsv", regions, ROI_COLUMNS)
    (bids / "participants.tsv").write_text("\n".join(people) + "\n")
    return bids, out


def test_cohort_is_described_compared_and_modelled(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "--model", "alps_bilateral ~ group + age"]) == 0
    read = {path.stem: pd.read_csv(path, sep="\t", na_values="n/a") for path in out.glob("group_*.tsv")}
    assert len(read["group_alps"]) == 24
    assert len(read["group_rois"]) == 24
    found = read["group_comparison"].set_index("outcome").loc["alps_bilateral"]
    assert found["difference"] == pytest.approx(DIFFERENCE, abs=1e-6)
    assert found["difference_ci_low"] < DIFFERENCE < found["difference_ci_high"]
    assert len(read["group_comparison"]) == 12
    assert "group[T.patient]" in set(read["group_models"]["term"])
    assert "group_correlations" in read
    assert "Comparison" in (out / "group_alps.html").read_text()
    for path in out.glob("group_*.tsv"):
        assert path.with_suffix(".json").exists()


def test_excluded_runs_are_listed_and_left_out(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "--exclude-status", "fail"]) == 0
    excluded = pd.read_csv(out / "group_exclusions.tsv", sep="\t")
    assert list(excluded["participant_id"]) == ["sub-24"]
    assert list(excluded["excluded_for"]) == ["status fail"]
    assert pd.read_csv(out / "group_comparison.tsv", sep="\t")["n_b"].max() == 11


def test_bad_formula_takes_nothing_along(cohort, caplog):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "--model", "alps_bilateral ~ nothing"]) == 0
    assert "names no column: nothing" in caplog.text
    assert (out / "group_comparison.tsv").exists()


def test_pooled_datasets_are_told_apart(cohort):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "-d", f"again={out}"]) == 0
    table = pd.read_csv(out / "group_alps.tsv", sep="\t")
    assert table.groupby("dataset").size().to_dict() == {"again": 24, "output": 24}


def test_nobody_is_told(tmp_path, capsys):
    (tmp_path / "bids").mkdir()
    assert main([str(tmp_path / "bids"), str(tmp_path / "out"), "group"]) == 66
    assert "no index of any participant" in capsys.readouterr().err


def test_one_site_is_not_harmonised_and_all_else_is_done(cohort, caplog):
    bids, out = cohort
    assert main([str(bids), str(out), "group", "--harmonise", "site"]) == 0
    assert "Not harmonised. ComBat: 1 site" in caplog.text
    assert (out / "group_comparison.tsv").exists()

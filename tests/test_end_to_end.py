"""The main job on a small phantom: from files to a group table."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden_study import GOLDEN, differences, run_study, tables_of

from bids_alps import cli
from bids_alps.io.tables import read_table

pytestmark = pytest.mark.slow  # whole runs of a phantom


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Data, output, exit codes and the truth of one study of both levels; one of its two heads has a lesion mask."""
    root = tmp_path_factory.mktemp("study")
    codes, truth = run_study(root)
    return root / "data", root / "out", codes, truth


def test_both_levels_succeed(study):
    assert study[2] == [0, 0]


def test_every_number_equals_the_golden_tables(study):
    """`make golden` keeps the new ones and prints the changes."""
    assert list(differences(tables_of(GOLDEN), tables_of(study[1]))) == []


def test_the_index_equals_that_of_the_phantom(study):
    _, out, _, truth = study
    table = read_table(out / "group_alps.tsv")
    assert list(table["participant_id"]) == ["sub-01", "sub-02"]
    np.testing.assert_allclose(table["alps_bilateral"], [row["alps_bilateral"] for row in truth], atol=0.15)


def test_the_pose_is_recovered(study):
    _, out, _, truth = study
    table = read_table(out / "group_alps.tsv")
    for angle in ("pitch", "roll", "yaw"):
        np.testing.assert_allclose(table[angle], [row[angle] for row in truth], atol=2.0)


def test_intervals_surround_the_index(study):
    table = read_table(study[1] / "group_alps.tsv")
    for side in ("left", "right", "bilateral"):
        assert (table[f"alps_{side}_ci_low"] < table[f"alps_{side}"]).all()
        assert (table[f"alps_{side}"] < table[f"alps_{side}_ci_high"]).all()


def test_every_table_has_a_dictionary_of_its_columns(study):
    tables = [*sorted(study[1].rglob("*_scalarstats.tsv")), study[1] / "group_alps.tsv"]
    assert len(tables) == 7
    for path in tables:
        dictionary = json.loads(path.with_suffix(".json").read_text())
        assert set(read_table(path).columns) == set(dictionary)
        assert all(entry["Description"] for entry in dictionary.values())


def test_pages_are_written_and_self_contained(study):
    for label in ("01", "02"):
        page = (study[1] / f"sub-{label}.html").read_text()
        assert "not a measure of glymphatic clearance" in page
        assert 'src="http' not in page
        assert len(page) < 6e6


def test_lesions_are_reported_from_the_mask_to_the_group(study):
    table = read_table(study[1] / "group_alps.tsv").set_index("participant_id")
    assert table.loc["sub-01", "lesion_overlap_projection"] == pytest.approx(0.25, abs=0.06)  # a half of one of two
    assert table.loc["sub-01", "check_lesion_overlap"] == pytest.approx(0.5, abs=0.12)
    assert table.loc["sub-01", "lesion_space"] == "MNI152NLin2009aSym"
    assert table.loc["sub-01", "alps_with_lesions"] == table.loc["sub-01", "alps_bilateral"]
    assert table.loc["sub-02", ["lesion_overlap_projection", "alps_without_lesions", "lesion_volume"]].isna().all()
    assert "lesion_overlap" in table.loc["sub-02", "checks_warned"]
    regions = read_table(study[1] / "group_rois.tsv").set_index(["participant_id", "roi"])["lesion_overlap"]
    assert regions["sub-01", "projection_left"] == pytest.approx(2 * table.loc["sub-01", "lesion_overlap_projection"])
    assert regions["sub-01", "projection_right"] == 0
    pages = [(study[1] / f"sub-{label}.html").read_text() for label in ("01", "02")]
    assert "Lesions in the regions" in pages[0]
    assert "No lesion mask was found for this run" in pages[1]


def test_no_half_written_file_remains(study):
    assert not list(study[1].rglob("*.tmp"))


def test_running_again_gives_the_same_bytes(study, tmp_path):
    data, out, _, _ = study
    lesions = f"lesions={data.parent / 'lesions'}"
    options = ["--participant-label", "sub-02", "-d", lesions, "--rois", "alps"]
    assert cli.main([str(data), str(tmp_path), "participant", *options]) == 0
    first = sorted(path.relative_to(out) for path in (out / "sub-02").rglob("*") if path.is_file())
    again = sorted(path.relative_to(tmp_path) for path in (tmp_path / "sub-02").rglob("*") if path.is_file())
    assert first == again
    for path in first:
        if path.suffix != ".json" or "receipt" not in path.name:
            assert (out / path).read_bytes() == (tmp_path / path).read_bytes(), path

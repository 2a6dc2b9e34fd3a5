"""Sessions of one participant from files to the change of the index: equal ones, another protocol, one that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bids_alps import cli
from bids_alps.errors import UsageError
from bids_alps.io.images import read_map
from bids_alps.io.tables import read_table
from bids_alps.io.transforms import read_itk_matrix
from bids_alps.model import DwiRun
from bids_alps.participant import find_longitudinal_runs
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.report.participant import read_participant_page

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered")]  # whole runs of a phantom

SETTINGS = PhantomSettings(participants=2, sessions=1, voxel_size=5.0, directions=6, b0=1, rotation=0.0, warp=0.0)
OPTIONS = (
    *("--longitudinal", "--skip-preprocessing", "--registrar", "identity", "--skip-bids-validation"),
    *("--rois", "alps"),
    "--keep-failed",  # this head is too small for the checks of directions
)


def run_of(**entities: str) -> DwiRun:
    return DwiRun(entities=entities, image=Path("i"), bval=Path("b"), bvec=Path("c"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A head in template space: two equal sessions, one with another echo time, one without gradients."""
    root = tmp_path_factory.mktemp("longitudinal")
    data, out = root / "in", root / "out"
    write_phantom(data, SETTINGS)
    for session in ("2", "3", "4"):
        for path in (data / "sub-01/ses-1/dwi").iterdir():
            copy = data / f"sub-01/ses-{session}/dwi" / path.name.replace("ses-1", f"ses-{session}")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    sidecar = data / "sub-01/ses-3/dwi/sub-01_ses-3_dwi.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"EchoTime": 0.1}))
    (data / "sub-01/ses-4/dwi/sub-01_ses-4_dwi.bvec").write_text("1 0\n")
    return data, out, cli.main([str(data), str(out), "participant", *OPTIONS])


def test_equal_sessions_have_not_changed(study: tuple[Path, Path, int]) -> None:
    table = read_table(study[1] / "sub-01/dwi/sub-01_desc-change_scalarstats.tsv")
    assert len(table) == 9  # three pairs of the sessions that can be used, three hemispheres
    np.testing.assert_allclose(table["change"], 0, atol=1e-6)
    assert (table["change_ci_low"] < 0).all()
    assert (table["change_ci_high"] > 0).all()
    np.testing.assert_allclose(table[["change_se_placement", "change_se_pose", "change_se_resolution"]], 0, atol=1e-4)


def test_sessions_with_different_protocols_are_flagged(study: tuple[Path, Path, int]) -> None:
    table = read_table(study[1] / "sub-01/dwi/sub-01_desc-change_scalarstats.tsv")
    other = table["second_session"].astype(str) == "3"
    assert set(table.loc[other, "differs"]) == {"echo_time"}
    assert set(table.loc[other, "protocol"]) == {"different"}
    assert set(table.loc[~other, "protocol"]) == {"same"}
    assert "pass" not in set(table.loc[other, "status"])


def test_a_failed_session_is_reported_and_the_others_continue(study: tuple[Path, Path, int]) -> None:
    _, out, code = study
    page = read_participant_page(out, "01")
    assert code != 0
    assert [failure.run for failure in page.failures] == ["sub-01_ses-4"]
    assert [run.name for run in page.runs] == ["sub-01_ses-1", "sub-01_ses-2", "sub-01_ses-3"]
    (table,) = page.changes
    assert [row[0] for row in table.rows][:3] == ["1 to 2, left", "1 to 2, right", "1 to 2, bilateral"]


def test_a_single_session_is_not_compared(study: tuple[Path, Path, int]) -> None:
    _, out, _ = study
    assert list((out / "sub-02").rglob("*longitudinal*")) == []
    assert read_participant_page(out, "02").changes == ()


def test_results_of_a_session_record_their_frame(study: tuple[Path, Path, int]) -> None:
    folder = study[1] / "sub-01/ses-2/dwi"
    for kind, frame in (("alps", "cross-sectional"), ("longitudinal", "longitudinal")):
        table = read_table(folder / f"sub-01_ses-2_desc-{kind}_scalarstats.tsv")
        assert set(table["frame"]) == {frame}
    assert "session_similarity" in set(
        read_table(folder / "sub-01_ses-2_desc-longitudinalquality_scalarstats.tsv")["name"]
    )
    assert (read_map(folder / "sub-01_ses-2_seg-alps_desc-longitudinal_dseg.nii.gz").data > 0).any()
    way = read_itk_matrix(folder / "sub-01_ses-2_from-dwi_to-midpoint_mode-image_desc-rigid_xfm.txt")
    np.testing.assert_allclose(way, np.eye(4), atol=1e-2)


def test_longitudinal_results_are_reused_until_a_session_changes(
    study: tuple[Path, Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, _ = study
    chosen = [str(data), str(out), "participant", *OPTIONS, "--participant-label", "01", "--session-label", "1", "2"]
    shutil.copytree(out, out.with_name("again"))
    chosen[1] = str(out.with_name("again"))
    change = Path(chosen[1]) / "sub-01/dwi/sub-01_desc-change_scalarstats.tsv"
    assert cli.main(chosen) == 0  # two sessions where there were three
    assert "sub-01_longitudinal: ses-1 to ses-2 bilateral +0.000" in capsys.readouterr().out.replace("-0.000", "+0.000")
    first = change.read_bytes()
    assert len(read_table(change)) == 3
    assert cli.main(chosen) == 0
    assert capsys.readouterr().out.count("[up to date]") == 3
    change.unlink()
    assert cli.main(chosen) == 0
    assert change.read_bytes() == first


def test_the_group_level_reads_longitudinal_results(study: tuple[Path, Path, int]) -> None:
    data, out, _ = study
    assert cli.main([str(data), str(out), "group", "--longitudinal"]) == 0
    table = read_table(out / "group_alps.tsv")
    frames = dict(zip(table["participant_id"] + table["session_id"], table["frame"], strict=True))
    assert frames["sub-01ses-1"] == "longitudinal"
    assert frames["sub-02ses-1"] == "cross-sectional"
    changes = read_table(out / "group_change.tsv")
    assert set(changes["participant_id"]) == {"sub-01"}
    assert len(changes) == 9


def test_runs_that_differ_only_in_session_are_repeats() -> None:
    one, two = run_of(sub="01", ses="1", dir="AP"), run_of(sub="01", ses="2", dir="AP")
    other, alone = run_of(sub="01", ses="1", dir="PA"), run_of(sub="02")
    assert find_longitudinal_runs([one, other, two, alone]) == [(one, two)]
    assert find_longitudinal_runs([one, two, run_of(sub="01", dir="AP")]) == []  # its files would be called like theirs


@pytest.mark.parametrize("options", [("--registrar", "precomputed"), ("--rois", "alps.sh")])
def test_options_that_cannot_apply_to_longitudinal_runs_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--longitudinal"):
        cli.settings_from([str(tmp_path / "in"), str(tmp_path / "out"), "participant", "--longitudinal", *options])

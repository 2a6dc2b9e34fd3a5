"""Several ROI presets in one run: one set of regions, rows, checks and figures each."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pandas as pd
import pytest

from bids_alps import cli
from bids_alps.group.datasets import open_datasets
from bids_alps.group.gather import gather
from bids_alps.io.images import read_map, read_volumes
from bids_alps.io.tables import read_table
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.report.participant import read_participant_page

pytestmark = pytest.mark.slow  # whole runs of a phantom

PRESETS = ("alps", "alps.sh")
SETTINGS = PhantomSettings(participants=1, voxel_size=4.0, directions=8, b0=1, rotation=0.0, warp=0.0)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a head in template space."""
    root = tmp_path_factory.mktemp("presets")
    write_phantom(root / "in", SETTINGS)
    options = ["--skip-preprocessing", "--registrar", "identity", "--skip-bids-validation", "--rois", *PRESETS]
    assert cli.main([str(root / "in"), str(root / "out"), "participant", *options]) == 0
    return root / "out"


def test_a_custom_template_and_regions(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Any FA map in the template's space, and the regions that were placed, as a set of one's own."""
    fa, rois = tmp_path / "tpl-Ours_FA.nii.gz", tmp_path / "tpl-Ours_seg-drawn_dseg.nii.gz"
    shutil.copy(out / "sub-01/dwi/sub-01_model-tensor_param-fa_dwimap.nii.gz", fa)
    shutil.copy(out / "sub-01/dwi/sub-01_seg-alps_dseg.nii.gz", rois)
    shutil.copy(out / "seg-alps_dseg.tsv", tmp_path / "tpl-Ours_seg-drawn_dseg.tsv")
    arguments = [str(out.parent / "in"), str(tmp_path / "out"), "participant", "--skip-preprocessing"]
    options = ["--registrar", "identity", "--skip-bids-validation", "--template", str(fa)]
    assert cli.main([*arguments, *options]) == 64
    assert "TemplateFlow has no transform to Ours" in capsys.readouterr().err
    assert cli.main([*arguments, *options, "--rois", str(rois)]) == 0
    folder = tmp_path / "out/sub-01/dwi"
    assert (folder / "sub-01_from-dwi_to-Ours_mode-image_xfm.nii.gz").exists()
    assert (folder / "sub-01_seg-drawn_dseg.nii.gz").exists()
    capsys.readouterr()
    fa.write_bytes(gzip.compress(gzip.decompress(fa.read_bytes()), 1))
    assert cli.main([*arguments, *options, "--rois", str(rois)]) == 73
    assert "template" in capsys.readouterr().err
    assert cli.main([*arguments, *options, "--rois", str(rois), "--force"]) == 0
    assert "[up to date]" not in capsys.readouterr().out


def test_each_preset_has_its_regions_and_their_table(out: Path) -> None:
    volumes = {}
    for label in ("alps", "alpssh"):
        names = read_table(out / f"seg-{label}_dseg.tsv")
        data = read_map(out / f"sub-01/dwi/sub-01_seg-{label}_dseg.nii.gz").data
        volumes[label] = float(read_volumes(out / f"sub-01/dwi/sub-01_seg-{label}_probseg.nii.gz").data.sum())
        assert set(data[data > 0].astype(int)) <= set(names["index"])
    assert volumes["alps"] > 2 * volumes["alpssh"] > 0  # ellipsoids of three to four times the volume


@pytest.mark.parametrize("kind", ["desc-alps", "seg-alps", "desc-quality"])
def test_each_preset_has_its_rows(out: Path, kind: str) -> None:
    table = read_table(out / f"sub-01/dwi/sub-01_{kind}_scalarstats.tsv")
    parts = [table[table["roi_preset"] == preset].drop(columns="roi_preset").reset_index() for preset in PRESETS]
    assert len(parts[0]) + len(parts[1]) == len(table)
    assert not parts[0].empty
    assert not parts[1].empty
    assert not parts[0].equals(parts[1])


def test_checks_of_a_preset_are_in_its_group_row(out: Path) -> None:
    quality = read_table(out / "sub-01/dwi/sub-01_desc-quality_scalarstats.tsv")
    rows = {row["roi_preset"]: row for row in gather(open_datasets({"": out}))}
    assert set(rows) == set(PRESETS)
    for preset, checks in quality.groupby("roi_preset"):
        expected = checks.set_index("name")["value"]
        found = pd.Series({name: rows[preset][f"check_{name}"] for name in expected.index})
        assert found.equals(expected.rename(None).rename_axis(None))


def test_presets_have_their_figures_and_share_a_registration(out: Path) -> None:
    figures = {path.name for path in (out / "sub-01/figures").glob("*.svg")}
    for part in ("", "seg-alpssh_"):
        assert {f"sub-01_{part}desc-rois_dwi.svg", f"sub-01_{part}desc-sticks_dwi.svg"} <= figures
    assert [name for name in figures if "registration" in name and "seg-" in name] == []


def test_the_page_lists_common_checks_once(out: Path) -> None:
    (run,) = read_participant_page(out, "01").runs
    assert len(run.index) == 6
    assert [picture.title for picture in run.pictures if picture.title.startswith("Regions on")] == [
        "Regions on the color FA",
        "Regions on the color FA: alps.sh",
    ]
    reasons = [check.reason for check in run.checks if check.name == "snr_b0"]
    assert len(reasons) == 1
    assert not reasons[0].startswith(PRESETS)
    differing = [check for check in run.checks if check.reason.startswith(PRESETS)]
    assert differing
    assert {check.reason.split(":")[0] for check in differing} == set(PRESETS)

"""One head as raw data and as preprocessed derivatives of different naming: one index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bids_alps import cli
from bids_alps.io.images import read_series
from bids_alps.io.layout import find_runs
from bids_alps.io.tables import read_table
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_displacements, write_json, write_map, write_text
from bids_alps.model import Array, DwiRun, Gradients, SpatialMap
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.dataset import write_series
from bids_alps.phantom.scanner import make_gradients, make_grid
from bids_alps.phantom.subject import make_head
from bids_alps.stages.registration import displacements

pytestmark = [pytest.mark.medium, pytest.mark.untraced, pytest.mark.usefixtures("unrendered")]

SETTINGS = PhantomSettings(participants=1, voxel_size=3.0, directions=8, b0=1, snr=0.0)
BidsErrors = Callable[..., list[str]]
TEMPLATE = "MNI152NLin2009aSym"
AC_MM = np.array([0.0, 2.0, -4.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """The phantom's head scanned along AC-PC, rotated to world axes; `turn` is the rotation."""

    series: SpatialMap
    gradients: Gradients
    turn: Array
    mask: SpatialMap
    to_template: SpatialMap


@pytest.fixture(scope="module")
def aligned() -> Aligned:
    head, gradients = make_head(SETTINGS, 0), make_gradients(SETTINGS)
    turn = head.transform.rigid.copy()
    turn[:3, 3] += AC_MM
    grid = make_grid(SETTINGS, "LPS", np.array([0.0, -18.0, 18.0]) + AC_MM)
    back = np.linalg.inv(turn)
    voxels = np.argwhere(np.ones(grid.shape, dtype=bool))
    signal = head.signal(moved(back, grid.world(voxels)), gradients)
    inside = head.transform.template_from_subject(moved(back, grid.world(voxels)))
    template = read_template().mask
    nearest = np.clip(np.rint(template.voxels(inside)).astype(int), 0, np.array(template.shape) - 1)
    mask = np.asarray(template.data)[tuple(nearest.T)].reshape(grid.shape)
    return Aligned(
        series=grid.like((1000 * signal).reshape(*grid.shape, -1).astype(np.float32)),
        gradients=Gradients(bvals=gradients.bvals, bvecs=gradients.bvecs @ turn[:3, :3].T),
        turn=turn,
        mask=grid.like(mask),
        to_template=displacements(template, lambda points: moved(turn, head.transform.subject_from_template(points))),
    )


def moved(matrix: Array, points: Array) -> Array:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def write_qsiprep(root: Path, aligned: Aligned, space: str, *, version: str) -> None:
    """Write a derivative as QSIPrep publishes it, in LPS+ with the b-vectors along these axes."""
    generated = [{"Name": "qsiprep", "Version": version}]
    about = {"Name": "QSIPrep output", "BIDSVersion": "1.1.1", "GeneratedBy": generated, "DatasetType": "derivative"}
    write_json(root / "dataset_description.json", about)
    stem = f"sub-01_space-{space}"
    image = root / f"sub-01/dwi/{stem}_desc-preproc_dwi.nii.gz"
    bvals, world = aligned.gradients.bvals, aligned.gradients.bvecs
    write_map(image, aligned.series, sidecar={"EchoTime": 0.08}, dtype=np.float32)
    table = image.with_name(f"{stem}_desc-preproc_dwi.bval")
    write_text(table, " ".join(f"{b:g}" for b in bvals) + "\n")
    along_image = world * [-1, -1, 1]
    write_text(table.with_suffix(".bvec"), "".join(" ".join(f"{v:.8f}" for v in row) + "\n" for row in along_image.T))
    np.savetxt(table.with_suffix(".b"), np.column_stack([world, bvals]), fmt=["%.8f", "%.8f", "%.8f", "%d"])
    write_map(image.with_name(f"{stem}_desc-brain_mask.nii.gz"), aligned.mask, sidecar={}, dtype=np.uint8)
    write_map(image.with_name(f"{stem}_dwiref.nii.gz"), aligned.series.like(aligned.series.data[..., 0]))
    write_text(image.with_name("sub-01_desc-confounds_timeseries.tsv"), "framewise_displacement\nn/a\n")
    warp = root / "warp.nii.gz"
    write_displacements(warp, aligned.to_template)
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(warp), sitk.sitkVectorFloat64))
    both = sitk.CompositeTransform([sitk.Transform(sitk.AffineTransform(3)), sitk.Transform(field)])
    (root / "sub-01/anat").mkdir()
    sitk.WriteTransform(both, str(root / f"sub-01/anat/sub-01_from-{space}_to-{TEMPLATE}_mode-image_xfm.h5"))
    warp.unlink()


def write_plain(root: Path, aligned: Aligned) -> None:
    """Write a plain derivative: no space, b-vectors in FSL's convention, a mask, a transform of the diffusion scan."""
    about = {"Name": "plain", "BIDSVersion": "1.8.0", "GeneratedBy": [{"Name": "mine"}], "DatasetType": "derivative"}
    write_json(root / "dataset_description.json", about)
    stem = root / "sub-01/ses-1/dwi/sub-01_ses-1"
    write_series(Path(f"{stem}_desc-preproc_dwi.nii.gz"), aligned.series, aligned.gradients, {"EchoTime": 0.08})
    write_map(Path(f"{stem}_desc-brain_mask.nii.gz"), aligned.mask, sidecar={}, dtype=np.uint8)
    write_displacements(Path(f"{stem}_from-dwi_to-{TEMPLATE}_mode-image_xfm.nii.gz"), aligned.to_template)


def measure(*arguments: object) -> tuple[Array, Path]:
    """Run the participant level; return left, right and bilateral index, and the output folder."""
    given = [str(argument) for argument in arguments]
    options = ["--skip-bids-validation", "--rois", "alps", *given[2:]]
    assert cli.main([*given[:2], "participant", *options]) == 0
    (table,) = Path(given[1]).glob("sub-01/**/*_desc-alps_scalarstats.tsv")
    return read_table(table)["alps"].to_numpy(), table


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, aligned: Aligned) -> tuple[Array, Path]:
    """The index of the raw scan, and its dataset."""
    data = tmp_path_factory.mktemp("raw")
    write_json(data / "in/dataset_description.json", {"Name": "raw", "BIDSVersion": "1.8.0", "DatasetType": "raw"})
    as_scanned = SpatialMap(data=aligned.series.data, affine=np.linalg.inv(aligned.turn) @ aligned.series.affine)
    gradients = Gradients(bvals=aligned.gradients.bvals, bvecs=aligned.gradients.bvecs @ aligned.turn[:3, :3])
    write_series(data / "in/sub-01/dwi/sub-01_dwi.nii.gz", as_scanned, gradients, {"EchoTime": 0.08})
    return measure(data / "in", data / "out", "--skip-preprocessing")[0], data / "in"


@pytest.mark.slow
@pytest.mark.parametrize(("space", "version"), [("ACPC", "1.0.1"), ("T1w", "0.14.2")])
def test_qsiprep_gives_the_index_of_the_raw_data(
    raw: tuple[Array, Path], aligned: Aligned, tmp_path: Path, space: str, version: str, bids_errors: BidsErrors
) -> None:
    write_qsiprep(tmp_path / "q", aligned, space, version=version)
    options = ["-d", f"qsiprep={tmp_path / 'q'}", "--registrar", "precomputed"]
    index, table = measure(raw[1], tmp_path / "out", *options)
    assert table.name == f"sub-01_space-{space}_desc-alps_scalarstats.tsv"
    np.testing.assert_allclose(index, raw[0], atol=0.01)
    (run,) = find_runs(tmp_path / "q", "01", preprocessed=True)
    assert isinstance(run, DwiRun)
    np.testing.assert_allclose(read_series(run).gradients.bvecs, aligned.gradients.bvecs, atol=1e-6)
    assert bids_errors(tmp_path / "out") == []


@pytest.mark.slow
def test_a_plain_derivative_gives_the_index_of_the_raw_data(
    raw: tuple[Array, Path], aligned: Aligned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain(tmp_path / "in", aligned)
    assert cli.main([str(tmp_path / "in"), str(tmp_path / "out"), "participant", "--dry-run"]) == 0
    assert f"_xfm.nii.gz to {TEMPLATE}" in capsys.readouterr().out
    index, table = measure(tmp_path / "in", tmp_path / "out", "--registrar", "precomputed")
    assert table.name == "sub-01_ses-1_desc-alps_scalarstats.tsv"
    np.testing.assert_allclose(index, raw[0], atol=0.01)


def test_a_run_without_a_transform_to_the_template_is_reported(
    aligned: Aligned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plain(tmp_path / "in", aligned)
    next(tmp_path.glob("in/**/*_xfm.nii.gz")).unlink()
    options = ["participant", "--skip-bids-validation", "--registrar", "precomputed"]
    assert cli.main([str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 66
    assert f"no transform to {TEMPLATE} (available: none)" in capsys.readouterr().out

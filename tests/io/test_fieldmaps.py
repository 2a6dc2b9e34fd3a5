"""Assignment of fieldmaps to runs in every BIDS layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import nifti_bytes
from scipy.spatial.transform import Rotation

from bids_alps.io import fieldmaps
from bids_alps.io.images import ImageHeader, read_header
from bids_alps.io.layout import find_runs
from bids_alps.model import DwiRun, FieldmapImage, SpatialMap

GRID = np.diag([2.0, 2.0, 2.0, 1.0])
RUN = "sub-01/dwi/sub-01_dir-AP_dwi"
AP: dict[str, Any] = {"PhaseEncodingDirection": "j-"}
PA: dict[str, Any] = {"PhaseEncodingDirection": "j"}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    put(tmp_path, RUN, volumes=7, **AP)
    return tmp_path


def put(root: Path, stem: str, *, volumes: int = 1, affine: Any = GRID, **sidecar: Any) -> None:
    path = root / f"{stem}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nifti_bytes(SpatialMap(data=np.ones((4, 4, 4, volumes)), affine=affine)))
    path.with_name(path.name.replace("nii.gz", "json")).write_text(json.dumps(sidecar))
    if volumes > 6:
        for extension in ("bval", "bvec"):
            path.with_name(path.name.replace("nii.gz", extension)).write_text("0" + " 1000" * (volumes - 1) + "\n")


def run_of(root: Path, name: str = "sub-01_dir-AP") -> DwiRun:
    (run,) = (run for run in find_runs(root, "01") if run.name == name)
    assert isinstance(run, DwiRun)
    return run


def found(root: Path, name: str = "sub-01_dir-AP") -> list[tuple[str, list[str]]]:
    fieldmaps = run_of(root, name).fieldmaps
    return [(one.method, [image.path.name.split(".")[0] for image in one.images]) for one in fieldmaps]


REVERSE = "reverse phase encoding"
ONE_PA = [(REVERSE, ["sub-01_dir-PA_epi"])]


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        "dwi/sub-01_dir-AP_dwi.nii.gz",
        "bids::sub-01/dwi/sub-01_dir-AP_dwi.nii.gz",
        ["dwi/sub-01_dir-AP_dwi.nii.gz"],
        "sub-01/dwi/sub-01_dir-AP_dwi.nii.gz",
    ],
)
def test_of_an_intended_pair_the_opposite_image_is_used(dataset: Path, target: Any) -> None:
    put(dataset, "sub-01/fmap/sub-01_dir-AP_epi", **AP, IntendedFor=target)
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", **PA, IntendedFor=target)
    assert found(dataset) == ONE_PA
    assert [one.path.name for one in run_of(dataset).fieldmaps[0].matching] == ["sub-01_dir-AP_epi.nii.gz"]


def test_b0fieldsource_is_equivalent_to_intendedfor(dataset: Path) -> None:
    put(dataset, RUN, volumes=7, **AP, B0FieldSource="pepolar0", B0FieldIdentifier="pepolar0")
    put(dataset, "sub-01/fmap/sub-01_dir-AP_epi", **AP, B0FieldIdentifier=["pepolar0"])
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", **PA, B0FieldIdentifier=["pepolar0"])
    put(dataset, "sub-01/fmap/sub-01_acq-func_dir-PA_epi", **PA, B0FieldIdentifier="pepolar1")
    assert found(dataset) == ONE_PA


def test_all_reverse_phase_images_are_used(dataset: Path) -> None:
    for number in "12":
        put(
            dataset,
            f"sub-01/fmap/sub-01_dir-PA_run-{number}_epi",
            **PA,
            IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz",
        )
    assert found(dataset) == [(REVERSE, ["sub-01_dir-PA_run-1_epi", "sub-01_dir-PA_run-2_epi"])]


def test_an_image_encoded_along_another_axis_is_used_only_if_intended(dataset: Path) -> None:
    put(
        dataset,
        "sub-01/fmap/sub-01_dir-LR_epi",
        PhaseEncodingDirection="i",
        IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz",
    )
    assert found(dataset) == [(REVERSE, ["sub-01_dir-LR_epi"])]


def test_a_fieldmap_intended_for_another_image_is_not_used(dataset: Path) -> None:
    put(dataset, "sub-01/func/sub-01_task-rest_bold")
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", **PA, IntendedFor="func/sub-01_task-rest_bold.nii.gz")
    assert found(dataset) == []


def test_a_fieldmap_intended_for_a_missing_image_is_noted(dataset: Path) -> None:
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", **PA, IntendedFor="dwi/sub-01_run-1_dwi.nii.gz")
    run = run_of(dataset)
    assert run.fieldmaps == ()
    assert run.notes == ("sub-01_dir-PA_epi.nii.gz: IntendedFor has dwi/sub-01_run-1_dwi.nii.gz, which does not exist",)


def test_without_phase_encoding_direction_no_image_is_opposite(dataset: Path) -> None:
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    put(dataset, "sub-01/dwi/sub-01_dir-PA_dwi", volumes=7)
    put(dataset, "sub-01/dwi/sub-01_acq-b_dir-PA_dwi", volumes=7, PhaseEncodingAxis="j")
    assert found(dataset) == []
    note = "sub-01_dir-PA_epi.nii.gz is intended for it, but no PhaseEncodingDirection in sub-01_dir-PA_epi.nii.gz"
    assert run_of(dataset).notes == (note,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stem",
    [
        "sub-01/dwi/sub-01_dir-PA_dwi",
        "sub-01/dwi/sub-01_acq-b0_run-7_dwi",
        "sub-01/dwi/sub-01_dir-PA_sbref",
        "sub-01/fmap/sub-01_acq-b0_dir-98_epi",
    ],
)
@pytest.mark.parametrize("volumes", [1, 7])
def test_a_reverse_phase_image_on_the_same_grid_is_used_whatever_its_labels(
    dataset: Path, stem: str, volumes: int
) -> None:
    put(dataset, stem, volumes=volumes, **PA)
    assert found(dataset) == [(REVERSE, [stem.rpartition("/")[2]])]


def test_the_closest_name_comes_first_and_a_series_before_an_sbref(dataset: Path) -> None:
    put(dataset, "sub-01/dwi/sub-01_acq-a_dir-AP_run-2_dwi", volumes=7, **AP)
    for name in ("acq-a_dir-PA_run-1_dwi", "acq-a_dir-PA_run-2_dwi", "acq-a_dir-PA_run-2_sbref"):
        put(dataset, f"sub-01/dwi/sub-01_{name}", volumes=7, **PA)
    assert found(dataset, "sub-01_acq-a_dir-AP_run-2") == [
        (REVERSE, ["sub-01_acq-a_dir-PA_run-2_dwi"]),
        (REVERSE, ["sub-01_acq-a_dir-PA_run-2_sbref"]),
    ]


def rotated(degrees: float) -> Any:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ GRID


@pytest.mark.parametrize(
    ("affine", "serves"),
    [(GRID, True), (rotated(2), True), (rotated(20), False), (np.diag([2.5, 2.5, 2, 1]), False)],
)
def test_unassigned_images_are_used_only_on_the_same_grid(dataset: Path, affine: Any, serves: bool) -> None:
    put(dataset, "sub-01/dwi/sub-01_dir-PA_dwi", volumes=7, affine=affine, **PA)
    assert bool(found(dataset)) is serves


def test_fieldmaps_of_another_session_are_not_used(dataset: Path) -> None:
    put(dataset, "sub-01/ses-1/dwi/sub-01_ses-1_dir-AP_dwi", volumes=7, **AP)
    put(dataset, "sub-01/ses-2/dwi/sub-01_ses-2_dir-PA_dwi", volumes=7, **PA)
    assert found(dataset, "sub-01_ses-1_dir-AP") == []


def put_phase(root: Path, suffix: str, *, magnitudes: bool = True, acq: str = "", **sidecar: Any) -> None:
    stem = f"sub-01/fmap/sub-01{acq}_"
    for name in suffix.split():
        put(root, f"{stem}{name}", **sidecar)
    if magnitudes:
        for name in ("magnitude",) if suffix == "fieldmap" else ("magnitude1", "magnitude2"):
            put(root, f"{stem}{name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "method", "images"),
    [
        ("phasediff", "phase difference", ["phasediff"]),
        ("phase1 phase2", "two phases", ["phase1", "phase2"]),
        ("fieldmap", "measured field", ["fieldmap"]),
    ],
)
@pytest.mark.parametrize("meant", [True, False])
def test_phase_and_field_images_are_used_with_their_magnitudes(
    dataset: Path, suffix: str, method: str, images: list[str], meant: bool
) -> None:
    aim: dict[str, Any] = {"IntendedFor": ["dwi/sub-01_dir-AP_dwi.nii.gz"]} if meant else {}
    put_phase(dataset, suffix, **aim)
    assert found(dataset) == [(method, [f"sub-01_{name}" for name in images])]
    (one,) = run_of(dataset).fieldmaps
    first = "magnitude" if suffix == "fieldmap" else "magnitude1"
    assert one.magnitudes[0].name == f"sub-01_{first}.nii.gz"


def test_a_phase_image_without_magnitude_is_not_used(dataset: Path) -> None:
    put_phase(dataset, "phasediff", magnitudes=False, IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    assert found(dataset) == []


def test_two_ambiguous_phase_images_are_not_used(dataset: Path) -> None:
    put_phase(dataset, "phasediff")
    put_phase(dataset, "phasediff", acq="_acq-b")
    assert found(dataset) == []


def test_reverse_phase_images_precede_phases_and_assigned_ones_precede_matching_ones(dataset: Path) -> None:
    target: dict[str, Any] = {"IntendedFor": "dwi/sub-01_dir-AP_dwi.nii.gz"}
    put_phase(dataset, "phasediff", **target)
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", **PA, **target)
    put(dataset, "sub-01/dwi/sub-01_dir-PA_dwi", volumes=7, **PA)
    methods = [REVERSE, REVERSE, "phase difference"]
    assert [method for method, _ in found(dataset)] == methods
    assert found(dataset)[0][1] == ["sub-01_dir-PA_epi"]


def test_a_malformed_sidecar_affects_its_own_fieldmap_only(dataset: Path) -> None:
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi", **PA, IntendedFor="dwi/sub-01_dir-AP_dwi.nii.gz")
    (dataset / "sub-01/fmap/sub-01_dir-PA_epi.json").write_text("{")
    assert found(dataset) == []


@pytest.mark.parametrize(
    ("there", "crossed", "taken"),
    [
        ({"AP": -1.0, "LR": 0.1, "PA": 1.0}, False, ["AP"]),
        ({"AP": -1.0, "LR": 0.1, "PA": 1.0}, True, ["AP"]),
        ({"LR": 0.1, "PA": 1.0}, False, []),
        ({"LR": 0.1, "RL": -0.2, "PA": 1.0}, True, ["LR", "RL"]),
        ({"PA": 1.0}, True, []),
    ],
)
def test_images_serve_by_the_angle_of_their_encoding(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, float], crossed: bool, taken: list[str]
) -> None:
    """Opposite ones before those across, and those only where they are meant; one of the same encoding only matches."""
    along = {Path(f"sub-01_dir-{name}_epi.nii.gz"): np.array([cosine, 0, 0]) for name, cosine in there.items()}
    monkeypatch.setattr(fieldmaps, "phase_direction", lambda path, *_: along[path])
    images = [FieldmapImage(path=path, metadata={}) for path in along]
    found = fieldmaps._reverse(images, Path("sub-01_dwi.nii.gz"), np.array([1.0, 0, 0]), read_header, crossed=crossed)
    assert [image.path.name[11:13] for field in found for image in field.images] == taken
    assert [image.path.name[11:13] for field in found for image in field.matching] == (["PA"] if taken else [])


@pytest.mark.parametrize("degrees", [0.0, 2.0, 20.0])
@pytest.mark.parametrize("axes", [np.eye(3), np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])], ids=["axial", "sagittal"])
def test_one_grid_may_be_turned_a_little_in_any_storage_order(degrees: float, axes: Any) -> None:
    turn = Rotation.from_rotvec([0, degrees, 0], degrees=True).as_matrix()
    affines = [np.eye(4), np.eye(4)]
    affines[0][:3, :3], affines[1][:3, :3] = axes @ np.diag([2.0, 2, 3]), turn @ axes @ np.diag([2.0, 2, 3])
    headers = {
        Path(str(n)): ImageHeader(shape=(8, 9, 7), stored_bytes=1, affine=affine) for n, affine in enumerate(affines)
    }
    expected = degrees < fieldmaps._ROTATION_TOLERANCE_DEGREES
    assert fieldmaps.same_grid(Path("0"), Path("1"), headers.__getitem__) is expected

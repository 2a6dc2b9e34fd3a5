"""Which series of a session are one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.errors import NoInputError
from bids_alps.io.combining import combine, find_groups, parts_by_encoding
from bids_alps.io.layout import PlannedRun, UnusableRun
from bids_alps.model import DwiRun, SpatialMap

AP: dict[str, Any] = {"PhaseEncodingDirection": "j-"}
PA: dict[str, Any] = {"PhaseEncodingDirection": "j"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def run(place: Path, name: str, *, shift: float = 0.0, voxel: float = 2.0, **metadata: Any) -> DwiRun:
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[0, 3] = shift
    image = place / f"{name}.nii.gz"
    image.write_bytes(nifti_bytes(SpatialMap(data=np.ones((4, 4, 4, 7)), affine=affine)))
    entities = dict(part.split("-") for part in name.split("_"))
    return DwiRun(entities=entities, image=image, bval=image, bvec=image, metadata=metadata)


def names(runs: Sequence[PlannedRun]) -> list[str]:
    return [one.name for one in runs]


def merged(runs: list[DwiRun], **options: Any) -> list[str]:
    return names(combine(runs, **{"everything": True, **options}))


def test_merged_series_are_named_by_their_common_entities(place: Path) -> None:
    runs = [run(place, f"sub-01_ses-1_acq-x_dir-{way}_run-{n}", **AP) for n, way in enumerate(("98", "99", "98"))]
    (one,) = combine(runs, everything=True)
    assert isinstance(one, DwiRun)
    assert one.name == "sub-01_ses-1_acq-x"
    assert [partner.name for partner in one.partners] == names(runs[1:])


def test_runs_are_merged_only_on_request_or_with_a_shared_multipart_id(place: Path) -> None:
    runs = [run(place, f"sub-01_run-{n}", MultipartID=part, **AP) for n, part in enumerate(("a", "a", None, "b", None))]
    assert merged(runs, everything=False) == ["sub-01", "sub-01_run-2", "sub-01_run-3", "sub-01_run-4"]


def test_merged_runs_with_equal_common_entities_get_different_names(place: Path) -> None:
    scans = enumerate(("first", "first", "second", "second"), start=1)
    runs = [run(place, f"sub-01_run-{n}", MultipartID=scan, **AP) for n, scan in scans]
    combined = [one for one in combine(runs, everything=False) if isinstance(one, DwiRun)]
    files = {one.name: [part.image.name for part in (one, *one.partners)] for one in combined}
    assert files == {
        "sub-01_run-1": ["sub-01_run-1.nii.gz", "sub-01_run-2.nii.gz"],
        "sub-01_run-3": ["sub-01_run-3.nii.gz", "sub-01_run-4.nii.gz"],
    }
    assert "sub-01 would be the name of another run too" in combined[0].notes[0]


def test_a_merged_run_and_one_that_is_not_merged_get_different_names(place: Path) -> None:
    other = run(place, "sub-01", voxel=2.5, **AP)
    assert merged([other, *(run(place, f"sub-01_run-{n}", **AP) for n in "12")]) == ["sub-01", "sub-01_run-1"]


def test_opposite_series_are_merged_where_distortion_is_corrected(place: Path) -> None:
    runs = [run(place, "sub-01_dir-AP", **AP), run(place, "sub-01_dir-PA", **PA)]
    assert merged(runs) == ["sub-01"]
    assert merged(runs, distortion_correction=False) == names(runs)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("sub-01_ses-2_run-2", AP),
        ("sub-01_ses-1_run-2", {"PhaseEncodingDirection": "i"}),
        ("sub-01_ses-1_run-2", {}),
        ("sub-01_ses-1_run-2", {**AP, "EchoTime": 0.1}),
        ("sub-01_ses-1_run-2", {**AP, "voxel": 2.5}),
    ],
    ids=["session", "axis", "untold encoding", "echo time", "voxels"],
)
def test_series_that_differ_are_not_merged(place: Path, name: str, other: dict[str, Any]) -> None:
    runs = [run(place, "sub-01_ses-1_run-1", EchoTime=0.08, **AP), run(place, name, **{"EchoTime": 0.08, **other})]
    expected = names(runs)
    assert merged(runs) == expected


def test_preprocessed_and_unusable_runs_are_not_merged(place: Path) -> None:
    problem = UnusableRun(name="sub-01_run-9", error=NoInputError("a", "b", "c"))
    image = place / "a.nii.gz"
    made = DwiRun(entities={"sub": "01"}, image=image, bval=image, bvec=image, preprocessed=True)
    runs: list[PlannedRun] = [problem, made, made]
    assert find_groups(runs, everything=True) == []


def test_parts_share_an_encoding_and_a_grid(place: Path) -> None:
    runs = [
        run(place, "sub-01_run-1", **AP),
        run(place, "sub-01_run-2", **PA),
        run(place, "sub-01_run-3", **AP),
        run(place, "sub-01_run-4", shift=5.0, **AP),
    ]
    (one,) = combine(runs, everything=True)
    assert isinstance(one, DwiRun)
    parts = [[part.image.name[7:12] for part in files] for files in parts_by_encoding(one)]
    assert parts == [["run-1", "run-3"], ["run-2"], ["run-4"]]

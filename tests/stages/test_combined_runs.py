"""Runs that are merged into one: no volume is lost, and the methods text says what was done."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.io.combining import combine
from bids_alps.io.images import read_series
from bids_alps.model import DwiRun, SpatialMap
from bids_alps.report.methods import write_methods
from bids_alps.settings import Method
from bids_alps.stages import preprocessing
from bids_alps.stages.masking import find_mask
from bids_alps.stages.preprocessing import PreprocessedSeries, correct

OPPOSITE = "Runs of opposite phase encoding were merged"
SAME = "Runs with the same phase encoding were scaled to the same b=0 signal and concatenated"
MOVED = "Runs on different voxel grids were aligned and merged"
SHAPE, VOXEL_MM = (18, 18, 16), 8.0
DIRECTIONS = np.array([[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]) / np.sqrt(2)
STILL = {"motion_correction": False}


def make_run(folder: Path, name: str, *, gain: float = 1.0, shift: float = 0.0, way: str = "j-") -> DwiRun:
    """Return a run of a smooth ball with isotropic diffusion: a b=0 volume and six directions."""
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = -VOXEL_MM * np.array(SHAPE) / 2 + [shift, 0, 0]
    grid = np.stack(np.indices(SHAPE), axis=-1) * VOXEL_MM + affine[:3, 3]
    ball = gain * 1000 / (1 + np.exp((np.linalg.norm(grid, axis=-1) - 50) / 4))
    data = ball[..., None] * np.r_[1.0, np.full(6, np.exp(-0.8))]
    image = folder / f"{name}.nii.gz"
    image.write_bytes(nifti_bytes(SpatialMap(data=data, affine=affine)))
    bval, bvec = (image.with_name(f"{name}.{kind}") for kind in ("bval", "bvec"))
    bval.write_text("0 " + "1000 " * 6)
    np.savetxt(bvec, np.r_[np.zeros((1, 3)), DIRECTIONS].T)
    entities = dict(part.split("-") for part in name.split("_"))
    metadata = {"PhaseEncodingDirection": way, "TotalReadoutTime": 0.05}
    return DwiRun(entities=entities, image=image, bval=bval, bvec=bvec, metadata=metadata)


def preprocess(runs: list[DwiRun], out: Path, **method: Any) -> tuple[PreprocessedSeries, str]:
    """Merge runs, preprocess them, and return the series with its methods text."""
    (run,) = combine(runs, everything=True)
    assert isinstance(run, DwiRun)
    series = read_series(run, b0_threshold=50.0)
    found = correct(run, series, find_mask(series, b0_threshold=50.0), Method(**method), out)
    return found, " ".join(write_methods({run.name: found.statements}).paragraphs)


def test_one_run_alone_is_not_said_to_be_merged(tmp_path: Path) -> None:
    run = make_run(tmp_path, "sub-01_run-1")
    series = read_series(run, b0_threshold=50.0)
    found = correct(run, series, find_mask(series, b0_threshold=50.0), Method(**STILL), tmp_path / "out")
    text = " ".join(write_methods({run.name: found.statements}).paragraphs)
    assert [sentence for sentence in (OPPOSITE, SAME, MOVED) if sentence in text] == []


def test_runs_of_one_encoding_are_concatenated_at_one_gain_and_that_is_said(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"sub-01_run-{n}", gain=gain) for n, gain in ((1, 1.0), (2, 1.7))]
    found, text = preprocess(runs, tmp_path / "out", **STILL)
    assert SAME in text
    assert OPPOSITE not in text
    assert "used without preprocessing" in text
    first, second = np.split(found.series.image.data, 2, axis=3)
    np.testing.assert_allclose(second, first, rtol=1e-3, atol=1e-2)


def test_runs_are_concatenated_where_nothing_is_corrected(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"sub-01_run-{n}") for n in (1, 2)]
    found, text = preprocess(runs, tmp_path / "out", motion_correction=False, distortion_correction=False)
    assert len(found.series.gradients) == 2 * 7
    assert SAME in text


def test_runs_of_one_encoding_on_other_grids_are_not_called_opposite(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"sub-01_run-{n}", shift=shift) for n, shift in ((1, 0.0), (2, 1.0))]
    found, text = preprocess(runs, tmp_path / "out", **STILL)
    assert MOVED in text
    assert OPPOSITE not in text
    assert SAME not in text
    assert len(found.series.gradients) == 2 * 7


@pytest.mark.parametrize("proven", [True, False])
def test_runs_of_opposite_encoding_are_told_as_merged_where_their_distortion_is_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proven: bool
) -> None:
    runs = [make_run(tmp_path, f"sub-01_dir-{name}", way=way) for name, way in (("AP", "j-"), ("PA", "j"))]
    monkeypatch.setattr(preprocessing._Part, "proven", property(lambda part: proven))
    found, text = preprocess(runs, tmp_path / "out", **STILL)
    assert (OPPOSITE in text) is proven
    assert SAME not in text
    assert MOVED not in text
    assert len(found.series.gradients) == 7 * (1 + proven)
    assert any("excluded: opposite phase encoding" in note for note in found.notes) is not proven


def test_three_runs_are_told_by_what_was_done_to_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run(tmp_path, f"sub-01_dir-{n}", way=way) for n, way in ((1, "j-"), (2, "j-"), (3, "j"))]
    monkeypatch.setattr(preprocessing._Part, "proven", property(lambda part: True))
    found, text = preprocess(runs, tmp_path / "out", **STILL)
    assert SAME in text
    assert OPPOSITE in text
    assert len(found.series.gradients) == 3 * 7

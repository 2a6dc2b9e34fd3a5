"""Files of one run that are merged: none is lost, and what was noticed in each is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.errors import GradientError
from bids_alps.model import DwiRun, DwiSeries, SpatialMap
from bids_alps.numerics.preprocessing.correction import ALIGNED, COMBINED, CONCATENATED
from bids_alps.settings import Method
from bids_alps.stages import merging
from bids_alps.stages.prepare import prepare
from bids_alps.stages.preprocessing import RAW

OFF = Method(motion_correction=False, distortion_correction=False, combine_runs=True)
BVALS = [0] + [1000] * 7
BVECS = "0 1 0 0 .6 .6 0 .8\n0 0 1 0 .8 0 .6 0\n0 0 0 1 0 .8 .8 -.6\n"


def write_file(folder: Path, number: int, *, shift: float = 0.0, direction: str = "j") -> DwiRun:
    """Write a series of a bright ball; every file has another b=0 signal."""
    places = np.moveaxis(np.indices((20, 20, 20)), 0, -1) - 9.5
    ball = 100.0 * number * (np.linalg.norm(places, axis=-1) < 7)
    affine = np.diag([7.0, 7.0, 7.0, 1.0])
    affine[0, 3] = shift
    data = np.stack([ball * np.exp(-b * 1e-3) + 1 for b in BVALS], axis=-1)
    paths = {name: folder / f"sub-01_run-{number}_dwi.{name}" for name in ("nii.gz", "bval", "bvec")}
    paths["nii.gz"].write_bytes(nifti_bytes(SpatialMap(data=data, affine=affine)))
    paths["bval"].write_text(" ".join(map(str, BVALS)) + "\n")
    paths["bvec"].write_text(BVECS)
    metadata = {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.05}
    entities = {"sub": "01", "run": str(number)}
    return DwiRun(entities=entities, image=paths["nii.gz"], bval=paths["bval"], bvec=paths["bvec"], metadata=metadata)


def merged(*files: DwiRun) -> DwiRun:
    return replace(files[0], entities={"sub": "01"}, partners=files[1:])


def test_no_file_is_lost_without_corrections(tmp_path: Path) -> None:
    run = merged(*(write_file(tmp_path, number) for number in (1, 2)))
    prepared = prepare(run, OFF, tmp_path / "out")
    assert len(prepared.series.gradients) == 2 * len(BVALS)
    inside = prepared.series.image.data[10, 10, 10]
    np.testing.assert_allclose(inside[: len(BVALS)], inside[len(BVALS) :], rtol=0.02)  # scaled to the first
    assert "2 files were merged: 16 volumes in total" in prepared.facts["Notes"]
    text = " ".join(statement.text for statement in prepared.state(run))
    assert RAW in text
    assert CONCATENATED in text


def test_the_text_says_what_was_merged(tmp_path: Path) -> None:
    files = [write_file(tmp_path, 1), write_file(tmp_path, 2, shift=7.0), write_file(tmp_path, 3, direction="j-")]
    prepared = prepare(merged(*files), OFF, tmp_path / "out")
    text = " ".join(statement.text for statement in prepared.correction.statements)
    assert ALIGNED in text
    assert CONCATENATED not in text
    assert COMBINED not in text  # without distortion correction, the opposite file is excluded
    assert "sub-01_run-3 excluded: opposite phase encoding" in " ".join(prepared.facts["Notes"])
    assert "2 files were merged: 16 volumes in total" in prepared.facts["Notes"]


def test_notes_of_every_file_are_reported_once(tmp_path: Path) -> None:
    files = [write_file(tmp_path, number) for number in (1, 2)]
    for file in files:
        file.bvec.write_text("\n".join(" ".join(row) for row in zip(*map(str.split, BVECS.splitlines()), strict=True)))
    notes = prepare(merged(*files), OFF, tmp_path / "out").facts["Notes"]
    transposed = [note for note in notes if "transposed" in note or "columns" in note]
    assert len(transposed) == 2
    assert [note.startswith("sub-01_run-2: ") for note in transposed] == [False, True]


def test_files_whose_gradient_tables_would_be_repaired_differently_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repair(series: DwiSeries, *_: object) -> DwiSeries:
        return replace(series, gradient_axes="-x y z")

    run = merged(*(write_file(tmp_path, number) for number in (1, 2)))
    monkeypatch.setattr(merging, "repair_table", repair)
    with pytest.raises(
        GradientError, match=r"different axes \(sub-01_run-1_dwi.nii.gz: x y z; sub-01_run-2_dwi.nii.gz: -x y z\)"
    ):
        prepare(run, OFF, tmp_path / "out")

"""A field is the same in hertz, however a dataset stores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.errors import ImageError, MetadataError
from bids_alps.model import Fieldmap, FieldmapImage, FieldmapMethod, SpatialMap
from bids_alps.stages.distortion import _READERS, read_encoded

SHAPE = (16, 18, 14)
ECHOES = (0.005, 0.0075)
PLACES = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(SHAPE) / 2
HEAD = (PLACES**2).sum(-1) < 40
HERTZ = 40 + 150 * np.exp(-(((PLACES - [0, 3, 0]) / 4) ** 2).sum(-1) / 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "magnitude1.nii.gz", 500.0 * HEAD)
    return tmp_path


def write(path: Path, data: Any, **sidecar: Any) -> FieldmapImage:
    path.write_bytes(nifti_bytes(SpatialMap(data=np.asarray(data, float), affine=np.diag([3.0, 3, 3, 1]))))
    return FieldmapImage(path=path, metadata=sidecar)


def read(folder: Path, method: FieldmapMethod, *images: FieldmapImage) -> np.ndarray:
    fieldmap = Fieldmap(method=method, images=images, magnitudes=(folder / "magnitude1.nii.gz",))
    found = _READERS[method](fieldmap)
    assert found.method == method
    return found.hertz.data[HEAD]


def phase(echo_s: float) -> np.ndarray:
    """The phase of an echo as Siemens stores it: whole numbers from -4096 to 4094, noise around the head."""
    noise = np.random.default_rng(0).uniform(-np.pi, np.pi, SHAPE)
    return np.round(np.where(HEAD, np.angle(np.exp(2j * np.pi * HERTZ * echo_s)), noise) * 4096 / np.pi)


def test_a_phase_difference(folder: Path) -> None:
    image = write(folder / "phasediff.nii.gz", phase(ECHOES[1] - ECHOES[0]), EchoTime1=ECHOES[0], EchoTime2=ECHOES[1])
    np.testing.assert_allclose(read(folder, "phase difference", image), HERTZ[HEAD], atol=0.3)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_phases_in_either_order(folder: Path, order: tuple[int, int]) -> None:
    images = [write(folder / f"phase{n + 1}.nii.gz", phase(ECHOES[n]), EchoTime=ECHOES[n]) for n in order]
    np.testing.assert_allclose(read(folder, "two phases", *images), HERTZ[HEAD], atol=0.5)


@pytest.mark.parametrize(("units", "factor"), [("Hz", 1.0), ("rad/s", 2 * np.pi), ("T", 1 / 42.577478e6)])
def test_a_field_in_any_unit(folder: Path, units: str, factor: float) -> None:
    image = write(folder / "fieldmap.nii.gz", HERTZ * factor, Units=units)
    np.testing.assert_allclose(read(folder, "measured field", image), HERTZ[HEAD], rtol=1e-3)


@pytest.mark.parametrize(
    ("sidecar", "words"),
    [
        ({}, "EchoTime1 is None"),
        ({"EchoTime1": 4.92, "EchoTime2": 7.38}, "EchoTime1 is 4.92. Give it in seconds"),
        ({"EchoTime1": 0.005, "EchoTime2": "late"}, "EchoTime2 is 'late'"),
    ],
)
def test_implausible_echo_times_are_reported(folder: Path, sidecar: dict[str, Any], words: str) -> None:
    with pytest.raises(MetadataError, match=words):
        read(folder, "phase difference", write(folder / "phasediff.nii.gz", phase(0.0025), **sidecar))


def test_unknown_units_are_reported(folder: Path) -> None:
    with pytest.raises(MetadataError, match="Units 'ppm'"):
        read(folder, "measured field", write(folder / "fieldmap.nii.gz", HERTZ, Units="ppm"))


def test_a_magnitude_on_another_grid_is_refused(folder: Path) -> None:
    write(folder / "magnitude1.nii.gz", np.ones((4, 4, 4)))
    with pytest.raises(ImageError, match="another position than its phase"):
        read(folder, "measured field", write(folder / "fieldmap.nii.gz", HERTZ))


def test_only_b0_volumes_of_a_series_are_used(folder: Path) -> None:
    series = np.stack([np.full(SHAPE, 100.0), np.full(SHAPE, 20.0), np.full(SHAPE, 110.0)], axis=-1)
    image = write(folder / "dwi.nii.gz", series, PhaseEncodingDirection="j", TotalReadoutTime=0.05)
    (folder / "dwi.bval").write_text("0 1000 5\n")
    image = FieldmapImage(path=image.path, metadata=image.metadata, bval=folder / "dwi.bval")
    found = read_encoded((image,), b0_threshold=50.0)
    assert found.data.mean() == pytest.approx(105)
    assert (found.phase_axis, found.polarity, found.readout) == (1, 1, 0.05)

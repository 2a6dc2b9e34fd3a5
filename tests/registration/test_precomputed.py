"""Transforms read from files: the same points as the program that wrote them would map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from heads import CENTERS

from bids_alps.errors import BadDataError, NoInputError
from bids_alps.io.transforms import read_itk_transform
from bids_alps.model import SpatialMap
from bids_alps.numerics.itk import grid_affine, itk_affine, itk_image, spatial_map

MATRIX = np.array([[0.9, -0.1, 0.0, 3.0], [0.1, 0.95, 0.05, -4.0], [0.0, -0.05, 1.1, 5.0], [0, 0, 0, 1]])
OBLIQUE = np.array([[-2.0, 0, 0, 90], [0, 1.97, -0.35, -100], [0, 0.35, 1.97, -60], [0, 0, 0, 1]])


def moved(matrix: np.ndarray) -> np.ndarray:
    return CENTERS @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("suffix", ["txt", "mat", "h5", "tfm"])
def test_an_itk_transform_maps_points_in_ras(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"xfm.{suffix}"
    sitk.WriteTransform(itk_affine(MATRIX), str(path))
    np.testing.assert_allclose(read_itk_transform(path)(CENTERS), moved(MATRIX), atol=1e-6)


def test_a_matrix_maps_points_as_in_itk() -> None:
    made, flip = itk_affine(MATRIX), np.array([-1.0, -1, 1])  # ITK's frame is LPS+
    found = np.array([made.TransformPoint(point) for point in (CENTERS * flip).tolist()]) * flip
    np.testing.assert_allclose(found, moved(MATRIX), atol=1e-9)


def test_an_image_is_preserved_in_itk() -> None:
    image = SpatialMap(data=np.random.default_rng(1).random((4, 5, 6)).astype(np.float32), affine=OBLIQUE)
    made = itk_image(image)
    np.testing.assert_array_equal(spatial_map(made).data, image.data)
    np.testing.assert_allclose(grid_affine(made), OBLIQUE, atol=0.01)  # its columns are orthogonal to rounding


def test_a_missing_transform_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"none\.h5"):
        read_itk_transform(tmp_path / "none.h5")


def test_file_without_transform_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nonsense.txt"
    path.write_text("not a transform\n")
    with pytest.raises(BadDataError):
        read_itk_transform(path)

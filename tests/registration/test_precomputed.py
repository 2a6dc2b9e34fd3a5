"""Transforms read from files: the same points as the program that wrote them would map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from heads import CENTRES

from bids_alps.errors import BadDataError, NoInputError
from bids_alps.model import SpatialMap
from bids_alps.registration.itk import grid_affine, itk_affine, itk_image, matrix_of, spatial_map
from bids_alps.registration.precomputed import read_fsl_matrix, read_itk_transform

MATRIX = np.array([[0.9, -0.1, 0.0, 3.0], [0.1, 0.95, 0.05, -4.0], [0.0, -0.05, 1.1, 5.0], [0, 0, 0, 1]])
OBLIQUE = np.array([[-2.0, 0, 0, 90], [0, 1.97, -0.35, -100], [0, 0.35, 1.97, -60], [0, 0, 0, 1]])


def moved(matrix: np.ndarray) -> np.ndarray:
    return CENTRES @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("suffix", ["txt", "mat", "h5", "tfm"])
def test_itk_file_maps_points_in_our_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"xfm.{suffix}"
    sitk.WriteTransform(itk_affine(MATRIX), str(path))
    np.testing.assert_allclose(read_itk_transform(path)(CENTRES), moved(MATRIX), atol=1e-6)


def test_matrix_survives_the_door() -> None:
    np.testing.assert_allclose(matrix_of(itk_affine(MATRIX)), MATRIX, atol=1e-9)


def test_image_survives_the_door() -> None:
    image = SpatialMap(data=np.random.default_rng(1).random((4, 5, 6)).astype(np.float32), affine=OBLIQUE)
    made = itk_image(image)
    np.testing.assert_array_equal(spatial_map(made).data, image.data)
    np.testing.assert_allclose(grid_affine(made), OBLIQUE, atol=0.01)  # its columns are orthogonal to rounding


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_identity_of_flirt_between_equal_grids_is_the_identity(sign: float, tmp_path: Path) -> None:
    path = tmp_path / "identity.mat"
    np.savetxt(path, np.eye(4))
    image = SpatialMap(data=np.zeros((90, 100, 60)), affine=OBLIQUE @ np.diag([sign, 1, 1, 1]))
    np.testing.assert_allclose(read_fsl_matrix(path, image, image)(CENTRES), CENTRES, atol=1e-9)


def test_flirt_matrix_shifts_along_reversed_x(tmp_path: Path) -> None:
    path = tmp_path / "shift.mat"
    shift = np.eye(4)
    shift[0, 3] = 5.0
    np.savetxt(path, shift)
    right_handed = SpatialMap(data=np.zeros((10, 10, 10)), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    found = read_fsl_matrix(path, right_handed, right_handed)(CENTRES)
    np.testing.assert_allclose(found - CENTRES, [[5.0, 0, 0]] * 4, atol=1e-9)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"none\.h5"):
        read_itk_transform(tmp_path / "none.h5")


@pytest.mark.parametrize("reader", [read_itk_transform, lambda path: read_fsl_matrix(path, None, None)])
def test_file_without_transform_is_refused(reader, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "nonsense.txt"
    path.write_text("not a transform\n")
    with pytest.raises(BadDataError):
        reader(path)

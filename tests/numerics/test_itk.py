from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from bids_alps.model import SpatialMap
from bids_alps.numerics.itk import isotropic, itk_affine, itk_image, itk_text, ras_matrix, smoothed, spatial_map


def test_itk_reads_the_same_map_in_lps(tmp_path):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() * 1.1
    matrix[:3, 3] = [5, -7, 11]
    path = tmp_path / "a.txt"
    path.write_text(itk_text(matrix))
    point = np.array([12.0, -30.0, 40.0])
    moved = np.array(sitk.ReadTransform(str(path)).TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    np.testing.assert_allclose(moved, (matrix @ [*point, 1])[:3], atol=1e-6)


TILTED = np.eye(4)
TILTED[:3, :3] = Rotation.from_euler("xyz", [15, -10, 20], degrees=True).as_matrix() @ np.diag([2.0, 3.0, 4.0])
TILTED[:3, 3] = [7, -8, 9]


def point(shape, affine):
    data = np.zeros(shape, np.float32)
    data[tuple(n // 2 for n in shape)] = 1.0
    return SpatialMap(data=data, affine=affine)


def moments(image):
    """Return the center of mass and the covariance of an image, RAS+ mm."""
    places = image.world(np.stack(np.indices(image.data.shape), axis=-1)).reshape(-1, 3)
    weights = image.data.ravel() / image.data.sum()
    middle = weights @ places
    return middle, (weights[:, None] * (places - middle)).T @ (places - middle)


def test_linear_maps_come_back_as_they_went():
    matrix = TILTED.copy()
    matrix[0, 1] += 0.2
    np.testing.assert_allclose(ras_matrix(itk_affine(matrix)), matrix, atol=1e-9)


def test_smoothing_leaves_the_width_that_is_asked_for():
    """A voxel counts as a Gaussian with an SD of half its edge; axes of coarser voxels stay as they are."""
    image = point((41, 41, 31), np.diag([1.0, 2.0, 5.0, 1]))
    _, spread = moments(spatial_map(smoothed(itk_image(image), 2.4)))
    np.testing.assert_allclose(np.diag(spread), [2.4**2 - 0.5**2, 2.4**2 - 1.0**2, 0], rtol=0.08, atol=0.01)


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 2, 1]), TILTED])
def test_isotropic_grids_hold_the_image_where_it_was(affine):
    image = point((21, 19, 17), affine)
    found = spatial_map(isotropic(itk_image(image), 1.5, padding_mm=4.0))
    np.testing.assert_allclose(np.abs(found.affine[:3, :3]), 1.5 * np.eye(3), atol=1e-9)
    np.testing.assert_allclose(moments(found)[0], moments(image)[0], atol=0.2)
    assert np.linalg.eigvalsh(moments(found)[1]).max() < 4  # an SD of half a step is less than that of a voxel
    coarse = spatial_map(isotropic(itk_image(image), 6.0, padding_mm=12.0))
    assert np.trace(moments(coarse)[1]) < 3 * 6.0**2  # blurred by 3 mm, and by half a step of interpolation
    corners = image.world(np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.data.shape) - 1))
    held = found.world(np.array([[0, 0, 0], np.array(found.data.shape) - 1]))
    room = np.array([corners.min(0) - held.min(0), held.max(0) - corners.max(0)])
    assert room.min() >= 4.0 - 1.5 - 1e-9
    assert room.max() < 4.0 + 1.5

"""A subject looks the same however it is stored, and its colors are those of the display's axes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_alps.model import Roi, SpatialMap
from bids_alps.report.slices import color_fa, find_display, roi_center, sample_plane


def blob(order=(0, 1, 2), flips=(False, False, False)):
    """A smooth asymmetric object, stored in any order of axes."""
    i, j, k = np.meshgrid(*map(np.arange, (14, 16, 12)), indexing="ij")
    data = np.exp(-((i - 9) ** 2 + (j - 5) ** 2 + (k - 7) ** 2) / 8.0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-14, -16, -12)
    for axis, flipped in enumerate(flips):
        if flipped:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, axis)
    stored = affine.copy()
    stored[:3, :3] = affine[:3, list(order)]
    return SpatialMap(data=np.transpose(data, order), affine=stored)


@given(st.permutations([0, 1, 2]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
@settings(max_examples=20, deadline=None)
def test_storage_order_leaves_planes_unchanged(order, flips):
    plain, stored = blob(), blob(tuple(order), flips)
    for axis in range(3):
        pictures = []
        for image in (plain, stored):
            display = find_display(image.like(image.data > 0.01), np.eye(4))
            pictures.append(sample_plane(image, display.plane(axis, 1.0)))
        np.testing.assert_allclose(*pictures, atol=1e-9)


def test_a_plane_runs_left_to_right_and_upwards():
    x = blob().like(np.broadcast_to(np.arange(14.0)[:, None, None], (14, 16, 12)))
    display = find_display(x.like(x.data >= 0), np.eye(4), margin_mm=-2)
    axial = sample_plane(x, display.plane(2, 0.0))
    assert (np.diff(axial, axis=1) > 0).all()
    assert np.allclose(np.diff(axial, axis=0), 0)


@pytest.mark.parametrize(("direction", "color"), [((1, 0, 0), 0), ((0, -1, 0), 1), ((0, 0, 1), 2)])
def test_colors_follow_the_axes_and_not_the_sign(direction, color):
    fa = blob().like(np.full((14, 16, 12), 0.8))
    v1 = fa.like(np.broadcast_to(np.array(direction, float), (14, 16, 12, 3)))
    assert color_fa(fa, v1, np.eye(3)).data[3, 3, 3].tolist() == [float(n == color) for n in range(3)]


def test_colors_rotate_with_the_display():
    fa = blob().like(np.full((14, 16, 12), 0.8))
    v1 = fa.like(np.broadcast_to(np.array([1.0, 0, 0]), (14, 16, 12, 3)))
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(color_fa(fa, v1, quarter).data[0, 0, 0], [0, 1, 0])


def test_outside_the_field_of_view_is_dark():
    image = blob().like(np.ones((14, 16, 12)))
    display = find_display(image.like(image.data > 0), np.eye(4), margin_mm=10)
    picture = sample_plane(image, display.plane(2, 0.0))
    assert picture[0, 0] == 0
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2] == 1


def test_center_of_a_region_is_weighted():
    image = blob()
    roi = Roi(name="projection_left", voxels=np.array([[0, 0, 0], [1, 0, 0]]), weights=np.array([3.0, 1.0]))
    np.testing.assert_allclose(roi_center(roi, image), [-13.5, -16, -12])

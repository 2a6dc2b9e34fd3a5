"""Interpolation: the same values as SciPy's, for images of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bids_alps.numerics.interpolation import CubicSpline, LinearImage, is_on_grid

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_cubic_splines_equal_scipy(shape, seed):
    random = np.random.default_rng(seed)
    image, places = random.normal(size=shape), random.uniform(size=(3, 20)) * (np.array(shape)[:, None] - 1)
    expected = ndimage.map_coordinates(image, places, order=3, mode="mirror")
    np.testing.assert_allclose(CubicSpline.of_image(image)(places), expected, atol=2e-5)


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_linear_interpolation_equals_scipy(shape, seed):
    random = np.random.default_rng(seed)
    image, places = random.normal(size=shape), random.uniform(-2, 11, size=(3, 20))
    expected = ndimage.map_coordinates(image, places, order=1, mode="nearest")
    np.testing.assert_allclose(LinearImage.of_image(image)(places), expected, atol=2e-5)


@given(shape=SHAPES)
def test_a_spline_passes_through_its_voxels(shape):
    image = np.random.default_rng(0).normal(size=shape)
    voxels = np.indices(shape).reshape(3, -1)
    np.testing.assert_allclose(CubicSpline.of_image(image)(voxels), image.ravel(), atol=2e-6)


def test_points_beyond_the_edge_have_its_value():
    image = np.random.default_rng(0).normal(size=(5, 6, 7))
    spline, places = CubicSpline.of_image(image), np.array([[-3.0, 99.0], [2.0, 2.0], [3.0, 3.0]])
    assert not is_on_grid(places, image.shape).any()
    assert spline(places) == pytest.approx(image[[0, -1], 2, 3], abs=1e-6)

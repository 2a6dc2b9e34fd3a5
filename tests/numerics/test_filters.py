"""Filters give what SciPy's slower ones give."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bids_alps.numerics.filters import (
    apply_matrices,
    dilated,
    eroded,
    gaussian_matrix,
    median_of_neighbors,
    smooth_widely,
)

EDGES = st.floats(0.7, 4.3)


@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    spacing=st.tuples(EDGES, EDGES, EDGES),
    radius=st.floats(0.3, 15),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_dilation_is_a_threshold_of_distances(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], radius: float, share: float, seed: int
) -> None:
    region = np.random.default_rng(seed).random(shape) < share
    if region.any():
        distance = ndimage.distance_transform_edt(~region, sampling=spacing)
        assert (dilated(region, np.array(spacing), radius) == (distance <= radius)).all()
    if not region.all():
        depth = ndimage.distance_transform_edt(region, sampling=spacing)
        assert (eroded(region, np.array(spacing), radius) == (depth > radius)).all()


@pytest.mark.parametrize("value", [False, True])
def test_an_empty_or_full_region_stays_so(value: bool) -> None:
    region = np.full((4, 5, 6), value)
    assert (dilated(region, np.ones(3), 3.0) == value).all()
    assert (eroded(region, np.ones(3), 3.0) == value).all()


def test_a_rounding_error_of_the_voxel_size_does_not_change_a_ball() -> None:
    region = np.zeros((9, 9, 9), dtype=bool)
    region[4, 4, 4] = True
    balls = [dilated(region, np.full(3, 2 + error), 6.0) for error in (-1e-9, 0.0, 1e-9)]
    assert (balls[0] == balls[1]).all()
    assert (balls[2] == balls[1]).all()


def test_wide_smoothing_equals_the_filter_of_scipy() -> None:
    image = np.random.default_rng(1).random((17, 20, 9)).astype(np.float32)
    expected = ndimage.gaussian_filter(image, (4.0, 6.0, 2.5), mode="constant")
    assert smooth_widely(image, np.array([4.0, 6.0, 2.5])) == pytest.approx(expected, abs=1e-5)


def test_smoothing_with_a_stride_takes_every_nth_voxel() -> None:
    image = np.random.default_rng(2).random((17, 20, 9)).astype(np.float32)
    expected = ndimage.gaussian_filter(image, 2.0, mode="constant", truncate=3)[::4, ::3, ::2]
    matrices = [
        gaussian_matrix(size, 2.0, stride=stride, truncate=3)
        for size, stride in zip(image.shape, (4, 3, 2), strict=True)
    ]
    assert apply_matrices(image, matrices) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(9, 1, 1), (1, 9, 1), (1, 1, 9), (1, 1, 1), (5, 4, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_in_memory_and_axes_of_one_voxel_do_not_matter(
    shape: tuple[int, int, int], order: Literal["C", "F"]
) -> None:
    image = np.asarray(np.random.default_rng(3).random(shape), dtype=np.float32, order=order)
    expected = ndimage.gaussian_filter(image, 1.5, mode="constant")
    assert smooth_widely(image, np.full(3, 1.5)) == pytest.approx(expected, abs=1e-5)


@given(shape=st.tuples(*[st.integers(1, 7)] * 3), levels=st.integers(1, 50), seed=st.integers(0, 99))
def test_the_median_is_that_of_scipy(shape: tuple[int, int, int], levels: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, levels, shape).astype(np.float32)
    np.testing.assert_array_equal(median_of_neighbors(image), ndimage.median_filter(image, size=3))

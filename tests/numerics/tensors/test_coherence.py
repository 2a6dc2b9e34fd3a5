import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.model import SpatialMap, TensorField
from bids_alps.numerics.tensors.coherence import (
    AxisConvention,
    axis_conventions,
    find_axis_convention,
    measure_coherence_gain,
)

SHAPE = (24, 24, 12)


ALONG = np.array([[0.75, 0.62, 0.23], [0.23, 0.62, 0.75]])
"""Directions of two families of bundles along voxel axes: every flip or exchange of axes turns one of them away."""


def bundles(reading=None, affine=None):
    """Thin straight bundles in tissue without a direction; `reading` turns the fibers, not the bundles."""
    affine = np.diag([2.0, 2, 2, 1]) if affine is None else affine
    indices = np.moveaxis(np.indices(SHAPE), 0, -1)
    halves = [family(along, indices, affine, np.eye(3) if reading is None else reading) for along in ALONG]
    tensor = np.where((indices[..., 0] < SHAPE[0] // 2)[..., None, None], *halves)
    elements = np.stack([tensor[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], axis=-1)
    mask = np.ones(SHAPE, dtype=bool)
    return TensorField(image=SpatialMap(data=elements, affine=affine), mask=mask, s0=np.ones(SHAPE))


def family(along, indices, affine, reading):
    across = np.linalg.svd(along[None])[2][1:]
    inside = (np.cos(indices @ across.T) > 0).all(axis=-1)
    world = affine[:3, :3] @ (along / np.linalg.norm(along) @ reading) / 2
    return 0.8e-3 * np.eye(3) + inside[..., None, None] * 0.8e-3 * (np.outer(world, world) - np.eye(3) / 3)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_a_true_gradient_table_makes_fibers_continue_best_in_any_storage_order(order):
    affine = np.eye(4)
    affine[:3, :3] = 2 * np.eye(3)[:, list(order)] * [-1, 1, 1]
    assert measure_coherence_gain(bundles(affine=affine)) > 1.05


@pytest.mark.parametrize(
    "reading",
    [np.diag([-1.0, 1, 1]), np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1]), np.eye(3)[[1, 0, 2]], np.eye(3)[[2, 1, 0]]],
    ids=["flip x", "flip y", "flip z", "x for y", "x for z"],
)
def test_a_flipped_or_permuted_table_is_detected(reading):
    assert measure_coherence_gain(bundles(reading)) < 0.95


@pytest.mark.parametrize("twice", [False, True])
def test_a_table_that_ignores_oblique_slices_is_detected(twice):
    turn = Rotation.from_euler("xyz", [40.0, 5.0, 0.0], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = 2 * turn @ np.diag([-1.0, 1, 1])
    oblique = np.diag([-1.0, 1, 1]) @ turn @ np.diag([-1.0, 1, 1])
    assert measure_coherence_gain(bundles(affine=affine)) > 1
    assert measure_coherence_gain(bundles(oblique if twice else oblique.T, affine)) < 0.95


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 2, 1]), np.diag([-2.0, 2, 2, 1])], ids=["RAS", "LAS"])
def test_each_of_the_24_conventions_is_detected_and_inverted(affine):
    for reading in axis_conventions():
        found = find_axis_convention(bundles(reading, affine))
        bvecs = np.eye(3) @ reading
        again = found.apply(bvecs, affine)
        assert all(abs(abs(again[n] @ np.eye(3)[n]) - 1) < 1e-9 for n in range(3))
        assert (found.gain >= 1) == np.allclose(found.matrix, np.eye(3))
        assert found.lead > 1.05


def test_a_convention_is_described_by_its_axes():
    assert [str(AxisConvention(matrix=one, lead=1.0, gain=1.0)) for one in axis_conventions()[:5]] == [
        "x y z",
        "-x y z",
        "x -y z",
        "x y -z",
        "x z y",
    ]


def test_the_sign_of_a_b_vector_is_ignored():
    assert measure_coherence_gain(bundles(-np.eye(3))) == pytest.approx(measure_coherence_gain(bundles()))


def test_without_white_matter_there_is_no_check():
    field = bundles()
    isotropic = np.tile(np.array([1.0, 0, 0, 1, 0, 1]) * 1e-3, (*SHAPE, 1))
    nothing = TensorField(image=field.image.like(isotropic), mask=field.mask, s0=field.s0)
    assert np.isnan(measure_coherence_gain(nothing))


CUBE = (24, 24, 24)
THICK = {2: np.diag([2.0, 2, 5, 1]), 0: np.diag([5.0, 2, 2, 1])}


@pytest.mark.parametrize("slice_axis", THICK)
def test_thick_slices_show_the_axes_within_them(slice_axis):
    """Bundles within the slices: a flip or an exchange of their axes shows, whatever lies along the slice axis."""
    first, second = (axis for axis in range(3) if axis != slice_axis)
    flip, exchange = np.eye(3), np.eye(3)
    flip[first, first] = -1
    exchange[[first, second]] = exchange[[second, first]]
    affine = THICK[slice_axis]
    assert measure_coherence_gain(within_slices(np.eye(3), affine, slice_axis)) > 1.05
    for reading in (flip, exchange):
        assert measure_coherence_gain(within_slices(reading, affine, slice_axis)) < 0.95


def within_slices(reading, affine, slice_axis):
    """Bundles at 23 and -67 degrees to the first axis of the slices; `reading` turns the fibers, not the bundles."""
    first, second = (axis for axis in range(3) if axis != slice_axis)
    indices = np.moveaxis(np.indices(CUBE), 0, -1)
    tensor = np.tile(0.8e-3 * np.eye(3), (*CUBE, 1, 1))
    half = indices[..., second] < CUBE[second] // 2
    for part, angle in ((half, 23.0), (~half, -67.0)):
        along = np.zeros(3)
        along[first], along[second] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        across = np.zeros(3)
        across[first], across[second] = -along[second], along[first]
        inside = part & (np.cos(indices @ across) > 0)
        fiber = along @ reading
        tensor[inside] += 0.8e-3 * (np.outer(fiber, fiber) - np.eye(3) / 3)
    elements = np.stack([tensor[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], axis=-1)
    mask = np.ones(CUBE, dtype=bool)
    return TensorField(image=SpatialMap(data=elements, affine=affine), mask=mask, s0=np.ones(CUBE))


def test_thick_slices_are_never_repaired_and_oblong_pixels_tell_nothing():
    assert find_axis_convention(bundles(affine=np.diag([2.0, 2, 3, 1]))) is None
    assert np.isnan(measure_coherence_gain(bundles(affine=np.diag([2.0, 3, 5, 1]))))
    assert np.isfinite(measure_coherence_gain(bundles(affine=np.diag([2.0, 2, 2.5, 1]))))

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.model import SpatialMap, SpatialTransform
from bids_alps.numerics.index.atlas import measure_regions, place_labels, place_probabilities, summarize


def atlas():
    """Two blocks of the template: 1 at x < 0 (left), 2 at x > 0."""
    affine = np.eye(4)
    affine[:3, 3] = -30
    data = np.zeros((61, 61, 61), dtype=np.int32)
    data[10:25, 20:40, 20:40] = 1
    data[36:51, 20:40, 20:40] = 2
    return SpatialMap(data=data, affine=affine)


def grid(axes=(1, 1, 1), size=2.0):
    linear = np.diag(np.array(axes) * size)
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ np.full(3, 19.5)
    return SpatialMap(data=np.ones((40, 40, 40), dtype=bool), affine=affine)


def rotated(degrees=20.0):
    rigid = np.eye(4)
    rigid[:3, :3] = Rotation.from_euler("zyx", [degrees, 5, -8], degrees=True).as_matrix()
    rigid[:3, 3] = 3, -4, 2
    return SpatialTransform(affine=rigid, rigid=rigid)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_sides_and_volumes_survive_any_storage_and_pose(axes):
    mask, transform = grid(axes), rotated()
    placed = place_labels(atlas(), transform, mask)
    for label, sign in ((1, -1), (2, 1)):
        own = placed.labels == label
        points = transform.template_from_subject(mask.world(placed.voxels[own]))
        assert np.average(points[:, 0], weights=placed.weights[own]) == pytest.approx(sign * 13, abs=0.6)
        assert placed.weights[own].sum() * 8 == pytest.approx(15 * 20 * 20, rel=0.02)


@pytest.mark.slow
def test_a_known_map_gives_its_value_in_each_region():
    mask, transform = grid(), rotated()
    x = transform.template_from_subject(mask.world(np.stack(np.indices(mask.shape), axis=-1)))[..., 0]
    fa = mask.like(np.where(x < 0, 0.3, 0.6))
    found = measure_regions(place_labels(atlas(), transform, mask).above(0.5), (1, 2, 3), {"fa": fa})
    assert set(found) == {1, 2}
    for label, value in ((1, 0.3), (2, 0.6)):
        assert found[label]["fa_mean"] == pytest.approx(value)
        assert found[label]["fa_median"] == pytest.approx(value)
        assert found[label]["fa_sd"] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_a_higher_threshold_counts_fewer_voxels():
    placed = place_labels(atlas(), rotated(), grid())
    low, half, high = (placed.above(threshold) for threshold in (0.1, 0.5, 0.9))
    assert len(low.voxels) > len(half.voxels) > len(high.voxels) > 0
    assert high.weights.min() >= 0.9


@pytest.mark.slow
def test_binary_probabilities_equal_labels():
    labels, mask = atlas(), grid()
    certain = labels.like(np.stack([labels.data == 1, labels.data == 2], axis=-1).astype(np.float32))
    inside = place_probabilities(certain, rotated(), mask).above(1.0)
    whole = place_labels(labels, rotated(), mask)
    known = {(*voxel, label) for voxel, label in zip(whole.voxels.tolist(), whole.labels.tolist(), strict=True)}
    assert len(inside.labels) > 500
    assert {(*v, n) for v, n in zip(inside.voxels.tolist(), inside.labels.tolist(), strict=True)} <= known


@pytest.mark.slow
def test_voxels_outside_the_mask_or_the_atlas_do_not_count():
    mask = grid()
    far = np.eye(4)
    far[0, 3] = 500
    away = SpatialTransform(affine=far, rigid=np.eye(4))
    assert place_labels(atlas(), away, mask).labels.size == 0
    assert place_labels(atlas(), rotated(), mask.like(np.zeros(mask.shape, bool))).labels.size == 0


def test_weights_equal_repetitions():
    values, weights = np.array([4.0, 1.0, 2.0]), np.array([1, 2, 3])
    repeated = np.repeat(values, weights)
    found = summarize(values, weights)
    assert found["mean"] == pytest.approx(repeated.mean())
    assert found["sd"] == pytest.approx(repeated.std())
    assert found["median"] == pytest.approx(np.median(repeated))

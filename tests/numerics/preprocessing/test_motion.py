"""Motion: algebra of the transforms, predictions by another route, and a small series with a known motion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_alps.errors import ImageError
from bids_alps.numerics.preprocessing.outliers import find_outlier_slices
from bids_alps.numerics.preprocessing.prediction import fit_covariance, leave_one_out_weights
from bids_alps.numerics.preprocessing.realignment import coarsening_matrix, estimate_motion
from bids_alps.numerics.preprocessing.volume_motion import (
    QUADRATIC_TERMS,
    VolumeMotion,
    no_motion,
    sample_reference,
)

DIRECTION = np.array([0.0, 1.0, 0.0])


def random_motion(seed, terms=QUADRATIC_TERMS):
    random = np.random.default_rng(seed)
    return VolumeMotion(
        rotation=random.normal(scale=0.05, size=3),
        translation=random.normal(size=3),
        eddy=random.normal(scale=0.01, size=terms) / np.array([1, 1, 1, 99, 99, 99, 99, 99, 99])[:terms],
        center=random.normal(scale=5, size=3),
        direction=DIRECTION,
    )


@given(seed=st.integers(0, 99), terms=st.sampled_from([3, 9]))
def test_stretch_is_the_jacobian_of_acquired(seed, terms):
    motion, step = random_motion(seed, terms), 1e-4
    point = np.random.default_rng(seed).normal(scale=40, size=3)
    ends = motion.acquired(point + step * np.r_[np.eye(3), -np.eye(3)])
    volume = np.linalg.det((ends[:3] - ends[3:]) / (2 * step))
    assert motion.stretch(point[None])[0] == pytest.approx(volume, rel=1e-6)


@given(seed=st.integers(0, 99))
def test_changing_the_reference_volume_keeps_points(seed):
    motion, matrix = random_motion(seed), random_motion(seed + 1).matrix
    points = np.random.default_rng(seed).normal(scale=40, size=(5, 3))
    there = points @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.allclose(motion.after(matrix).acquired(points), motion.acquired(there), atol=1e-9)


def test_no_motion_moves_no_points():
    points = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(no_motion(np.ones(3), DIRECTION, 3).acquired(points), points)


def unit_vectors(number, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(number, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_leave_one_out_weights_give_the_conditional_mean():
    covariance = np.cov(np.random.default_rng(1).normal(size=(6, 50)))
    for left_out in range(6):
        others = np.delete(np.arange(6), left_out)
        direct = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, left_out])
        assert np.allclose(leave_one_out_weights(covariance)[left_out, others], direct)


def test_predictions_recover_the_signal_of_tensors():
    vectors, random = unit_vectors(40), np.random.default_rng(2)
    axes = unit_vectors(3000, 5)
    signal = 100 * np.exp(-0.5 - (vectors @ axes.T) ** 2)
    noisy = signal + random.normal(scale=3, size=signal.shape)
    weights = leave_one_out_weights(fit_covariance(noisy @ noisy.T / 3000, vectors, np.zeros(40, dtype=int)))
    assert np.sqrt(np.mean((weights @ noisy - signal) ** 2)) < 2.0  # the spread over directions is 12


@given(seed=st.integers(0, 99))
def test_six_directions_predict_each_other_with_the_right_sign(seed):
    golden, random = (1 + 5**0.5) / 2, np.random.default_rng(seed)
    vectors = np.array(
        [[0, 1, golden], [0, 1, -golden], [1, golden, 0], [1, -golden, 0], [golden, 0, 1], [golden, 0, -1]]
    )
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) + random.normal(scale=1e-3, size=(6, 3))
    signal = random.uniform(50, 150, size=1000) + random.normal(scale=5, size=(6, 1000))
    weights = leave_one_out_weights(fit_covariance(signal @ signal.T / 1000, vectors, np.zeros(6, dtype=int)))
    assert weights.sum(1) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("number", [1, 2, 7])
def test_covariance_is_positive_definite_with_few_volumes(number):
    values = np.random.default_rng(number).normal(5, 1, size=(number, 100))
    covariance = fit_covariance(values @ values.T / 100, unit_vectors(number), np.zeros(number, dtype=int))
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_only_a_slice_that_lost_half_its_signal_is_an_outlier():
    random = np.random.default_rng(0)
    predicted = np.full((8, 4000), 100.0)
    stack = predicted + random.normal(scale=10, size=predicted.shape)
    slices = np.tile(np.arange(4000) // 200, (8, 1)).astype(float)
    stack[3, slices[3] == 7] *= 0.5
    assert np.argwhere(find_outlier_slices(zip(stack, predicted, slices, strict=True), 20)).tolist() == [[3, 7]]


BLOBS = np.random.default_rng(8).uniform(-1, 1, size=(40, 3)) * [20, 20, 14]
AFFINE = np.diag([-3.0, 3, 3, 1])
AFFINE[:3, 3] = [34.5, -34.5, -24]


def blob_head(points, matrix, b, vector):
    """An ellipsoid with blobs that have a fiber direction each, of a head rotated by `matrix`."""
    rest = (points - matrix[:3, 3]) @ matrix[:3, :3]
    image = 300 * np.exp(-b * 8e-4) / (1 + np.exp(20 * (((rest / [28, 28, 20]) ** 2).sum(1) - 1)))
    for number, center in enumerate(BLOBS):
        fiber = np.roll([1.0, 0, 0], number) @ matrix[:3, :3].T
        amount = 200 * np.exp(-((rest - center) ** 2).sum(1) / 30) * (-1) ** number
        image = image + amount * np.exp(-b * (2e-4 + 1.2e-3 * (fiber @ vector) ** 2))
    return image


@pytest.fixture(scope="module")
def series():
    random = np.random.default_rng(4)
    shape = (24, 24, 17)
    points = np.indices(shape).reshape(3, -1).T @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    bvals, bvecs = np.r_[0, np.full(15, 1000.0)], np.r_[np.zeros((1, 3)), unit_vectors(15)]
    poses, volumes = [], []
    for volume in range(16):
        matrix = np.eye(4)
        if volume:
            matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(random.normal(scale=1.5, size=3))).as_matrix()
            matrix[:3, 3] = random.normal(scale=1, size=3)
        poses.append(matrix)
        clean = blob_head(points, matrix, bvals[volume], bvecs[volume])
        volumes.append((clean + random.normal(scale=2, size=clean.size)).reshape(shape))
    mask = (((points / [28, 28, 20]) ** 2).sum(1) < 1.2).reshape(shape)
    return np.stack(volumes, axis=-1), bvals, bvecs, mask, np.array(poses)


def test_motion_and_gradients_of_a_moved_series_are_recovered(series):
    data, bvals, bvecs, mask, poses = series
    found = estimate_motion(data, AFFINE, (bvals, bvecs), mask)
    points = np.argwhere(mask) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    errors = []
    for volume, pose in zip(found.volumes, poses, strict=True):
        true = points @ pose[:3, :3].T + pose[:3, 3]
        errors.append(np.sqrt(((volume.acquired(points) - true) ** 2).sum(1).mean()))
    moved = np.sqrt(sum(np.sum(pose[:3, 3] ** 2) for pose in poses) / len(poses))
    assert np.median(errors) < 0.45 < moved
    rotated = np.array([vector @ pose[:3, :3] for vector, pose in zip(bvecs, poses, strict=True)])
    cosine = np.clip((rotated[1:] * found.bvecs[1:]).sum(1), -1, 1)
    assert np.median(np.rad2deg(np.arccos(cosine))) < 0.8
    assert found.framewise_displacement[0] == 0
    assert set(found.confounds) >= {"trans_x", "rot_z", "framewise_displacement", "outlier_slices"}


@pytest.mark.parametrize("far", [8, 12, 15])
def test_single_volumes_far_from_the_others_are_found(series, far):
    """Volumes turned and moved along random axes by as many degrees and mm, in a series that is still otherwise."""
    _, bvals, bvecs, mask, poses = series
    random = np.random.default_rng(3)
    points = np.indices(mask.shape).reshape(3, -1).T @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    brain, waves = points[mask.ravel()], unit_vectors(4, seed=9)
    poses, volumes = np.array([np.eye(4)] * len(poses)), []
    for volume in (4, 8, 12):
        turn, shift = unit_vectors(2, seed=volume)
        poses[volume, :3, :3] = Rotation.from_rotvec(np.deg2rad(far * turn)).as_matrix()
        poses[volume, :3, 3] = far * shift
    for pose, b, vector in zip(poses, bvals, bvecs, strict=True):
        rest = (points - pose[:3, 3]) @ pose[:3, :3]
        folds = np.sin(rest @ waves.T * (2 * np.pi / 10)).sum(1)  # in which a volume far away is caught
        clean = blob_head(points, pose, b, vector) * np.maximum(1 + 0.6 * folds, 0)
        volumes.append((clean + random.normal(scale=2, size=clean.size)).reshape(mask.shape))
    found = estimate_motion(np.stack(volumes, axis=-1), AFFINE, (bvals, bvecs), mask)
    assert found.usable.all()
    errors = [
        np.sqrt(((volume.acquired(brain) - brain @ pose[:3, :3].T - pose[:3, 3]) ** 2).sum(1).mean())
        for volume, pose in zip(found.volumes, poses, strict=True)
    ]
    assert max(errors) < 1.5


def test_empty_and_foreign_volumes_are_not_usable(series):
    data, bvals, bvecs, mask, _ = series
    data = data.copy()
    data[..., 4] = 0
    data[..., 9] = np.random.default_rng(0).normal(size=mask.shape)
    usable = estimate_motion(data, AFFINE, (bvals, bvecs), mask).usable
    assert np.flatnonzero(~usable).tolist() == [4, 9]


def test_a_series_without_signal_is_refused(series):
    data, bvals, bvecs, mask, _ = series
    with pytest.raises(ImageError, match="0 b=0 volumes"):
        estimate_motion(np.zeros_like(data), AFFINE, (bvals, bvecs), mask)
    with pytest.raises(ImageError, match="mask is empty"):
        estimate_motion(data, AFFINE, (bvals, bvecs), np.zeros_like(mask))


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.2])
def test_coarsening_as_a_matrix_is_smoothing_then_interpolation_then_the_prefilter(factor):
    values, coarse = np.random.default_rng(0).normal(size=30), int(29 / factor) + 1
    smooth = ndimage.gaussian_filter1d(values, 0.5 * np.sqrt(factor**2 - 1)) if factor > 1 else values
    resampled = ndimage.map_coordinates(smooth, [factor * np.arange(coarse)], order=3, mode="constant")
    expected = ndimage.spline_filter1d(resampled, order=3, mode="mirror")
    np.testing.assert_allclose(coarsening_matrix(30, factor, coarse) @ values, expected, atol=1e-5)


@given(seed=st.integers(0, 99))
def test_reference_points_have_the_values_and_gradients_of_the_whole_image(seed):
    random = np.random.default_rng(seed)
    image, affine = random.normal(size=(4, 5, 6)), random_motion(seed).matrix @ np.diag([-2.0, 2.0, 3.0, 1.0])
    voxels = np.indices(image.shape).reshape(3, -1).T
    points = sample_reference(image, affine, voxels)
    slopes = np.stack(tuple(np.gradient(image)), axis=-1).reshape(-1, 3)
    np.testing.assert_array_equal(points.values, image.ravel())
    np.testing.assert_allclose(points.gradients @ affine[:3, :3], slopes, atol=1e-9)
    np.testing.assert_allclose(points.points, voxels @ affine[:3, :3].T + affine[:3, 3], atol=1e-4)

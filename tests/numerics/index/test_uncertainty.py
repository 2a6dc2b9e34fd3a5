from __future__ import annotations

import numpy as np
import pytest

from bids_alps.model import SIDES, DwiSeries, Gradients, Roi, SpatialMap, TensorField
from bids_alps.numerics.index.alps import alps_index
from bids_alps.numerics.index.uncertainty import (
    OTHER_TISSUE,
    Errors,
    Systematic,
    add_systematic,
    blur_by_a_voxel,
    estimate_intervals,
)
from bids_alps.numerics.tensors.tensor import design_matrix, fit_coefficients

DIAGONALS = {"projection": (0.63e-3, 0.42e-3, 1.11e-3), "association": (0.64e-3, 1.11e-3, 0.38e-3)}
TRUTH = (0.63 + 0.64) / (0.42 + 0.38)
NAMES = [f"{region}_{side}" for region in DIAGONALS for side in SIDES]


def make(n_directions, b0, snr, voxels, rng, smooth=False):
    """Return a series of four regions side by side, with Rician noise, and its regions."""
    vectors = rng.normal(size=(n_directions, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gradients = Gradients(
        bvals=np.r_[np.zeros(b0), np.full(n_directions, 1000.0)], bvecs=np.vstack([np.zeros((b0, 3)), vectors])
    )
    data = np.zeros((4, voxels, 1, b0 + n_directions), dtype=np.float32)
    for n, name in enumerate(NAMES):
        signal = np.exp(-gradients.bvals * (gradients.bvecs**2 @ np.array(DIAGONALS[name.split("_")[0]])))
        noise = rng.normal(scale=1 / snr, size=(2, voxels, signal.size))
        if smooth:
            noise = np.repeat(noise[:, ::4], 4, axis=1)[:, :voxels]
        data[n, :, 0] = 1000 * np.hypot(signal + noise[0], noise[1])
    series = DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=gradients)
    rois = [
        Roi(name=name, voxels=np.array([[n, v, 0] for v in range(voxels)]), weights=np.ones(voxels))
        for n, name in enumerate(NAMES)
    ]
    return series, rois


def means_of(series, rois):
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    return {roi.name: fit_coefficients(series.image.data[tuple(roi.voxels.T)], design)[:, :6].mean(0) for roi in rois}


NO_ERRORS = Errors(placement_mm=0.0, pose_degrees=0.0)


def intervals(series, rois, seed=0, errors=NO_ERRORS):
    return estimate_intervals(series, rois, np.eye(3), lambda _: means_of(series, rois), errors, seed=seed)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(("directions", "b0", "voxels"), [(30, 3, 8), (12, 1, 8), (64, 6, 16)])
def test_intervals_have_nominal_coverage(directions, b0, voxels, smooth):
    rng = np.random.default_rng(5)
    inside, total = 0, 60
    for n in range(total):
        series, rois = make(directions, b0, 25, voxels, rng, smooth)
        found = intervals(series, rois, seed=n)
        inside += sum(found[side].low <= TRUTH <= found[side].high for side in SIDES)
    assert 0.85 <= inside / (2 * total) <= 0.995


def test_intervals_depend_on_the_seed_only_slightly():
    series, rois = make(30, 3, 20, 8, np.random.default_rng(1))
    first, again, other = intervals(series, rois), intervals(series, rois), intervals(series, rois, seed=9)
    assert first == again
    assert first["left"].se == pytest.approx(other["left"].se, rel=0.15)
    assert first["left"].se != other["left"].se


def test_less_noise_or_more_voxels_narrows_the_interval():
    rng = np.random.default_rng(2)
    noisy, clean, large = (intervals(*make(30, 3, *how, rng))["bilateral"].se for how in ((15, 8), (60, 8), (15, 64)))
    assert clean < noisy / 2
    assert large < noisy / 2


def test_the_pose_error_follows_from_rotating_the_tensors():
    series, rois = make(30, 3, 1e5, 8, np.random.default_rng(3))
    still, unsure = intervals(series, rois), intervals(series, rois, errors=Errors(placement_mm=0.0, pose_degrees=3.0))
    assert still["left"].se_pose == 0
    assert 0 < unsure["left"].se_pose < 0.1
    assert unsure["left"].se_noise == pytest.approx(still["left"].se_noise)


def test_placement_error_reaches_the_interval():
    series, rois = make(30, 3, 1e5, 8, np.random.default_rng(3))
    means = means_of(series, rois)

    def placed(offsets):
        return {name: means[name] * (1 + 0.1 * np.array([offsets[name][0], 0, 0, 0, 0, 0])) for name in means}

    found = estimate_intervals(series, rois, np.eye(3), placed, Errors(placement_mm=1.0, pose_degrees=0.0), seed=0)
    assert found["left"].se_placement > 10 * found["left"].se_noise
    assert found["bilateral"].se_placement < found["left"].se_placement
    assert found["left"].se == pytest.approx(
        np.sqrt(found["left"].se_placement ** 2 + found["left"].se_noise ** 2 + found["left"].se_pose ** 2)
    )


def test_a_region_without_voxels_has_no_interval():
    series, rois = make(30, 3, 25, 8, np.random.default_rng(4))
    empty = Roi(name=rois[0].name, voxels=np.zeros((0, 3)), weights=np.zeros(0), coverage=0.0)
    assert intervals(series, [empty, *rois[1:]]) == {}


def test_index_of_the_truth():
    projection, association = (np.array([x, 0, 0, y, 0, z]) for x, y, z in DIAGONALS.values())
    assert alps_index(projection, association) == pytest.approx(TRUTH)


def test_blur_leaves_an_even_field_and_has_the_variance_of_a_voxel():
    elements = np.zeros((9, 9, 9, 6), dtype=np.float32)
    elements[..., 0] = 1e-3
    mask = np.ones((9, 9, 9), dtype=bool)
    mask[:2] = False

    def field(data):
        return TensorField(
            image=SpatialMap(data=data * mask[..., None], affine=np.eye(4)), mask=mask, s0=np.ones(mask.shape)
        )

    assert blur_by_a_voxel(field(elements)).image.data[mask][:, 0] == pytest.approx(1e-3)
    point = np.zeros_like(elements)
    point[5, 4, 4, 0] = 1
    spread = blur_by_a_voxel(field(point)).image.data[..., 0]
    assert spread.sum() == pytest.approx(1, rel=1e-5)
    assert (spread.sum((1, 2)) * (np.arange(9) - 5) ** 2).sum() == pytest.approx(1 / 12, rel=1e-5)


def test_systematic_errors_widen_the_interval():
    series, rois = make(30, 3, 20, 8, np.random.default_rng(1))
    sharp, found = means_of(series, rois), intervals(series, rois)["left"]
    value = float(alps_index(sharp["projection_left"], sharp["association_left"]))
    same = add_systematic(found, value, Systematic())
    assert same.se_resolution == pytest.approx(OTHER_TISSUE * (value - 1), rel=1e-6)
    assert same.se == pytest.approx(np.hypot(found.se, same.se_resolution))
    wider = add_systematic(found, value, Systematic(resolution=0.02, calibration=-0.06, noise_floor=-0.01))
    parts = (wider.se_resolution, wider.se_calibration, wider.se_noise_floor)
    assert parts == pytest.approx(value * np.array([np.hypot(0.02, OTHER_TISSUE * (value - 1) / value), 0.03, 0.01]))
    assert wider.se == pytest.approx(np.linalg.norm([found.se, *parts]), rel=1e-6)
    assert wider.low < found.low < found.high < wider.high
    assert add_systematic(found, value, Systematic(noise_floor=float("nan"))) == same


SIX = np.array([[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]) / np.sqrt(2)


def six_directions(rng, *, shared, snr=20, voxels=12):
    """An exactly fitted scan (six directions, one b=0); each volume has an error `shared` common to all voxels."""
    _, rois = make(6, 1, 1e6, voxels, np.random.default_rng(0))
    gradients = Gradients(bvals=np.r_[0, np.full(6, 1000.0)], bvecs=np.vstack([np.zeros(3), SIX]))
    data = np.zeros((4, voxels, 1, 7))
    for n, name in enumerate(NAMES):
        signal = np.exp(-gradients.bvals * (gradients.bvecs**2 @ np.array(DIAGONALS[name.split("_")[0]])))
        signal = signal * np.exp(shared * rng.standard_normal(7))
        data[n, :, 0] = 1000 * np.abs(signal + rng.standard_normal((voxels, 7)) / snr)
    return DwiSeries(image=SpatialMap(data=data.astype(np.float32), affine=np.eye(4)), gradients=gradients), rois


def test_an_exact_fit_still_has_noise():
    """Without residuals, the standard error of noise equals that of repeats."""
    rng = np.random.default_rng(8)
    errors = Errors(placement_mm=0.0, pose_degrees=0.0, noise_sd=50.0)
    values, reported = [], []
    for n in range(40):
        series, rois = six_directions(rng, shared=0.03)
        means = means_of(series, rois)
        values.append(float(alps_index(means["projection_left"], means["association_left"])))
        reported.append(intervals(series, rois, seed=n, errors=errors)["left"].se_noise)
    assert np.median(reported) == pytest.approx(np.std(values), rel=0.35)
    assert min(reported) > 0.02


def test_residuals_suffice_with_a_few_degrees_of_freedom():
    """With a few degrees of freedom the residuals suffice: a clean scan has a small standard error."""
    clean = {n: intervals(*make(n, 1, 1e5, 8, np.random.default_rng(6)))["left"].se_noise for n in (6, 8, 10, 30)}
    assert clean[6] > clean[8] > clean[10]
    assert clean[30] < 0.002


def test_a_difference_from_the_spheres_beyond_random_error_widens_the_interval():
    series, rois = make(30, 3, 20, 8, np.random.default_rng(1))
    sharp, found = means_of(series, rois), intervals(series, rois)["left"]
    value = float(alps_index(sharp["projection_left"], sharp["association_left"]))
    random, same = found.se / value, add_systematic(found, value, Systematic())
    for small in (0.5 * random, -0.99 * random, float("nan")):
        assert add_systematic(found, value, Systematic(regions=small)) == same
    for large in (3 * random, -3 * random):
        wider = add_systematic(found, value, Systematic(regions=large))
        assert wider.se_regions == pytest.approx(value * random * np.sqrt(8))
        assert wider.se == pytest.approx(np.hypot(same.se, wider.se_regions))
        assert wider.low < value * np.exp(-3 * random)
        assert wider.high > value * np.exp(3 * random)


def test_all_of_a_gradient_error_that_tissues_agree_on_counts_while_it_is_not_corrected():
    series, rois = make(30, 3, 20, 8, np.random.default_rng(1))
    sharp, found = means_of(series, rois), intervals(series, rois)["left"]
    value = float(alps_index(sharp["projection_left"], sharp["association_left"]))
    corrected = add_systematic(found, value, Systematic(calibration=0.08))
    uncorrected = add_systematic(found, value, Systematic(calibration=0.08, uncorrected=-0.06))
    assert corrected.se_calibration == pytest.approx(0.04 * value)
    assert uncorrected.se_calibration == pytest.approx(value * np.hypot(0.04, 0.06))
    assert uncorrected.se > corrected.se

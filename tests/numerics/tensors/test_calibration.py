"""A head in shells: white core, gray matter, outer cortex with CSF; gradients may be too strong along an axis."""

from __future__ import annotations

import numpy as np
import pytest

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.tensors.calibration import MAX_CORRECTION, bounded, estimate_weighting_error, reweight
from bids_alps.numerics.tensors.tensor import fit_tensor

SIZE, VOXEL = 40, 3.0
PLACES = (np.moveaxis(np.indices((SIZE,) * 3), 0, -1) - (SIZE - 1) / 2) * VOXEL
RADIUS = np.linalg.norm(PLACES, axis=-1)
MASK = RADIUS < 57
WHITE, GRAY, PIAL = RADIUS < 34, (RADIUS >= 34) & (RADIUS < 46), RADIUS >= 46
FIBER = np.array([1.2e-3, 0.45e-3, 0.45e-3])
K = np.diag([0.01, -0.045, 0.035])


def directions(n):
    k = np.arange(n) + 0.5
    z, turn = 1 - k / n, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)


def scan(error=None, *, sd=5.0, white_in_gray=0.0):
    """Signal of the head at b = 1000; `white_in_gray` is the fraction of fibers along x at the edge of gray matter."""
    bvecs = np.concatenate([np.zeros((2, 3)), directions(20)])
    bvals = np.r_[0, 0, np.full(20, 1000.0)]
    felt = bvals * (1 + np.einsum("ni,ij,nj->n", bvecs, np.zeros((3, 3)) if error is None else error, bvecs))
    along_x = np.exp(-felt * (bvecs**2 @ FIBER))
    isotropic = {name: np.exp(-felt * md) for name, md in (("gray", 0.85e-3), ("pial", 1.25e-3))}
    share = np.clip((46 - RADIUS) / 12, 0, 1)[..., None] * white_in_gray
    signal = np.where(
        WHITE[..., None],
        along_x,
        np.where(GRAY[..., None], share * along_x + (1 - share) * isotropic["gray"], isotropic["pial"]),
    )
    data = 1000 * signal + sd * np.random.default_rng(0).standard_normal(signal.shape)
    image = SpatialMap(data=np.maximum(data, 1).astype(np.float32), affine=np.diag([VOXEL] * 3 + [1.0]))
    return DwiSeries(image=image, gradients=Gradients(bvals=bvals, bvecs=bvecs))


def estimate(series, mask=MASK):
    return estimate_weighting_error(fit_tensor(series, mask))


@pytest.mark.parametrize("sd", [0.0, 40.0])
def test_calibrated_gradients_are_unchanged(sd):
    found = estimate(scan(sd=sd))
    assert found.spread < 0.004
    assert not found.corrected.any()
    series = scan()
    assert reweight(series, found.corrected) is series


def test_gradient_errors_are_estimated_and_diffusivities_restored():
    series = scan(K)
    found = estimate(series)
    assert found.measured == pytest.approx(K, abs=0.004)
    assert np.linalg.norm(found.corrected - K) < 0.2 * np.linalg.norm(K)
    core = RADIUS < 25
    before, after = (
        fit_tensor(one, MASK).image.data[core][:, [0, 3, 5]].mean(0) / FIBER - 1
        for one in (series, reweight(series, found.corrected))
    )
    assert np.abs(before).max() > 0.04
    assert np.abs(after).max() < 0.012


def test_the_estimate_does_not_decrease_with_noise():
    clean, noisy = (np.linalg.norm(estimate(scan(K, sd=sd)).measured) for sd in (10.0, 100.0))
    assert noisy == pytest.approx(clean, rel=0.12)


def test_partial_volume_with_gray_matter_is_not_a_gradient_error():
    found = estimate(scan(white_in_gray=0.3))
    assert np.linalg.norm(found.measured) > 0.03  # gray matter as a whole is far from isotropic
    assert np.linalg.norm(found.corrected) < 0.004


def test_the_correction_is_bounded():
    found = estimate(scan(2.5 * K))
    assert np.abs(np.linalg.eigvalsh(found.measured)).max() > 0.08
    assert np.abs(np.linalg.eigvalsh(found.corrected)).max() <= MAX_CORRECTION + 1e-9
    assert bounded(np.diag([0.2, -0.01, -0.19])) == pytest.approx(np.diag([MAX_CORRECTION, -0.01, -MAX_CORRECTION]))


def test_b0_volumes_and_the_mean_b_value_are_unchanged():
    series = scan()
    bvals = reweight(series, K).gradients.bvals
    assert (bvals[:2] == 0).all()
    assert bvals[2:].mean() == pytest.approx(1000, rel=0.01)


def test_too_little_tissue_gives_no_correction():
    series = scan(K)
    found = estimate(series, RADIUS < 20)
    assert np.isnan(found.spread)
    assert not found.corrected.any()
    assert reweight(series, found.measured) is series


def test_the_bound_is_five_percent_along_each_axis_of_the_error():
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    found = bounded(turn @ np.diag([0.2, -0.09, 0.04]) @ turn.T)
    np.testing.assert_allclose(found, turn @ np.diag([0.05, -0.05, 0.04]) @ turn.T, atol=1e-12)

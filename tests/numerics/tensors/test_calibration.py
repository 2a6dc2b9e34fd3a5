import numpy as np
import pytest

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.tensors.calibration import calibrate, estimate_scales
from bids_alps.numerics.tensors.tensor import fit_tensor

SHAPE = (22, 22, 22)
MASK = np.ones(SHAPE, dtype=bool)
FIBRE = np.array([0.5e-3, 0.4e-3, 1.2e-3])


def directions(n):
    k = np.arange(n) + 0.5
    z, turn = 1 - k / n, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)


def series(errors, *, noise=0.0, b=1000.0):
    """Grey matter with a tract through it; `errors` are the factors by which each volume is weighted too much."""
    n = len(errors)
    bvecs = np.concatenate([np.zeros((2, 3)), directions(n)])
    factors = np.concatenate([[1, 1], errors])
    bvals = np.concatenate([[0, 0], np.full(n, b)])
    diffusivity = np.where(np.arange(SHAPE[0])[:, None] < 6, FIBRE, 0.8e-3)  # shape (i, 3)
    signal = 1000 * np.exp(-bvals * factors * (diffusivity @ (bvecs**2).T))
    data = np.broadcast_to(signal[:, None, None, :], (*SHAPE, n + 2)).astype(np.float32)
    data = data + noise * np.random.default_rng(0).standard_normal(data.shape).astype(np.float32)
    image = SpatialMap(data=data, affine=np.diag([3.0, 3, 3, 1]))
    return DwiSeries(image=image, gradients=Gradients(bvals=bvals, bvecs=bvecs))


@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_a_well_calibrated_series_is_left_as_it_is(noise):
    given = series(np.ones(20), noise=noise)
    field = fit_tensor(given, MASK)
    same, fitted = calibrate(given, field)
    assert same is given
    assert fitted is field
    assert estimate_scales(given, field).spread < 0.01


def test_weighting_that_strays_is_found_and_the_tract_gets_its_diffusivities_back():
    g = directions(20)
    errors = 1 + 0.06 * (g[:, 2] ** 2 - g[:, 1] ** 2)
    given = series(errors / errors.mean(), noise=10.0)
    field = fit_tensor(given, MASK)
    calibrated, better = calibrate(given, field)
    scales = calibrated.gradients.bvals[2:] / 1000
    assert scales == pytest.approx(errors / errors.mean(), abs=0.006)
    tract = (slice(0, 6),)
    before, after = (np.abs(diffusivities_of(one, tract) / FIBRE - 1) for one in (field, better))
    assert before.max() > 0.04
    assert after.max() < 0.01


def diffusivities_of(field, where):
    return field.image.data[where].reshape(-1, 6).mean(0)[[0, 3, 5]]


def test_the_mean_of_the_weighting_stays():
    errors = 1 + 0.05 * np.sin(np.arange(20))
    given = series(errors)
    calibrated, _ = calibrate(given, fit_tensor(given, MASK))
    assert calibrated.gradients.bvals.mean() == pytest.approx(given.gradients.bvals.mean(), rel=1e-6)
    assert (calibrated.gradients.bvals[:2] == 0).all()


def test_too_little_tissue_leaves_the_series_alone_and_says_so():
    given = series(1 + 0.1 * np.sin(np.arange(20)))
    small = np.zeros(SHAPE, dtype=bool)
    small[8:14, 8:14, 8:14] = True
    field = fit_tensor(given, small)
    assert np.isnan(estimate_scales(given, field).spread)
    assert calibrate(given, field)[0] is given

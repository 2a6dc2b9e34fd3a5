"""What tensors leave of a series."""

import numpy as np
import pytest

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.tensors.residuals import measure_residuals
from bids_alps.numerics.tensors.tensor import design_matrix, fit_tensor

SHAPE = (8, 8, 6)
SD = 20.0


@pytest.fixture(scope="module")
def gradients():
    rng = np.random.default_rng(1)
    bvecs = rng.normal(size=(46, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    bvals = np.full(46, 1000.0)
    bvals[:6], bvecs[:6] = 0, 0
    return Gradients(bvals=bvals, bvecs=bvecs)


def make(gradients, noise):
    elements = np.array([1.4e-3, 1e-4, 0, 5e-4, 0, 4e-4, np.log(1000)])
    clean = np.exp(design_matrix(gradients.bvals, gradients.bvecs) @ elements)
    data = np.broadcast_to(clean, (*SHAPE, len(clean))) + noise
    series = DwiSeries(image=SpatialMap(data=data.astype(np.float32), affine=np.eye(4)), gradients=gradients)
    mask = np.ones(SHAPE, bool)
    mask[..., 0] = False
    return series, fit_tensor(series, mask)


def test_a_noise_free_series_has_no_residuals(gradients):
    found = measure_residuals(*make(gradients, 0.0))
    assert np.isnan(found.by_slice[0]).all()
    assert np.abs(found.by_slice[1:]).max() < 0.01
    assert found.relative.max() < 0.01
    np.testing.assert_allclose(found.b0[..., 1:], 1000, rtol=1e-4)


def test_the_simulated_noise_is_recovered(gradients):
    noise = SD * np.random.default_rng(0).normal(size=(*SHAPE, 46))
    found = measure_residuals(*make(gradients, noise))
    assert np.sqrt((found.sd[..., 1:] ** 2).mean()) == pytest.approx(SD, rel=0.03)
    assert np.median(found.snr[..., 1:]) == pytest.approx(1000 / SD, rel=0.05)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_slice_with_signal_loss_is_located(gradients, axis):
    series, field = make(gradients, 0.0)
    data = series.image.data.copy()
    data[(slice(None),) * axis + (3,)][..., 20] *= 0.7
    lossy = DwiSeries(image=series.image.like(data), gradients=gradients)
    found = measure_residuals(lossy, field, slice_axis=axis)
    assert [int(n) for n in np.unravel_index(np.nanargmin(found.by_slice), found.by_slice.shape)] == [3, 20]
    assert found.by_slice[3, 20] < -25
    assert np.nanmax(np.abs(np.delete(found.by_slice, 3, axis=0))) < 0.01

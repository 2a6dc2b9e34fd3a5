import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.numerics.tensors.noise import residual_noise, spatial_noise

SHAPE = (30, 30, 20)


def series(sd, directions=6):
    rng = np.random.default_rng(3)
    anatomy = 300 + 200 * gaussian_filter(rng.standard_normal(SHAPE), 1.5) / 0.1
    weights = rng.uniform(0.9, 1.1, directions)
    data = np.stack([3 * anatomy, *(anatomy * weight for weight in weights)], axis=-1)
    data = np.abs(data + sd * rng.standard_normal(data.shape))
    vectors = rng.standard_normal((directions, 3))
    gradients = Gradients(
        bvals=np.r_[0, np.full(directions, 1000.0)],
        bvecs=np.vstack([np.zeros(3), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)]),
    )
    return DwiSeries(image=SpatialMap(data=data.astype(np.float32), affine=np.eye(4)), gradients=gradients)


@pytest.mark.parametrize("sd", [10.0, 30.0])
def test_noise_is_estimated_from_neighbors_in_any_anatomy(sd):
    assert spatial_noise(series(sd), np.ones(SHAPE, dtype=bool)) == pytest.approx(sd, rel=0.12)


def test_one_weighted_volume_gives_no_noise_estimate():
    assert np.isnan(spatial_noise(series(10.0, directions=1), np.ones(SHAPE, dtype=bool)))


def test_noise_is_estimated_from_residuals_unless_the_fit_is_exact():
    rng = np.random.default_rng(0)
    prediction = np.full((2000, 12), 500.0)
    noisy = prediction + 20 * rng.standard_normal(prediction.shape)
    assert np.median(residual_noise(noisy, prediction, 0)) == pytest.approx(20, rel=0.05)
    assert np.isnan(residual_noise(noisy, prediction, 12)).all()

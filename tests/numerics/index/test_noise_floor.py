"""The computed effect of the noise floor is that of drawn Rician noise."""

from __future__ import annotations

import numpy as np
import pytest

from bids_alps.model import SIDES, DwiSeries, Gradients, Roi, SpatialMap
from bids_alps.numerics.index.alps import alps_from_series
from bids_alps.numerics.index.noise_floor import noise_floor_bias

pytestmark = pytest.mark.medium

TENSORS = {"projection": np.array([0.63, 0.42, 1.11]) * 1e-3, "association": np.array([0.64, 1.11, 0.38]) * 1e-3}
VOXELS = 1500


def regions(b, snr):
    n = np.arange(30) + 0.5
    z, turn = n / 30, np.pi * (1 + 5**0.5) * n
    vectors = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)
    gradients = Gradients(bvals=np.r_[0, 0, np.full(30, b)], bvecs=np.vstack([np.zeros((2, 3)), vectors]))
    names = [f"{region}_{side}" for region in TENSORS for side in SIDES]
    diagonal = np.array([TENSORS[name.partition("_")[0]] for name in names])
    signal = np.exp(-gradients.bvals * (diagonal @ (gradients.bvecs**2).T))[:, None, None]
    noise = np.random.default_rng(0).standard_normal((2, 4, VOXELS, 1, 32)) / snr
    data = np.hypot(signal + noise[0], noise[1])
    rois = [
        Roi(name=name, voxels=np.array([[row, k, 0] for k in range(VOXELS)]), weights=np.ones(VOXELS))
        for row, name in enumerate(names)
    ]
    return DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=gradients), rois


@pytest.mark.parametrize(("b", "snr", "within"), [(1000.0, 10.0, 0.005), (2000.0, 10.0, 0.01), (3000.0, 15.0, 0.01)])
def test_the_computed_bias_equals_that_of_a_simulation(b, snr, within):
    series, rois = regions(b, snr)
    true = (0.63 + 0.64) / (0.42 + 0.38)
    measured = alps_from_series(series, rois, np.eye(3))["left"] / true - 1
    assert noise_floor_bias(series, rois, np.eye(3), 1 / snr)["left"] == pytest.approx(measured, abs=within)


def test_without_known_noise_the_bias_is_nan():
    series, rois = regions(3000.0, 15.0)
    assert np.isnan(noise_floor_bias(series, rois, np.eye(3), float("nan"))["left"])

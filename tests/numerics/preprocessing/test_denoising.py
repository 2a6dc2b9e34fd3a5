"""Denoising and Gibbs correction by DIPY on signals with known truth."""

import numpy as np
import pytest

from bids_alps.numerics.preprocessing.denoising import denoise, patch_radius, remove_ringing

SHAPE, VOLUMES, SIGMA = (12, 11, 10), 40, 20.0


def simulated(noise=SIGMA):
    """Two smooth components of signal over space and volumes, and noise."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices(SHAPE) / 12
    maps = np.stack([500 + 200 * np.sin(2 * x + y), 150 * np.cos(y - z)], axis=-1)
    truth = (maps @ rng.normal(1, 0.3, (2, VOLUMES))).astype(np.float32)
    return truth, truth + noise * rng.standard_normal(truth.shape).astype(np.float32)


@pytest.fixture(scope="module")
def denoised():
    truth, noisy = simulated()
    mask = np.ones(SHAPE, dtype=bool)
    mask[:, :, 0] = False
    return truth, noisy, mask, denoise(noisy, mask)


def test_noise_is_reduced_and_its_sd_is_estimated(denoised):
    truth, noisy, mask, found = denoised
    before, after = (np.sqrt(((one - truth)[mask] ** 2).mean()) for one in (noisy, found.data))
    assert after < 0.35 * before
    assert np.median(found.sigma[mask]) == pytest.approx(SIGMA, rel=0.08)


def test_signal_outside_the_mask_is_unchanged(denoised):
    _, noisy, mask, found = denoised
    np.testing.assert_array_equal(found.data[~mask], noisy[~mask])
    assert found.data.dtype == np.float32


def test_patches_have_at_least_as_many_voxels_as_volumes():
    for volumes in (30, 100, 125, 126, 288):
        edge = 2 * patch_radius(volumes) + 1
        assert edge**3 >= volumes > (edge - 2) ** 3


@pytest.mark.parametrize("slice_axis", [0, 2])
def test_ringing_of_a_truncated_edge_is_reduced_in_the_plane_of_the_slices(slice_axis):
    fine = np.full((256, 256), 50.0)  # no ripple goes below zero, where a magnitude would fold it
    fine[82:174, 82:174] = 100.0  # edges in the middle of a voxel ring the most
    spectrum = np.fft.fftshift(np.fft.fft2(fine))[96:160, 96:160]
    seen = np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum))) / 16
    truth = np.roll(fine, (2, 2), (0, 1)).reshape(64, 4, 64, 4).mean((1, 3))
    series = np.stack([np.stack([seen] * 2, axis=slice_axis)] * 2, axis=-1).astype(np.float32)
    kept = series.copy()
    found = np.take(remove_ringing(series, slice_axis=slice_axis)[..., 1], 0, axis=slice_axis)
    flat = (truth == 50) | (truth == 100)
    assert np.abs(found - truth)[flat].mean() < 0.7 * np.abs(seen - truth)[flat].mean()
    np.testing.assert_array_equal(series, kept)

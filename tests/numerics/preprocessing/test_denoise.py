import numpy as np
import pytest

from bids_alps.numerics.preprocessing.denoise import choose_window, denoise, split_spectrum

SHAPE, VOLUMES, SIGMA = (14, 13, 12), 40, 20.0


def made(seed=0, noise=SIGMA):
    """Two smooth components of signal over space and volumes, and noise."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(SHAPE) / 12
    maps = np.stack([500 + 200 * np.sin(2 * x + y), 150 * np.cos(y - z)], axis=-1)
    truth = (maps @ rng.normal(1, 0.3, (2, VOLUMES))).astype(np.float32)
    return truth, truth + noise * rng.standard_normal(truth.shape).astype(np.float32)


def test_noise_goes_and_its_size_is_told():
    truth, noisy = made()
    mask = np.ones(SHAPE, dtype=bool)
    found = denoise(noisy.copy(), mask)
    before, after = (np.sqrt(((one - truth) ** 2).mean()) for one in (noisy, found.data))
    assert after < 0.3 * before
    assert np.median(found.sigma) == pytest.approx(SIGMA, rel=0.05)


def test_patches_about_each_voxel_alone_leave_more_noise_than_their_mean():
    truth, noisy = made()
    mask = np.ones(SHAPE, dtype=bool)
    inner = (slice(3, -3),) * 3
    errors = [
        np.sqrt(((denoise(noisy.copy(), mask, average=average).data - truth)[inner] ** 2).mean())
        for average in (True, False)
    ]
    assert errors[0] < errors[1]


def test_signal_without_noise_stays():
    truth, clean = made(noise=0.0)
    assert denoise(clean.copy(), np.ones(SHAPE, dtype=bool)).data == pytest.approx(truth, rel=1e-3)


def test_outside_the_mask_nothing_changes():
    _, noisy = made()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:9, 4:9, 4:9] = True
    found = denoise(noisy.copy(), mask)
    assert (found.data[~mask] == noisy[~mask]).all()
    assert (found.data[mask] != noisy[mask]).mean() > 0.99
    assert (found.sigma[~mask] == 0).all()


def test_scaling_scales():
    _, noisy = made()
    mask = np.ones(SHAPE, dtype=bool)
    one, other = denoise(noisy.copy(), mask), denoise(2 * noisy, mask)
    assert other.data == pytest.approx(2 * one.data, rel=1e-3, abs=0.5)
    assert other.sigma == pytest.approx(2 * one.sigma, rel=1e-2)


def test_pure_noise_has_the_spectrum_of_marchenko_and_pastur():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(30, 125, 40))
    noisy, variance = split_spectrum(np.linalg.eigvalsh(X.transpose(0, 2, 1) @ X), 125)
    assert np.median(noisy) >= 39
    assert variance.mean() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("volumes", "edge"), [(13, 3), (28, 5), (125, 5), (126, 7), (288, 7)])
def test_windows_hold_as_many_voxels_as_volumes(volumes, edge):
    assert choose_window(volumes) == edge

import numpy as np
import pytest

from bids_alps.numerics.preprocessing.gibbs import remove_ringing, unring

SIZE, FINE = 64, 4


def ringing_disc():
    """A disc as a scanner sees it, by its true k-space cut off, and as voxels that average it."""
    n = SIZE * FINE
    y, x = np.indices((n, n)) - n / 2
    disc = np.where((y / 0.33) ** 2 + (x / 0.3) ** 2 < n**2, 500.0, 100.0)
    disc[(y - 30) ** 2 + (x + 20) ** 2 < 40**2] = 1500
    spectrum = np.fft.fftshift(np.fft.fft2(disc))
    low = (n - SIZE) // 2
    cut = spectrum[low : low + SIZE, low : low + SIZE]
    seen = np.abs(np.fft.ifft2(np.fft.ifftshift(cut))) / FINE**2
    shift = FINE // 2
    truth = np.roll(disc, (shift, shift), (0, 1)).reshape(SIZE, FINE, SIZE, FINE).mean((1, 3))
    return seen.astype(np.float32), truth


def flat_part(truth):
    """Where no edge lies within two voxels, but ripples do."""
    from scipy.ndimage import maximum_filter, minimum_filter

    return maximum_filter(truth, 5) == minimum_filter(truth, 5)


def test_ripples_of_a_truncated_disc_go():
    seen, truth = ringing_disc()
    flat = flat_part(truth)
    before, after = (np.sqrt(((one - truth)[flat] ** 2).mean()) for one in (seen, unring(seen)))
    assert after < 0.5 * before
    whole = [np.sqrt(((one - truth) ** 2).mean()) for one in (seen, unring(seen))]
    assert whole[1] < whole[0]


def test_flat_signal_stays():
    assert unring(np.full((20, 24), 7.0, dtype=np.float32)) == pytest.approx(7.0, rel=1e-5)


def test_turning_the_slice_turns_the_result():
    seen, _ = ringing_disc()
    assert unring(seen.T) == pytest.approx(unring(seen).T, abs=0.5)


def test_scaling_scales():
    seen, _ = ringing_disc()
    assert unring(3 * seen) == pytest.approx(3 * unring(seen), rel=1e-3, abs=0.5)


def test_slices_are_those_across_the_axis_that_is_named():
    seen, _ = ringing_disc()
    stack = np.stack([seen, 2 * seen], axis=-1)[..., None]
    along_k = remove_ringing(stack.copy())
    along_i = remove_ringing(np.ascontiguousarray(np.moveaxis(stack, 2, 0)), slice_axis=0)
    assert np.moveaxis(along_i, 0, 2) == pytest.approx(along_k)

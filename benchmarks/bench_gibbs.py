"""Gibbs ringing beside MRtrix3's mrdegibbs and dipy: slices of a head whose k-space is truly cut off.

The truth is the mean over each voxel of the image before the cut; errors over all voxels, and over those near an edge.
"""

from __future__ import annotations

from importlib.resources import files

import nibabel as nib
import numpy as np
from alone import alone, is_installed, run_mrtrix
from scipy import ndimage

from bids_alps.numerics.preprocessing.gibbs import remove_ringing

SIZE, FINE = 96, 4
SLICES, VOLUMES = 12, 8


def make_slices(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return slices of a head (SIZE, SIZE, SLICES, VOLUMES) as a scanner sees them, and what their voxels hold."""
    folder = files("nilearn.datasets") / "data"
    tissue = [
        np.asarray(nib.load(str(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")).dataobj)
        for name in ("gm", "wm")
    ]
    grey, white = (one / one.max() for one in tissue)
    brain = ndimage.binary_fill_holes(grey + white > 0.3)
    image = 420 * white + 560 * grey + 1100 * np.clip(1 - grey - white, 0, 1) * brain
    seen, truth = (np.zeros((SIZE, SIZE, SLICES, VOLUMES), dtype=np.float32) for _ in range(2))
    random, n = np.random.default_rng(0), SIZE * FINE
    for k in range(SLICES):
        whole = ndimage.zoom(image[:, :, 60 + 5 * k], 1.6, order=1)
        fine = np.zeros((n, n))
        fine[: whole.shape[0], : whole.shape[1]] = whole[:n, :n]
        spectrum = np.fft.fftshift(np.fft.fft2(fine))
        low = (n - SIZE) // 2
        cut = np.fft.ifftshift(spectrum[low : low + SIZE, low : low + SIZE])
        half = FINE // 2
        mean = np.roll(fine, (half, half), (0, 1)).reshape(SIZE, FINE, SIZE, FINE).mean((1, 3))
        for volume in range(VOLUMES):
            fade = 1 - volume / (2 * VOLUMES)
            noise = sigma * random.standard_normal((2, SIZE, SIZE))
            seen[:, :, k, volume] = np.abs(fade * np.fft.ifft2(cut) / FINE**2 + noise[0] + 1j * noise[1])
            truth[:, :, k, volume] = fade * mean
    return seen, truth


def ours(data: np.ndarray) -> np.ndarray:
    return remove_ringing(data)


def mrdegibbs(data: np.ndarray) -> np.ndarray:
    return run_mrtrix("mrdegibbs", {"in.nii": data}, ("in.nii", "out.nii"), ("out.nii",))[0]


def dipy_gibbs(data: np.ndarray) -> np.ndarray:
    from dipy.denoise.gibbs import gibbs_removal

    return gibbs_removal(data, slice_axis=2, inplace=False, num_processes=1)


def main() -> None:
    programs = {"ours": ours, "mrdegibbs": mrdegibbs, "dipy gibbs_removal": dipy_gibbs}
    if not is_installed("mrdegibbs"):
        del programs["mrdegibbs"]
    for sigma in (0.0, 15.0):
        seen, truth = make_slices(sigma)
        before = np.sqrt(((seen - truth) ** 2).mean())
        print(f"\n{seen.shape}, noise {sigma:.0f}: RMSE to the truth {before:.1f} as it is")
        print(f"{'':20s}{'RMSE to truth':>14s}{'CPU s':>8s}{'peak MiB':>10s}")
        for name, work in programs.items():
            measured = alone(work, seen)
            error = np.sqrt(((measured.result - truth) ** 2).mean())
            print(f"{name:20s}{error:14.2f}{measured.seconds:8.1f}{measured.peak:10.0f}", flush=True)


if __name__ == "__main__":
    main()

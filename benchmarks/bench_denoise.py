"""Noise reduction beside MRtrix3's dwidenoise and dipy's mppca: error to the truth, parity, CPU time, peak memory."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
from alone import alone, is_installed, run_mrtrix

from bids_alps.numerics.preprocessing.denoise import denoise
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import make_subject

SETTINGS = PhantomSettings(seed=4, voxel_size=2.0, directions=64, b0=6, snr=0.0)
SIGMA = 1000 * 0.70 / 20  # SNR 20 of white matter


def ours(data: np.ndarray, mask: np.ndarray, average: bool = True) -> tuple[np.ndarray, float]:
    clean = denoise(data, mask, average=average)
    return clean.data, float(np.median(clean.sigma[inner(mask)]))


def dwidenoise(data: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
    options = ("-mask", "mask.nii", "in.nii", "out.nii", "-noise", "noise.nii")
    inputs = {"in.nii": data, "mask.nii": mask.astype(np.uint8)}
    clean, noise = run_mrtrix("dwidenoise", inputs, options, ("out.nii", "noise.nii"))
    return clean, float(np.median(noise[inner(mask)]))


def dipy_mppca(data: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
    from dipy.denoise.localpca import mppca

    clean, noise = mppca(data, mask=mask, patch_radius=2, return_sigma=True)
    return clean, float(np.median(noise[inner(mask)]))


def inner(mask: np.ndarray) -> np.ndarray:
    """Return the mask without the rim of the image, where patches are cut."""
    kept = np.zeros_like(mask)
    kept[4:-4, 4:-4, 4:-4] = mask[4:-4, 4:-4, 4:-4]
    return kept


def compare(title: str, data: np.ndarray, mask: np.ndarray, truth: np.ndarray | None = None) -> None:
    print(f"\n{title}: {data.shape}, {mask.sum()} voxels")
    print(f"{'':30s}{'RMSE to truth':>14s}{'residual SD':>12s}{'sigma':>8s}{'CPU s':>8s}{'peak MiB':>10s}")
    seen = inner(mask)
    programs = {"ours": (ours,)}
    if data.shape[3] <= 40:
        programs["ours, centre of a patch alone"] = (ours, False)  # one patch a voxel takes minutes in longer series
    if is_installed("dwidenoise"):
        programs["dwidenoise"] = (dwidenoise,)
    programs["dipy mppca"] = (dipy_mppca,)
    cleaned = {}
    for name, (work, *rest) in programs.items():
        measured = alone(work, data, mask, *rest)
        found, sigma = measured.result
        error = np.nan if truth is None else float(np.sqrt(((found[seen] - truth[seen]) ** 2).mean()))
        print(
            f"{name:30s}{error:14.2f}{(data[seen] - found[seen]).std():12.2f}{sigma:8.2f}"
            f"{measured.seconds:8.1f}{measured.peak:10.0f}",
            flush=True,
        )
        cleaned[name] = found
    if {"dwidenoise", "ours, centre of a patch alone"} <= set(cleaned):
        apart = np.abs(cleaned["ours, centre of a patch alone"] - cleaned["dwidenoise"])[seen]
        print(f"median difference of the centre alone from dwidenoise: {np.median(apart):.6f}")


def main() -> None:
    phantom = make_subject(SETTINGS)
    truth = np.asarray(phantom.image.data)
    rng = np.random.default_rng(0)
    noisy = truth.copy()
    for n in range(truth.shape[3]):
        noisy[..., n] = np.hypot(
            truth[..., n] + SIGMA * rng.standard_normal(truth.shape[:3]), SIGMA * rng.standard_normal(truth.shape[:3])
        )
    compare(f"phantom, SNR 20 (sigma {SIGMA:.1f})", noisy, truth[..., 0] > 100, truth)
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        print("real scans: skipped, ALPS_REAL_DATA names no folder")
        return
    for path in sorted(Path(folder).glob("siemens_*/sub-01/dwi/*AP*_dwi.nii.gz")):
        data = np.asarray(nib.load(path).dataobj, dtype=np.float32)
        compare(path.parents[2].name, data, data.mean(-1) > np.percentile(data.mean(-1), 60))


if __name__ == "__main__":
    main()

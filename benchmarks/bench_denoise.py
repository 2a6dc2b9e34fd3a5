"""Noise reduction beside MRtrix3's dwidenoise: error to the truth, parity, CPU time and peak memory; and on real scans."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_alps.numerics.denoise import denoise
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import make_subject

SETTINGS = PhantomSettings(seed=4, voxel_size=2.0, directions=64, b0=6, snr=0.0)
SIGMA = 1000 * 0.70 / 20  # SNR 20 of white matter


def dwidenoise(data: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return what MRtrix3 makes of a series, its noise map and CPU seconds; None where it is absent."""
    if shutil.which("dwidenoise") is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / "in.nii")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), folder / "mask.nii")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [
            "dwidenoise",
            "-quiet",
            "-nthreads",
            "0",
            "-mask",
            folder / "mask.nii",
            folder / "in.nii",
            folder / "out.nii",
            "-noise",
            folder / "noise.nii",
        ]
        subprocess.run([str(word) for word in command], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return *(
            np.asarray(nib.load(folder / name).dataobj, dtype=np.float32) for name in ("out.nii", "noise.nii")
        ), seconds


def inner(mask: np.ndarray) -> np.ndarray:
    """Return the mask without the rim of the image, where patches are cut."""
    kept = np.zeros_like(mask)
    kept[4:-4, 4:-4, 4:-4] = mask[4:-4, 4:-4, 4:-4]
    return kept


def compare(title: str, data: np.ndarray, mask: np.ndarray, truth: np.ndarray | None = None) -> None:
    print(f"\n{title}: {data.shape}, {mask.sum()} voxels")
    print(f"{'':30s}{'RMSE to truth':>14s}{'residual SD':>12s}{'sigma':>8s}{'CPU s':>8s}{'peak MiB':>10s}")
    seen = inner(mask)

    def tell(name: str, found: np.ndarray, sigma: float, seconds: float) -> None:
        error = np.nan if truth is None else float(np.sqrt(((found[seen] - truth[seen]) ** 2).mean()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name:30s}{error:14.2f}{(data[seen] - found[seen]).std():12.2f}{sigma:8.2f}{seconds:8.1f}{peak:10.0f}",
            flush=True,
        )

    tell("as it is", data, np.nan, 0.0)
    clean = None
    for name, average in (("ours", True), ("ours, centre of a patch alone", False)):
        if not average and data.shape[3] > 40:
            continue  # one patch a voxel takes minutes here
        began = time.process_time()
        clean = denoise(data.copy(), mask, average=average)
        tell(name, clean.data, float(np.median(clean.sigma[seen])), time.process_time() - began)
    peer = dwidenoise(data, mask)
    if peer is None:
        print("dwidenoise: skipped, MRtrix3 is not installed")
        return
    tell("dwidenoise", peer[0], float(np.median(peer[1][seen])), peer[2])
    if data.shape[3] <= 40:
        print(
            f"median difference of the centre alone from dwidenoise: {np.median(np.abs(clean.data - peer[0])[seen]):.6f}"
        )


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

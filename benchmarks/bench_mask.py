"""Brain masks of bids-alps and DIPY's median_otsu on simulated heads with a scalp and on real scans.

Simulated: Dice with the true brain (gray and white matter and CSF inside the template's mask). Real (folder
ALPS_REAL_DATA): volume, the fraction of it outside a brain-sized ellipsoid about its center (semi-axes 75, 95, 75 mm), and
the number of connected components.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
from dipy.segment.mask import median_otsu
from scipy import ndimage

from bids_alps.io.images import read_series
from bids_alps.io.layout import find_participants, find_runs
from bids_alps.io.templates import read_template
from bids_alps.model import DwiRun, DwiSeries, sample_linear
from bids_alps.numerics.tensors.mask import estimate_brain_mask
from bids_alps.phantom import PhantomSettings, make_subject

HEADS = {
    "2.5 mm": PhantomSettings(voxel_size=2.5, directions=12, b0=1),
    "2 x 2 x 4 mm": PhantomSettings(voxel_size=2.0, slice_thickness=4.0, directions=6, b0=1),
    "slab of 84 mm, SNR 12": PhantomSettings(voxel_size=3.0, slab=84.0, directions=12, b0=1, snr=12.0),
}
DATASETS = ("canon_galan", "siemens_xa30", "siemens_prisma_sag", "philips_achieva_dstream_15dir")
HALF_AXES_MM = (75.0, 95.0, 75.0)


def main() -> None:
    print(f"{'simulated head':28s}{'Dice ours':>10s}{'DIPY b0':>10s}{'DIPY dwi':>10s}{'CPU s':>8s}{'DIPY':>7s}")
    for n, (name, settings) in enumerate(HEADS.items()):
        subject = make_subject(settings, n)
        truth = true_brain(subject)
        masks, seconds = masks_of(DwiSeries(image=subject.image, gradients=subject.gradients))
        scores = [2 * (mask & truth).sum() / (mask.sum() + truth.sum()) for mask in masks]
        print(f"{name:28s}" + "".join(f"{score:10.3f}" for score in scores) + f"{seconds[0]:8.1f}{seconds[1]:7.1f}")
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        print("real scans skipped: ALPS_REAL_DATA names no folder")
        return
    print(f"\n{'real scan':36s}{'volume, mL: ours, DIPY b0, dwi':>32s}{'outside, %':>22s}{'components':>14s}")
    for dataset in DATASETS:
        root = Path(folder) / dataset
        runs = [run for label in find_participants(root) for run in find_runs(root, label) if isinstance(run, DwiRun)]
        for run in runs if "all" in sys.argv[1:] else runs[:1]:
            series = read_series(run)
            if (series.gradients.bvals > 50).sum() >= 6:
                print_real(f"{dataset[:16]} {run.name}", series)


def print_real(name: str, series: DwiSeries) -> None:
    masks, _ = masks_of(series)
    voxel_ml = abs(np.linalg.det(series.image.affine[:3, :3])) / 1000
    volumes = [mask.sum() * voxel_ml for mask in masks]
    outside = [100 * (mask & ~about(mask, series)).sum() / max(mask.sum(), 1) for mask in masks]
    pieces = [ndimage.label(mask)[1] for mask in masks]
    print(
        f"{name:36s}"
        + "".join(f"{volume:11.0f}" for volume in volumes)
        + "".join(f"{share:8.1f}" for share in outside)
        + "".join(f"{count:6d}" for count in pieces)
    )


def masks_of(series: DwiSeries) -> tuple[list[np.ndarray], tuple[float, float]]:
    """Return our mask, DIPY's of the mean b0 and DIPY's of the mean diffusion-weighted image, and CPU seconds."""
    data, b0 = series.image.data, series.gradients.bvals <= 50
    mean_b0, mean_dwi = data[..., b0].mean(-1), data[..., ~b0].mean(-1)
    spacing = np.linalg.norm(series.image.affine[:3, :3], axis=0)
    start = time.process_time()
    ours = estimate_brain_mask(mean_b0, spacing, mean_dwi)
    middle = time.process_time()
    dipys = [median_otsu(image, median_radius=4, numpass=4)[1] for image in (mean_b0, mean_dwi)]
    return [ours, *dipys], (middle - start, (time.process_time() - middle) / 2)


def true_brain(subject: object) -> np.ndarray:
    image = subject.image
    voxels = np.stack(np.meshgrid(*map(np.arange, image.shape[:3]), indexing="ij"), axis=-1).reshape(-1, 3)
    template = read_template()
    points = subject.truth.transform.template_from_subject(image.world(voxels))
    mask = template.mask.like(ndimage.binary_fill_holes(template.mask.data).astype(np.float32))
    return (sample_linear(mask, points) > 0.5).reshape(image.shape[:3])


def about(mask: np.ndarray, series: DwiSeries) -> np.ndarray:
    """Return the voxels of a brain-sized ellipsoid about the center of a mask."""
    voxels = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1)
    world = series.image.world(voxels.reshape(-1, 3))
    center = np.median(world[mask.ravel()], axis=0)
    return ((((world - center) / HALF_AXES_MM) ** 2).sum(-1) <= 1).reshape(mask.shape)


if __name__ == "__main__":
    main()

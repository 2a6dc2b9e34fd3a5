"""Brain mask of a diffusion scan.

On simulated heads with a scalp its Dice coefficient (0.93 to 0.96) is 0.02 above that of DIPY's ``median_otsu``, in a
tenth of the time; on real scans both give one component (``benchmarks/bench_mask.py``).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bids_alps.errors import ImageError
from bids_alps.model import Array
from bids_alps.numerics.filters import dilated, eroded, median_of_neighbors, smooth_widely

SENTENCE = (
    "The brain was segmented in the mean diffusion-weighted and b=0 images, or in the latter alone where the former "
    "show noise only, by Otsu's threshold ([@otsu1979]) and morphological opening."
)
_BRAIN_ML = (250.0, 2600.0)  # from a slab of a small head to a large head with CSF
_CSF_MM = 4.0
_NEIGHBORHOOD_MM = 20.0
_LOCAL_SHARE = 0.5  # fraction of the local mean
_NOISE_SHARE = 0.4  # fraction of the threshold between noise and object


def estimate_brain_mask(
    b0: Array, voxel_size_mm: Array, mean_dwi: Array | None = None, *, opening_mm: float = 6.0
) -> Array:
    """Return the brain mask: bright in the mean DWI, separated from scalp, with CSF added from the b=0 image.

    In the mean DWI brain tissue is bright while CSF, eyes and fat are dark, so that its threshold gives a core that
    is connected to the scalp by thin bridges at most. An opening (radius in mm) removes these for any voxel size.
    The b=0 image then adds the CSF around and inside the core. Where the mean DWI shows no brain, because its signal
    is at the noise floor, the b=0 image is used alone.

    Parameters
    ----------
    b0
        Mean b=0 image, shape (i, j, k).
    voxel_size_mm
        Edge lengths of a voxel, shape (3,).
    mean_dwi
        Mean diffusion-weighted image, shape (i, j, k); if None, only the b=0 image is used.
    opening_mm
        Radius of the opening that removes bridges to scalp and eyes.

    Returns
    -------
    Array
        Shape (i, j, k), bool.

    Raises
    ------
    ImageError
        If the scan shows no object, or its volume is not that of a human brain.
    """
    spacing = np.asarray(voxel_size_mm, dtype=np.float64)
    low, high = _BRAIN_ML
    found_ml = []
    for weighted in (None,) if mean_dwi is None else (mean_dwi, None):
        mask = _segment(b0, weighted, spacing, opening_mm)
        found_ml.append(float(mask.sum()) * float(np.prod(spacing)) / 1000)
        if low <= found_ml[-1] <= high:
            return mask
    raise ImageError(
        "brain mask",
        f"{found_ml[0]:.0f} ml of connected signal, outside the range of brain volumes, {low:.0f} to {high:.0f} ml",
        "check that the scan shows a head, or provide a brain mask",
    )


def _segment(b0: Array, mean_dwi: Array | None, spacing: Array, opening_mm: float) -> Array:
    signal = _finite(b0)
    weighted = signal if mean_dwi is None else _finite(mean_dwi)
    core = _opened(_foreground(weighted, spacing), spacing, opening_mm)
    grown = core
    if mean_dwi is not None:
        grown = core | (dilated(core, spacing, _CSF_MM) & _foreground(signal, spacing))
    return _closed(_opened(grown, spacing, opening_mm), spacing, 2 * opening_mm)


def _finite(image: Array) -> Array:
    signal: Array = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.maximum(signal, 0)


def _foreground(signal: Array, spacing: Array) -> Array:
    """Return voxels in which the smoothed signal exceeds the noise and a fraction of the local mean.

    Receive coils can make the rim of a head several times brighter than its center. Therefore one threshold separates
    noise from object, and a second one is a fraction of the mean of the object in a wide neighborhood.
    """
    smooth = ndimage.gaussian_filter(median_of_neighbors(signal), 1.0 / spacing)
    top = float(np.percentile(smooth, 99))
    if top <= 0:
        raise ImageError("brain mask", "the image contains no signal", "check the image")
    threshold = otsu_threshold(np.minimum(smooth, top))
    seed = (smooth > threshold).astype(np.float32)
    wide = _NEIGHBORHOOD_MM / spacing
    level = smooth_widely(seed * smooth, wide) / np.maximum(smooth_widely(seed, wide), 1e-3)
    local = np.minimum(_LOCAL_SHARE * level, threshold)
    return smooth > np.maximum(local, _NOISE_SHARE * threshold)


def otsu_threshold(values: Array, *, bins: int = 256) -> float:
    """Return the threshold that best separates `values` into two classes (Otsu 1979, doi 10.1109/TSMC.1979.4310076).

    Parameters
    ----------
    values
        Any shape.
    bins
        Bins of the histogram.

    Examples
    --------
    >>> 1 < otsu_threshold(np.array([0.0, 1, 1, 0, 9, 9, 10])) < 9
    True
    """
    counts, edges = np.histogram(values, bins=bins)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    moment = np.cumsum(counts * centers)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (moment[:-1] / below - (moment[-1] - moment[:-1]) / above) ** 2
    between = np.nan_to_num(between, nan=0.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:][best].mean())


def _opened(region: Array, spacing: Array, radius_mm: float) -> Array:
    """Return the largest component of the opening of `region` by `radius_mm`, ignoring the edge of the image."""
    padded = np.pad(region, 3, mode="edge")
    core = eroded(padded, spacing, radius_mm)
    labels, count = ndimage.label(core)
    if count == 0:
        return np.zeros_like(region)
    sizes = np.bincount(labels.ravel())[1:]
    largest = labels == 1 + int(np.argmax(sizes))
    opened: Array = padded & dilated(largest, spacing, radius_mm)
    return opened[3:-3, 3:-3, 3:-3]


def _closed(region: Array, spacing: Array, radius_mm: float) -> Array:
    """Return the closing of `region` by `radius_mm`, with its holes filled."""
    if not region.any():
        return region
    margin = np.ceil(radius_mm / spacing).astype(int) + 1
    padded = np.pad(region, [(int(m), int(m)) for m in margin])
    shrunk = eroded(dilated(padded, spacing, radius_mm), spacing, radius_mm)
    inside = tuple(slice(int(m), -int(m)) for m in margin)
    return ndimage.binary_fill_holes(shrunk | padded)[inside]

"""The brain mask of a series."""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array, DwiSeries
from bids_alps.numerics.tensors.mask import estimate_brain_mask


def find_mask(series: DwiSeries, *, b0_threshold: float) -> Array:
    """Return the brain mask of a series, shape (i, j, k)."""
    unweighted = series.gradients.bvals <= b0_threshold
    data = series.image.data
    b0 = mean_volume(data, unweighted if unweighted.any() else ~unweighted)
    weighted = mean_volume(data, ~unweighted) if (~unweighted).any() else None
    return estimate_brain_mask(b0, series.image.voxel_size, weighted)


def mean_volume(data: Array, volumes: Array) -> Array:
    """Return the mean of some volumes of a 4-D array, shape (i, j, k), float32, without a copy of the series."""
    total = np.zeros(data.shape[:3], dtype=np.float64)
    chosen = np.flatnonzero(volumes)
    for n in chosen:
        total += data[..., n]
    mean: Array = (total / chosen.size).astype(np.float32)
    return mean

"""The brain mask of a series."""

from __future__ import annotations

from bids_alps.model import Array, DwiSeries
from bids_alps.numerics.tensors.mask import estimate_brain_mask
from bids_alps.numerics.volumes import mean_volume


def find_mask(series: DwiSeries, *, b0_threshold: float) -> Array:
    """Return the brain mask of a series, shape (i, j, k)."""
    is_b0 = series.gradients.bvals <= b0_threshold
    data = series.image.data
    b0 = mean_volume(data, is_b0 if is_b0.any() else ~is_b0)
    weighted = mean_volume(data, ~is_b0) if (~is_b0).any() else None
    return estimate_brain_mask(b0, series.image.voxel_size, weighted)

"""Noise level: from residuals of the fit, or from spatial differences without residual degrees of freedom."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.ndimage import convolve

from bids_alps.model import Array, DwiSeries

# voxel minus the mean of its six neighbors
_STAR = np.zeros((3, 3, 3), dtype=np.float32)
_STAR[[0, 2, 1, 1, 1, 1], [1, 1, 0, 2, 1, 1], [1, 1, 1, 1, 0, 2]] = -1 / 6
_STAR[1, 1, 1] = 1.0
_MAX_VOLUMES = 12


def residual_noise(signal: Array, prediction: Array, parameters: int) -> Array:
    """Return the residual SD of each voxel, shape (m,); NaN without residual degrees of freedom.

    Parameters
    ----------
    signal, prediction
        Measured and fitted signal, shape (m, n).
    parameters
        Number of parameters of the fit.
    """
    dof = signal.shape[1] - parameters
    if dof <= 0:
        return np.full(len(signal), np.nan)
    return np.sqrt(((signal - prediction) ** 2).sum(1) / dof)


def spatial_noise(series: DwiSeries, mask: Array) -> float:
    """Return the SD of the noise estimated from neighboring voxels, in units of the signal.

    NaN with fewer than two diffusion-weighted volumes.
    The difference between a voxel and the mean of its six neighbors contains noise and structure (Coupe 2008,
    doi 10.1109/TMI.2007.906087); most structure cancels in the difference of two volumes. The pair of volumes with the
    smallest difference is used.

    Parameters
    ----------
    series
        Signal and gradients.
    mask
        Brain mask, shape (i, j, k), bool.
    """
    weighted = np.flatnonzero(np.linalg.norm(series.gradients.bvecs, axis=1) > 0)[:_MAX_VOLUMES]
    if weighted.size < 2:
        return float("nan")
    rough = [convolve(series.image.data[..., n].astype(np.float32), _STAR, mode="nearest")[mask] for n in weighted]
    # SD of white noise after the filter
    gain = np.sqrt((_STAR**2).sum())
    # 1.4826: median absolute deviation to SD of a normal distribution; sqrt(2): difference of two volumes
    spreads = [1.4826 * np.median(np.abs(one - other)) / np.sqrt(2) / gain for one, other in combinations(rough, 2)]
    return float(min(spreads))

"""Free-water corrected index, for scans with two or more shells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, DwiSeries, Roi
from bids_alps.numerics.index.alps import alps_by_hemisphere, as_floats
from bids_alps.numerics.tensors.free_water import fit_free_water
from bids_alps.numerics.tensors.tensor import rotate_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeWater:
    """Result of the fit of tensor and free water.

    Parameters
    ----------
    alps
        Index from the tissue tensors in template axes: left, right, bilateral.
    fractions
        Weighted mean fraction of free water in the b=0 signal, by region.
    """

    alps: dict[str, float]
    fractions: dict[str, float]


def measure_free_water(series: DwiSeries, volumes: Array, rois: Iterable[Roi], rotation: Array) -> FreeWater:
    """Fit free water and tensor in the voxels of the regions.

    Parameters
    ----------
    series
        The whole series.
    volumes
        Volumes to fit, bool, shape (n,): two or more shells, and b=0 volumes.
    rois
        Regions, each with at least one voxel.
    rotation
        Rotation from scanner axes to the axes of the index, shape (3, 3).
    """
    tensors, fractions = {}, {}
    weighting = series.gradients.take(volumes)
    for roi in rois:
        signal = series.image.data[tuple(roi.voxels.T)][:, volumes].astype(np.float64)
        elements, fraction = fit_free_water(signal, weighting.bvals, weighting.bvecs)
        tissue = roi.weights * (1 - fraction)  # weight voxels by their tissue fraction
        share = tissue / tissue.sum() if tissue.sum() > 0 else roi.weights / roi.weights.sum()
        tensors[roi.name] = rotate_elements(share @ elements, rotation)
        fractions[roi.name] = float(roi.weights @ fraction / roi.weights.sum())
    return FreeWater(alps=as_floats(alps_by_hemisphere(tensors)), fractions=fractions)

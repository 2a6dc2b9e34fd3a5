"""The index of the tissue alone, free water removed, for scans with two shells or more."""

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
    """What is found where free water is fitted beside the tensor.

    Parameters
    ----------
    alps
        Index of the tissue's tensors, template axes: left, right, bilateral.
    fractions
        Weighted mean share of free water in the signal without weighting, by region.
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
        Which of its volumes to fit, shape (n,), bool: two shells or more, and some without weighting.
    rois
        Regions, each with at least one voxel.
    rotation
        Scanner axes to the axes of the index, shape (3, 3).
    """
    tensors, fractions = {}, {}
    weighting = series.gradients.take(volumes)
    for roi in rois:
        signal = series.image.data[tuple(roi.voxels.T)][:, volumes].astype(np.float64)
        elements, fraction = fit_free_water(signal, weighting.bvals, weighting.bvecs)
        tissue = roi.weights * (1 - fraction)  # a voxel counts by the tissue that it holds
        share = tissue / tissue.sum() if tissue.sum() > 0 else roi.weights / roi.weights.sum()
        tensors[roi.name] = rotate_elements(share @ elements, rotation)
        fractions[roi.name] = float(roi.weights @ fraction / roi.weights.sum())
    return FreeWater(alps=as_floats(alps_by_hemisphere(tensors)), fractions=fractions)

"""Tensors without the free water in a voxel, for scans with two shells or more.

S = S0 ((1 - f) exp(-b g' D g) + f exp(-b 3e-3 mm^2/s)): Hoy 2014, doi 10.1016/j.neuroimage.2014.09.053, as DIPY fits it
(Henriques 2017, doi 10.5281/zenodo.495237). A single shell cannot tell free water from a faster tensor.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, DwiSeries, Roi
from bids_alps.numerics.index.alps import indices_of
from bids_alps.numerics.tensors.gradients import find_shells
from bids_alps.numerics.tensors.tensor import rotate_elements

LARGEST_B = 2100.0
"""Shells beyond this, s/mm^2, are left out: signal stops being that of a Gaussian."""


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


def choose_volumes(series: DwiSeries, *, b0_threshold: float = 50.0) -> Array | None:
    """Return which volumes to fit, shape (n,), bool; None where there are fewer than two shells."""
    shells = find_shells(series.gradients.bvals, b0_threshold=b0_threshold)
    volumes: Array = shells <= LARGEST_B
    return volumes if len(np.unique(shells[volumes & (shells > 0)])) > 1 and (shells == 0).any() else None


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
    return FreeWater(alps=indices_of(tensors), fractions=fractions)


def fit_free_water(signal: Array, bvals: Array, bvecs: Array) -> tuple[Array, Array]:
    """Return the tissue's tensors, shape (m, 6), mm^2/s, and the share of free water, shape (m,).

    Parameters
    ----------
    signal
        Shape (m, n): m voxels, n volumes.
    bvals, bvecs
        Shape (n,), s/mm^2, and (n, 3), unit vectors in the axes that the tensor is wanted in.
    """
    from dipy.core.gradients import gradient_table
    from dipy.reconst.fwdti import FreeWaterTensorModel

    table = gradient_table(bvals, bvecs=bvecs, b0_threshold=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a voxel of water alone has no tensor to converge to
        fitted = FreeWaterTensorModel(table, fit_method="NLS").fit(np.maximum(signal, 1e-6 * signal.max()))
    form = fitted.quadratic_form
    elements = np.stack([form[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], axis=-1)
    return elements, np.clip(fitted.f, 0, 1)

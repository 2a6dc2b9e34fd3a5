"""Free-water corrected tensors, for scans with two or more shells.

S = S0 ((1 - f) exp(-b g' D g) + f exp(-b 3e-3 mm^2/s)): Hoy 2014, doi 10.1016/j.neuroimage.2014.09.053, as in DIPY
(Henriques 2017, doi 10.5281/zenodo.495237). A single shell cannot distinguish free water from a faster tensor.
"""

from __future__ import annotations

import warnings

import numpy as np

from bids_alps.model import Array, DwiSeries
from bids_alps.numerics.tensors.gradients import find_shells

SENTENCE = (
    "Free water and tensors were fitted jointly in the regions to all shells up to b = 2100 s/mm² "
    "([@hoy2014]), as implemented in DIPY ([@garyfallidis2014])."
)
MAX_B = 2100.0
"""Shells above this, s/mm^2, are excluded because diffusion is not Gaussian."""


def choose_volumes(series: DwiSeries, *, b0_threshold: float = 50.0) -> Array | None:
    """Return the volumes to fit, bool, shape (n,); None with fewer than two shells."""
    shells = find_shells(series.gradients.bvals, b0_threshold=b0_threshold)
    volumes: Array = shells <= MAX_B
    return volumes if len(np.unique(shells[volumes & (shells > 0)])) > 1 and (shells == 0).any() else None


def fit_free_water(signal: Array, bvals: Array, bvecs: Array) -> tuple[Array, Array]:
    """Return tissue tensors, shape (m, 6), mm^2/s, and free-water fractions, shape (m,).

    Parameters
    ----------
    signal
        Shape (m, n): m voxels, n volumes.
    bvals, bvecs
        Shape (n,), s/mm^2, and (n, 3), unit vectors in the axes of the output tensors.
    """
    from dipy.core.gradients import gradient_table
    from dipy.reconst.fwdti import FreeWaterTensorModel

    undirected = bvals[~np.any(bvecs, axis=1)]  # DIPY requires a unit vector above its threshold
    table = gradient_table(bvals, bvecs=bvecs, b0_threshold=max(50.0, float(undirected.max(initial=0))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # voxels of pure water have no tissue tensor to converge to
        fitted = FreeWaterTensorModel(table, fit_method="NLS").fit(np.maximum(signal, 1e-6 * signal.max()))
    form = fitted.quadratic_form
    elements = np.stack([form[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], axis=-1)
    return elements, np.clip(fitted.f, 0, 1)

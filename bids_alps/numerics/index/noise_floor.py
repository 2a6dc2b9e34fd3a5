"""Bias of the index by the noise floor of magnitude images.

Magnitudes are never negative: at low SNR they are biased upwards, so that diffusivities along the fibers are
underestimated, and the index decreases at high b-values. The mean logarithm of a magnitude with Rician noise is
known in closed form, E[ln M] = ln S + E1(S^2 / (2 sigma^2)) / 2 (the logarithm of a non-central chi-square variable
of two degrees of freedom:
Gudbjartsson 1995, doi 10.1002/mrm.1910340618), so that the bias of a fit is computed without simulation.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import exp1

from bids_alps.model import SIDES, Array, DwiSeries, Roi
from bids_alps.numerics.index.alps import alps_by_hemisphere
from bids_alps.numerics.tensors.tensor import design_matrix, fit_coefficients, rotate_elements

# damped fixed-point iteration
_PASSES, _STEP = 6, 0.8
_MAX_ARGUMENT = 600.0  # above this the bias is negligible, and the exponential integral underflows


def noise_floor_bias(series: DwiSeries, rois: Iterable[Roi], rotation: Array, noise_sd: float) -> dict[str, float]:
    """Return the relative bias of the index by the noise floor, left, right and bilateral.

    Parameters
    ----------
    series
        Volumes of the tensor fit.
    rois
        Projection and association regions of both sides, each with at least one voxel.
    rotation
        Rotation from scanner axes to the axes of the index, shape (3, 3).
    noise_sd
        SD of the noise of the real and imaginary part, in units of the signal.

    Returns
    -------
    dict
        Negative if the index is underestimated; NaN if the noise is unknown.
    """
    if not np.isfinite(noise_sd):
        return dict.fromkeys((*SIDES, "bilateral"), float("nan"))
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    measured, without = {}, {}
    for roi in rois:
        coefficients = fit_coefficients(series.image.data[tuple(roi.voxels.T)], design)
        share = roi.weights / roi.weights.sum()
        measured[roi.name] = rotate_elements(share @ coefficients[:, :6], rotation)
        cleared = subtract_noise_floor(coefficients, design, noise_sd)
        without[roi.name] = rotate_elements(share @ cleared[:, :6], rotation)
    high, low = alps_by_hemisphere(measured), alps_by_hemisphere(without)
    return {side: float(high[side] / low[side] - 1) for side in high}


def subtract_noise_floor(coefficients: Array, design: Array, noise_sd: float) -> Array:
    """Return the noise-free coefficients whose biased signal is fitted by the given coefficients.

    Parameters
    ----------
    coefficients
        Coefficients of the log-linear model, shape (m, 7).
    design
        Shape (n, 7).
    noise_sd
        SD of the noise, in units of the signal.
    """
    estimate = coefficients
    for _ in range(_PASSES):
        # log-signals without noise; clipped, so that their squares do not overflow
        logs = estimate @ design.T
        power = np.exp(np.clip(2 * logs, -600, 600)) / (2 * noise_sd**2)
        # E[ln M] = ln S + E1(S^2 / (2 sigma^2)) / 2 for a Rician magnitude M
        raised = logs + 0.5 * exp1(np.clip(power, 1e-12, _MAX_ARGUMENT))
        # until the fit of the biased signal gives the measured coefficients
        estimate = estimate - _STEP * (fit_coefficients(np.exp(raised), design) - coefficients)
    return estimate

"""Gradient amplitudes: how strongly each volume was weighted, as tissue without a direction of its own tells.

Imaging gradients, miscalibrated amplifiers and drifts make the weighting of a volume differ from what the gradient
table says, by several percent along one axis and not along the other (Nagy 2007, Magn Reson Med 58:763). Grey matter
then seems anisotropic, and the index moves by as much as groups differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from bids_alps.model import Array, DwiSeries, Gradients, TensorField
from bids_alps.numerics.tensors.gradients import find_shells
from bids_alps.numerics.tensors.tensor import fit_tensor, fractional_anisotropy, log_of_signal, mean_diffusivity

CALIBRATED = (
    "The b-value of each volume was scaled so that tissue without a preferred direction shows the same diffusivity in "
    "all volumes of a shell (after [@nagy2007])."
)
KEPT = (
    "The b-values of the volumes were compared in tissue without a preferred direction (after [@nagy2007]) and "
    "needed no correction."
)
EXPECTED_SPREAD = 0.0075
"""SD over volumes that grey matter shows on well-kept scanners: its own anisotropy, and noise (rms of five scans)."""

ISOTROPIC_FA = 0.2
GREY_MD = (0.6e-3, 1.3e-3)
"""Mean diffusivities of tissue without much free water, mm^2/s."""

_RIM_MM = 5.0
_PASSES = 3  # correcting the weighting changes which voxels look isotropic
_LEAST_VOXELS, _MOST_VOXELS = 1000, 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientScales:
    """How much stronger each volume was weighted than its b-value says.

    Parameters
    ----------
    scales
        Factors of the b-values, shape (n,), of mean 1 over each shell; 1 where nothing is to be corrected.
    spread
        SD of the measured factors over weighted volumes, before they are shrunk; NaN where too little tissue is seen.
    """

    scales: Array
    spread: float


def calibrate(series: DwiSeries, field: TensorField) -> tuple[DwiSeries, TensorField]:
    """Return a series with corrected b-values, and the tensors fitted to it.

    Series and tensors come back as they are where the weighting strays no more than on well-kept scanners.

    Parameters
    ----------
    series
        The volumes that were fitted, gradients in world axes.
    field
        Tensors fitted to them.
    """
    calibrated = series
    for _ in range(_PASSES):
        scales = estimate_scales(series, field).scales
        if (scales == 1).all():
            break
        gradients = Gradients(bvals=series.gradients.bvals * scales, bvecs=series.gradients.bvecs)
        calibrated = DwiSeries(image=series.image, gradients=gradients)
        field = fit_tensor(calibrated, field.mask)
    return calibrated, field


def estimate_scales(series: DwiSeries, field: TensorField) -> GradientScales:
    """Return the factors by which the apparent diffusivity of isotropic tissue differs between volumes.

    The factor of a volume is the median over isotropic voxels of log(S0 / S) / b, over its mean in the shell. It is
    shrunk towards 1 by the positive-part James-Stein rule, 1 - (expected / measured spread)^2, so that grey matter's
    own anisotropy is left alone.

    Parameters
    ----------
    series
        Signal and gradients; at least one volume without weighting.
    field
        Tensors that tell which voxels are isotropic.
    """
    gradients = series.gradients
    shells = find_shells(gradients.bvals)
    weighted = shells > 0
    scales = np.ones(len(gradients))
    voxels = isotropic_voxels(field)
    if len(voxels) < _LEAST_VOXELS:
        return GradientScales(scales=scales, spread=float("nan"))
    log_signal = log_of_signal(series.image.data[tuple(voxels[:: 1 + len(voxels) // _MOST_VOXELS].T)])
    decay = log_signal[:, ~weighted].mean(1)[:, None] - log_signal[:, weighted]
    measured = np.median(decay, axis=0) / gradients.bvals[weighted]
    for shell in np.unique(shells[weighted]):
        members = shells[weighted] == shell
        measured[members] /= measured[members].mean()
    spread = float(measured.std())
    kept = max(0.0, 1 - (EXPECTED_SPREAD / spread) ** 2) if spread > 0 else 0.0
    scales[weighted] = 1 + kept * (measured - 1)
    return GradientScales(scales=scales, spread=spread)


def isotropic_voxels(field: TensorField) -> Array:
    """Return the voxels of tissue without a direction, deeper than 5 mm inside the mask, shape (m, 3)."""
    inner = distance_transform_edt(field.mask, sampling=field.image.voxel_size) > _RIM_MM
    elements = field.image.data
    md = mean_diffusivity(elements)
    tissue = (md > GREY_MD[0]) & (md < GREY_MD[1]) & (fractional_anisotropy(elements) < ISOTROPIC_FA)
    return np.argwhere(inner & tissue)

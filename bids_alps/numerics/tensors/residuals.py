"""Residuals of the tensor fit, by slice and volume, and by voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bids_alps.model import Array, DwiSeries, TensorField
from bids_alps.numerics.tensors.tensor import design_matrix

_PARAMETERS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResiduals:
    """Residuals of the tensor fit of a series.

    Parameters
    ----------
    by_slice
        Signal minus prediction of each slice and volume, % of the prediction, shape (slices, volumes); NaN for
        slices without brain.
    sd
        Standard deviation of the residuals of each voxel, in units of the signal, shape (i, j, k); 0 outside the mask.
    b0
        Predicted b=0 signal, shape (i, j, k); 0 outside the mask.
    """

    by_slice: Array
    sd: Array
    b0: Array

    @property
    def snr(self) -> Array:
        """SNR at b=0, shape (i, j, k); 0 outside the mask."""
        return np.divide(self.b0, self.sd, out=np.zeros_like(self.b0), where=self.sd > 0)

    @property
    def relative(self) -> Array:
        """Standard deviation of the residuals, % of the b=0 signal, shape (i, j, k)."""
        return 100 * np.divide(self.sd, self.b0, out=np.zeros_like(self.b0), where=self.b0 > 0)


def measure_residuals(series: DwiSeries, field: TensorField, *, slice_axis: int = 2) -> FitResiduals:
    """Return the residuals of the tensor fit of a series.

    The b=0 signal of each voxel is refitted with the weights of the tensor fit (squared signal); the standard deviation
    accounts for the seven parameters of the fit.

    Parameters
    ----------
    series
        Fitted volumes, shape (i, j, k, n).
    field
        Tensors on the same grid, mm^2/s, RAS+ world axes.
    slice_axis
        Voxel axis of the slices.
    """
    mask = np.asarray(field.mask, dtype=bool)
    count = len(series.gradients)
    left, predicted = np.zeros((mask.shape[slice_axis], count)), np.zeros((mask.shape[slice_axis], count))
    sd, b0 = np.zeros(mask.shape, dtype=np.float32), np.zeros(mask.shape, dtype=np.float32)
    weights = design_matrix(series.gradients.bvals, series.gradients.bvecs)[:, :6]  # -b g g', without the intercept
    for n in range(mask.shape[slice_axis]):
        in_slice: tuple[Any, ...] = (*(slice(None),) * slice_axis, n)
        inside = mask[in_slice]
        signal = np.maximum(series.image.data[in_slice][inside].astype(np.float64), 1e-6)
        decay = field.image.data[in_slice][inside].astype(np.float64) @ weights.T
        # log S0 = log S + b g' D g, averaged over the volumes with weights 1 / var(log S) ~ S^2
        squares = signal * signal
        log_b0 = np.einsum("vn,vn->v", np.log(signal) - decay, squares) / squares.sum(axis=1)
        fitted = np.exp(log_b0[:, None] + decay)
        residual = signal - fitted
        left[n], predicted[n] = residual.sum(axis=0), fitted.sum(axis=0)
        sd[in_slice][inside] = np.sqrt(np.einsum("vn,vn->v", residual, residual) / max(count - _PARAMETERS, 1))
        b0[in_slice][inside] = np.exp(log_b0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return FitResiduals(by_slice=100 * left / predicted, sd=sd, b0=b0)

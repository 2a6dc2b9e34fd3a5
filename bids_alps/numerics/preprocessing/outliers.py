"""Outlier slices: signal dropout by motion during the diffusion weighting."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bids_alps.model import Array

SENTENCE = "Slices with signal dropout by motion were replaced by their prediction (after [@andersson2016])."
OUTLIER_DEVIATIONS = 4.0
OUTLIER_LOSS = 0.15
"""Minimum loss, as a fraction of the predicted signal."""
_MIN_FRACTION = 0.2
"""Slices with less than this fraction of the points of the fullest slice are not judged."""


def find_outlier_slices(volumes: Iterable[tuple[Array, Array, Array]], number: int) -> Array:
    """Return which acquired slices have much less signal than predicted.

    A slice is an outlier if its mean is below the prediction by more than four robust standard deviations of all
    slices of the series, and by more than 15 %; after Andersson 2016,
    doi 10.1016/j.neuroimage.2016.06.058.

    Parameters
    ----------
    volumes
        Of each volume the values, their predictions and the slices in which they were acquired (fractional), shape
        (points,) each.
    number
        Number of slices.

    Returns
    -------
    ndarray
        Shape (n, number), bool.
    """
    loss = np.array([_slice_loss(*volume, number) for volume in volumes])
    if np.isnan(loss).all():
        return np.zeros(loss.shape, dtype=bool)
    known = ~np.isnan(loss).all(0)
    # each slice relative to its median over volumes: a slice with constant bias is not an outlier
    typical = np.zeros(number)
    typical[known] = np.nanmedian(loss[:, known], axis=0)
    centered = loss - typical
    # median absolute deviation, scaled to the standard deviation of a normal distribution
    spread = 1.4826 * np.nanmedian(np.abs(centered)) + 1e-12
    return np.nan_to_num(centered) > max(OUTLIER_DEVIATIONS * spread, OUTLIER_LOSS)


def _slice_loss(values: Array, predicted: Array, slices: Array, number: int) -> Array:
    """Return the loss of signal in each slice, relative to the prediction, shape (number,); NaN where not judged."""
    within = (slices >= 0) & (slices <= number - 1)  # leaving the field of view is no signal dropout
    nearest = np.rint(slices[within]).astype(int)
    count = np.bincount(nearest, minlength=number)
    observed, expected = (np.bincount(nearest, signal[within], minlength=number) for signal in (values, predicted))
    enough = (count >= _MIN_FRACTION * count.max(initial=1)) & (expected > 0)
    enough[[0, -1]] = False  # the end slices move in and out of the field of view
    loss = np.full(number, np.nan)
    loss[enough] = 1 - observed[enough] / expected[enough]
    return loss

"""Slices that lost their signal to motion within the slice's diffusion weighting."""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array

SENTENCE = "Slices that had lost signal to motion were replaced by their prediction (after [@andersson2016])."
OUTLIER_DEVIATIONS = 4.0
OUTLIER_LOSS = 0.15
"""Least fraction of the predicted signal that must be missing."""
_LEAST_SHARE = 0.2
"""Slices with less than this share of the points of the fullest slice are too thin to judge."""


def find_outlier_slices(stack: Array, predicted: Array, slices: Array, number: int) -> Array:
    """Return which acquired slices show much less signal than predicted.

    A slice is an outlier where its mean falls short of the prediction by more than four robust standard
    deviations of all slices of the series and by more than 15 %; after Andersson 2016,
    doi 10.1016/j.neuroimage.2016.06.058.

    Parameters
    ----------
    stack, predicted
        Volumes and their predictions at the same points, shape (n, points).
    slices
        Slice in which each point was acquired, fractional, shape (n, points).
    number
        Number of slices.

    Returns
    -------
    ndarray
        Shape (n, number), bool.
    """
    loss = np.full((len(stack), number), np.nan)
    for volume, place in enumerate(slices):
        within = (place >= 0) & (place <= number - 1)  # what left the field of view was not lost to motion
        here = np.rint(place[within]).astype(int)
        count = np.bincount(here, minlength=number)
        seen, due = (np.bincount(here, row[volume][within], minlength=number) for row in (stack, predicted))
        enough = (count >= _LEAST_SHARE * count.max(initial=1)) & (due > 0)
        enough[[0, -1]] = False  # the ends move in and out of the field of view
        loss[volume, enough] = 1 - seen[enough] / due[enough]
    if np.isnan(loss).all():
        return np.zeros(loss.shape, dtype=bool)
    known = ~np.isnan(loss).all(0)
    usual = np.zeros(number)
    usual[known] = np.nanmedian(loss[:, known], axis=0)
    centred = loss - usual
    spread = 1.4826 * np.nanmedian(np.abs(centred)) + 1e-12
    return np.nan_to_num(centred) > max(OUTLIER_DEVIATIONS * spread, OUTLIER_LOSS)

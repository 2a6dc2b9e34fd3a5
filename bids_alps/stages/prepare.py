"""The stage that reads a series, has it corrected where it is raw, and finds the brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_alps.errors import ImageError
from bids_alps.io.images import read_map, read_series
from bids_alps.model import Array, DwiRun, DwiSeries
from bids_alps.numerics.mask import estimate_brain_mask
from bids_alps.settings import Method
from bids_alps.stages.correction import Correction, correct


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A series ready for the fit, with its brain mask, shape (i, j, k), and what was corrected."""

    series: DwiSeries
    mask: Array
    correction: Correction


def prepare(run: DwiRun, method: Method, output_dir: Path) -> Prepared:
    """Read a run, correct it where it is raw, and find the brain."""
    series = read_series(run)
    mask = read_mask(run, series) if run.mask else find_mask(series, b0_threshold=method.b0_threshold)
    correction = correct(run, series, mask, method, output_dir)
    if correction.series is not series and run.mask is None:
        mask = find_mask(correction.series, b0_threshold=method.b0_threshold)
    return Prepared(series=correction.series, mask=mask, correction=correction)


def read_mask(run: DwiRun, series: DwiSeries) -> Array:
    """Read the brain mask that was given with a run, shape (i, j, k).

    Raises
    ------
    ImageError
        If it lies on another grid.
    """
    assert run.mask is not None  # noqa: S101 -- the caller asked
    mask = read_map(run.mask)
    if mask.shape != series.image.shape or not np.allclose(mask.affine, series.image.affine, atol=1e-3):
        raise ImageError(
            str(run.mask),
            f"shape {mask.shape}, or another position than the series of {series.image.shape}",
            "use one grid",
        )
    inside: Array = mask.data > 0.5
    return inside


def find_mask(series: DwiSeries, *, b0_threshold: float) -> Array:
    """Return the brain mask of a series, shape (i, j, k)."""
    unweighted = series.gradients.bvals <= b0_threshold
    data = series.image.data
    b0 = mean_volume(data, unweighted if unweighted.any() else ~unweighted)
    weighted = mean_volume(data, ~unweighted) if (~unweighted).any() else None
    return estimate_brain_mask(b0, series.image.voxel_size, weighted)


def mean_volume(data: Array, volumes: Array) -> Array:
    """Return the mean of some volumes of a 4-D array, shape (i, j, k), float32, without a copy of the series."""
    total = np.zeros(data.shape[:3], dtype=np.float64)
    chosen = np.flatnonzero(volumes)
    for n in chosen:
        total += data[..., n]
    mean: Array = (total / chosen.size).astype(np.float32)
    return mean

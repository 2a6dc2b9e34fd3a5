"""Stage: joining of the files of one run that were acquired with the same phase encoding and voxel grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bids_alps.errors import GradientError
from bids_alps.io.images import read_series
from bids_alps.model import Array, DwiRun, DwiSeries, Gradients
from bids_alps.numerics.preprocessing.correction import relative_gain
from bids_alps.settings import Method
from bids_alps.stages.gradient_table import repair_table
from bids_alps.stages.masking import find_mask


def read_file(run: DwiRun, method: Method) -> DwiSeries:
    """Read one file of a merged run, its gradient table repaired if requested; its notes begin with its name."""
    series = read_series(run, b0_threshold=method.b0_threshold)
    series = repair_table(series, find_mask(series, b0_threshold=method.b0_threshold), method)
    return replace(series, notes=tuple(f"{run.name}: {note}" for note in series.notes))


def join_files(series: Sequence[DwiSeries], mask: Array | None, method: Method) -> DwiSeries:
    """Return series on the same grid as one, scaled to the b=0 signal of the first, with the notes of all.

    Parameters
    ----------
    series
        One or more.
    mask
        Brain mask of the first, shape (i, j, k), bool; estimated where None.
    method
        Settings.
    """
    first, *others = series
    if not others:
        return first
    inside = find_mask(first, b0_threshold=method.b0_threshold) if mask is None else mask
    images = [first.image.data]
    for other in others:
        gain = relative_gain(first, other, inside, b0_threshold=method.b0_threshold)
        images.append(other.image.data * np.float32(gain))
    gradients = Gradients(
        bvals=np.concatenate([one.gradients.bvals for one in series]),
        bvecs=np.concatenate([one.gradients.bvecs for one in series]),
    )
    notes = tuple(note for one in series for note in one.notes)
    return DwiSeries(image=first.image.like(np.concatenate(images, axis=3)), gradients=gradients, notes=notes)


def check_axes(axes: Mapping[str, str], name: str) -> None:
    """Check that the gradient tables of all files of a run were read with the same axes.

    Parameters
    ----------
    axes
        `DwiSeries.gradient_axes` by the name of the file.
    name
        Name of the run.

    Raises
    ------
    GradientError
        If only some were repaired, or in different ways: the files would contradict each other.
    """
    if len(set(axes.values())) > 1:
        listed = "; ".join(f"{file}: {text}" for file, text in axes.items())
        raise GradientError(
            name,
            f"the gradient tables of its files would be read with different axes ({listed})",
            "repair the files, or process them separately: --no-combine-runs",
        )

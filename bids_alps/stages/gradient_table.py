"""The stage that reads a gradient table as fibres continue best, where that is asked for."""

from __future__ import annotations

from dataclasses import replace

from bids_alps.model import Array, DwiSeries, Gradients
from bids_alps.numerics.tensors.coherence import find_reading
from bids_alps.numerics.tensors.gradients import choose_shells
from bids_alps.numerics.tensors.tensor import fit_tensor
from bids_alps.settings import Method

CLEAR_LEAD = 1.06
"""Coherence of a reading over the next best from which a table is repaired: right tables of real scans 1.10 to 1.20."""


def repair_table(series: DwiSeries, mask: Array, method: Method) -> DwiSeries:
    """Return a series whose gradient table is read as fibres continue best, where that is asked for and clear.

    Parameters
    ----------
    series
        As it was read.
    mask
        Brain, shape (i, j, k), bool.
    method
        Settings; nothing is done unless they say ``repair``.
    """
    if method.gradient_table != "repair":
        return series
    volumes = choose_shells(series.gradients, wanted=method.shells, b0_threshold=method.b0_threshold)
    chosen = DwiSeries(
        image=series.image.like(series.image.data[..., volumes]), gradients=series.gradients.take(volumes)
    )
    found = find_reading(fit_tensor(chosen, mask))
    if found is None or found.gain >= 1:
        return series
    told = f"fibres continue {1 / found.gain:.2f} times as often with the gradient table read as {found}"
    if found.lead < CLEAR_LEAD:
        note = f"{told}, but only {found.lead:.2f} times as often as with the next reading: table not repaired"
        return replace(series, notes=(*series.notes, note))
    bvecs = found.apply(series.gradients.bvecs, series.image.affine)
    return DwiSeries(
        image=series.image,
        gradients=Gradients(bvals=series.gradients.bvals, bvecs=bvecs),
        notes=(*series.notes, f"gradient table repaired: {told}, {found.lead:.2f} times as often as with the next"),
    )

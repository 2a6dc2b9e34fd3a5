"""Stage: optional repair of flipped or swapped axes of the gradient table, by fiber coherence."""

from __future__ import annotations

from dataclasses import replace

from bids_alps.model import Array, DwiSeries, Gradients
from bids_alps.numerics.tensors.coherence import find_axis_convention
from bids_alps.numerics.tensors.gradients import choose_shells
from bids_alps.numerics.tensors.tensor import fit_tensor
from bids_alps.settings import Method

CLEAR_LEAD = 1.06
"""Minimum ratio of coherence to the next best orientation for a repair; correct tables of real scans: 1.10 to 1.20."""


def repair_table(series: DwiSeries, mask: Array, method: Method) -> DwiSeries:
    """Return a series with its gradient table in the orientation with the best fiber coherence, if unambiguous.

    Parameters
    ----------
    series
        Series as read from file.
    mask
        Brain mask, shape (i, j, k), bool.
    method
        Settings; nothing is changed unless ``gradient_table`` is ``repair``.
    """
    if method.gradient_table != "repair":
        return series
    volumes = choose_shells(series.gradients, wanted=method.shells, b0_threshold=method.b0_threshold)
    best = find_axis_convention(fit_tensor(series.take(volumes), mask))
    if best is None:
        return _noted(series, "gradient axes not verified: slices too thick or too little white matter")
    if best.gain >= 1:
        ahead = f"the table as given has only {best.lead:.2f} times the fiber coherence of the next best orientation"
        return series if best.lead >= CLEAR_LEAD else _noted(series, f"gradient axes not verified: {ahead}")
    result = f"fiber coherence is {1 / best.gain:.2f} times higher with the gradient axes {best}"
    if best.lead < CLEAR_LEAD:
        note = (
            f"{result}, but only {best.lead:.2f} times that of the next best orientation: gradient table not repaired"
        )
        return _noted(series, note)
    bvecs = best.apply(series.gradients.bvecs, series.image.affine)
    return DwiSeries(
        image=series.image,
        gradients=Gradients(bvals=series.gradients.bvals, bvecs=bvecs),
        notes=(*series.notes, f"gradient table repaired: {result}, {best.lead:.2f} times that of the next best"),
        gradient_axes=str(best),
    )


def _noted(series: DwiSeries, note: str) -> DwiSeries:
    return replace(series, notes=(*series.notes, note))

"""The stage that reads a series, has it corrected where it is raw, and finds the brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_alps.errors import ImageError
from bids_alps.io.images import ImageHeader, read_header, read_map, read_series
from bids_alps.model import Array, Check, DwiRun, DwiSeries, Statement
from bids_alps.numerics.tensors import mask
from bids_alps.quality.checks import evaluate
from bids_alps.settings import Method
from bids_alps.stages.gradient_table import repair_table
from bids_alps.stages.masking import find_mask
from bids_alps.stages.preprocessing import PreprocessedSeries, correct
from bids_alps.stages.statements import say

MASK_GIVEN = "The brain mask that came with the series was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSeries:
    """A series ready for the fit.

    Parameters
    ----------
    series
        The series.
    mask
        Brain, shape (i, j, k), bool.
    correction
        What was corrected.
    header
        Of the image that was read.
    notes
        What was tolerated or repaired when it was read, one sentence each.
    """

    series: DwiSeries
    mask: Array
    correction: PreprocessedSeries
    header: ImageHeader | None = None
    notes: tuple[str, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Checks of the image and of its preprocessing."""
        known = () if self.header is None else (evaluate("sides_known", float(self.header.sides_known)),)
        return (*known, *self.correction.checks)

    @property
    def facts(self) -> dict[str, Any]:
        """Fields for the sidecar of the mask: what the page tells of the image."""
        told = {name: value for name, value in self.correction.facts.items() if value is not None}
        told |= {"Notes": [*self.notes, *self.correction.notes]}
        if self.header is not None:
            told |= {"SformCode": self.header.sform_code, "QformCode": self.header.qform_code}
        return told

    def state(self, run: DwiRun) -> tuple[Statement, ...]:
        """Return what was done to a run before the fit."""
        return (*self.correction.statements, *say("preparation", MASK_GIVEN if run.mask else mask.SENTENCE))


def prepare(run: DwiRun, method: Method, output_dir: Path) -> PreparedSeries:
    """Read a run, correct it where it is raw, and find the brain."""
    header = read_header(run.image)
    series = read_series(run, b0_threshold=method.b0_threshold)
    mask = read_mask(run, series) if run.mask else find_mask(series, b0_threshold=method.b0_threshold)
    series = repair_table(series, mask, method)
    correction = correct(run, series, mask, method, output_dir)
    if correction.series is not series and run.mask is None:
        mask = find_mask(correction.series, b0_threshold=method.b0_threshold)
    return PreparedSeries(series=correction.series, mask=mask, correction=correction, header=header, notes=series.notes)


def read_mask(run: DwiRun, series: DwiSeries) -> Array:
    """Read the brain mask that was given with a run, shape (i, j, k).

    Raises
    ------
    ImageError
        If it lies on another grid.
    """
    assert run.mask is not None  # noqa: S101 -- the caller asked
    mask = read_map(run.mask)
    if not mask.same_grid(series.image):
        raise ImageError(
            str(run.mask),
            f"shape {mask.shape}, or another position than the series of {series.image.shape}",
            "use one grid",
        )
    return mask.data > 0.5

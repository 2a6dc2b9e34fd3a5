"""The stage that reads a series, has it corrected where it is raw, and finds the brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bids_alps.errors import ImageError
from bids_alps.io.images import read_map, read_series
from bids_alps.model import Array, DwiRun, DwiSeries, Statement
from bids_alps.numerics.tensors import mask
from bids_alps.settings import Method
from bids_alps.stages.masking import find_mask
from bids_alps.stages.preprocessing import PreprocessedSeries, correct
from bids_alps.stages.statements import say

MASK_GIVEN = "The brain mask that came with the series was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSeries:
    """A series ready for the fit, with its brain mask, shape (i, j, k), and what was corrected."""

    series: DwiSeries
    mask: Array
    correction: PreprocessedSeries

    def state(self, run: DwiRun) -> tuple[Statement, ...]:
        """Return what was done to a run before the fit."""
        return (*self.correction.statements, *say("preparation", MASK_GIVEN if run.mask else mask.SENTENCE))


def prepare(run: DwiRun, method: Method, output_dir: Path) -> PreparedSeries:
    """Read a run, correct it where it is raw, and find the brain."""
    series = read_series(run)
    mask = read_mask(run, series) if run.mask else find_mask(series, b0_threshold=method.b0_threshold)
    correction = correct(run, series, mask, method, output_dir)
    if correction.series is not series and run.mask is None:
        mask = find_mask(correction.series, b0_threshold=method.b0_threshold)
    return PreparedSeries(series=correction.series, mask=mask, correction=correction)


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

"""Stage: reads a series, preprocesses it if it is raw, and estimates the brain mask."""

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
from bids_alps.stages.statements import make_statement

MASK_GIVEN = "The brain mask of the preprocessed series was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSeries:
    """A series ready for the tensor fit.

    Parameters
    ----------
    series
        The series.
    mask
        Brain mask, shape (i, j, k), bool.
    correction
        Result of preprocessing.
    header
        Header of the input image.
    notes
        Remarks on deviations accepted or repaired when it was read, one sentence each.
    """

    series: DwiSeries
    mask: Array
    correction: PreprocessedSeries
    header: ImageHeader | None = None
    notes: tuple[str, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Checks of the image and of its preprocessing."""
        known = () if self.header is None else (evaluate("left_right_known", float(self.header.left_right_known)),)
        return (*known, *self.correction.checks)

    @property
    def facts(self) -> dict[str, Any]:
        """Fields for the sidecar of the mask, shown in the report."""
        fields = {name: value for name, value in self.correction.facts.items() if value is not None}
        fields |= {"Notes": [*self.notes, *self.correction.notes]}
        if self.header is not None:
            fields |= {"SformCode": self.header.sform_code, "QformCode": self.header.qform_code}
        return fields

    def state(self, run: DwiRun) -> tuple[Statement, ...]:
        """Return the statements about the processing before the tensor fit."""
        return (*self.correction.statements, *make_statement("preparation", MASK_GIVEN if run.mask else mask.SENTENCE))


def prepare(run: DwiRun, method: Method, output_dir: Path) -> PreparedSeries:
    """Read a run, preprocess it if it is raw, and estimate the brain mask."""
    header = read_header(run.image)
    series = read_series(run, b0_threshold=method.b0_threshold)
    mask = read_mask(run, series) if run.mask else find_mask(series, b0_threshold=method.b0_threshold)
    series = repair_table(series, mask, method)
    correction = correct(run, series, mask, method, output_dir)
    if correction.series is not series and run.mask is None:
        mask = find_mask(correction.series, b0_threshold=method.b0_threshold)
    return PreparedSeries(series=correction.series, mask=mask, correction=correction, header=header, notes=series.notes)


def read_mask(run: DwiRun, series: DwiSeries) -> Array:
    """Read the given brain mask of a run, shape (i, j, k).

    Raises
    ------
    ImageError
        If its grid differs from that of the series.
    """
    assert run.mask is not None  # noqa: S101 -- ensured by the caller
    mask = read_map(run.mask)
    if not mask.same_grid(series.image):
        raise ImageError(
            str(run.mask),
            f"shape {mask.shape}, or another position than the series of {series.image.shape}",
            "use one grid",
        )
    return mask.data > 0.5

"""Reference range of the index: this cohort if it is large enough, otherwise the literature, at the same b-value."""

from __future__ import annotations

import math
from pathlib import Path

from bids_alps.errors import AlpsError
from bids_alps.io.tables import read_table
from bids_alps.report.page import LITERATURE, Reference

MIN_PARTICIPANTS = 30
"""With fewer, the standard error of the standard deviation exceeds one eighth of it."""
_SAME_B = 0.1
_LITERATURE_B = 1000.0


def find_reference(output_dir: Path, b_value: float = _LITERATURE_B) -> Reference | None:
    """Return the reference range of the bilateral index at a b-value, if available.

    It is the mean and standard deviation in the table of the cohort, with one value per participant (the mean of the
    runs). Runs that failed and tables of several presets are not used. For smaller cohorts it is the range of the
    literature at b = 1000; since the index decreases with b, this range does not apply to other b-values.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    b_value
        b-value of the run, s/mm^2; values within 10 % are treated as equal.
    """
    literature = LITERATURE if _is_same(b_value, _LITERATURE_B) else None
    path = output_dir / "group_alps.tsv"
    if not path.is_file():
        return literature
    try:
        table = read_table(path)
    except AlpsError:
        return literature
    if not {"participant_id", "alps_bilateral", "status", "roi_preset"} <= set(table.columns):
        return literature
    if table["roi_preset"].nunique() != 1:
        return literature
    if "b_value" in table.columns:
        table = table[[_is_same(b_value, float(value)) for value in table["b_value"]]]
    # one value per participant, so that those with many runs do not count more
    passed = table[table["status"] != "fail"].dropna(subset=["alps_bilateral"])
    participant_means = passed.groupby("participant_id")["alps_bilateral"].mean()
    if participant_means.size < MIN_PARTICIPANTS or not participant_means.std() > 0:
        return literature
    return Reference(
        mean=float(participant_means.mean()),
        sd=float(participant_means.std()),
        source=f"{participant_means.size} participants of this cohort",
    )


def _is_same(b_value: float, other: float) -> bool:
    """Return whether two b-values are of the same protocol; True if one is unknown."""
    return not math.isfinite(b_value) or abs(b_value - other) <= _SAME_B * other

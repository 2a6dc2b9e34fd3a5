"""The range to see an index against: of this cohort if it is large enough, else of the literature, at the same b."""

from __future__ import annotations

import math
from pathlib import Path

from bids_alps.errors import AlpsError
from bids_alps.io.tables import read_table
from bids_alps.report.page import LITERATURE, Reference

LEAST_PARTICIPANTS = 30
"""Fewer than this leave the standard deviation uncertain by more than an eighth."""
_SAME_B = 0.1
_LITERATURE_B = 1000.0


def find_reference(output_dir: Path, b_value: float = _LITERATURE_B) -> Reference | None:
    """Return the range of the bilateral index at a b-value, if one is known.

    It is mean and standard deviation in the cohort's table, one value a participant, the mean of its runs; runs that
    failed a check and tables of several presets do not count. A smaller cohort leaves that of the literature, which is
    of b = 1000: the index falls as b rises, so that it tells nothing of scans at another b.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    b_value
        Of the run, s/mm^2; values within a tenth count as the same.
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
    sound = table[table["status"] != "fail"].dropna(subset=["alps_bilateral"])
    each = sound.groupby("participant_id")["alps_bilateral"].mean()
    if each.size < LEAST_PARTICIPANTS or not each.std() > 0:
        return literature
    return Reference(mean=float(each.mean()), sd=float(each.std()), source=f"{each.size} participants of this cohort")


def _is_same(b_value: float, other: float) -> bool:
    """Whether two b-values are of one protocol; one that is not known is taken for it."""
    return not math.isfinite(b_value) or abs(b_value - other) <= _SAME_B * other

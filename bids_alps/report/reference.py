"""The range to see an index against: of this cohort where it is large enough, else of the literature."""

from __future__ import annotations

from pathlib import Path

from bids_alps.errors import AlpsError
from bids_alps.io.tables import read_table
from bids_alps.report.page import LITERATURE, Reference

LEAST_PARTICIPANTS = 30
"""Fewer than this leave the standard deviation uncertain by more than an eighth."""


def find_reference(output_dir: Path) -> Reference:
    """Return mean and standard deviation of the bilateral index in the cohort's table, where there is one.

    One value a participant, the mean of its runs; runs that failed a check and tables of several presets do not count.
    """
    path = output_dir / "group_alps.tsv"
    if not path.is_file():
        return LITERATURE
    try:
        table = read_table(path)
    except AlpsError:
        return LITERATURE
    if not {"participant_id", "alps_bilateral", "status", "roi_preset"} <= set(table.columns):
        return LITERATURE
    if table["roi_preset"].nunique() != 1:
        return LITERATURE
    sound = table[table["status"] != "fail"].dropna(subset=["alps_bilateral"])
    each = sound.groupby("participant_id")["alps_bilateral"].mean()
    if each.size < LEAST_PARTICIPANTS or not each.std() > 0:
        return LITERATURE
    return Reference(mean=float(each.mean()), sd=float(each.std()), source=f"{each.size} participants of this cohort")

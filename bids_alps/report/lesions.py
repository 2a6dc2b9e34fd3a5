"""Lesions on the page of a participant: tables and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bids_alps.model import Check
from bids_alps.report.html import number, words
from bids_alps.report.page import Table
from bids_alps.report.run_tables import Row, number_in


def lesion_tables(index: Sequence[Row], regions: Sequence[Row]) -> tuple[Table, ...]:
    """Return tables of lesion overlap and of the effect on the index; none without a lesion mask.

    Parameters
    ----------
    index, regions
        Rows of the tables of the index and of the regions.
    """
    with_lesions = [row for row in index if math.isfinite(number_in(row, "lesion_volume"))]
    if not with_lesions:
        return ()
    several = len({row.get("roi_preset") for row in with_lesions}) > 1
    volume, space = number_in(with_lesions[0], "lesion_volume"), with_lesions[0].get("lesion_space")
    note = f"{number(volume)} mL in the brain" if volume else "The mask contains no lesion in the brain"
    overlaps = tuple((_name(row, "roi", several), f"{100 * number_in(row, 'lesion_overlap'):.0f} %") for row in regions)
    effect = tuple((_name(row, "hemisphere", several), *_change(row)) for row in with_lesions)
    return (
        Table(
            title="Lesions in the regions",
            columns=("Region", "Lesion overlap"),
            rows=overlaps,
            note=f"{note}; mask defined in {space} space.",
        ),
        Table(title="Index with and without lesions", columns=("", "With", "Without", "Change"), rows=effect),
    )


def _change(row: Row) -> tuple[str, str, str]:
    included, excluded = number_in(row, "alps_with_lesions"), number_in(row, "alps_without_lesions")
    return number(included), number(excluded), number(excluded - included)


def _name(row: Row, key: str, several: bool) -> str:
    return words(str(row.get(key))) + (f" ({row.get('roi_preset')})" if several else "")


def lesion_notes(index: Sequence[Row], checks: Sequence[Check]) -> list[str]:
    """Return warnings about the lesion mask: that it is missing, or may be misaligned."""
    notes = []
    overlap_checks = [check for check in checks if check.name == "lesion_overlap"]
    if overlap_checks and not any(math.isfinite(number_in(row, "lesion_volume")) for row in index):
        notes.append(
            "No lesion mask was found for this run, so that lesions in its regions cannot be excluded. "
            "If the images were inspected and show no lesions, provide an empty mask."
        )
    if any(check.name == "lesion_t1w_shift" for check in checks):
        notes.append(
            "The lesion mask was drawn on an anatomical image and used without registration, as requested. "
            "Head motion between the two images, or distortion, may misalign it."
        )
    return notes

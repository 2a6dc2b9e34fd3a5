"""What the page of a participant tells of lesions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bids_alps.model import Check
from bids_alps.report.html import number, words
from bids_alps.report.page import Table

Row = Mapping[str, Any]


def lesion_tables(index: Sequence[Row], regions: Sequence[Row]) -> tuple[Table, ...]:
    """Return what lesions take of each region and what they do to the index; none without a mask.

    Parameters
    ----------
    index, regions
        Rows of the tables of the index and of the regions.
    """
    told = [row for row in index if math.isfinite(_value(row, "lesion_volume"))]
    if not told:
        return ()
    several = len({row.get("roi_preset") for row in told}) > 1
    volume, space = _value(told[0], "lesion_volume"), told[0].get("lesion_space")
    found = f"{number(volume)} mL of the brain" if volume else "The mask holds no lesion in the brain"
    overlaps = tuple((_name(row, "roi", several), f"{100 * _value(row, 'lesion_overlap'):.0f} %") for row in regions)
    effect = tuple((_name(row, "hemisphere", several), *_change(row)) for row in told)
    return (
        Table(
            title="Lesions in the regions",
            columns=("Region", "In lesions"),
            rows=overlaps,
            note=f"{found}; mask in the space {space}.",
        ),
        Table(title="Index with and without lesions", columns=("", "With", "Without", "Change"), rows=effect),
    )


def _change(row: Row) -> tuple[str, str, str]:
    every, healthy = _value(row, "alps_with_lesions"), _value(row, "alps_without_lesions")
    return number(every), number(healthy), number(healthy - every)


def _name(row: Row, key: str, several: bool) -> str:
    return words(str(row.get(key))) + (f" ({row.get('roi_preset')})" if several else "")


def _value(row: Row, key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def lesion_notes(index: Sequence[Row], checks: Sequence[Check]) -> list[str]:
    """Return what the reader must know of the lesion mask: that there is none, or what is doubtful of it."""
    notes = []
    asked = [check for check in checks if check.name == "lesion_overlap"]
    if asked and not any(math.isfinite(_value(row, "lesion_volume")) for row in index):
        notes.append(
            "No lesion mask of this run was found: whether lesions lie in its regions is not known. "
            "For a head that was looked at and has none, give an empty mask."
        )
    if any(check.name == "lesion_t1w_shift" for check in checks):
        notes.append(
            "The lesion mask was drawn on an anatomical image and taken as it lies, as was asked for. "
            "A head that moved between the two images, or distortion, puts it beside its place."
        )
    return notes

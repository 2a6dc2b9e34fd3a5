"""The index as it would be with other choices, so that a reader sees how much they matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bids_alps.report.html import number
from bids_alps.report.page import Table

_CHOICES = {
    "alps": "As reported",
    "alps_unreliable": "As it would be reported, had no check failed",
    "alps_uncorrected": "Without pose correction: tensors left in scanner axes",
    "alps_uncalibrated": "With b-values as the gradient table has them",
    "alps_calibrated": "With b-values corrected by axis",
    "alps_spheres": "In spheres of 2.5 mm radius",
    "alps_tissue_weighted": "Voxels weighted by their share of white matter",
    "alps_without_lesions": "Without voxels that a lesion touches",
    "alps_with_lesions": "With voxels that a lesion touches",
    "alps_water_corrected": "Free water taken out",
    "alps_crossing": "Crossing fibres and free water taken out (experimental)",
}
_PRESETS = {
    "alps-sphere": "In spheres",
    "alps.sh": "As the script alps.sh measures it",
    "alps.sh-5mm": "As the script alps.sh measures it, regions of 5 mm",
}
_HINT = " The index as the script alps.sh measures it is added by --rois alps alps.sh."
_SIDES = ("left", "right", "bilateral")


def compare_choices(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return a table of the index with other choices, of the first preset and of others that were measured.

    Parameters
    ----------
    rows
        Of the run's table of the index: one a preset and hemisphere.

    Returns
    -------
    Table or None
        None where there is nothing to compare.
    """
    presets = dict.fromkeys(str(row.get("roi_preset")) for row in rows)
    found: list[tuple[str, dict[str, float]]] = []
    for preset in presets:
        of_preset = {str(row.get("hemisphere")): row for row in rows if str(row.get("roi_preset")) == preset}
        choices = _CHOICES if not found else {"alps": _PRESETS.get(preset, f"In the regions of {preset}")}
        for column, title in choices.items():
            values = {side: _value(of_preset.get(side, {}).get(column)) for side in _SIDES}
            if any(math.isfinite(value) for value in values.values()):
                found.append((title, values))
    if len(found) < 2:
        return None
    reported = found[0][1]
    cells = tuple(
        (title, *(number(values[side]) for side in _SIDES), _difference(values["bilateral"], reported["bilateral"]))
        for title, values in found
    )
    return Table(
        title="What the index would be otherwise",
        columns=("Choice", "Left", "Right", "Bilateral", "Difference, %"),
        rows=cells,
        note="Differences of the bilateral index from the first line." + ("" if "alps.sh" in presets else _HINT),
    )


def _difference(value: float, reported: float) -> str:
    change = 100 * (value / reported - 1) if reported else math.nan
    return f"{change:+.1f}" if math.isfinite(change) else "n/a"


def _value(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan

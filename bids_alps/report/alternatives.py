"""The index with alternative processing choices, to show how much they matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bids_alps.report.html import number
from bids_alps.report.page import Table
from bids_alps.report.run_tables import number_in

_CHOICES = {
    "alps": "As reported",
    "alps_unreliable": "Withheld value (a quality check failed)",
    "alps_uncorrected": "Without pose correction (tensors in scanner axes)",
    "alps_uncalibrated": "With nominal b-values",
    "alps_calibrated": "With b-values calibrated by axis",
    "alps_spheres": "Spherical regions (radius 2.5 mm)",
    "alps_tissue_weighted": "Voxels weighted by white-matter fraction",
    "alps_without_lesions": "Excluding lesion voxels",
    "alps_with_lesions": "Including lesion voxels",
    "alps_water_corrected": "Free-water corrected",
    "alps_crossing": "Corrected for crossing fibers and free water (experimental)",
}
_PRESETS = {
    "alps-sphere": "Spherical regions",
    "alps.sh": "Method of the script alps.sh",
    "alps.sh-5mm": "Method of the script alps.sh, 5 mm regions",
}
_HINT = " Add the index of the script alps.sh with --rois alps alps.sh."
_SIDES = ("left", "right", "bilateral")


def compare_alternatives(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return a table of the index with alternative choices, for the first preset and any further presets.

    Parameters
    ----------
    rows
        Rows of the run's table of the index: one per preset and hemisphere.

    Returns
    -------
    Table or None
        None where there is nothing to compare.
    """
    presets = dict.fromkeys(str(row.get("roi_preset")) for row in rows)
    alternatives: list[tuple[str, dict[str, float]]] = []
    for preset in presets:
        of_preset = {str(row.get("hemisphere")): row for row in rows if str(row.get("roi_preset")) == preset}
        choices = _CHOICES if not alternatives else {"alps": _PRESETS.get(preset, f"Regions of preset {preset}")}
        if "alps-sphere" in presets:  # it has a row of its own
            choices = {column: title for column, title in choices.items() if column != "alps_spheres"}
        for column, title in choices.items():
            values = {side: number_in(of_preset.get(side, {}), column) for side in _SIDES}
            if any(math.isfinite(value) for value in values.values()):
                alternatives.append((title, values))
    if len(alternatives) < 2:
        return None
    reported = alternatives[0][1]
    cells = tuple(
        (title, *(number(values[side]) for side in _SIDES), _difference(values["bilateral"], reported["bilateral"]))
        for title, values in alternatives
    )
    return Table(
        title="Index with alternative processing choices",
        columns=("Choice", "Left", "Right", "Bilateral", "Difference, %"),
        rows=cells,
        note="Difference: bilateral index relative to the first row." + ("" if "alps.sh" in presets else _HINT),
    )


def _difference(value: float, reported: float) -> str:
    change = 100 * (value / reported - 1) if reported else math.nan
    return f"{change:+.1f}" if math.isfinite(change) else "n/a"

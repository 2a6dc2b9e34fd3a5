"""Table in the format of the script ``alps.sh``, for comparison with published values."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bids_alps.io.presets import conventions_of
from bids_alps.report.explore import run_name


def script_table(table: pd.DataFrame) -> str:
    """Return the thirteen columns of the script ``alps.sh`` as comma-separated values, one row per run.

    Rows are those of a preset with the conventions of ``alps.sh`` if available, otherwise those of the first preset.
    Diffusivities are in mm^2/s. ``scanner`` is the participant column ``scanner`` or ``site``, or the dataset.
    """
    presets = list(dict.fromkeys(table["roi_preset"]))
    preset = next((name for name in presets if conventions_of(name) == "alps.sh"), presets[0])
    rows = table[table["roi_preset"] == preset]
    ids = list(table.columns[: list(table.columns).index("alps_left")])
    named = rows[[name for name in ids if name != "dataset"]].astype(object)
    scanner = next((name for name in ("scanner", "site", "dataset") if name in rows), None)
    columns: dict[str, Any] = {
        "id": [run_name(row) for row in named.to_dict("records")],
        "scanner": "n/a" if scanner is None else rows[scanner],
    }
    for side in ("left", "right"):
        for term in ("x_proj", "x_assoc", "y_proj", "z_assoc"):
            axis, _, region = term.partition("_")
            name = f"d{axis}{axis}_{'projection' if region == 'proj' else 'association'}_{side}"
            columns[f"{term}_{side[0].upper()}"] = rows[name]
    columns |= {"alps_L": rows["alps_left"], "alps_R": rows["alps_right"], "alps": rows["alps_bilateral"]}
    return pd.DataFrame(columns).to_csv(index=False, na_rep="n/a", lineterminator="\n")

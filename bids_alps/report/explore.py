"""Data of the interactive explorer on the group page: values, labels, links and colors of the runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bids_alps.report.html import words
from bids_alps.report.page import Explorer

Row = Mapping[str, Any]
_CHECK = "check_"
_MAX_LEVELS = 12
_DIGITS = 5
_INDEX = ("alps_left", "alps_right", "alps_bilateral", "alps_left_unreliable", "alps_right_unreliable")
_POSE = ("pitch", "roll", "yaw", "pose_se")
_REGIONS = ("dxx_", "dyy_", "dzz_", "fa_", "md_", "free_water_")
_NAMES = {
    "alps_left": "ALPS left",
    "alps_right": "ALPS right",
    "alps_bilateral": "ALPS bilateral",
    "alps_left_unreliable": "ALPS left, withheld",
    "alps_right_unreliable": "ALPS right, withheld",
    "session_id": "Session",
}
_NO_COLOR = ("participant_id", "roi_preset", "checks_failed", "checks_warned", "roi_semi_axes", "roi_source")


def make_explorer(rows: Sequence[Row], columns: Sequence[str] = (), *, group: str | None = None) -> Explorer | None:
    """Return the explorer of the runs of a cohort; None if there is nothing to show.

    Parameters
    ----------
    rows
        One mapping per run, as in the group table: entities before ``alps_left``, values of checks as ``check_*``.
    columns
        Variables of the participants, to color by.
    group
        Variable that defines the initial colors.
    """
    if not rows:
        return None
    families = _families(rows)
    candidates = list(dict.fromkeys([*([group] if group else []), "status", *columns, *rows[0]]))
    shown: dict[str, list[str] | list[float | None]] = {}
    for name in (name for name in candidates if name not in _NO_COLOR):
        levels = [_text(row.get(name)) for row in rows]
        count = len(set(levels))
        if 1 < count <= _MAX_LEVELS and not name.startswith(("alps", _CHECK)):
            shown[_title(name)] = levels
        elif name in columns and count > _MAX_LEVELS:
            numbers = [_number(row.get(name)) for row in rows]
            if any(value is not None for value in numbers):
                shown[_title(name)] = numbers
    runs = [{"label": run_name(row), "href": run_link(row), "status": str(row.get("status", "warn"))} for row in rows]
    data = json.dumps({"runs": runs, "families": families, "colors": shown}, separators=(",", ":"), allow_nan=False)
    # inside a script element: no end tag, and no line ends of JavaScript that JSON allows in text
    safe = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Explorer(families=tuple(families), colors=tuple(shown), data=safe)


def run_name(row: Row) -> str:
    """Return the name of a run as on the page of its participant: its entities in the order of the table.

    Examples
    --------
    >>> run_name({"participant_id": "sub-01", "session_id": "ses-2", "run": "1", "alps_left": 1.5})
    'sub-01_ses-2_run-1'
    """
    parts = []
    for name, value in row.items():
        if name == "alps_left":
            break
        if name in ("dataset", "roi_preset") or _text(value) == "n/a":
            continue
        parts.append(str(value) if name in ("participant_id", "session_id") else f"{name}-{value}")
    return "_".join(parts)


def run_link(row: Row) -> str:
    """Return the link to a run on the page of its participant; empty if the label is not alphanumeric."""
    label = str(row.get("participant_id", "")).removeprefix("sub-")
    safe = label.replace("+", "").isalnum() and label.isascii()
    return f"sub-{label}.html#{run_name(row)}" if safe else ""


def _families(rows: Sequence[Row]) -> dict[str, dict[str, list[float | None]]]:
    """Return values by family and measure, for measures available in at least one run."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    of_family = {
        "Index": [name for name in _INDEX if name in names],
        "Quality checks": [name for name in names if name.startswith(_CHECK)],
        "Regions": [
            name for name in names if name.startswith(_REGIONS) and name.endswith(("projection", "association"))
        ],
        "Pose": [name for name in _POSE if name in names],
    }
    families: dict[str, dict[str, list[float | None]]] = {}
    for family, members in of_family.items():
        measures = {_title(name): [_number(row.get(name)) for row in rows] for name in members}
        measures = {title: values for title, values in measures.items() if any(value is not None for value in values)}
        if measures:
            families[family] = measures
    return families


def _title(name: str) -> str:
    return _NAMES.get(name, words(name.removeprefix(_CHECK)))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Which runs may be compared: those processed with the same method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_LISTED = 5
METHOD: dict[str, str] = {
    "roi_radius": "radius of the regions",
    "roi_semi_axes": "shape of the regions",
    "roi_source": "origin of the regions",
    "b_value": "shell",
    "frame": "space of the regions",
    "pose_correction": "pose correction",
    "preprocessed": "external preprocessing",
    "motion_corrected": "motion correction",
    "distortion_corrected": "distortion correction",
    "gradient_calibration": "calibration of the gradients",
    "version": "software version",
    "settings_hash": "settings of the method",
}
"""Columns that describe the method of a run, with their labels."""
SAME_SHELL = 150.0
"""b-values closer than this, s/mm^2, to the commonest belong to its shell."""
_UNKNOWN = "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparableRuns:
    """Runs that are analyzed together.

    Parameters
    ----------
    kept
        Runs processed with the most common method, bool, shape (runs,).
    reasons
        Differences of each of the other runs, as text.
    refused
        True if no method has most of the runs, so that no comparison is made.
    banner
        Warning for the reader; empty if all runs have the same method.
    """

    kept: pd.Series[Any]
    reasons: pd.Series[Any]
    refused: bool = False
    banner: str = ""


def find_comparable(runs: pd.DataFrame, pooled: Sequence[str] = ()) -> ComparableRuns:
    """Return the largest set of runs processed with the same method.

    Parameters
    ----------
    runs
        One row per run of one preset, with the available columns of `METHOD`; values missing from tables of older
        versions count as a separate value.
    pooled
        Columns in which runs may differ.
    """
    labels = pd.DataFrame({name: _label(runs[name], name) for name in METHOD if name in runs and name not in pooled})
    everyone = pd.Series(True, index=runs.index)
    none = pd.Series("", index=runs.index)
    differing = [str(name) for name in labels if len(labels[name].unique()) > 1]
    accepted = [name for name in pooled if name in runs and len(_label(runs[name], name).unique()) > 1]
    allowed = f"Pooled with --pool-across although runs differ in {', '.join(accepted)}." if accepted else ""
    if not differing:
        return ComparableRuns(kept=everyone, reasons=none, banner=allowed)
    methods = labels[differing].agg(" | ".join, axis=1)
    counts = methods.value_counts(sort=False)
    most_common = str(counts.idxmax())  # ties: first
    kept = methods == most_common
    reference = labels.loc[kept, differing].iloc[0]
    reasons = pd.Series(
        [
            "" if same else _difference(run, reference)
            for same, (_, run) in zip(kept, labels[differing].iterrows(), strict=True)
        ],
        index=runs.index,
    )
    # no method has half of the runs, or two are equally common: neither is that of the study
    refused = bool(2 * kept.sum() < len(runs) or (counts == counts.max()).sum() > 1)
    counted = {name: _count_labels(labels[name]) for name in differing}
    differences = "; ".join(f"{METHOD[name]} ({name}): {text}" for name, text in counted.items())
    remedy = f"Process them with the same settings, or accept the difference with --pool-across {' '.join(differing)}."
    if refused:
        summary = (
            "Runs were processed with different methods, none of which accounts for most of the runs; nothing "
            "was compared."
        )
    else:
        summary = (
            f"{int((~kept).sum())} of {len(runs)} runs were processed with a different method and are excluded "
            "from the statistics."
        )
    banner = " ".join(part for part in (summary, f"They differ in {differences}.", remedy, allowed) if part)
    return ComparableRuns(kept=kept & (not refused), reasons=reasons, refused=refused, banner=banner)


def _count_labels(labels: pd.Series[Any]) -> str:
    """Return the number of runs of each value, the most common first; of many values only some."""
    counts = labels.value_counts()
    listed = ", ".join(f"{label} in {count}" for label, count in counts.iloc[:_LISTED].items())
    return listed + (f" and {len(counts) - _LISTED} more values" if len(counts) > _LISTED else "")


def _difference(run: pd.Series[Any], reference: pd.Series[Any]) -> str:
    names = [str(name) for name in run.index if run[name] != reference[name]]
    return "; ".join(f"{name} {run[name]}, others {reference[name]}" for name in names)


def _label(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Return the value of each run as text; of b-values, the shell."""
    if name != "b_value":
        return column.map(lambda value: _UNKNOWN if pd.isna(value) or value == "" else _plain(value)).astype(str)
    # a shell lies around the b-value with most neighbors; then the next around that with most of those left
    values = pd.to_numeric(column, errors="coerce")
    labels = pd.Series(_UNKNOWN, index=column.index, dtype=object)
    left = np.sort(values.dropna().to_numpy(dtype=float))
    while left.size:
        # the largest number below SAME_SHELL: neighbors lie strictly closer
        reach = np.nextafter(SAME_SHELL, 0)
        neighbors = np.searchsorted(left, left + reach, "right") - np.searchsorted(left, left - reach, "left")
        densest = left[neighbors == neighbors.max()]
        middle = densest[densest.size // 2]
        shell = (values - middle).abs() < SAME_SHELL
        shell &= labels == _UNKNOWN
        labels[shell] = f"b = {values[shell].median():.0f}"
        left = left[np.abs(left - middle) >= SAME_SHELL]
    return labels


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text.lower() if text.lower() in ("true", "false") else text

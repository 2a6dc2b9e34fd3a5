"""Which runs may be compared: those that were measured in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

METHOD: dict[str, str] = {
    "roi_radius": "radius of the regions",
    "roi_semi_axes": "shape of the regions",
    "roi_source": "origin of the regions",
    "b_value": "shell",
    "pose_correction": "pose correction",
    "preprocessed": "preprocessing by another program",
    "motion_corrected": "motion correction",
    "distortion_corrected": "distortion correction",
    "gradient_calibration": "calibration of the gradients",
    "version": "version of the program",
    "settings_hash": "settings of the method",
}
"""Columns that tell how a run was measured, with what each is called."""
SAME_SHELL = 150.0
"""b-values that lie less than this apart, s/mm^2, are one shell."""
_UNKNOWN = "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparable:
    """Which runs are analysed together.

    Parameters
    ----------
    kept
        Runs that were measured as most were, shape (runs,).
    reasons
        Of the others, what differs, a text each.
    refused
        Whether no way of measuring has half of the runs, so that nothing may be compared.
    banner
        What the reader must be told, empty where all runs were measured alike.
    """

    kept: pd.Series[Any]
    reasons: pd.Series[Any]
    refused: bool = False
    banner: str = ""


def find_comparable(runs: pd.DataFrame, pooled: Sequence[str] = ()) -> Comparable:
    """Return the largest set of runs that were measured alike.

    Parameters
    ----------
    runs
        One row a run of one preset, with the columns of `METHOD` that are known; where a table is older than a column,
        its value is unknown, which is a value of its own.
    pooled
        Columns whose differences the user accepts.
    """
    labels = pd.DataFrame({name: _label(runs[name], name) for name in METHOD if name in runs and name not in pooled})
    everyone = pd.Series(True, index=runs.index)
    none = pd.Series("", index=runs.index)
    differing = [str(name) for name in labels if len(labels[name].unique()) > 1]
    accepted = [name for name in pooled if name in runs and len(_label(runs[name], name).unique()) > 1]
    allowed = f"Pooled with --pool-across although runs differ in {', '.join(accepted)}." if accepted else ""
    if not differing:
        return Comparable(kept=everyone, reasons=none, banner=allowed)
    ways = labels[differing].agg(" | ".join, axis=1)
    counts = ways.value_counts(sort=False)
    most = str(counts.idxmax())  # the first of equals
    kept = ways == most
    usual = labels.loc[kept, differing].iloc[0]
    reasons = pd.Series(
        [
            "" if same else _difference(own, usual)
            for same, (_, own) in zip(kept, labels[differing].iterrows(), strict=True)
        ],
        index=runs.index,
    )
    refused = bool(2 * kept.sum() < len(runs) or (counts == counts.max()).sum() > 1)
    told = "; ".join(f"{METHOD[name]} ({name}): {_shares(labels[name])}" for name in differing)
    remedy = f"Process them alike, or accept the difference with --pool-across {' '.join(differing)}."
    if refused:
        head = "Runs were measured in different ways, none of which has most of the runs, so nothing is compared."
    else:
        head = f"{int((~kept).sum())} of {len(runs)} runs were measured differently and are left out of the statistics."
    banner = " ".join(part for part in (head, f"They differ in {told}.", remedy, allowed) if part)
    return Comparable(kept=kept & (not refused), reasons=reasons, refused=refused, banner=banner)


def _difference(own: pd.Series[Any], usual: pd.Series[Any]) -> str:
    names = [str(name) for name in own.index if own[name] != usual[name]]
    return "; ".join(f"{name} {own[name]}, others {usual[name]}" for name in names)


def _shares(labels: pd.Series[Any]) -> str:
    return ", ".join(f"{label} in {count}" for label, count in labels.value_counts().items())


def _label(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    if name == "b_value":
        return _shells(column)
    return column.map(lambda value: _UNKNOWN if pd.isna(value) or value == "" else _plain(value)).astype(str)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text.lower() if text.lower() in ("true", "false") else text


def _shells(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the shell of each run in words: b-values that follow each other closely are one."""
    values = pd.to_numeric(column, errors="coerce")
    known = np.sort(values.dropna().unique())
    starts = list[float]()
    for value in known:
        if not starts or value - starts[-1] >= SAME_SHELL:
            starts.append(value)
    edges = np.array(starts)
    number = np.searchsorted(edges, values.to_numpy(dtype=float), "right") - 1
    names = [f"b = {values[(number == n) & values.notna()].median():.0f}" for n in range(len(edges))]
    return pd.Series(
        [names[n] if known_ else _UNKNOWN for n, known_ in zip(number, values.notna(), strict=True)], index=column.index
    )

"""Gathering of the tables of all participants."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.errors import NoInputError
from bids_alps.group.datasets import DerivativeDataset
from bids_alps.io.inheritance import entities_of
from bids_alps.io.result_columns import ALPS_COLUMNS, ROI_COLUMNS
from bids_alps.io.tables import Column, fill_rows
from bids_alps.model import SIDES
from bids_alps.statistics.selection import REPEATED

LOG = logging.getLogger(__name__)
_SIDE_COLUMNS = ("alps", "alps_se", "alps_ci_low", "alps_ci_high", "alps_uncorrected", "alps_unreliable")
_DIFFUSIVITIES = ("dxx_projection", "dyy_projection", "dxx_association", "dzz_association")
_ID = {"sub": "participant_id", "ses": "session_id"}
_TEXT_COLUMNS = (
    *("roi_preset", "hemisphere", "frame", "first_session", "second_session", "status", "roi", "name", "unit"),
    *("direction", "reason", "settings_hash", "version", "roi_semi_axes"),  # digits in these columns are text
)
_INDICES = ("alps_left", "alps_right", "alps_left_unreliable", "alps_right_unreliable")
_CHECK = "check_"
_SHARED_COLUMNS = tuple(column for column in ALPS_COLUMNS if column.name not in (*_SIDE_COLUMNS, "hemisphere"))


def gather(datasets: Sequence[DerivativeDataset], *, longitudinal: bool = False) -> list[dict[str, Any]]:
    """Return one row per finished run and preset from all index tables of the datasets, in a stable order.

    Parameters
    ----------
    datasets
        Derivative datasets; with more than one, rows have a ``dataset`` column.
    longitudinal
        Use the measurements in the midpoint space of the sessions where available; see the column ``frame``.
    """
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        dataset_label = {"dataset": dataset.label} if len(datasets) > 1 else {}
        for path in dataset.find("desc-alps"):
            in_midpoint = path.with_name(path.name.replace("_desc-alps_", "_desc-longitudinal_"))
            if longitudinal and in_midpoint.exists() and dataset.is_finished(in_midpoint):
                path = in_midpoint
            rows += [dataset_label | row for row in _wide_rows(path)]
    if not rows:
        where = ", ".join(str(dataset.folder) for dataset in datasets)
        unfinished = sum(not finished for dataset in datasets for finished in dataset.runs.values())
        what = f"no results of any participant{f', but unfinished runs ({unfinished})' * bool(unfinished)}"
        raise NoInputError(where, what, "run the participant level first, with the same output")
    return rows


def gather_changes(dataset: DerivativeDataset) -> list[dict[str, Any]]:
    """Return the rows of all tables of changes of a dataset, with their BIDS entities."""
    return [entities_in(path) | row for path in dataset.find("desc-change") for row in read_rows(path)]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a derivative table; ten times faster than pandas, which matters for 10,000 runs."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str | None) -> Any:
    if name in _TEXT_COLUMNS:
        return text
    try:
        return float(text) if text not in (None, "n/a") else float("nan")
    except ValueError:
        return text


def entities_in(path: Path) -> dict[str, str]:
    """Return the entities in the name of a table, with participant and session under their BIDS column names."""
    labels = {key: label for key, label in entities_of(path.name).items() if key not in ("desc", "seg")}
    return {_ID.get(key, key): f"{key}-{label}" if key in _ID else label for key, label in labels.items()}


def _wide_rows(path: Path) -> Iterator[dict[str, Any]]:
    ends = {"_desc-alps_": "_desc-quality_", "_desc-longitudinal_": "_desc-longitudinalquality_"}
    quality = next((path.with_name(path.name.replace(a, b)) for a, b in ends.items() if a in path.name), path)
    checked = read_rows(quality) if quality.exists() else []
    presets: dict[str, dict[str, dict[str, Any]]] = {}
    for row in read_rows(path):
        presets.setdefault(row["roi_preset"], {})[row["hemisphere"]] = row
    for preset, by_side in presets.items():
        if not {*SIDES, "bilateral"} <= by_side.keys():
            LOG.warning("%s: left, right or bilateral is missing. Rerun the participant level.", path)
            continue
        wide = {
            _wide_name(name, side): by_side[side].get(name, float("nan"))
            for name in _SIDE_COLUMNS
            for side in (*SIDES, "bilateral")
        }
        wide |= {f"{name}_{side}": by_side[side].get(name, float("nan")) for side in SIDES for name in _DIFFUSIVITIES}
        bilateral = by_side["bilateral"]
        shared = {column.name: bilateral.get(column.name) for column in _SHARED_COLUMNS}
        yield entities_in(path) | wide | shared | _checks([row for row in checked if row.get("roi_preset") == preset])


def _checks(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the values of the quality checks of a run and preset, and the names of those that failed or warned."""
    if not rows:
        return {"checks_failed": "n/a", "checks_warned": "n/a"}
    flagged = {
        f"checks_{past}": "; ".join(row["name"] for row in rows if row["status"] == status) or "none"
        for status, past in (("fail", "failed"), ("warn", "warned"))
    }
    return flagged | {f"{_CHECK}{row['name']}": row["value"] for row in rows}


def _wide_name(name: str, side: str) -> str:
    """Return ``alps_left_ci_low`` for ``alps_ci_low`` and ``left``."""
    return name.replace("alps", f"alps_{side}", 1)


def columns_of(rows: list[dict[str, Any]]) -> list[Column]:
    """Return the columns of the wide table with their descriptions."""
    known = {column.name: column for column in ALPS_COLUMNS}
    sided = {_wide_name(name, side): (name, side) for name in _SIDE_COLUMNS for side in (*SIDES, "bilateral")}
    sided |= {f"{name}_{side}": (name, side) for side in SIDES for name in _DIFFUSIVITIES}
    others = dict.fromkeys(name for row in rows for name in row if name not in known and name not in sided)
    checks = [name for name in others if name.startswith((_CHECK, "checks_"))]
    columns = [Column(name=name, description=describe_entity(name)) for name in others if name not in checks]
    columns += [
        Column(name=wide, description=f"{known[name].description} {side.capitalize()}.")
        for wide, (name, side) in sided.items()
    ]
    columns += _SHARED_COLUMNS
    for name in checks:
        checked = name.removeprefix(_CHECK)
        value, names = f"Value of the quality check {checked}.", f"Quality checks that {name.removeprefix('checks_')}."
        columns.append(Column(name=name, description=value if name.startswith(_CHECK) else names))
    return columns


def describe_entity(name: str) -> str:
    """Return the description of a column that identifies a run."""
    return "Derivative dataset." if name == "dataset" else f"BIDS entity {name.removesuffix('_id')}."


def describe_region(name: str) -> str:
    """Return the description of a column of an atlas table."""
    known = {
        "region": "Name of the region in formulas.",
        "index": "Label of the region in the atlas.",
        "name": "Name of the region in the atlas.",
        "n_voxels": "Number of voxels in the region.",
        "reason": "Reason for missing values.",
    }
    metric, _, statistic = name.rpartition("_")
    words = {"mean": "Weighted mean", "sd": "Standard deviation", "median": "Median"}
    measured = f"{words[statistic]} of {metric.upper()}." if statistic in words else describe_entity(name)
    return known.get(name, measured)


def mark_repeated(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the earlier dataset that has the same run with the same index, if there is any."""
    if "dataset" not in runs:
        return runs
    run = [name for name in runs.columns[: list(runs.columns).index("alps_left")] if name != "dataset"]
    index = [name for name in _INDICES if name in runs]
    # equal labels and equal index: the same run in two datasets, not two participants of one label
    first = runs.groupby([*run, "roi_preset", *index], dropna=False)["dataset"].transform("first")
    return runs.assign(**{REPEATED: first.where((first != runs["dataset"]) & runs[index].notna().any(axis=1))})


def gather_regions(datasets: Sequence[DerivativeDataset]) -> tuple[list[dict[str, Any]], list[Column]]:
    """Return the long table of regions, one row per region, with its columns."""
    rows = [
        {"dataset": dataset.label, **entities_in(path), **row}
        for dataset in datasets
        for path in dataset.find("seg-alps")
        for row in read_rows(path)
    ]
    known = {column.name for column in ROI_COLUMNS}
    ids = dict.fromkeys(name for row in rows for name in row if name not in known)
    columns = [
        Column(name=name, description=describe_entity(name)) for name in ids if name != "dataset" or len(datasets) > 1
    ]
    columns += ROI_COLUMNS
    return fill_rows(rows, columns), columns

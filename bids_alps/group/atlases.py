"""The regions of atlases: gathered from every participant, and joined to the runs as outcomes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.group.gather import entities_in, read_rows
from bids_alps.group.phenotype import OUTPUT
from bids_alps.io.inheritance import entities_of

LOG = logging.getLogger(__name__)


def gather_atlases(datasets: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Return, per atlas, the long table of its regions: one row a region, ``region`` being its name in formulas.

    The name is that of the atlas' table in lower case, with one underscore for whatever is no letter or digit; regions
    whose names become one get their label behind it.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for dataset, folder in datasets.items():
        named = {"dataset": dataset or OUTPUT} if len(datasets) > 1 else {}
        for path in sorted(folder.glob("sub-*/**/*_seg-*_scalarstats.tsv")):
            atlas = entities_of(path.name)["seg"]
            if atlas != "alps":
                run = named | entities_in(path)
                found.setdefault(atlas, []).extend(run | row for row in _regions(path))
    return {atlas: rows for atlas, rows in found.items() if rows}


def _regions(path: Path) -> list[dict[str, Any]]:
    rows = read_rows(path)
    if not all({"index", "name", "fa_mean"} <= row.keys() for row in rows):
        LOG.warning("%s: no columns index, name and fa_mean. Redo the run.", path)
        return []
    names = [_plain(str(row["name"])) for row in rows]
    count = Counter(names)
    labels = [str(row["index"]).removesuffix(".0") for row in rows]
    regions = [one if count[one] == 1 else f"{one}_{label}" for one, label in zip(names, labels, strict=True)]
    return [{"region": region, **row} for region, row in zip(regions, rows, strict=True)]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_") or "region"


def join_atlases(
    table: pd.DataFrame, atlases: Mapping[str, list[dict[str, Any]]]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the mean of every metric of every region, such as ``putamen_left_fa``; return the names of these columns.

    A name that is a column already, of another atlas or of the participants, gets the atlas before it.
    """
    added: list[str] = []
    for atlas, rows in atlases.items():
        long = pd.DataFrame(rows)
        metrics = [name for name in long if str(name).endswith("_mean")]
        keys = [name for name in table.columns[: list(table.columns).index("alps_left")] if name in long]
        marked = long.fillna(dict.fromkeys(keys, ""))  # a run without a number is a run too
        wide = marked.pivot_table(metrics, keys, "region", sort=False)
        pairs = wide.columns.to_frame().astype(str).to_numpy()
        names = [f"{region}_{metric.removesuffix('_mean')}" for metric, region in pairs]
        wide.columns = pd.Index(
            [f"{_plain(atlas)}_{one}" if one in table or one[0].isdigit() else one for one in names]
        )
        added += list(wide.columns)
        matched = table[keys].fillna("").merge(wide.reset_index(), on=keys, how="left")
        table = pd.concat([table, matched[wide.columns].set_axis(table.index)], axis=1)
    return table, tuple(added)

"""Atlas regions of all participants, joined to the runs as outcomes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bids_alps.group.datasets import DerivativeDataset
from bids_alps.group.gather import entities_in, read_rows
from bids_alps.io.inheritance import entities_of

LOG = logging.getLogger(__name__)


def gather_atlases(datasets: Sequence[DerivativeDataset]) -> dict[str, list[dict[str, Any]]]:
    """Return the long table of regions by atlas: one row per region, with its name in formulas as ``region``.

    Names are converted to lower case, with underscores for non-alphanumeric characters; duplicates get the label of
    the region as a suffix.
    """
    rows_by_atlas: dict[str, list[dict[str, Any]]] = {}
    for dataset in datasets:
        dataset_label = {"dataset": dataset.label} if len(datasets) > 1 else {}
        for path in dataset.find("seg-*"):
            atlas = entities_of(path.name)["seg"]
            if atlas == "alps":
                continue
            rows = read_rows(path)
            if not all({"index", "name", "fa_mean"} <= row.keys() for row in rows):
                LOG.warning("%s: columns index, name or fa_mean are missing. Rerun the participant level.", path)
                continue
            run = dataset_label | entities_in(path)
            names = [_plain(str(row["name"])) for row in rows]
            count = Counter(names)
            for name, row in zip(names, rows, strict=True):
                label = str(row["index"]).removesuffix(".0")
                region = name if count[name] == 1 else f"{name}_{label}"
                rows_by_atlas.setdefault(atlas, []).append(run | {"region": region, **row})
    return {atlas: rows for atlas, rows in rows_by_atlas.items() if rows}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_") or "region"


def join_atlases(
    table: pd.DataFrame, atlases: Mapping[str, list[dict[str, Any]]]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the mean of every metric of every region, such as ``putamen_left_fa``; return the names of these columns.

    Names that are already columns get the name of the atlas as a prefix.
    """
    added: list[str] = []
    for atlas, rows in atlases.items():
        long = pd.DataFrame(rows)
        metrics = [name for name in long if str(name).endswith("_mean")]
        keys = [name for name in table.columns[: list(table.columns).index("alps_left")] if name in long]
        marked = long.fillna(dict.fromkeys(keys, ""))  # keep runs without a run entity
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

"""Tables in the section of a run: regions of interest, atlases, provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_alps.io.tables import read_table
from bids_alps.report.html import number, words
from bids_alps.report.page import Table

Row = Mapping[str, Any]
_DIFFUSIVITIES = ("dxx", "dyy", "dzz", "md", "ad", "rd")
_CONFOUNDS = ("n_voxels", "fa", "mode", "free_water", "lambda2_lambda3", "v1_angle", "off_tract_fraction", "coverage")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a table, by column name."""
    return [{str(key): value for key, value in row.items()} for row in read_table(path).to_dict("records")]


def number_in(row: Row, key: str) -> float:
    """Return a value of a row as a number; NaN if it is missing or text."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def text_in(row: Row, key: str) -> str:
    """Return a value of a row as text; empty if it is missing."""
    value = row.get(key)
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def region_tables(rows: Sequence[Row]) -> tuple[Table, ...]:
    """Return the tables of diffusivities, confounds and centers of the regions of interest."""
    several = len({row.get("roi_preset") for row in rows}) > 1

    def name(row: Row) -> str:
        return words(text_in(row, "roi")) + (f" ({text_in(row, 'roi_preset')})" if several else "")

    def table(title: str, keys: Sequence[str], scale: float, note: str = "") -> Table:
        present = [key for key in keys if any(key in row for row in rows)]
        cells = tuple((name(row), *(number(number_in(row, key) * scale) for key in present)) for row in rows)
        return Table(title=title, columns=("Region", *map(words, present)), rows=cells, note=note)

    return (
        table(
            "Diffusivities, 10⁻³ mm²/s",
            _DIFFUSIVITIES,
            1e3,
            "Dxx left-right, Dyy anterior-posterior, Dzz inferior-superior.",
        ),
        table(
            "Confounds of the index",
            _CONFOUNDS,
            1.0,
            "V1 angle: degrees from the expected fiber axis; voxel counts are sums of weights.",
        ),
        table("Centers in diffusion space, mm", ("x", "y", "z"), 1.0),
    )


def atlas_table(ending: str, rows: Sequence[Row]) -> Table:
    """Return the table of an atlas from its rows and its file name suffix."""
    shown = ("fa_mean", "fa_sd", "md_mean", "ad_mean", "rd_mean")
    cells = tuple(
        (
            text_in(row, "name"),
            text_in(row, "n_voxels"),
            *(number(number_in(row, key) * (1 if key.startswith("fa") else 1e3)) for key in shown),
            text_in(row, "reason"),
        )
        for row in rows
    )
    return Table(
        title=f"Atlas {ending.removesuffix('_scalarstats.tsv')}",
        columns=("Region", "Voxels", "FA", "SD of FA", "MD", "AD", "RD", "Remark"),
        rows=cells,
        note="Means weighted by the fraction of each voxel in the region; diffusivities in 10⁻³ mm²/s.",
    )


def provenance_tables(receipt: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return the tables of a provenance record: one of scalar fields, one per group of fields."""
    fields = {key: value for key, value in receipt.items() if key != "methods"}  # shown as methods text
    plain = {key: value for key, value in fields.items() if not isinstance(value, dict)}
    groups = {"": plain, **{key: value for key, value in fields.items() if isinstance(value, dict)}}
    return tuple(
        Table(title=words(title) or "This run", columns=("Name", "Value"), rows=tuple(_flat(content)))
        for title, content in groups.items()
        if content
    )


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}: ")
        else:
            yield f"{before}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

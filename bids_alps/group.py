"""The story of the group: gather every participant's index into one table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.errors import NoInputError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.results import ALPS_COLUMNS
from bids_alps.io.tables import Column, read_dictionary, read_table, write_table
from bids_alps.model import SIDES
from bids_alps.report.cohort import write_group_page
from bids_alps.settings import Settings

LOG = logging.getLogger(__name__)
_SIDED = ("alps", "alps_se", "alps_ci_low", "alps_ci_high", "alps_uncorrected")
_ID = {"sub": "participant_id", "ses": "session_id"}


def run_group(settings: Settings) -> Path:
    """Write ``group_alps.tsv`` and its dictionary; return its path.

    Raises
    ------
    NoInputError
        If there is no result of a participant.
    """
    output_dir = settings.request.output_dir
    rows = gather(output_dir)
    columns, added = _columns(rows), list[Column]()
    people = settings.request.bids_dir / "participants.tsv"
    table = pd.DataFrame(rows)
    if people.exists():
        table, added = join_participants(table, people)
        columns += added
    path = output_dir / "group_alps.tsv"
    written = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    write_table(path, written, columns)
    write_group_page(output_dir, written, columns=[column.name for column in added])
    return path


def gather(output_dir: Path) -> list[dict[str, Any]]:
    """Return one row per run and preset from every index table below a folder, in a stable order."""
    paths = sorted(output_dir.glob("sub-*/**/*_desc-alps_scalarstats.tsv"))
    if not paths:
        raise NoInputError(
            str(output_dir), "no index of any participant", "run the participant level first, with the same output"
        )
    return [row for path in paths for row in _wide_rows(path)]


def _wide_rows(path: Path) -> list[dict[str, Any]]:
    labels = {key: label for key, label in entities_of(path.name).items() if key != "desc"}
    ids = {_ID.get(key, key): f"{key}-{label}" if key in _ID else label for key, label in labels.items()}
    rows = []
    for _, table in read_table(path).groupby("roi_preset", sort=False):
        by_side = table.set_index("hemisphere")
        row: dict[str, Any] = dict(ids)
        for name in _SIDED:
            for side in (*SIDES, "bilateral"):
                row[_wide_name(name, side)] = by_side.loc[side, name]
        for column in ALPS_COLUMNS:
            if column.name not in (*_SIDED, "hemisphere"):
                row[column.name] = by_side.loc["bilateral", column.name]
        rows.append(row)
    return rows


def _wide_name(name: str, side: str) -> str:
    """Return ``alps_left_ci_low`` for ``alps_ci_low`` and ``left``."""
    return name.replace("alps", f"alps_{side}", 1)


def _columns(rows: list[dict[str, Any]]) -> list[Column]:
    known = {column.name: column for column in ALPS_COLUMNS}
    sided = {_wide_name(name, side): (name, side) for name in _SIDED for side in (*SIDES, "bilateral")}
    ids = [name for row in rows for name in row if name not in known and name not in sided]
    columns = [Column(name=name, about=f"BIDS entity {name.removesuffix('_id')}.") for name in dict.fromkeys(ids)]
    columns += [
        Column(name=wide, about=f"{known[name].about} {side.capitalize()}.") for wide, (name, side) in sided.items()
    ]
    skipped = {*_SIDED, "hemisphere"}
    return columns + [column for column in ALPS_COLUMNS if column.name not in skipped]


def join_participants(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[Column]]:
    """Add the columns of ``participants.tsv``; those that a result has already get ``participants_`` before them."""
    people = read_table(path).drop_duplicates("participant_id")
    renamed = {name: f"participants_{name}" for name in people if name in table and name != "participant_id"}
    people = people.rename(columns=renamed)
    told: dict[Any, Any] = read_dictionary(path)
    added = [
        Column(name=str(name), about=str(told.get(name, {}).get("Description", f"{name}, from participants.tsv.")))
        for name in people
        if name != "participant_id"
    ]
    return table.merge(people, on="participant_id", how="left"), added

"""The story of the group: gather every participant's results, test what was asked, write tables and the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.group.gather import (
    columns_of,
    describe_entity,
    describe_region,
    find_repeated,
    find_roots,
    find_unmatched,
    gather,
    gather_atlases,
    gather_changes,
    gather_regions,
    join_atlases,
    join_participants,
    join_sessions,
)
from bids_alps.io.changes import CHANGE_COLUMNS
from bids_alps.io.lesions import LESIONS
from bids_alps.io.manual_rois import ROIS
from bids_alps.io.presets import conventions_of
from bids_alps.io.tables import Column, fill_rows, write_table
from bids_alps.io.writing import write_text
from bids_alps.report.cohort import Results, write_group_page
from bids_alps.report.html import number, words
from bids_alps.report.page import Table
from bids_alps.settings import Request, Settings
from bids_alps.statistics.analysis import DIFFUSIVITIES, INDICES, Findings, Plan, analyse
from bids_alps.statistics.dictionary import DESCRIPTIONS
from bids_alps.statistics.harmonisation import harmonise_table

LOG = logging.getLogger(__name__)
_SHOWN_ROWS = 60


def run_group(settings: Settings) -> Path:
    """Write ``group_*.tsv`` with their dictionaries and ``group_alps.html``; return the path of the first table.

    Raises
    ------
    NoInputError
        If there is no result of a participant.
    """
    request = settings.request
    output_dir, datasets = request.output_dir, _datasets(request)
    roots = find_roots(datasets, request.bids_dir)
    rows = gather(datasets, longitudinal=request.longitudinal)
    table, added = join_participants(pd.DataFrame(rows), roots)
    notes = find_unmatched(table, roots) + find_repeated(table)
    table, sessions = join_sessions(table, roots)
    added += sessions
    path = output_dir / "group_alps.tsv"
    written = _records(table)
    columns = [*columns_of(rows), *added]
    write_table(path, fill_rows(written, columns), columns)
    regions, columns = gather_regions(datasets)
    write_table(output_dir / "group_rois.tsv", regions, columns)
    write_script_table(output_dir / "group_alps-sh.csv", table)
    if request.longitudinal:
        _write_changes(output_dir)
    atlases = gather_atlases(datasets)
    _write_atlases(output_dir, atlases)
    table, outcomes = join_atlases(table, atlases)
    kept = _exclude(output_dir, table, request.exclude_status)
    results = _analyse(kept, _plan(table, added, outcomes, request), request, notes)
    for note in notes:
        LOG.warning(note)
    write_group_page(output_dir, written, columns=[column.name for column in added], results=results)
    return path


def _datasets(request: Request) -> dict[str, Path]:
    """Return the derivative datasets to pool by name; the output itself has none."""
    others = {name: path for name, path in request.datasets.items() if name not in (LESIONS, ROIS)}  # no results
    return {"": request.output_dir, **others}


def _write_changes(output_dir: Path) -> None:
    rows = gather_changes(output_dir)
    named = {column.name for column in CHANGE_COLUMNS}
    others = dict.fromkeys(name for row in rows for name in row if name not in named)
    columns = [*(Column(name=name, description=describe_entity(name)) for name in others), *CHANGE_COLUMNS]
    write_table(output_dir / "group_change.tsv", fill_rows(rows, columns), columns)


def _write_atlases(output_dir: Path, atlases: Mapping[str, list[dict[str, Any]]]) -> None:
    for atlas, rows in atlases.items():
        names = dict.fromkeys(name for row in rows for name in row)
        columns = [Column(name=name, description=describe_region(name)) for name in names]
        write_table(output_dir / f"group_seg-{atlas}.tsv", fill_rows(rows, columns), columns)


def _analyse(kept: pd.DataFrame, asked: Plan, request: Request, notes: list[str]) -> Results:
    """Test every preset's runs, write what was found, and return it for the page."""
    found, harmonised = [], None
    for preset, runs in kept.groupby("roi_preset", sort=False):
        part = runs.reset_index(drop=True)
        plan = replace(asked, variables=tuple(name for name in asked.variables if part[name].notna().any()))
        adjusted = _harmonised(part, plan, request.harmonise, notes)
        if harmonised is None and adjusted is not part:
            harmonised = part, adjusted, str(request.harmonise)
        findings = analyse(adjusted, plan)
        notes += [f"{preset}: {note}" for note in findings.notes]
        found.append((str(preset), findings))
    return Results(
        group=request.group_column if request.group_column in kept else None,
        tables=tuple(_write_findings(request.output_dir, found)),
        correlations=found[0][1].tables.get("correlations") if found else None,
        harmonised=harmonised,
        methods=tuple(dict.fromkeys(said for _, findings in found for said in findings.methods)),
        notes=tuple(notes),
    )


def write_script_table(path: Path, table: pd.DataFrame) -> None:
    """Write the thirteen columns that the script ``alps.sh`` writes, one row a run.

    Rows are those measured with its conventions where there are any, else those of the first preset; diffusivities are
    in mm^2/s. ``scanner`` is the column ``scanner`` or ``site`` of the participants, or the dataset.
    """
    presets = list(dict.fromkeys(table["roi_preset"]))
    preset = next((name for name in presets if conventions_of(name) == "alps.sh"), presets[0])
    rows = table[table["roi_preset"] == preset]
    ids = list(table.columns[: list(table.columns).index("alps_left")])
    named = rows[[name for name in ids if name != "dataset"]].astype(object)
    scanner = next((name for name in ("scanner", "site", "dataset") if name in rows), None)
    columns: dict[str, Any] = {
        "id": [_run_name(row) for row in _records(named)],
        "scanner": "n/a" if scanner is None else rows[scanner],
    }
    for side in ("left", "right"):
        for term in ("x_proj", "x_assoc", "y_proj", "z_assoc"):
            axis, _, region = term.partition("_")
            name = f"d{axis}{axis}_{'projection' if region == 'proj' else 'association'}_{side}"
            columns[f"{term}_{side[0].upper()}"] = rows[name]
    columns |= {"alps_L": rows["alps_left"], "alps_R": rows["alps_right"], "alps": rows["alps_bilateral"]}
    write_text(path, pd.DataFrame(columns).to_csv(index=False, na_rep="n/a", lineterminator="\n"))


def _run_name(row: Mapping[str, Any]) -> str:
    told = {name: str(value) for name, value in row.items() if pd.notna(value)}
    return "_".join(value if name.endswith("_id") else f"{name}-{value}" for name, value in told.items())


def _exclude(output_dir: Path, table: pd.DataFrame, statuses: tuple[str, ...]) -> pd.DataFrame:
    """Return the runs that statistics take; list the others with the reason."""
    by_status = table["status"].isin(statuses)
    missing = table["alps_bilateral"].isna()
    out = table[by_status | missing].copy()
    told = "status " + out["status"].astype(str)
    out["excluded_for"] = told.where(by_status[out.index], "no bilateral index")
    ids = list(table.columns)[: list(table.columns).index("alps_left")]
    columns = [Column(name=name, description=describe_entity(name)) for name in ids]
    columns.append(Column(name="excluded_for", description="Why statistics leave this run out."))
    write_table(output_dir / "group_exclusions.tsv", fill_rows(_records(out), columns), columns)
    return table[~(by_status | missing)]


def _harmonised(table: pd.DataFrame, plan: Plan, site: str | None, notes: list[str]) -> pd.DataFrame:
    """Return the table without the effect of the site, or as it is, saying why, where that cannot be had."""
    if site is None:
        return table
    protected = [name for name in (plan.group, "age", "sex") if name and name in table and name != site]
    gaps = [name for name in plan.outcomes if table[name].isna().any()]
    outcomes = [*INDICES, *DIFFUSIVITIES, *(name for name in plan.outcomes if name not in gaps)]
    try:
        found = harmonise_table(table, outcomes, site, protected)
    except AlpsError as error:
        notes.append(f"Not harmonised. {error}")
        return table
    left_out = f"; {len(table) - len(found)} incomplete runs left out" if len(found) < len(table) else ""
    notes.append(f"Harmonised over {site} by ComBat, protecting {', '.join(protected) or 'nothing'}{left_out}.")
    notes += [f"Not harmonised, since runs lack them: {', '.join(gaps)}."] * bool(gaps)
    return found


def _plan(table: pd.DataFrame, added: list[Column], outcomes: tuple[str, ...], request: Request) -> Plan:
    named = tuple(column.name for column in added)
    group = request.group_column if request.group_column in table else None
    return Plan(group=group, variables=named, outcomes=outcomes, formulas=request.model)


def _write_findings(output_dir: Path, found: list[tuple[str, Findings]]) -> list[Table]:
    """Write every table of results, all presets in one; return them for the page."""
    shown = list[Table]()
    for name in dict.fromkeys(name for _, findings in found for name in findings.tables):
        parts = [f.tables[name].assign(roi_preset=preset) for preset, f in found if name in f.tables]
        table = pd.concat(parts, ignore_index=True)
        columns = [Column(name=str(column), description=DESCRIPTIONS[str(column)]) for column in table]
        write_table(output_dir / f"group_{name}.tsv", _records(table), columns)
        cells = tuple(tuple(_cell(value) for value in row) for row in table.head(_SHOWN_ROWS).to_numpy())
        more = f"The first {_SHOWN_ROWS} of {len(table)} rows." if len(table) > _SHOWN_ROWS else ""
        shown.append(Table(title=words(name), columns=tuple(words(str(one)) for one in table), rows=cells, note=more))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "n/a" if value is None else str(value)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]

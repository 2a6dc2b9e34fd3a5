"""The story of the group: gather every participant's results, test what was asked, write tables and the page."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bids_alps.errors import AlpsError, NoInputError
from bids_alps.io.inheritance import entities_of
from bids_alps.io.results import ALPS_COLUMNS, ROI_COLUMNS
from bids_alps.io.tables import Column, read_dictionary, read_table, write_table
from bids_alps.model import SIDES
from bids_alps.report.cohort import write_group_page
from bids_alps.report.html import number, words
from bids_alps.report.page import Table
from bids_alps.settings import Request, Settings
from bids_alps.statistics.analysis import DIFFUSIVITIES, INDICES, Findings, Plan, analyse
from bids_alps.statistics.dictionary import ABOUT
from bids_alps.statistics.harmonisation import harmonise_table

LOG = logging.getLogger(__name__)
_SIDED = ("alps", "alps_se", "alps_ci_low", "alps_ci_high", "alps_uncorrected")
_ID = {"sub": "participant_id", "ses": "session_id"}
_SHOWN_ROWS = 60
_LABELS = ("roi_preset", "hemisphere", "status", "roi", "name", "unit", "bad", "reason")


def run_group(settings: Settings) -> Path:
    """Write ``group_*.tsv`` with their dictionaries and ``group_alps.html``; return the path of the first table.

    Raises
    ------
    NoInputError
        If there is no result of a participant.
    """
    request = settings.request
    output_dir, datasets = request.output_dir, _datasets(request)
    rows = gather(datasets)
    columns, added = _columns(rows), list[Column]()
    table, notes = pd.DataFrame(rows), list[str]()
    people = request.bids_dir / "participants.tsv"
    if people.exists():
        table, added = join_participants(table, people)
        notes += _unmatched(table, people)
    table, sessions = join_sessions(table, request.bids_dir)
    added += sessions
    path = output_dir / "group_alps.tsv"
    written = _records(table)
    write_table(path, written, [*columns, *added])
    _write_regions(output_dir, datasets)
    kept = _exclude(output_dir, table, request.exclude_status)
    tables = []
    for preset, part in kept.groupby("roi_preset", sort=False):
        plan = _plan(part, added, request)
        findings = analyse(_harmonised(part.reset_index(drop=True), plan, request.harmonise, notes), plan)
        notes += [f"{preset}: {note}" for note in findings.notes]
        tables.append((str(preset), findings))
    for note in notes:
        LOG.warning(note)
    shown = _write_findings(output_dir, tables)
    write_group_page(output_dir, written, columns=[column.name for column in added], tables=shown)
    return path


def _datasets(request: Request) -> dict[str, Path]:
    """Return the derivative datasets to pool by name; the output itself has none."""
    found = {"": request.output_dir}
    for text in request.derivatives:
        name, equals, path = text.partition("=")
        found[name if equals else Path(text).name] = Path(path if equals else text)
    return found


def gather(datasets: dict[str, Path]) -> list[dict[str, Any]]:
    """Return one row per run and preset from every index table below folders, in a stable order.

    Parameters
    ----------
    datasets
        Derivative datasets by name; where there is more than one, rows have a ``dataset`` column.
    """
    rows: list[dict[str, Any]] = []
    for name, folder in datasets.items():
        named = {"dataset": name or "output"} if len(datasets) > 1 else {}
        rows += [named | row for path in _find(folder, "desc-alps") for row in _wide_rows(path)]
    if not rows:
        where = ", ".join(str(folder) for folder in datasets.values())
        raise NoInputError(
            where, "no index of any participant", "run the participant level first, with the same output"
        )
    return rows


def _find(folder: Path, entity: str) -> list[Path]:
    return sorted(folder.glob(f"sub-*/**/*_{entity}_scalarstats.tsv"))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a table of ours; a tenth of the time that a data frame takes, which tells over 10,000 runs."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str | None) -> Any:
    if name in _LABELS:
        return text
    try:
        return float(text) if text not in (None, "n/a") else float("nan")
    except ValueError:
        return text


def _entities(path: Path) -> dict[str, str]:
    labels = {key: label for key, label in entities_of(path.name).items() if key not in ("desc", "seg")}
    return {_ID.get(key, key): f"{key}-{label}" if key in _ID else label for key, label in labels.items()}


def _wide_rows(path: Path) -> Iterator[dict[str, Any]]:
    presets: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _read_rows(path):
        presets.setdefault(row["roi_preset"], {})[row["hemisphere"]] = row
    for by_side in presets.values():
        if not {*SIDES, "bilateral"} <= by_side.keys():
            LOG.warning("%s: not all of left, right, bilateral. Redo the run.", path)
            continue
        wide = {
            _wide_name(name, side): by_side[side].get(name, float("nan"))
            for name in _SIDED
            for side in (*SIDES, "bilateral")
        }
        skipped = (*_SIDED, "hemisphere")
        rest = {c.name: by_side["bilateral"].get(c.name) for c in ALPS_COLUMNS if c.name not in skipped}
        yield _entities(path) | wide | rest


def _wide_name(name: str, side: str) -> str:
    """Return ``alps_left_ci_low`` for ``alps_ci_low`` and ``left``."""
    return name.replace("alps", f"alps_{side}", 1)


def _columns(rows: list[dict[str, Any]]) -> list[Column]:
    known = {column.name: column for column in ALPS_COLUMNS}
    sided = {_wide_name(name, side): (name, side) for name in _SIDED for side in (*SIDES, "bilateral")}
    ids = dict.fromkeys(name for row in rows for name in row if name not in known and name not in sided)
    columns = [Column(name=name, about=_about_id(name)) for name in ids]
    columns += [
        Column(name=wide, about=f"{known[name].about} {side.capitalize()}.") for wide, (name, side) in sided.items()
    ]
    skipped = {*_SIDED, "hemisphere"}
    return columns + [column for column in ALPS_COLUMNS if column.name not in skipped]


def _about_id(name: str) -> str:
    return "Derivative dataset." if name == "dataset" else f"BIDS entity {name.removesuffix('_id')}."


def join_participants(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[Column]]:
    """Add the columns of ``participants.tsv``; those that a result has already get ``participants_`` before them."""
    people = read_table(path).drop_duplicates("participant_id")
    return _join(table, people, ["participant_id"], read_dictionary(path), "participants")


def join_sessions(table: pd.DataFrame, bids_dir: Path) -> tuple[pd.DataFrame, list[Column]]:
    """Add the columns of every participant's ``sub-*_sessions.tsv``."""
    if "session_id" not in table:
        return table, []
    found, told = [], dict[str, Any]()
    for label in sorted(table["participant_id"].unique()):
        path = bids_dir / label / f"{label}_sessions.tsv"
        if path.exists():
            found.append(read_table(path).drop_duplicates("session_id").assign(participant_id=label))
            told |= read_dictionary(path)
    if not found:
        return table, []
    return _join(table, pd.concat(found, ignore_index=True), ["participant_id", "session_id"], told, "sessions")


def _join(
    table: pd.DataFrame, other: pd.DataFrame, keys: list[str], told: dict[str, Any], source: str
) -> tuple[pd.DataFrame, list[Column]]:
    other = other.rename(columns={name: f"{source}_{name}" for name in other if name in table and name not in keys})
    added = [
        Column(name=str(name), about=str(told.get(str(name), {}).get("Description", f"{name}, from {source}.tsv.")))
        for name in other
        if name not in keys
    ]
    return table.merge(other, on=keys, how="left"), added


def _unmatched(table: pd.DataFrame, path: Path) -> list[str]:
    ids = read_table(path)["participant_id"]
    missing = sorted(set(table["participant_id"]) - set(ids))
    notes = [f"Not in participants.tsv: {', '.join(missing)}."] if missing else []
    twice = sorted(set(ids[ids.duplicated()]))
    return notes + ([f"More than once in participants.tsv, the first row counts: {', '.join(twice)}."] if twice else [])


def _write_regions(output_dir: Path, datasets: dict[str, Path]) -> None:
    """Write the long table of regions."""
    rows = [
        {"dataset": name or "output", **_entities(path), **row}
        for name, folder in datasets.items()
        for path in _find(folder, "seg-alps")
        for row in _read_rows(path)
    ]
    known = {column.name for column in ROI_COLUMNS}
    ids = dict.fromkeys(name for row in rows for name in row if name not in known)
    columns = [Column(name=name, about=_about_id(name)) for name in ids if name != "dataset" or len(datasets) > 1]
    write_table(output_dir / "group_rois.tsv", rows, [*columns, *ROI_COLUMNS])


def _exclude(output_dir: Path, table: pd.DataFrame, statuses: tuple[str, ...]) -> pd.DataFrame:
    """Return the runs that statistics take; list the others with the reason."""
    by_status = table["status"].isin(statuses)
    missing = table["alps_bilateral"].isna()
    out = table[by_status | missing].copy()
    told = "status " + out["status"].astype(str)
    out["excluded_for"] = told.where(by_status[out.index], "no bilateral index")
    ids = list(table.columns)[: list(table.columns).index("alps_left")]
    columns = [Column(name=name, about=_about_id(name)) for name in ids]
    columns.append(Column(name="excluded_for", about="Why statistics leave this run out."))
    write_table(output_dir / "group_exclusions.tsv", _records(out), columns)
    return table[~(by_status | missing)]


def _harmonised(table: pd.DataFrame, plan: Plan, site: str | None, notes: list[str]) -> pd.DataFrame:
    """Return the table without the effect of the site, or as it is, saying why, where that cannot be had."""
    if site is None:
        return table
    protected = [name for name in (plan.group, "age", "sex") if name and name in table and name != site]
    try:
        found = harmonise_table(table, [*INDICES, *DIFFUSIVITIES], site, protected)
    except AlpsError as error:
        notes.append(f"Not harmonised. {error}")
        return table
    left_out = f"; {len(table) - len(found)} incomplete runs left out" if len(found) < len(table) else ""
    notes.append(f"Harmonised over {site} by ComBat, protecting {', '.join(protected) or 'nothing'}{left_out}.")
    return found


def _plan(table: pd.DataFrame, added: list[Column], request: Request) -> Plan:
    named = tuple(column.name for column in added if table[column.name].notna().any())
    group = request.group_column if request.group_column in table else None
    return Plan(group=group, variables=named, formulas=request.model)


def _write_findings(output_dir: Path, found: list[tuple[str, Findings]]) -> list[Table]:
    """Write every table of results, all presets in one; return them for the page."""
    shown = list[Table]()
    for name in dict.fromkeys(name for _, findings in found for name in findings.tables):
        parts = [f.tables[name].assign(roi_preset=preset) for preset, f in found if name in f.tables]
        table = pd.concat(parts, ignore_index=True)
        columns = [Column(name=str(column), about=ABOUT[str(column)]) for column in table]
        write_table(output_dir / f"group_{name}.tsv", _records(table), columns)
        cells = tuple(tuple(_cell(value) for value in row) for row in table.head(_SHOWN_ROWS).to_numpy())
        note = " ".join(dict.fromkeys(said for _, findings in found for said in findings.methods))
        more = f" The first {_SHOWN_ROWS} of {len(table)} rows." if len(table) > _SHOWN_ROWS else ""
        headings = tuple(words(str(column)) for column in table)
        shown.append(Table(title=words(name), columns=headings, rows=cells, note=note * (not shown) + more))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "n/a" if value is None else str(value)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]

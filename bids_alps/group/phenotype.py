"""Phenotypic data: participants.tsv, sessions.tsv, and acquisition times from scans.tsv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.io.phenotype import PhenotypeTable, read_levels, read_phenotype
from bids_alps.io.root import read_description
from bids_alps.statistics.repeats import MATCHED, TIME

OUTPUT = "output"
"""Name of the results in the output folder when several datasets are pooled."""
PEOPLE = "participants.tsv"
_SOURCE = "dataset"


@dataclass(slots=True)
class JoinedPhenotype:
    """Runs joined with phenotypic data.

    Parameters
    ----------
    table
        One row per run; ``_matched`` states whether the participant is in ``participants.tsv``.
    names
        Added columns.
    dictionary
        Entries of the data dictionaries by column.
    absent
        Participants of ``participants.tsv`` without a run: dataset and label.
    notes
        Notes on conversions and mismatches.
    errors
        Errors on unreadable tables, which set the exit code.
    """

    table: pd.DataFrame
    names: list[str] = field(default_factory=list)
    dictionary: dict[str, Any] = field(default_factory=dict)
    absent: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[AlpsError] = field(default_factory=list)


def find_roots(datasets: Mapping[str, Path], bids_dir: Path) -> dict[str, Path]:
    """Return the folder with the ``participants.tsv`` of each derivative dataset, by name, if there is one.

    For the output it is `bids_dir`. For other datasets it is their own folder, their source dataset
    (``DatasetLinks``), or the dataset in whose ``derivatives`` they are.
    """
    roots_by_name = {OUTPUT: bids_dir}
    for name, folder in datasets.items():
        links = read_description(folder).get("DatasetLinks")
        raw = links.get("raw") if isinstance(links, dict) else None
        linked = [Path(unquote(urlparse(raw).path))] if isinstance(raw, str) and raw.startswith("file:") else []
        around = [folder.parent.parent] if folder.parent.name == "derivatives" else []
        roots = [root for root in (folder, *linked, *around) if (root / PEOPLE).exists()]
        if name and roots:
            roots_by_name[name] = roots[0]
    return roots_by_name


def join_phenotype(table: pd.DataFrame, roots: Mapping[str, Path]) -> JoinedPhenotype:
    """Add the columns of ``participants.tsv`` and of all ``sub-*_sessions.tsv``, as text.

    Equal labels in different datasets are different participants, so that a ``dataset`` column is matched too. Columns
    that exist in the results get the prefix ``participants_`` or ``sessions_``. If a column is in both files, values
    of the session have priority over those of the participant.
    """
    joined = JoinedPhenotype(table=table.assign(**{MATCHED: True}))
    _join_participants(joined, roots)
    _join_sessions(joined, roots)
    _join_times(joined, roots)
    return joined


def _read(path: Path, key: str, joined: JoinedPhenotype) -> pd.DataFrame | None:
    """Return a table, or None if it cannot be read; notes and errors are recorded."""
    if not path.exists():
        return None
    try:
        phenotype: PhenotypeTable = read_phenotype(path, key)
    except AlpsError as error:
        joined.errors.append(error)
        return None
    joined.notes += phenotype.notes
    return phenotype.table


def _join_participants(joined: JoinedPhenotype, roots: Mapping[str, Path]) -> None:
    parts = []
    for name, root in roots.items():
        path = root / PEOPLE
        people = _read(path, "participant_id", joined)
        if people is None:
            continue
        levels, notes = read_levels(path)
        joined.dictionary |= levels
        joined.notes += notes
        where = f"{PEOPLE} of {name}" if _SOURCE in joined.table else PEOPLE
        duplicates = sorted(set(people.loc[people.duplicated("participant_id"), "participant_id"]))
        if duplicates:
            joined.notes.append(f"Duplicate rows in {where}, of which the first is used: {', '.join(duplicates)}.")
        parts.append(people.drop_duplicates("participant_id").assign(**{_SOURCE: name}))
        _compare_labels(joined, name, parts[-1]["participant_id"], where)
    if parts:
        _merge(joined, pd.concat(parts, ignore_index=True), ["participant_id"], "participants")


def _compare_labels(joined: JoinedPhenotype, name: str, listed: pd.Series[Any], where: str) -> None:
    """Record labels found only in the results or only in the table."""
    table = joined.table
    of_dataset = table[_SOURCE] == name if _SOURCE in table else pd.Series(True, index=table.index)
    table.loc[of_dataset, MATCHED] = table.loc[of_dataset, "participant_id"].isin(listed)
    present = set(table.loc[of_dataset, "participant_id"])
    missing, unused = sorted(present - set(listed)), sorted(set(listed) - present)
    if missing:
        # labels that differ only in leading zeros or case are not matched
        normalized = {label.removeprefix("sub-").lstrip("0").lower(): label for label in unused}
        pairs = [(label, normalized.get(label.removeprefix("sub-").lstrip("0").lower())) for label in missing]
        similar = [f"{label} and {other}" for label, other in pairs if other]
        hint = f" Labels differ only in leading zeros or case: {', '.join(similar[:3])}." if similar else ""
        joined.notes.append(f"Not in {where}: {', '.join(missing)}.{hint}")
    joined.absent += [(name, label) for label in unused]


def _join_sessions(joined: JoinedPhenotype, roots: Mapping[str, Path]) -> None:
    table = joined.table
    if "session_id" not in table:
        return
    people = sorted(table["participant_id"].unique())
    parts = []
    for name, root in roots.items():
        # by the inheritance principle one dictionary at the root may serve all
        dictionaries = {root / "sessions.json"}
        for label in people:
            path = root / label / f"{label}_sessions.tsv"
            sessions = _read(path, "session_id", joined)
            if sessions is not None:
                parts.append(sessions.drop_duplicates("session_id").assign(participant_id=label, **{_SOURCE: name}))
                dictionaries.add(path)
        for path in sorted(dictionaries):
            levels, notes = read_levels(path)
            joined.dictionary |= levels
            joined.notes += notes
    if parts:
        _merge(joined, pd.concat(parts, ignore_index=True), ["participant_id", "session_id"], "sessions")
    joined.notes = list(dict.fromkeys(joined.notes))


def _merge(joined: JoinedPhenotype, other: pd.DataFrame, keys: list[str], source: str) -> None:
    table = joined.table
    if _SOURCE in table:
        keys = [_SOURCE, *keys]
    else:
        other = other.drop(columns=_SOURCE)
    both = [str(name) for name in other if name in joined.names]
    clashes = {str(name): f"{source}_{name}" for name in other if name in table and name not in (*keys, *both)}
    renamed = {name: f"_{source}_{name}" for name in both}
    merged = table.merge(other.rename(columns=clashes | renamed), on=keys, how="left")
    for name, newer in renamed.items():
        available = merged[newer].notna() & ~merged[newer].isin(["", "n/a"])
        merged[name] = merged[newer].where(available, merged[name])
        joined.notes.append(
            f"{name} is in participants.tsv and in sessions.tsv: the value of the session has priority."
        )
    joined.names += [clashes.get(str(name), str(name)) for name in other if name not in (*keys, *both)]
    joined.table = merged.drop(columns=list(renamed.values()))


def _join_times(joined: JoinedPhenotype, roots: Mapping[str, Path]) -> None:
    """Add the time of acquisition of each session from ``scans.tsv``, unless ``sessions.tsv`` has it."""
    table = joined.table
    if "session_id" not in table or TIME in table:
        return
    sessions = table.groupby("participant_id")["session_id"].nunique()
    # times order sessions: those of a single session need not be read
    several = set(sessions.index[sessions > 1])
    if not several:
        return
    columns = [_SOURCE, "participant_id", "session_id"]
    keys = table.assign(**{_SOURCE: table.get(_SOURCE, OUTPUT)})[columns].drop_duplicates()
    times: dict[tuple[str, str, str], str] = {}
    for name, label, session in keys[keys["participant_id"].isin(several)].itertuples(index=False):
        if name in roots and isinstance(session, str):
            when = _first_time(roots[name] / label, label, session, joined)
            if when:
                times[(name, label, session)] = when
    if times:
        row_keys = zip(
            table.get(_SOURCE, pd.Series(OUTPUT, index=table.index)),
            table["participant_id"],
            table["session_id"],
            strict=True,
        )
        joined.table = table.assign(**{TIME: pd.Series([times.get(key) for key in row_keys], index=table.index)})
        joined.names.append(TIME)


def _first_time(folder: Path, label: str, session: str, joined: JoinedPhenotype) -> str:
    # in the folder of the session, or of the participant
    for path in (folder / session / f"{label}_{session}_scans.tsv", folder / f"{label}_scans.tsv"):
        scans = _read(path, "filename", joined)
        if scans is not None and TIME in scans:
            dwi_scans = scans[
                scans["filename"].str.contains("_dwi.") & scans["filename"].str.contains(session, regex=False)
            ]
            known = sorted(when for when in dwi_scans[TIME] if when not in ("", "n/a"))
            if known:
                return str(known[0])
    return ""

"""What is known of the participants beside their runs: participants.tsv, sessions.tsv, and times from scans.tsv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.io.phenotype import PhenotypeTable, read_levels, read_phenotype
from bids_alps.io.root import read_description
from bids_alps.statistics.analysis import MATCHED
from bids_alps.statistics.repeats import TIME

OUTPUT = "output"
"""Name of the output's own results where several datasets are pooled."""
PEOPLE = "participants.tsv"
_SOURCE = "dataset"


@dataclass(slots=True)
class Joined:
    """The runs with what is known of their participants.

    Parameters
    ----------
    table
        One row a run; ``_matched`` tells whether its participant stands in ``participants.tsv``.
    names
        Columns that were added.
    dictionary
        Entries of the data dictionaries by column.
    absent
        Participants of ``participants.tsv`` without a run: dataset and label.
    notes
        What was read otherwise than written.
    errors
        Why a table could not be read, each of which makes the exit code.
    """

    table: pd.DataFrame
    names: list[str] = field(default_factory=list)
    dictionary: dict[str, Any] = field(default_factory=dict)
    absent: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[AlpsError] = field(default_factory=list)


def find_roots(datasets: Mapping[str, Path], bids_dir: Path) -> dict[str, Path]:
    """Return the folder that tells the participants of each derivative dataset, by its name, where there is one.

    That of the output is `bids_dir`. Another dataset's ``participants.tsv`` lies in its own folder, in the dataset that
    it was made from (``DatasetLinks``), or in the one whose ``derivatives`` it is part of.
    """
    found = {OUTPUT: bids_dir}
    for name, folder in datasets.items():
        roots = [root for root in (folder, *_sources(folder)) if (root / PEOPLE).exists()]
        if name and roots:
            found[name] = roots[0]
    return found


def _sources(folder: Path) -> list[Path]:
    links = read_description(folder).get("DatasetLinks")
    raw = links.get("raw") if isinstance(links, dict) else None
    linked = [Path(unquote(urlparse(raw).path))] if isinstance(raw, str) and raw.startswith("file:") else []
    around = [folder.parent.parent] if folder.parent.name == "derivatives" else []
    return linked + around


def join_phenotype(table: pd.DataFrame, roots: Mapping[str, Path]) -> Joined:
    """Add the columns of ``participants.tsv`` and of every ``sub-*_sessions.tsv``, as texts.

    One label in two datasets is two people: where the table has a ``dataset`` column it is matched too. A column that
    the results have already gets ``participants_`` or ``sessions_`` before it. A column that both files have is that of
    the session where it is told, else that of the participant.
    """
    joined = Joined(table=table.assign(**{MATCHED: True}))
    _join_participants(joined, roots)
    _join_sessions(joined, roots)
    _join_times(joined, roots)
    return joined


def _read(path: Path, key: str, joined: Joined) -> pd.DataFrame | None:
    """Return a table, or None where there is none that can be read, with what must be said of it."""
    if not path.exists():
        return None
    try:
        found: PhenotypeTable = read_phenotype(path, key)
    except AlpsError as error:
        joined.errors.append(error)
        return None
    joined.notes += found.notes
    return found.table


def _join_participants(joined: Joined, roots: Mapping[str, Path]) -> None:
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
        twice = sorted(set(people.loc[people.duplicated("participant_id"), "participant_id"]))
        if twice:
            joined.notes.append(f"More than once in {where}, the first row is used: {', '.join(twice)}.")
        parts.append(people.drop_duplicates("participant_id").assign(**{_SOURCE: name}))
        _compare_labels(joined, name, parts[-1]["participant_id"], where)
    if parts:
        _merge(joined, pd.concat(parts, ignore_index=True), ["participant_id"], "participants")


def _compare_labels(joined: Joined, name: str, listed: pd.Series[Any], where: str) -> None:
    """Note labels that only the results or only the table have."""
    table = joined.table
    mine = table[_SOURCE] == name if _SOURCE in table else pd.Series(True, index=table.index)
    table.loc[mine, MATCHED] = table.loc[mine, "participant_id"].isin(listed)
    found = set(table.loc[mine, "participant_id"])
    missing = sorted(found - set(listed))
    if missing:
        hint = _similar(missing, sorted(set(listed) - found))
        joined.notes.append(f"Not in {where}: {', '.join(missing)}.{hint}")
    joined.absent += [(name, label) for label in sorted(set(listed) - found)]


def _similar(missing: Sequence[str], others: Sequence[str]) -> str:
    """Return a hint at labels that differ in leading zeros or case alone; they are not matched by guess."""
    plain = {label.removeprefix("sub-").lstrip("0").lower(): label for label in others}
    pairs = [(label, plain.get(label.removeprefix("sub-").lstrip("0").lower())) for label in missing]
    alike = [f"{label} and {other}" for label, other in pairs if other]
    return f" Labels differ in zeros or case: {', '.join(alike[:3])}." if alike else ""


def _join_sessions(joined: Joined, roots: Mapping[str, Path]) -> None:
    table = joined.table
    if "session_id" not in table:
        return
    people = sorted(table["participant_id"].unique())
    parts = []
    for name, root in roots.items():
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


def _merge(joined: Joined, other: pd.DataFrame, keys: list[str], source: str) -> None:
    table = joined.table
    if _SOURCE in table:
        keys = [_SOURCE, *keys]
    else:
        other = other.drop(columns=_SOURCE)
    both = [str(name) for name in other if name in joined.names]
    clashes = {str(name): f"{source}_{name}" for name in other if name in table and name not in (*keys, *both)}
    own = {name: f"_{source}_{name}" for name in both}
    merged = table.merge(other.rename(columns=clashes | own), on=keys, how="left")
    for name, newer in own.items():
        told = merged[newer].notna() & ~merged[newer].isin(["", "n/a"])
        merged[name] = merged[newer].where(told, merged[name])
        joined.notes.append(f"{name} is in participants.tsv and in sessions.tsv: the value of the session is used.")
    joined.names += [clashes.get(str(name), str(name)) for name in other if name not in (*keys, *both)]
    joined.table = merged.drop(columns=list(own.values()))


def _join_times(joined: Joined, roots: Mapping[str, Path]) -> None:
    """Add the time of acquisition of each session from ``scans.tsv`` where ``sessions.tsv`` tells none."""
    table = joined.table
    if "session_id" not in table or TIME in table:
        return
    sessions = table.groupby("participant_id")["session_id"].nunique()
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
        named = zip(
            table.get(_SOURCE, pd.Series(OUTPUT, index=table.index)),
            table["participant_id"],
            table["session_id"],
            strict=True,
        )
        joined.table = table.assign(**{TIME: pd.Series([times.get(one) for one in named], index=table.index)})
        joined.names.append(TIME)


def _first_time(folder: Path, label: str, session: str, joined: Joined) -> str:
    for path in (folder / session / f"{label}_{session}_scans.tsv", folder / f"{label}_scans.tsv"):
        scans = _read(path, "filename", joined)
        if scans is not None and TIME in scans:
            mine = scans[scans["filename"].str.contains("_dwi.") & scans["filename"].str.contains(session, regex=False)]
            known = sorted(when for when in mine[TIME] if when not in ("", "n/a"))
            if known:
                return str(known[0])
    return ""

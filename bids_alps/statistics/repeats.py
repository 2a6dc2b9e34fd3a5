"""Repeated runs of participants: assignment to visits, and order of the visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

PARTICIPANT_KEY = "_person"
VISIT = "_visit"
TIME = "acq_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """The runs with their visits.

    Parameters
    ----------
    runs
        One row per run, with the columns ``_person`` and ``_visit``.
    order
        Names of the visits, in order; a single one if there are no repeats.
    notes
        How the order was determined, and exceptions from it.
    """

    runs: pd.DataFrame
    order: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """Visit at which groups are compared: the first with at least half as many participants as the largest."""
        counts = self.runs.groupby(VISIT)[PARTICIPANT_KEY].nunique()
        return next(name for name in self.order if 2 * counts[name] >= counts.max())


def participant_key(runs: pd.DataFrame) -> pd.Series[Any]:
    """Return the participant of each run; equal labels in different datasets are different participants."""
    owners = [name for name in ("dataset", "participant_id") if name in runs]
    if len(owners) == 1:
        return runs[owners[0]].astype(str)
    return runs[owners].astype(str).agg(" ".join, axis=1)


def find_visits(runs: pd.DataFrame, sessions: Sequence[str] = ()) -> Visits:
    """Return the runs with their visits in order.

    A visit is a session label that participants share. It is ordered by the time of acquisition within participants
    where known, otherwise by `sessions`, otherwise by label. If labels are specific to participants, such as
    dates, visits are numbered: 1st, 2nd and so on.

    Parameters
    ----------
    runs
        One row per run, with ``participant_id`` and, if there are sessions, ``session_id`` (with ``ses-``) and
        ``acq_time`` (ISO 8601).
    sessions
        Labels in order, with or without ``ses-``.
    """
    table = runs.copy()
    table[PARTICIPANT_KEY] = participant_key(runs)
    if "session_id" not in table or table["session_id"].isna().all():
        return Visits(runs=table.assign(**{VISIT: ""}), order=("",))
    labels = table["session_id"].fillna("")
    per_person = labels.groupby(table[PARTICIPANT_KEY]).nunique()
    if per_person.max() < 2:
        return Visits(runs=table.assign(**{VISIT: ""}), order=("",))
    table[VISIT], table["_when"] = labels.to_numpy(), _times(table)
    given = tuple(label if label.startswith("ses-") else f"ses-{label}" for label in sessions)
    attendance = table.groupby([PARTICIPANT_KEY, VISIT], sort=False)["_when"].min().reset_index()
    if _labels_are_individual(attendance):
        return _numbered(table, attendance)
    order, notes = _ordered(attendance, given)
    return Visits(runs=table.drop(columns="_when"), order=order, notes=notes)


def _times(table: pd.DataFrame) -> pd.Series[Any]:
    if TIME not in table:
        return pd.Series(pd.NaT, index=table.index)
    return pd.to_datetime(table[TIME], errors="coerce", format="ISO8601", utc=True)


def _labels_are_individual(attendance: pd.DataFrame) -> bool:
    """Return whether most labels occur in only one participant, as dates do."""
    shared = attendance.groupby(VISIT)[PARTICIPANT_KEY].nunique()
    return bool(attendance[PARTICIPANT_KEY].nunique() > 2 and (shared < 2).mean() > 0.5 and len(shared) > 4)


def _numbered(table: pd.DataFrame, attendance: pd.DataFrame) -> Visits:
    timed = attendance["_when"].notna().all()
    attendance = attendance.sort_values(["_when", VISIT] if timed else [VISIT], kind="stable")
    number = attendance.groupby(PARTICIPANT_KEY).cumcount() + 1
    names = dict(
        zip(zip(attendance[PARTICIPANT_KEY], attendance[VISIT], strict=True), map(_ordinal, number), strict=True)
    )
    visits = [names[key] for key in zip(table[PARTICIPANT_KEY], table[VISIT], strict=True)]
    order = tuple(_ordinal(n) for n in range(1, int(number.max()) + 1))
    by = "time of acquisition" if timed else "label"
    note = f"Session labels differ between participants: sessions are numbered in the order of their {by}."
    return Visits(runs=table.drop(columns="_when").assign(**{VISIT: visits}), order=order, notes=(note,))


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _ordered(attendance: pd.DataFrame, given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = sorted(attendance[VISIT].unique())
    several = attendance[attendance.groupby(PARTICIPANT_KEY)[VISIT].transform("nunique") > 1]
    ranks = several.groupby(PARTICIPANT_KEY)["_when"].rank()
    notes = list[str]()
    if ranks.notna().all() and len(ranks):
        order = _majority_order(names, several.pivot_table("_when", PARTICIPANT_KEY, VISIT, aggfunc="first"))
        position = several[VISIT].map({name: n for n, name in enumerate(order)})
        agree = (position.groupby(several[PARTICIPANT_KEY]).rank() == ranks).groupby(several[PARTICIPANT_KEY]).all()
        if not agree.all():
            exceptions = ", ".join(agree.index[~agree][:5])
            notes.append(
                f"Sessions of {int((~agree).sum())} participants do not follow the order of the other participants: "
                f"{exceptions}."
            )
        notes.append(f"Sessions are ordered by time of acquisition: {', '.join(order)}.")
        if given and [name for name in order if name in given] != [name for name in given if name in order]:
            notes.append("The order given by --sessions differs; the time of acquisition is used.")
        return tuple(order), tuple(notes)
    if given:
        others = [name for name in names if name not in given]
        order = [*(name for name in given if name in names), *others]
        notes.append(f"Sessions are in the order given by --sessions: {', '.join(order)}.")
        if others:
            notes.append(f"--sessions does not name {', '.join(others)}; these are placed last.")
        return tuple(order), tuple(notes)
    notes.append(
        "Acquisition times are not available for all sessions, so that sessions are ordered by label "
        f"({', '.join(names)}). Use --sessions to set another order."
    )
    return tuple(names), tuple(notes)


def _majority_order(names: Sequence[str], when: pd.DataFrame) -> list[str]:
    """Return visits in the order of most participants; ties are ordered by label."""
    lead = {
        a: sum(np.sign((when[a] < when[b]).sum() - (when[b] < when[a]).sum()) for b in when) if a in when else 0
        for a in names
    }
    return sorted(names, key=lambda name: (-lead[name], name))


def average_visits(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per participant and visit: means of numeric columns, first values of other columns.

    The standard error of a mean of k values is sqrt(sum of squared errors) / k.
    """
    keys = [PARTICIPANT_KEY, VISIT]
    if not runs.duplicated(keys).any():
        return runs.reset_index(drop=True)
    errors = [name for name in runs if str(name).endswith("_se") and pd.api.types.is_numeric_dtype(runs[name])]
    squared = runs.assign(**{str(name): runs[name] ** 2 for name in errors})
    rules: dict[Any, Any] = {
        name: "mean"
        if pd.api.types.is_numeric_dtype(runs[name]) and not pd.api.types.is_bool_dtype(runs[name])
        else "first"
        for name in runs
        if name not in keys
    }
    grouped = squared.groupby(keys, sort=False, as_index=False)
    table = grouped.agg(rules)
    counts = grouped[errors].count() if errors else table
    return table.assign(**{str(name): np.sqrt(table[name] / counts[name].clip(lower=1)) for name in errors})[list(runs)]


def is_within(runs: pd.DataFrame, column: str) -> tuple[bool, list[str]]:
    """Return whether a column varies within most participants with several visits, and in whom it varies.

    Diagnoses that change in a few participants are still treated as between-participant groups.
    """
    known = runs.dropna(subset=[column])
    values = known.groupby(PARTICIPANT_KEY)[column].nunique()
    several = known.groupby(PARTICIPANT_KEY)[[VISIT, *(name for name in ("session_id", "run") if name in known)]].size()
    varying = values.index[values > 1]
    repeated = several.index[several > 1]
    return bool(len(varying)) and 2 * len(varying) >= len(repeated), sorted(map(str, varying))

"""Runs of one participant: which are repeats of one visit, and how the visits follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

PERSON = "_person"
VISIT = "_visit"
TIME = "acq_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """The runs with their visits.

    Parameters
    ----------
    runs
        One row a run; the columns ``_person`` and ``_visit`` tell who and when.
    order
        Names of the visits, first to last; one where nobody came twice.
    notes
        How the order was found, and what did not fit it.
    """

    runs: pd.DataFrame
    order: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The visit at which groups are compared: the first that at least half as many attended as the fullest."""
        counts = self.runs.groupby(VISIT)[PERSON].nunique()
        return next(name for name in self.order if 2 * counts[name] >= counts.max())


def person_of(runs: pd.DataFrame) -> pd.Series[Any]:
    """Return who each run is of: one label in two datasets is two people."""
    owners = [name for name in ("dataset", "participant_id") if name in runs]
    if len(owners) == 1:
        return runs[owners[0]].astype(str)
    return runs[owners].astype(str).agg(" ".join, axis=1)


def find_visits(runs: pd.DataFrame, sessions: Sequence[str] = ()) -> Visits:
    """Return the runs with their visits in order.

    A visit is a session label that participants share. It is ordered by the time of acquisition within participants
    where that is known, else as `sessions` says, else by label. Where labels are a participant's own, such as dates,
    visits are counted: 1st, 2nd and so on.

    Parameters
    ----------
    runs
        One row a run, with ``participant_id`` and, where there are sessions, ``session_id`` (with ``ses-``) and
        ``acq_time`` (ISO 8601).
    sessions
        Labels in order, with or without ``ses-``.
    """
    table = runs.copy()
    table[PERSON] = person_of(runs)
    if "session_id" not in table or table["session_id"].isna().all():
        return Visits(runs=table.assign(**{VISIT: ""}), order=("",))
    labels = table["session_id"].fillna("")
    per_person = labels.groupby(table[PERSON]).nunique()
    if per_person.max() < 2:
        return Visits(runs=table.assign(**{VISIT: ""}), order=("",))
    table[VISIT], table["_when"] = labels.to_numpy(), _times(table)
    told = tuple(one if one.startswith("ses-") else f"ses-{one}" for one in sessions)
    seats = table.groupby([PERSON, VISIT], sort=False)["_when"].min().reset_index()
    if _labels_are_own(seats):
        return _counted(table, seats)
    order, notes = _ordered(seats, told)
    return Visits(runs=table.drop(columns="_when"), order=order, notes=notes)


def _times(table: pd.DataFrame) -> pd.Series[Any]:
    if TIME not in table:
        return pd.Series(pd.NaT, index=table.index)
    return pd.to_datetime(table[TIME], errors="coerce", format="ISO8601", utc=True)


def _labels_are_own(seats: pd.DataFrame) -> bool:
    """Tell whether most labels stand for one participant alone, as dates do."""
    shared = seats.groupby(VISIT)[PERSON].nunique()
    return bool(seats[PERSON].nunique() > 2 and (shared < 2).mean() > 0.5 and len(shared) > 4)


def _counted(table: pd.DataFrame, seats: pd.DataFrame) -> Visits:
    timed = seats["_when"].notna().all()
    seats = seats.sort_values(["_when", VISIT] if timed else [VISIT], kind="stable")
    number = seats.groupby(PERSON).cumcount() + 1
    names = dict(zip(zip(seats[PERSON], seats[VISIT], strict=True), map(_ordinal, number), strict=True))
    visits = [names[one] for one in zip(table[PERSON], table[VISIT], strict=True)]
    order = tuple(_ordinal(n) for n in range(1, int(number.max()) + 1))
    by = "time of acquisition" if timed else "label"
    note = f"Session labels differ between participants: sessions are counted, in the order of their {by}."
    return Visits(runs=table.drop(columns="_when").assign(**{VISIT: visits}), order=order, notes=(note,))


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _ordered(seats: pd.DataFrame, told: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = sorted(seats[VISIT].unique())
    several = seats[seats.groupby(PERSON)[VISIT].transform("nunique") > 1]
    ranks = several.groupby(PERSON)["_when"].rank()
    notes = list[str]()
    if ranks.notna().all() and len(ranks):
        order = _majority_order(names, several.pivot_table("_when", PERSON, VISIT, aggfunc="first"))
        place = several[VISIT].map({name: n for n, name in enumerate(order)})
        agree = (place.groupby(several[PERSON]).rank() == ranks).groupby(several[PERSON]).all()
        if not agree.all():
            odd = ", ".join(agree.index[~agree][:5])
            notes.append(
                f"Sessions of {int((~agree).sum())} participants do not follow the order of the others: {odd}."
            )
        notes.append(f"Sessions are ordered by time of acquisition: {', '.join(order)}.")
        if told and [name for name in order if name in told] != [name for name in told if name in order]:
            notes.append("The order given by --sessions differs; the time of acquisition is used.")
        return tuple(order), tuple(notes)
    if told:
        others = [name for name in names if name not in told]
        order = [*(name for name in told if name in names), *others]
        notes.append(f"Sessions are in the order given by --sessions: {', '.join(order)}.")
        if others:
            notes.append(f"--sessions does not name {', '.join(others)}; these come last.")
        return tuple(order), tuple(notes)
    notes.append(
        f"Acquisition times are not known for every session, so sessions are ordered by label ({', '.join(names)}). "
        "--sessions gives another order."
    )
    return tuple(names), tuple(notes)


def _majority_order(names: Sequence[str], when: pd.DataFrame) -> list[str]:
    """Return names in the order that most participants attended them in; whom no pair tells apart, by label."""
    lead = {
        a: sum(np.sign((when[a] < when[b]).sum() - (when[b] < when[a]).sum()) for b in when) if a in when else 0
        for a in names
    }
    return sorted(names, key=lambda name: (-lead[name], name))


def average_visits(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a participant and visit: means of numbers over its runs, the first of what is no number.

    The standard error of a mean of k values is the root of the sum of their squared errors over k.
    """
    keys = [PERSON, VISIT]
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
    """Tell whether a column varies within most participants who have several visits; and within whom it varies.

    Diagnoses that change in a few participants stay a matter between participants.
    """
    known = runs.dropna(subset=[column])
    values = known.groupby(PERSON)[column].nunique()
    several = known.groupby(PERSON)[[VISIT, *(name for name in ("session_id", "run") if name in known)]].size()
    varying = values.index[values > 1]
    repeated = several.index[several > 1]
    return bool(len(varying)) and 2 * len(varying) >= len(repeated), sorted(map(str, varying))

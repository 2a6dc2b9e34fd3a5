"""Repeated runs of participants: assignment to visits, and order of the visits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

PARTICIPANT_KEY = "_person"
VISIT = "_visit"
TIME = "acq_time"
MATCHED = "_matched"
"""Whether a run's participant is listed in ``participants.tsv``; without this column, all are treated as listed."""
_NO_SESSION = "no session"
_WITHIN = 0.25
"""Fraction of participants in whom a within-participant factor varies; in fewer, such as converters, it is a group."""


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
        return next(name for name in self.order if 2 * counts.get(name, 0) >= counts.max())


def participant_key(runs: pd.DataFrame) -> pd.Series[Any]:
    """Return the participant of each run; equal labels in different datasets are different participants."""
    owners = [runs[name].astype(str) for name in ("dataset", "participant_id") if name in runs]
    return owners[0] if len(owners) == 1 else owners[0] + " " + owners[1]


def find_visits(runs: pd.DataFrame, sessions: Sequence[str] = ()) -> Visits:
    """Return the runs with their visits in order.

    A visit is a session label that participants share. Two visits are ordered by the time of acquisition in most
    participants with both times, otherwise by `sessions`, otherwise by label. If labels are specific to
    participants, such as dates, visits are numbered: 1st, 2nd and so on.

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
    labels = table["session_id"].astype(object).fillna(_NO_SESSION)
    per_person = labels.groupby(table[PARTICIPANT_KEY]).nunique()
    if per_person.max() < 2:
        return Visits(runs=table.assign(**{VISIT: ""}), order=("",))
    table[VISIT], table["_when"] = labels.to_numpy(), pd.NaT
    if TIME in table:
        table["_when"] = pd.to_datetime(table[TIME], errors="coerce", format="ISO8601", utc=True)
    given = tuple(label if label.startswith("ses-") else f"ses-{label}" for label in sessions)
    attendance = table.groupby([PARTICIPANT_KEY, VISIT], sort=False)["_when"].min().reset_index()
    # most labels occur in only one participant, as dates do
    shared = attendance.groupby(VISIT)[PARTICIPANT_KEY].transform("nunique")
    several = attendance[PARTICIPANT_KEY].nunique() > 2 and attendance[VISIT].nunique() > 4
    if several and (shared < 2).mean() > 0.5:
        return _numbered(table, attendance, given)
    order, notes = _ordered(attendance, given)
    return Visits(runs=table.drop(columns="_when"), order=order, notes=notes)


def _place(name: str, given: Sequence[str]) -> tuple[int, str]:
    """Return the sort key of a session without a time: order of `given`, then label."""
    return (given.index(name) if name in given else len(given)), name


def _numbered(table: pd.DataFrame, attendance: pd.DataFrame, given: Sequence[str]) -> Visits:
    known = attendance["_when"].notna().groupby(attendance[PARTICIPANT_KEY]).transform("all")
    places = {name: n for n, name in enumerate(sorted(attendance[VISIT].unique(), key=lambda own: _place(own, given)))}
    attendance = attendance.assign(_when=attendance["_when"].where(known), _place=attendance[VISIT].map(places))
    attendance = attendance.sort_values(["_when", "_place"], kind="stable")
    number = attendance.groupby(PARTICIPANT_KEY).cumcount() + 1
    names = dict(
        zip(zip(attendance[PARTICIPANT_KEY], attendance[VISIT], strict=True), map(_ordinal, number), strict=True)
    )
    visits = [names[key] for key in zip(table[PARTICIPANT_KEY], table[VISIT], strict=True)]
    order = tuple(_ordinal(n) for n in range(1, int(number.max()) + 1))
    people = attendance.loc[~known.reindex(attendance.index), PARTICIPANT_KEY].nunique()
    by = "label" if not known.any() else "time of acquisition" + (f", in {people} participants by label" * bool(people))
    note = f"Session labels differ between participants: sessions are numbered in the order of their {by}."
    return Visits(runs=table.drop(columns="_when").assign(**{VISIT: visits}), order=order, notes=(note,))


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _ordered(attendance: pd.DataFrame, given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = sorted(attendance[VISIT].unique())
    several = attendance[attendance.groupby(PARTICIPANT_KEY)[VISIT].transform("nunique") > 1]
    timed = several.dropna(subset=["_when"])
    # who has the time of only one visit says nothing about the order
    timed = timed[timed.groupby(PARTICIPANT_KEY)[VISIT].transform("nunique") > 1]
    if not len(timed):
        return _untimed_order(names, given)
    order = _majority_order(names, timed, given)
    notes = [f"Sessions are ordered by time of acquisition: {', '.join(order)}."]
    owners = timed[PARTICIPANT_KEY]
    position = timed[VISIT].map({name: n for n, name in enumerate(order)}).groupby(owners).rank()
    agree = (position == timed.groupby(PARTICIPANT_KEY)["_when"].rank()).groupby(owners).all()
    if not agree.all():
        exceptions = ", ".join(agree.index[~agree][:5])
        notes.append(
            f"Sessions of {int((~agree).sum())} participants do not follow the order of the other participants: "
            f"{exceptions}."
        )
    everyone = several[PARTICIPANT_KEY].nunique()
    incomplete = several.loc[several["_when"].isna(), PARTICIPANT_KEY].nunique()
    if incomplete:
        notes.append(
            f"{incomplete} of {everyone} participants with several sessions lack acquisition times; the order is "
            "that of the others."
        )
    untimed = [name for name in order if name not in set(timed[VISIT])]
    if untimed:
        notes.append(f"No acquisition times are known for {', '.join(untimed)}, placed by --sessions or label.")
    if given and [name for name in order if name in given] != [name for name in given if name in order]:
        notes.append("The order given by --sessions differs; the time of acquisition is used.")
    return tuple(order), tuple(notes)


def _untimed_order(names: Sequence[str], given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    order = tuple(sorted(names, key=lambda name: _place(name, given)))
    others = [name for name in order if name not in given]
    if len(others) < len(order):
        notes = [f"Sessions are in the order given by --sessions: {', '.join(order)}."]
        if others:
            notes.append(f"--sessions does not name {', '.join(others)}; these are placed last.")
        return order, tuple(notes)
    note = (
        "Acquisition times are not available, so that sessions are ordered by label "
        f"({', '.join(names)}). Use --sessions to set another order."
    )
    unused = ("--sessions names none of the sessions.",) if given else ()
    return order, (note, *unused)


def _majority_order(names: Sequence[str], timed: pd.DataFrame, given: Sequence[str]) -> list[str]:
    """Return visits so that each follows those that precede it in most participants with both times.

    Visits that no participant orders are placed by `given` and label; a cycle is broken at the visit with the fewest
    predecessors.
    """
    both = timed.merge(timed, on=PARTICIPANT_KEY, suffixes=("", "_later"))
    ordered = both.loc[both["_when"] < both["_when_later"], [VISIT, f"{VISIT}_later"]]
    # number of participants for each ordered pair of visits
    ahead = Counter(ordered.itertuples(index=False, name=None))
    majority = [(a, b) for (a, b), count in ahead.items() if count > ahead[b, a]]
    predecessors = {name: sum(b == name for _, b in majority) for name in names}
    order = list[str]()
    while predecessors:
        # the visit with the fewest predecessors left: none, unless majorities form a cycle
        order.append(min(predecessors, key=lambda name: (predecessors[name], _place(name, given))))
        del predecessors[order[-1]]
        for a, b in majority:
            if a == order[-1] and b in predecessors:
                predecessors[b] -= 1
    return order


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
    """Return whether a column varies within participants by design, and in whom it varies.

    It does if it varies in most participants with several visits, and in a quarter of all participants. Diagnoses that
    change in some participants remain groups between participants.
    """
    known = runs.dropna(subset=[column])
    values = known.groupby(PARTICIPANT_KEY)[column].nunique()
    repeated = (known.groupby(PARTICIPANT_KEY).size() > 1).sum()
    varying = values.index[values > 1]
    enough = max(repeated / 2, _WITHIN * len(values))
    return bool(len(varying)) and len(varying) >= enough, sorted(map(str, varying))


def settle_groups(visits: Visits, column: str) -> tuple[Visits, list[str]]:
    """Return the visits with one group per participant, and the participants in whom it was missing in some runs.

    The group is that of the visit at which groups are compared, or the first known.
    """
    runs = visits.runs
    known = runs[runs[column].notna()]
    if not len(known):
        return visits, []
    compared = replace(visits, runs=runs[runs[PARTICIPANT_KEY].isin(known[PARTICIPANT_KEY])]).first
    places = {name: n for n, name in enumerate((compared, *(name for name in visits.order if name != compared)))}
    order = known[VISIT].map(places).sort_values(kind="stable").index
    group_of = known.loc[order].drop_duplicates(PARTICIPANT_KEY).set_index(PARTICIPANT_KEY)[column].astype(object)
    settled = runs[PARTICIPANT_KEY].map(group_of)
    filled = sorted(set(runs.loc[runs[column].isna() & settled.notna(), PARTICIPANT_KEY].astype(str)))
    if isinstance(runs[column].dtype, pd.CategoricalDtype):
        settled = settled.astype(runs[column].dtype)
    return replace(visits, runs=runs.assign(**{column: settled})), filled

"""Exclusions by participant and run, with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bids_alps.group.gather import describe_entity
from bids_alps.io.inheritance import entities_of
from bids_alps.io.tables import Column, fill_rows
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.repeats import participant_key
from bids_alps.statistics.selection import EVERYTHING

_ADJUSTED = "adjusted comparison of groups"


def exclusion_rows(
    table: pd.DataFrame,
    absent: Sequence[tuple[str, str]],
    crashes: Mapping[str, str],
    findings_by_preset: Mapping[str, Findings],
) -> tuple[list[dict[str, Any]], list[Column]]:
    """Return the rows of ``group_exclusions.tsv`` and its columns.

    Parameters
    ----------
    table
        One row per run and preset.
    absent
        Participants of ``participants.tsv`` without a result: dataset and label.
    crashes
        Error messages of failed runs, by the name of the run.
    findings_by_preset
        Findings by preset, with their exclusions.
    """
    ids = list(table.columns)[: list(table.columns).index("alps_left")]
    rows = [{"participant_id": label, **({"dataset": name} if "dataset" in ids else {})} for name, label in absent]
    messages = {f"sub-{entities_of(run).get('sub', '')}": message for run, message in crashes.items()}
    for row in rows:
        message = messages.get(str(row["participant_id"]))
        row["reason"] = f"no result: {message}" if message else "in participants.tsv, but without a result"
    known = {str(label) for _, label in absent}
    rows += [
        {"participant_id": f"sub-{entities_of(run).get('sub', '')}", "reason": f"no result for {run}: {message}"}
        for run, message in crashes.items()
        if f"sub-{entities_of(run).get('sub', '')}" not in known
    ]
    rows = [row | {"excluded_from": EVERYTHING} for row in rows]
    for preset, findings in findings_by_preset.items():
        rows += [{"roi_preset": preset, **row} for row in _rows_of(table, ids, findings)]
    columns = [Column(name=name, description=describe_entity(name)) for name in ids]
    columns += [
        Column(name="roi_preset", description="ROI definition; n/a for participants without a result."),
        Column(name="excluded_from", description="Analysis from which the run is excluded."),
        Column(name="reason", description="Reason."),
    ]
    return fill_rows(rows, columns), columns


def _rows_of(table: pd.DataFrame, ids: Sequence[str], findings: Findings) -> Iterable[dict[str, Any]]:
    for row, excluded_from, reason in findings.flow.lost:
        labels = {name: table.loc[row, name] for name in ids}
        yield labels | {"excluded_from": excluded_from, "reason": reason}
    incomplete: Mapping[str, str] = findings.facts.get("lacking", {})
    if incomplete:
        people = participant_key(table)
        first = {person: row for row, person in reversed(list(people.items()))}
        for person, reason in incomplete.items():
            owner = {name: table.loc[first[person], name] for name in ids if name in ("dataset", "participant_id")}
            yield {**owner, "excluded_from": _ADJUSTED, "reason": reason}

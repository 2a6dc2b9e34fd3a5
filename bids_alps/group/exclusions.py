"""Exclusions by participant and run, with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_alps.group.datasets import DerivativeDataset
from bids_alps.group.gather import describe_entity
from bids_alps.group.phenotype import OUTPUT
from bids_alps.io.inheritance import entities_of
from bids_alps.io.tables import Column, fill_rows
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.repeats import participant_key
from bids_alps.statistics.selection import EVERYTHING

NOTHING = "nothing"
_ADJUSTED = "adjusted comparison of groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A run whose last attempt failed or is not finished.

    Parameters
    ----------
    run
        Name of the run.
    reason
        What happened.
    used
        Whether an earlier result is used.
    dataset
        Dataset of the run, as in the column ``dataset``.
    """

    run: str
    reason: str
    used: bool
    dataset: str

    @property
    def participant(self) -> str:
        """Participant of the run, with ``sub-``."""
        return f"sub-{entities_of(self.run).get('sub', '')}"


def find_problems(datasets: Sequence[DerivativeDataset], crashes: Mapping[str, str]) -> list[Problem]:
    """Return the runs of the datasets that failed or are not finished.

    Parameters
    ----------
    datasets
        The output, and datasets pooled with it.
    crashes
        Error messages of failed runs of the output, by the name of the run; of a participant without runs, by its name.
    """
    problems = []
    for dataset in datasets:
        failed = {} if dataset.name else crashes
        for run in sorted(failed.keys() | dataset.runs.keys()):
            used = dataset.runs.get(run, any(name.startswith(f"{run}_") for name in dataset.runs))
            if run in failed and used:
                reason = f"the last attempt of {run} failed, and its earlier result is used: {failed[run]}"
            elif run in failed:
                reason = f"no result for {run}: {failed[run]}"
            elif not used:
                reason = f"{run} is not finished: it has tables, but no receipt"
            else:
                continue
            problems.append(Problem(run=run, reason=reason, used=used, dataset=dataset.label))
    return problems


def exclusion_rows(
    table: pd.DataFrame,
    absent: Sequence[tuple[str, str]],
    problems: Sequence[Problem],
    findings_by_preset: Mapping[str, Findings],
) -> tuple[list[dict[str, Any]], list[Column]]:
    """Return the rows of ``group_exclusions.tsv`` and its columns.

    Parameters
    ----------
    table
        One row per run and preset.
    absent
        Participants of ``participants.tsv`` without a result: dataset and label.
    problems
        Runs that failed or are not finished.
    findings_by_preset
        Findings by preset, with their exclusions.
    """
    ids = list(table.columns)[: list(table.columns).index("alps_left")]
    # who has no result because a run failed is listed with that failure alone
    explained = {(problem.dataset, problem.participant) for problem in problems}
    people = [(name, label) for name, label in absent if (name or OUTPUT, label) not in explained]
    rows = [
        {"dataset": name, "participant_id": label, "reason": "in participants.tsv, but without a result"}
        | {"excluded_from": EVERYTHING}
        for name, label in people
    ]
    rows += [
        {"dataset": problem.dataset, "participant_id": problem.participant, "reason": problem.reason}
        | {"excluded_from": NOTHING if problem.used else EVERYTHING}
        for problem in problems
    ]
    if "dataset" not in ids:
        rows = [{name: value for name, value in row.items() if name != "dataset"} for row in rows]
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
        # reversed, so that the first run of each participant remains
        first = {person: row for row, person in reversed(list(people.items()))}
        for person, reason in incomplete.items():
            owner = {name: table.loc[first[person], name] for name in ids if name in ("dataset", "participant_id")}
            yield {**owner, "excluded_from": _ADJUSTED, "reason": reason}

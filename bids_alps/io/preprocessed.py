"""Replaces raw runs by preprocessed ones, session by session and run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bids_alps.io.inheritance import entities_of
from bids_alps.io.layout import ExcludedRun, PlannedRun
from bids_alps.model import DwiRun

_OF_DERIVATIVES = ("space", "res", "den", "desc")


def replace_preprocessed(
    raw: Sequence[PlannedRun], preprocessed: Mapping[str, Sequence[PlannedRun]]
) -> list[PlannedRun]:
    """Return raw runs, replaced by preprocessed ones where these exist.

    A preprocessed series replaces every raw run that has all its entities: merged runs are named by their common
    entities. Raw runs without one are kept, with a note. Of two datasets with the same run, or with a run derived from
    the same raw run, the first has priority.

    Parameters
    ----------
    raw
        Raw runs of a participant.
    preprocessed
        Runs of the participant in preprocessed datasets, by the name of the dataset.
    """
    selected: list[PlannedRun] = []
    source: dict[str, str] = {}  # dataset of each selected run, and of each raw run that it replaces
    replaced: set[str] = set()
    for dataset, runs in preprocessed.items():
        for run in runs:
            raw_names = [] if isinstance(run, ExcludedRun) else _raw_names(run, raw)
            names = (run.name, *raw_names)
            used = next((source[name] for name in names if source.get(name, dataset) != dataset), None)
            if used is not None:
                run = ExcludedRun(name=run.name, reason=f"preprocessed in {dataset}, but the series in {used} is used")
            elif isinstance(run, DwiRun):
                listed = ", ".join(raw_names) or "no existing raw run"
                run = replace(run, notes=(*run.notes, f"preprocessed in {dataset}; replaces {listed}"))
            if not isinstance(run, ExcludedRun):
                source.update(dict.fromkeys(names, dataset))
                replaced.update(raw_names)
            selected.append(run)
    not_replaced = [_note_raw(run, preprocessed) for run in raw if run.name not in replaced]
    return sorted([*selected, *not_replaced], key=lambda run: run.name)


def _raw_names(run: PlannedRun, raw: Sequence[PlannedRun]) -> list[str]:
    """Return the names of the raw runs with the entities of a preprocessed run."""
    entities = {key: label for key, label in entities_of(run.name).items() if key not in _OF_DERIVATIVES}
    return [raw_run.name for raw_run in raw if entities.items() <= entities_of(raw_run.name).items()]


def _note_raw(run: PlannedRun, preprocessed: Mapping[str, Sequence[PlannedRun]]) -> PlannedRun:
    if not isinstance(run, DwiRun) or not preprocessed:
        return run
    names = ", ".join(preprocessed)
    return replace(run, notes=(*run.notes, f"no preprocessed series in {names}: the raw series is used"))

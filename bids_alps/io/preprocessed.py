"""Preprocessed series that stand for raw ones: which belongs to which, session by session and run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bids_alps.io.inheritance import entities_of
from bids_alps.io.layout import Found, SetAside
from bids_alps.model import DwiRun

_OF_DERIVATIVES = ("space", "res", "den", "desc")


def stand_in(raw: Sequence[Found], preprocessed: Mapping[str, Sequence[Found]]) -> list[Found]:
    """Return raw runs with preprocessed ones in the place of those that they were made of.

    A preprocessed series is that of every raw run that has all its entities: a program that merges runs names the
    result by what they share. Raw runs without one stay, and say so; of two datasets the first one counts.

    Parameters
    ----------
    raw
        Raw runs of a participant.
    preprocessed
        Runs of the participant in preprocessed datasets, by the name of the dataset.
    """
    chosen: list[Found] = []
    covered: dict[str, str] = {}
    for dataset, runs in preprocessed.items():
        for run in runs:
            stands_for = [one.name for one in raw if _made_of(run, one)]
            taken = next((covered[name] for name in stands_for if covered.get(name, dataset) != dataset), None)
            if taken is not None:
                run = SetAside(name=run.name, reason=f"preprocessed in {dataset}, but the series of {taken} is taken")
            elif isinstance(run, DwiRun):
                named = ", ".join(stands_for) or "no raw run that is there"
                run = replace(run, notes=(*run.notes, f"preprocessed in {dataset}; stands for {named}"))
            if not isinstance(run, SetAside):
                covered.update(dict.fromkeys(stands_for, dataset))
            chosen.append(run)
    left = [_told_raw(run, preprocessed) for run in raw if run.name not in covered]
    return sorted([*chosen, *left], key=lambda run: run.name)


def _made_of(preprocessed: Found, raw: Found) -> bool:
    if isinstance(preprocessed, SetAside):
        return False
    entities = {key: label for key, label in entities_of(preprocessed.name).items() if key not in _OF_DERIVATIVES}
    return entities.items() <= entities_of(raw.name).items()


def _told_raw(run: Found, preprocessed: Mapping[str, Sequence[Found]]) -> Found:
    if not isinstance(run, DwiRun) or not preprocessed:
        return run
    names = ", ".join(preprocessed)
    return replace(run, notes=(*run.notes, f"no preprocessed series of it in {names}: the raw one is taken"))

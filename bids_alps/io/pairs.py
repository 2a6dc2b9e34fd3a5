"""Runs of opposite phase encoding that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bids_alps.io.layout import Problem
from bids_alps.model import DwiRun


def pair_opposite(runs: Sequence[DwiRun | Problem]) -> list[DwiRun | Problem]:
    """Return runs of which two that differ in ``dir`` alone, encoded along one axis in opposite senses, stand as one.

    The first of the two is the run, named without ``dir``; the other is its partner. Where three or more share a
    name without ``dir`` it is not told which belong together, and all stay as they are.
    """
    names: dict[tuple[tuple[str, str], ...], list[DwiRun]] = {}
    for run in runs:
        if isinstance(run, DwiRun) and not run.preprocessed and "dir" in run.entities:
            names.setdefault(_without_dir(run), []).append(run)
    pairs = {id(pair[0]): pair[1] for pair in names.values() if len(pair) == 2 and _opposite(*pair)}
    partners = {id(partner) for partner in pairs.values()}
    return [
        replace(run, entities=dict(_without_dir(run)), partner=pairs[id(run)])
        if isinstance(run, DwiRun) and id(run) in pairs
        else run
        for run in runs
        if id(run) not in partners
    ]


def _without_dir(run: DwiRun) -> tuple[tuple[str, str], ...]:
    return tuple((key, label) for key, label in run.entities.items() if key != "dir")


def _opposite(one: DwiRun, other: DwiRun) -> bool:
    told = [str(run.metadata.get("PhaseEncodingDirection", "")) for run in (one, other)]
    if all(told):
        return told[0][:1] == told[1][:1] and told[0] != told[1]
    return other.image in one.reverse_phase and one.image in other.reverse_phase

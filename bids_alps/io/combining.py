"""Series of one session that belong together: parts of one scan, split over files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from bids_alps.io.fieldmaps import PARALLEL, Header, phase_direction, same_grid
from bids_alps.io.images import read_header
from bids_alps.io.layout import Found
from bids_alps.model import DwiRun

_SAME_ECHO_S = 1e-3
_SAME_POSITION_MM = 0.1


def combine(runs: Sequence[Found], *, everything: bool, distortion_correction: bool = True) -> list[Found]:
    """Return runs of which those that belong together stand as one, named by the entities that they share.

    Parameters
    ----------
    runs
        Of one participant.
    everything
        Merge whatever fits together, not only what shares a ``MultipartID``.
    distortion_correction
        Whether opposite polarities will be made to fit.
    """
    merged: dict[str, Found | None] = {run.name: run for run in runs}
    for group in find_groups(runs, everything=everything, distortion_correction=distortion_correction):
        merged.update({run.name: None for run in group[1:]} | {group[0].name: merge(group)})
    return [run for run in merged.values() if run is not None]


def find_groups(
    runs: Sequence[Found], *, everything: bool, distortion_correction: bool = True
) -> list[tuple[DwiRun, ...]]:
    """Return the groups of two runs or more that fit together; arguments as of `combine`."""
    header = cache(read_header)
    groups: list[list[DwiRun]] = []
    for run in runs:
        if not isinstance(run, DwiRun) or run.preprocessed:
            continue
        home = next(
            (
                group
                for group in groups
                if (everything or _parts_of_one(run, group[0]))
                and _fit_together(run, group[0], header=header, opposite=distortion_correction)
            ),
            None,
        )
        if home is None:
            groups.append([run])
        else:
            home.append(run)
    return [tuple(group) for group in groups if len(group) > 1]


def merge(group: Sequence[DwiRun]) -> DwiRun:
    """Return one run of several, named by the entities that all of them share."""
    first = group[0]
    shared = {
        key: label for key, label in first.entities.items() if all(run.entities.get(key) == label for run in group)
    }
    return replace(first, entities=shared, partners=tuple(group[1:]))


def parts_by_encoding(run: DwiRun) -> list[tuple[DwiRun, ...]]:
    """Return the files of a run by phase encoding and position of their voxels, those of its own first."""
    parts: list[list[DwiRun]] = []
    for one in (replace(run, partners=()), *run.partners):
        home = next((part for part in parts if _encoded_alike(one, part[0])), None)
        if home is None:
            parts.append([one])
        else:
            home.append(one)
    return [tuple(part) for part in parts]


def _parts_of_one(one: DwiRun, other: DwiRun) -> bool:
    """Whether two runs say that they are parts of one scan."""
    told = one.metadata.get("MultipartID")
    return told is not None and told == other.metadata.get("MultipartID")


def _fit_together(one: DwiRun, other: DwiRun, *, header: Header, opposite: bool) -> bool:
    """Whether two runs lie on one grid once they are corrected, and were taken alike but for their weighting."""
    echoes = [run.metadata.get("EchoTime") for run in (one, other)]
    told = [echo for echo in echoes if isinstance(echo, int | float)]
    directions = [phase_direction(run.image, run.metadata, header) for run in (one, other)]
    if one.session != other.session or (len(told) == 2 and abs(told[0] - told[1]) > _SAME_ECHO_S):
        return False
    if directions[0] is None or directions[1] is None or not same_grid(one.image, other.image, header):
        return False
    cosine = float(directions[0] @ directions[1])
    return cosine > PARALLEL or (opposite and cosine < -PARALLEL)


def _encoded_alike(one: DwiRun, other: DwiRun) -> bool:
    affines = [read_header(run.image).affine for run in (one, other)]
    same_voxels = float(np.abs(affines[0] - affines[1]).max()) < _SAME_POSITION_MM
    return same_voxels and one.metadata["PhaseEncodingDirection"] == other.metadata["PhaseEncodingDirection"]

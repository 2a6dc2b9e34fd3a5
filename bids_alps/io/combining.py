"""Merges series of one session that belong together, such as parts of one scan in several files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from bids_alps.io.fieldmaps import PARALLEL, Header, phase_direction, same_grid
from bids_alps.io.images import read_header
from bids_alps.io.layout import PlannedRun
from bids_alps.model import DwiRun

_ECHO_TOLERANCE_S = 1e-3
_POSITION_TOLERANCE_MM = 0.1


def combine(runs: Sequence[PlannedRun], *, everything: bool, distortion_correction: bool = True) -> list[PlannedRun]:
    """Return the runs, with those that belong together merged into one.

    A merged run has the common entities of its files; those of the first file if another run would have the same name.

    Parameters
    ----------
    runs
        Runs of one participant.
    everything
        Merge all compatible runs, not only those that share a ``MultipartID``.
    distortion_correction
        Whether distortion is corrected, so that runs of opposite polarity can be merged.
    """
    groups = find_groups(runs, everything=everything, distortion_correction=distortion_correction)
    merged = {group[0].image: merge(group) for group in groups}
    others = {run.image for group in groups for run in group[1:]}
    combined = [
        merged.get(run.image, run) if isinstance(run, DwiRun) else run
        for run in runs
        if not (isinstance(run, DwiRun) and run.image in others)
    ]
    count = Counter(run.name for run in combined)
    first = {run.image: run for run in runs if isinstance(run, DwiRun)}
    for n, run in enumerate(combined):
        if isinstance(run, DwiRun) and run.partners and count[run.name] > 1:
            note = f"named by its first file, since {run.name} would be the name of another run too"
            combined[n] = replace(run, entities=first[run.image].entities, notes=(*run.notes, note))
    return combined


def find_groups(
    runs: Sequence[PlannedRun], *, everything: bool, distortion_correction: bool = True
) -> list[tuple[DwiRun, ...]]:
    """Return the groups of two or more compatible runs; arguments as in `combine`."""
    header = cache(read_header)
    groups: list[list[DwiRun]] = []
    for run in runs:
        if not isinstance(run, DwiRun) or run.preprocessed:
            continue
        scan_id = run.metadata.get("MultipartID")
        match = next(
            (
                group
                for group in groups
                if (everything or (scan_id is not None and scan_id == group[0].metadata.get("MultipartID")))
                and _are_compatible(run, group[0], header=header, opposite=distortion_correction)
            ),
            None,
        )
        if match is None:
            groups.append([run])
        else:
            match.append(run)
    return [tuple(group) for group in groups if len(group) > 1]


def merge(group: Sequence[DwiRun]) -> DwiRun:
    """Return several runs as one, named by their common entities."""
    first = group[0]
    common = {
        key: label for key, label in first.entities.items() if all(run.entities.get(key) == label for run in group)
    }
    return replace(first, entities=common, partners=tuple(group[1:]))


def parts_by_encoding(run: DwiRun) -> list[tuple[DwiRun, ...]]:
    """Return the files of a run, grouped by phase encoding and voxel grid, the run's own group first."""
    parts: list[list[DwiRun]] = []
    for file in (replace(run, partners=()), *run.partners):
        # encoding and position alike: such files can be corrected as one series
        match = next((part for part in parts if _same_encoding(file, part[0])), None)
        if match is None:
            parts.append([file])
        else:
            match.append(file)
    return [tuple(part) for part in parts]


def _are_compatible(run_a: DwiRun, run_b: DwiRun, *, header: Header, opposite: bool) -> bool:
    """Whether two runs have the same grid after correction, and the same acquisition except for the gradients."""
    echoes = [run.metadata.get("EchoTime") for run in (run_a, run_b)]
    # unknown echo times keep no runs apart
    known = [echo for echo in echoes if isinstance(echo, int | float)]
    directions = [phase_direction(run.image, run.metadata, header) for run in (run_a, run_b)]
    if run_a.session != run_b.session or (len(known) == 2 and abs(known[0] - known[1]) > _ECHO_TOLERANCE_S):
        return False
    if directions[0] is None or directions[1] is None or not same_grid(run_a.image, run_b.image, header):
        return False
    cosine = float(directions[0] @ directions[1])
    # opposite polarities have the same grid only after their distortion is corrected
    return cosine > PARALLEL or (opposite and cosine < -PARALLEL)


def _same_encoding(run_a: DwiRun, run_b: DwiRun) -> bool:
    affines = [read_header(run.image).affine for run in (run_a, run_b)]
    same_voxels = float(np.abs(affines[0] - affines[1]).max()) < _POSITION_TOLERANCE_MM
    return same_voxels and run_a.metadata["PhaseEncodingDirection"] == run_b.metadata["PhaseEncodingDirection"]

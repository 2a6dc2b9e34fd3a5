"""Removal of outdated results: those of a run that is processed again, and of runs with the same images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bids_alps.io.derivatives import participant_folder
from bids_alps.io.inheritance import entities_of
from bids_alps.io.temporary import remove_abandoned
from bids_alps.model import DwiRun
from bids_alps.provenance import (
    RECEIPT_END,
    find_longitudinal,
    find_outputs,
    listed_in,
    read_receipts,
    receipt_path,
)

LOG = logging.getLogger(__name__)


def remove_half_written(output_dir: Path, run: DwiRun) -> None:
    """Remove partial files of a run from killed processes."""
    participant = output_dir / f"sub-{run.participant}"
    logs = receipt_path(output_dir, run).parent
    for folder in (participant_folder(output_dir, run) / "dwi", participant / "figures", logs):
        remove_abandoned(folder, f"{run.name}_")


def clear_run(output_dir: Path, run: DwiRun) -> None:
    """Remove the results of an earlier attempt, the receipt first, so that no outdated file remains."""
    for path in (receipt_path(output_dir, run), *find_outputs(output_dir, run)):
        with suppress(FileNotFoundError):
            path.unlink()


def clear_longitudinal(output_dir: Path, run: DwiRun) -> None:
    """Remove the longitudinal results that a session is part of, since they are outdated once it is processed again."""
    for name, receipt in read_receipts(output_dir, run.participant).items():
        sessions = {session.removesuffix(RECEIPT_END) for session in listed_in(receipt, "inputs")}
        if receipt.get("longitudinal") is True and run.name in sessions:
            clear_run(output_dir, _named(run, name))
            for path in find_longitudinal(output_dir, [_named(run, session) for session in sorted(sessions)]):
                path.unlink(missing_ok=True)


def find_superseded(output_dir: Path, runs: Sequence[DwiRun]) -> list[DwiRun]:
    """Return the finished runs of a participant with another name than planned runs, but with an image of theirs.

    Such as runs that were processed separately and are now merged. In the index tables both would be counted.

    Parameters
    ----------
    output_dir
        Output folder.
    runs
        All planned runs of the participant.
    """
    if not runs:
        return []
    planned = {run.name for run in runs}
    images = {one.image.name for run in runs for one in (run, *run.partners)}
    return [
        _named(runs[0], name)
        for name, receipt in read_receipts(output_dir, runs[0].participant).items()
        if name not in planned and images.intersection(listed_in(receipt, "images"))
    ]


def clear_superseded(output_dir: Path, runs: Sequence[DwiRun], *, force: bool) -> None:
    """Remove the results that `find_superseded` finds if `force`, otherwise log their names; arguments as there."""
    for old in find_superseded(output_dir, runs):
        if force:
            clear_longitudinal(output_dir, old)
            clear_run(output_dir, old)
            LOG.warning("%s: earlier results removed, since their images are now those of other runs", old.name)
        else:
            LOG.warning("%s: earlier results, from images that are now those of other runs. Use --force.", old.name)


def _named(run: DwiRun, name: str) -> DwiRun:
    """Return a run of the same participant with another name, without invalid labels, for its outputs only."""
    labels = {key: label for key, label in entities_of(name).items() if label.replace("+", "").isalnum()}
    return replace(run, entities=labels | {"sub": run.participant}, partners=())

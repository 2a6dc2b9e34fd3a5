"""Regions that somebody drew in the image of one run, instead of those that a preset places there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_alps.errors import AmbiguityError
from bids_alps.io.availability import check_there
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, find_inherited
from bids_alps.model import DwiRun

ROIS = "rois"
"""Name by which a dataset of drawn regions is given."""


def find_manual_rois(dataset: Path, run: DwiRun, labels: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Return label image and table of the regions drawn in a run, by the label of the preset whose they replace.

    The image is called as this program calls its own, ``sub-01_seg-alps_dseg.nii.gz`` in the ``dwi`` folder, so that
    one may copy and correct it; the table is that of the inheritance principle, such as ``seg-alps_dseg.tsv`` at
    the root.

    Parameters
    ----------
    dataset
        Root of the dataset of drawn regions.
    run
        The run, with all of whose entities the image is named; ``space`` may be left out.
    labels
        Of the presets that are measured.

    Raises
    ------
    AmbiguityError
        If there are several for one preset.
    NoInputError, ImageError
        If an image or its table is not there.
    """
    folder = dataset / f"sub-{run.participant}"
    folder = (folder / f"ses-{run.session}" if run.session else folder) / "dwi"
    found: dict[str, tuple[Path, Path]] = {}
    for path in sorted(folder.glob(f"sub-{run.participant}_*_dseg.nii*")):
        named = entities_of(path.name)
        label = named.pop("seg", "")
        if label not in labels or not path.name.endswith(IMAGE_EXTENSIONS) or not _is_of(named, run):
            continue
        if label in found:
            raise AmbiguityError(str(path), f"a second image of seg-{label} for {run.name}", "keep one of the two")
        check_there(path)
        found[label] = path, find_inherited(path, ".tsv", dataset)
    return found


def find_unused_manual_rois(dataset: Path, participant: str, used: Iterable[Path]) -> list[Path]:
    """Return the label images of a participant that serve no run, such as one whose name is misspelt."""
    there = (dataset / f"sub-{participant}").glob("**/*_dseg.nii*")
    return sorted(set(there) - set(used))


def _is_of(named: dict[str, str], run: DwiRun) -> bool:
    wanted = dict(run.entities)
    named = {**named, "space": named.get("space", wanted.get("space", ""))}
    return named == {**wanted, "space": wanted.get("space", "")}

"""Manual ROIs: regions drawn in the image of a run, used instead of those of a preset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_alps.errors import AmbiguityError
from bids_alps.io.availability import check_available
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, find_inherited
from bids_alps.model import DwiRun

ROIS = "rois"
"""Name of a dataset of manual ROIs in ``--derivatives``."""


def find_manual_rois(dataset: Path, run: DwiRun, labels: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Return label image and table of the manual ROIs of a run, by the label of the preset that they replace.

    The image is named like an output of this program, ``sub-01_seg-alps_dseg.nii.gz`` in the ``dwi`` folder, so that
    an output can be copied and edited; the table follows the inheritance principle, such as ``seg-alps_dseg.tsv`` at
    the root.

    Parameters
    ----------
    dataset
        Root of the dataset of manual ROIs.
    run
        The run; the image has all its entities, ``space`` may be omitted.
    labels
        Labels of the presets that are measured.

    Raises
    ------
    AmbiguityError
        If there are several for one preset.
    NoInputError, ImageError
        If an image or its table does not exist.
    """
    folder = dataset / f"sub-{run.participant}"
    folder = (folder / f"ses-{run.session}" if run.session else folder) / "dwi"
    by_label: dict[str, tuple[Path, Path]] = {}
    for path in sorted(folder.glob(f"sub-{run.participant}_*_dseg.nii*")):
        entities = entities_of(path.name)
        label = entities.pop("seg", "")
        if label not in labels or not path.name.endswith(IMAGE_EXTENSIONS) or not _is_of(entities, run):
            continue
        if label in by_label:
            raise AmbiguityError(str(path), f"a second image of seg-{label} for {run.name}", "keep one of the two")
        check_available(path)
        by_label[label] = path, find_inherited(path, ".tsv", dataset)
    return by_label


def find_unused_manual_rois(dataset: Path, participant: str, used: Iterable[Path]) -> list[Path]:
    """Return the label images of a participant that match no run, such as one with a misspelt name."""
    existing = (dataset / f"sub-{participant}").glob("**/*_dseg.nii*")
    return sorted(set(existing) - set(used))


def _is_of(named: dict[str, str], run: DwiRun) -> bool:
    expected = dict(run.entities)
    named = {**named, "space": named.get("space", expected.get("space", ""))}
    return named == {**expected, "space": expected.get("space", "")}

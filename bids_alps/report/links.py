"""Links of a page: tables of its runs, previous and next participant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

_TABLES = {
    "desc-alps_scalarstats.tsv": "Index",
    "desc-quality_scalarstats.tsv": "Quality checks",
    "seg-alps_scalarstats.tsv": "Regions",
    "desc-confounds_timeseries.tsv": "Motion per volume",
}


def find_tables(output_dir: Path, folder: Path, run_name: str) -> tuple[tuple[str, str], ...]:
    """Return title and link, relative to the page, of the tables of a run."""
    there = [(title, folder / f"{run_name}_{ending}") for ending, title in _TABLES.items()]
    others = sorted(path for path in folder.glob(f"{run_name}_seg-*_scalarstats.tsv"))
    known = {path for _, path in there}
    there += [(path.name.removeprefix(f"{run_name}_"), path) for path in others if path not in known]
    return tuple((title, path.relative_to(output_dir).as_posix()) for title, path in there if path.is_file())


def find_neighbors(bids_dir: Path, label: str, selected: Sequence[str] = ()) -> tuple[str, str]:
    """Return the labels of the previous and next participant with diffusion data; empty at the ends.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    label
        Label of the participant.
    selected
        Labels that the study is restricted to; ignored if there is only one, as in a job array.
    """
    listed = selected if len(selected) > 1 else [path.name for path in bids_dir.glob("sub-*")]
    labels = sorted({name.removeprefix("sub-") for name in listed})
    earlier, later = ([name for name in labels if name < label], [name for name in labels if name > label])
    return _first_with_dwi(bids_dir, reversed(earlier)), _first_with_dwi(bids_dir, later)


def _first_with_dwi(bids_dir: Path, labels: Iterable[str]) -> str:
    patterns = ("dwi", "ses-*/dwi")
    folders = ((label, bids_dir / f"sub-{label}") for label in labels)
    return next((label for label, folder in folders if any(any(folder.glob(name)) for name in patterns)), "")

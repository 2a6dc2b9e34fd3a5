"""Finding diffusion runs in a BIDS dataset, one participant at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bids_alps.errors import (
    AlpsError,
    AmbiguityError,
    GradientError,
    InvalidBidsError,
    NoInputError,
    NothingSelectedError,
)
from bids_alps.io.availability import check_series, check_there
from bids_alps.io.derivatives import checked_label
from bids_alps.io.fieldmaps import find_dangling_intended_for, find_reverse_phase
from bids_alps.io.inheritance import (
    IMAGE_EXTENSIONS,
    Names,
    entities_of,
    find_inherited,
    list_names,
    read_json,
    read_sidecar,
    stem_of,
    suffix_of,
)
from bids_alps.io.queries import Selection
from bids_alps.io.root import made_by
from bids_alps.io.transforms import find_transforms
from bids_alps.model import DwiRun

_DATATYPES = ("anat", "dwi", "fmap")
_COMPLEX_PARTS = ("phase", "real", "imag")
_LABEL = re.compile(r"[a-zA-Z0-9+]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A run that cannot be processed: its name, and why."""

    name: str
    error: AlpsError


def find_participants(bids_dir: Path, wanted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return participant labels, sorted, without ``sub-``.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    wanted
        Labels to take, with or without ``sub-``; all where empty.

    Raises
    ------
    NoInputError
        If there is no such folder.
    InvalidBidsError
        If it has no ``dataset_description.json``, or one that cannot be read.
    NothingSelectedError
        If a wanted participant is not there, or there is none at all.
    """
    if not bids_dir.is_dir():
        raise NoInputError(str(bids_dir), "no such folder", "give the root of a BIDS dataset")
    description = bids_dir / "dataset_description.json"
    if not description.exists():
        raise InvalidBidsError(str(bids_dir), "no dataset_description.json", "give the root of a BIDS dataset")
    try:
        read_json(description)
    except AlpsError as error:
        raise InvalidBidsError(error.where, error.what, error.remedy) from error
    labels = {label.removeprefix("sub-") for label in wanted}
    if not labels:
        everyone = _list_participants(bids_dir)
        if not everyone:
            raise NothingSelectedError(str(bids_dir), "no sub-* folder", "give the root of a BIDS dataset")
        return everyone
    # only the folders that were named are looked at: a task of one participant must not pay for the others
    missing = sorted(
        label for label in labels if not (_LABEL.fullmatch(label) and (bids_dir / f"sub-{label}").is_dir())
    )
    if missing:
        folders = ", ".join(f"sub-{label}" for label in missing)
        raise NothingSelectedError("--participant-label", f"no folder {folders} in {bids_dir}", "check the spelling")
    return tuple(sorted(labels))


def _list_participants(bids_dir: Path) -> tuple[str, ...]:
    """Return the labels of all participants, sorted, from one listing of the dataset's root."""
    with os.scandir(bids_dir) as entries:
        folders = [entry.name for entry in entries if entry.name.startswith("sub-") and entry.is_dir()]
    return tuple(sorted(label for name in folders if _LABEL.fullmatch(label := name.removeprefix("sub-"))))


def find_runs(
    bids_dir: Path,
    participant: str,
    selection: Selection | None = None,
    *,
    preprocessed: bool = False,
    database: Path | None = None,
) -> list[DwiRun | Problem]:
    """Return the diffusion runs of a participant in a stable order, and the ones that cannot be used.

    Parameters
    ----------
    bids_dir
        Root of a raw dataset, or of a derivative one where `preprocessed`.
    participant
        Label without ``sub-``.
    selection
        Which files to take.
    preprocessed
        Take ``desc-preproc`` images as they are.
    database
        Folder of a pybids database to ask instead of the disk; it is made where there is none.
    """
    chosen = selection or Selection()
    found: dict[str, DwiRun | Problem] = {}
    folder = bids_dir / f"sub-{participant}"
    files = _list_images(folder) if database is None else _query_images(bids_dir, participant, database)
    search = _Search(root=bids_dir, files=files, selection=chosen, names=_remember_names(bids_dir))
    for image in search.files:
        if suffix_of(image.name) == "dwi" and chosen.takes(image) and _is_wanted(image, preprocessed=preprocessed):
            run = _find_run(image, search)
            if run.name in found:
                error = AmbiguityError(str(image), f"a second image for the run {run.name}", "keep one of the two")
                run = Problem(name=run.name, error=error)
            found[run.name] = run
    return [found[name] for name in sorted(found)]


def _is_wanted(image: Path, *, preprocessed: bool) -> bool:
    entities = entities_of(image.name)
    if entities.get("part") in _COMPLEX_PARTS:
        return False
    return (entities.get("desc") == "preproc") == preprocessed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Where files of a participant are sought; what was listed and read once is remembered."""

    root: Path
    files: list[Path]
    selection: Selection
    names: Names
    sidecars: dict[Path, Mapping[str, Any]] = field(default_factory=dict)

    def sidecar(self, image: Path) -> Mapping[str, Any]:
        """Return the metadata of an image that is not the run's own; empty where it is broken."""
        if image not in self.sidecars:
            try:
                self.sidecars[image] = read_sidecar(image, self.root, self.names)
            except AlpsError:  # it must not cost the run
                self.sidecars[image] = {}
        return self.sidecars[image]


def _remember_names(root: Path) -> Names:
    """Return what lists folders and remembers them: the root for all participants, so that a plan lists it once."""
    at_root = _list_root(root, root.stat().st_mtime_ns)
    below = cache(list_names)
    return lambda folder: at_root if folder == root else below(folder)


@lru_cache(maxsize=8)
def _list_root(root: Path, changed: int) -> tuple[str, ...]:  # noqa: ARG001 -- a folder that changed is listed anew
    return list_names(root)


def _list_images(folder: Path) -> list[Path]:
    """Return the images of a participant's anat, dwi and fmap folders, sorted by path.

    A walk of three folders takes a millisecond; an index of a participant by pybids takes forty, most of it for a
    database that one query is asked of.
    """
    return sorted(
        path
        for sessions in (folder, *folder.glob("ses-*"))
        for datatype in _DATATYPES
        for path in (sessions / datatype).glob("sub-*")
        if path.name.endswith(IMAGE_EXTENSIONS) and path.name.startswith(f"{folder.name}_")
    )


def _query_images(root: Path, participant: str, database: Path) -> list[Path]:
    """Return the same by a pybids database of the whole dataset."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer  # costs half a second

    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)  # one malformed JSON would end the index
    layout = BIDSLayout(root, validate=False, config=["bids", "derivatives"], database_path=database, indexer=indexer)
    found = layout.get(subject=participant, datatype=list(_DATATYPES), extension=list(IMAGE_EXTENSIONS))
    return sorted(Path(image.path) for image in found)


def _find_run(image: Path, search: _Search) -> DwiRun | Problem:
    entities = {key: label for key, label in entities_of(image.name).items() if key not in ("part", "desc")}
    name = "_".join(f"{key}-{label}" for key, label in entities.items())
    try:
        for key, label in entities.items():
            checked_label(key, label)
        check_series(image)
        preprocessed = "desc" in entities_of(image.name)
        bval, bvec = find_inherited(image, ".bval", search.root, search.names), _bvec_of(image, search)
        check_there(bval)
        check_there(bvec)
        metadata = read_sidecar(image, search.root, search.names)
        maps = {} if preprocessed else _maps_of(search)
        return DwiRun(
            entities=entities,
            image=image,
            bval=bval,
            bvec=bvec,
            metadata=metadata,
            preprocessed=preprocessed,
            mask=_mask_of(image),
            t1w=_t1w_of(entities, search),
            transforms=find_transforms(search.root, entities) if preprocessed else {},
            reverse_phase=find_reverse_phase(image, metadata, search.root, maps),
            notes=find_dangling_intended_for(search.root, maps),
        )
    except AlpsError as error:
        return Problem(name=name, error=error)


def _bvec_of(image: Path, search: _Search) -> Path:
    """Return the file with the b-vectors of an image: a table in world axes beside it goes before FSL's.

    Raises
    ------
    GradientError
        If QSIPrep made the image and the table is gone: its ``.bvec`` is along the axes of the image, without the sign
        that FSL gives the first one.
    """
    in_world = image.with_name(image.name.split(".", 1)[0] + ".b")
    if in_world.is_symlink() or in_world.exists():
        return in_world
    if "desc" in entities_of(image.name) and "qsiprep" in made_by(search.root):
        raise GradientError(
            str(image), f"made by QSIPrep, whose .bvec is not FSL's, and no {in_world.name}", "put that file beside it"
        )
    return find_inherited(image, ".bvec", search.root, search.names)


def _maps_of(search: _Search) -> dict[Path, Mapping[str, Any]]:
    """Return what a run may find its reverse-phase image among: magnitudes, with their sidecars."""
    return {
        path: search.sidecar(path)
        for path in search.files
        if (suffix_of(path.name) == "dwi" or search.selection.passes(path, "fmap"))
        and entities_of(path.name).get("part") not in _COMPLEX_PARTS
    }


def _mask_of(image: Path) -> Path | None:
    stem = stem_of(image.name)
    for ending in IMAGE_EXTENSIONS:
        mask = image.with_name(stem.replace("desc-preproc_dwi", "desc-brain_mask") + ending)
        if mask.exists() and "desc-preproc" in stem:
            return mask
    return None


def _t1w_of(entities: dict[str, str], search: _Search) -> Path | None:
    """Return the T1w image of the run's session and space, or of the participant; none where there are several.

    Repeats of one protocol (names that differ in ``run`` alone) are no contradiction: the first is taken.
    """
    images = [
        path
        for path in search.files
        if suffix_of(path.name) == "T1w"
        and path.exists()
        and search.selection.passes(path, "t1w")
        and entities_of(path.name).get("part") not in _COMPLEX_PARTS
    ]
    for key in ("ses", "space"):
        images = [path for path in images if entities_of(path.name).get(key) == entities.get(key)] or images
    protocols = {tuple(item for item in entities_of(path.name).items() if item[0] != "run") for path in images}
    return images[0] if len(protocols) == 1 else None

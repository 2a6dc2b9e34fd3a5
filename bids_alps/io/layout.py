"""Finding diffusion runs in a BIDS dataset, one participant at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
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
from bids_alps.io.fieldmaps import Candidates, find_doubts, find_fieldmaps
from bids_alps.io.gradient_tables import read_bvals
from bids_alps.io.images import ImageHeader, read_header
from bids_alps.io.indexing import Index, open_index
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, read_json, stem_of, suffix_of
from bids_alps.io.queries import Kind, Selection
from bids_alps.io.root import made_by
from bids_alps.io.transforms import find_transforms
from bids_alps.model import DwiRun, FieldmapImage
from bids_alps.numerics.tensors.gradients import MINIMUM_DIRECTIONS

_LABEL = re.compile(r"[a-zA-Z0-9+]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A run that cannot be processed: its name, and why."""

    name: str
    error: AlpsError


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An image of a ``dwi`` folder that is no run of its own: its name, and why not."""

    name: str
    reason: str


Found = DwiRun | Problem | SetAside


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
    index: Index | None = None,
    b0_threshold: float = 50.0,
) -> list[Found]:
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
    index
        An index that holds the participant, where one is open.
    b0_threshold
        b-values up to this count as no weighting, s/mm^2.

    Raises
    ------
    InvalidBidsError
        If pybids cannot index the participant.
    UsageError
        If pybids does not know what the filter file asks for.
    """
    with (
        open_index(bids_dir, [participant], derivative=preprocessed) if index is None else nullcontext(index)
    ) as opened:
        search = _Search(
            index=opened, participant=participant, selection=selection or Selection(), b0_threshold=b0_threshold
        )
        found: dict[str, Found] = {}
        for image in search.find("dwi"):
            if suffix_of(image.name) != "dwi" or (entities_of(image.name).get("desc") == "preproc") != preprocessed:
                continue
            run = _find_run(image, search)
            if run.name in found:
                error = AmbiguityError(str(image), f"a second image for the run {run.name}", "keep one of the two")
                run = Problem(name=run.name, error=error)
            found[run.name] = run
        runs = [found[name] for name in sorted(found)]
        return runs if preprocessed else _set_aside_unweighted(runs, search)


def _set_aside_unweighted(runs: list[Found], search: _Search) -> list[Found]:
    """Return runs of which those without any weighting are none, where their session has one with weighting.

    They are what reverse-phase images are made of; alone in a session such a series is told as a problem.
    """
    unweighted = {run.name for run in runs if _is_unweighted(run, search)}
    sessions = {run.session for run in runs if isinstance(run, DwiRun) and run.name not in unweighted}
    reason = "no diffusion weighting: not a run, but what the distortion of others may be found from"
    return [
        SetAside(name=run.name, reason=reason)
        if run.name in unweighted and entities_of(run.name).get("ses") in sessions
        else run
        for run in runs
    ]


def _is_unweighted(run: Found, search: _Search) -> bool:
    """Whether a series holds no weighting: by its b-values, or too few volumes for a tensor and no table at all."""
    image = next((one for one in search.candidates().images if run_name(one.path) == run.name), None)
    try:
        if image is None:
            return False
        if image.bval is not None:
            return bool((read_bvals(image.bval) <= search.b0_threshold).all())
        shape = search.header(image.path).shape
        return len(shape) == 3 or shape[3] <= MINIMUM_DIRECTIONS
    except AlpsError:
        return False


def run_name(image: Path) -> str:
    """Return the name of the run that an image holds: its entities, but for those that tell magnitudes from phases."""
    entities = {key: label for key, label in entities_of(image.name).items() if key not in ("part", "desc")}
    return "_".join(f"{key}-{label}" for key, label in entities.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Where files of a participant are sought; what was asked and read once is remembered."""

    index: Index
    participant: str
    selection: Selection
    b0_threshold: float
    known: dict[Any, Any] = field(default_factory=dict)

    def find(self, kind: Kind) -> list[Path]:
        """Return the images of a kind that are wanted."""
        if kind not in self.known:
            self.known[kind] = self.selection.find(self.index, self.participant, kind)
        found: list[Path] = self.known[kind]
        return found

    def header(self, image: Path) -> ImageHeader:
        """Return the header of an image; errors as of `read_header`."""
        if image not in self.known:
            self.known[image] = read_header(image)
        found: ImageHeader = self.known[image]
        return found

    def candidates(self) -> Candidates:
        """Return what may tell of the field of the participant's runs."""
        if "candidates" not in self.known:
            paths = [*self.find("fmap"), *self.find("sbref"), *Selection().find(self.index, self.participant, "dwi")]
            images = [self._candidate(path) for path in paths]
            self.known["candidates"] = Candidates(root=self.index.root, images=images, header=self.header)
        found: Candidates = self.known["candidates"]
        return found

    def _candidate(self, path: Path) -> FieldmapImage:
        """Return an image with its sidecar, empty where it is broken: it must not cost the run."""
        metadata: Mapping[str, Any] = {}
        with suppress(AlpsError):
            metadata = self.index.metadata(path)
        bval = None
        with suppress(AlpsError):
            bval = self.index.table(path, ".bval")
        return FieldmapImage(path=path, metadata=metadata, bval=bval)


def _find_run(image: Path, search: _Search) -> DwiRun | Problem:
    entities = {key: label for key, label in entities_of(image.name).items() if key not in ("part", "desc")}
    name = run_name(image)
    try:
        for key, label in entities.items():
            checked_label(key, label)
        check_series(image)
        preprocessed = "desc" in entities_of(image.name)
        bval, bvec = search.index.table(image, ".bval"), _bvec_of(image, search.index)
        check_there(bval)
        check_there(bvec)
        metadata = search.index.metadata(image)
        known = None if preprocessed else search.candidates()
        return DwiRun(
            entities=entities,
            image=image,
            bval=bval,
            bvec=bvec,
            metadata=metadata,
            preprocessed=preprocessed,
            mask=_mask_of(image),
            t1w=_t1w_of(entities, search),
            transforms=find_transforms(search.index.root, entities) if preprocessed else {},
            fieldmaps=() if known is None else find_fieldmaps(image, metadata, known),
            notes=() if known is None else find_doubts(image, metadata, known),
        )
    except AlpsError as error:
        return Problem(name=name, error=error)


def _bvec_of(image: Path, index: Index) -> Path:
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
    if "desc" in entities_of(image.name) and "qsiprep" in made_by(index.root):
        raise GradientError(
            str(image), f"made by QSIPrep, whose .bvec is not FSL's, and no {in_world.name}", "put that file beside it"
        )
    return index.table(image, ".bvec")


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
    images = [path for path in search.find("t1w") if path.exists()]
    for key in ("ses", "space"):
        images = [path for path in images if entities_of(path.name).get(key) == entities.get(key)] or images
    protocols = {tuple(item for item in entities_of(path.name).items() if item[0] != "run") for path in images}
    return images[0] if len(protocols) == 1 else None

"""Finds the diffusion runs of a participant in a BIDS dataset."""

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
from bids_alps.io.availability import check_available, check_series
from bids_alps.io.derivatives import checked_label
from bids_alps.io.fieldmaps import FieldmapCandidates, find_fieldmaps, find_unusable_fieldmaps
from bids_alps.io.gradient_tables import read_bvals
from bids_alps.io.images import ImageHeader, read_header
from bids_alps.io.indexing import Index, open_index
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, read_json, stem_of, suffix_of
from bids_alps.io.queries import Kind, Selection
from bids_alps.io.root import generated_by_programs
from bids_alps.io.transforms import find_transforms
from bids_alps.model import DwiRun, FieldmapImage
from bids_alps.numerics.tensors.gradients import MIN_DIRECTIONS

_LABEL = re.compile(r"[a-zA-Z0-9+]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableRun:
    """A run that cannot be processed: its name, and why."""

    name: str
    error: AlpsError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedRun:
    """An image of a ``dwi`` folder that is not processed as a run: its name, and why."""

    name: str
    reason: str


PlannedRun = DwiRun | UnusableRun | ExcludedRun


def find_participants(bids_dir: Path, wanted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return participant labels, sorted, without ``sub-``.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    wanted
        Labels to select, with or without ``sub-``; all if empty.

    Raises
    ------
    NoInputError
        If the folder does not exist.
    InvalidBidsError
        If ``dataset_description.json`` is missing or cannot be read.
    NothingSelectedError
        If a selected participant does not exist, or there are no participants.
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
        with os.scandir(bids_dir) as entries:  # one listing, without a stat of each file
            folders = [entry.name for entry in entries if entry.name.startswith("sub-") and entry.is_dir()]
        everyone = tuple(sorted(label for name in folders if _LABEL.fullmatch(label := name.removeprefix("sub-"))))
        if not everyone:
            raise NothingSelectedError(str(bids_dir), "no sub-* folder", "give the root of a BIDS dataset")
        return everyone
    # check only the folders of these labels, so that a job for one participant does not list all of them
    missing = sorted(
        label for label in labels if not (_LABEL.fullmatch(label) and (bids_dir / f"sub-{label}").is_dir())
    )
    if missing:
        listed = ", ".join(f"sub-{label}" for label in missing)
        raise NothingSelectedError("--participant-label", f"no folder {listed} in {bids_dir}", "check the spelling")
    return tuple(sorted(labels))


def find_runs(
    bids_dir: Path,
    participant: str,
    selection: Selection | None = None,
    *,
    preprocessed: bool = False,
    index: Index | None = None,
    b0_threshold: float = 50.0,
) -> list[PlannedRun]:
    """Return the diffusion runs of a participant, sorted by name, including those that cannot be used.

    Parameters
    ----------
    bids_dir
        Root of a raw dataset, or of a derivative dataset if `preprocessed`.
    participant
        Label without ``sub-``.
    selection
        Which files to select.
    preprocessed
        Use ``desc-preproc`` images, without preprocessing.
    index
        An open index with the participant, if any.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm^2.

    Raises
    ------
    InvalidBidsError
        If pybids cannot index the participant.
    UsageError
        If pybids does not support a filter of the filter file.
    """
    with (
        open_index(bids_dir, [participant], derivative=preprocessed) if index is None else nullcontext(index)
    ) as open_layout:
        search = _Search(
            index=open_layout, participant=participant, selection=selection or Selection(), b0_threshold=b0_threshold
        )
        by_name: dict[str, PlannedRun] = {}
        for image in search.find("dwi"):
            if suffix_of(image.name) != "dwi" or (entities_of(image.name).get("desc") == "preproc") != preprocessed:
                continue
            run = _find_run(image, search)
            if run.name in by_name:
                error = AmbiguityError(str(image), f"a second image for the run {run.name}", "keep one of the two")
                run = UnusableRun(name=run.name, error=error)
            by_name[run.name] = run
        runs = [by_name[name] for name in sorted(by_name)]
        return runs if preprocessed else _set_aside_b0_series(runs, search)


def _set_aside_b0_series(runs: list[PlannedRun], search: _Search) -> list[PlannedRun]:
    """Return runs with series of b=0 volumes set aside, if their session has a diffusion-weighted run.

    Such series are usually reverse-phase images; alone in a session they are reported as a problem.
    """
    b0_series = {run.name for run in runs if _is_b0_series(run, search)}
    sessions = {run.session for run in runs if isinstance(run, DwiRun) and run.name not in b0_series}
    reason = "only b=0 volumes: not a run, but it may serve as fieldmap of others"
    return [
        ExcludedRun(name=run.name, reason=reason)
        if run.name in b0_series and entities_of(run.name).get("ses") in sessions
        else run
        for run in runs
    ]


def _is_b0_series(run: PlannedRun, search: _Search) -> bool:
    """Whether a series has only b=0 volumes: by its b-values, or, without a table, too few volumes for a tensor."""
    # an epi image in fmap/ may have the same entities
    images = (image for image in search.candidates().images if suffix_of(image.path.name) == "dwi")
    image = next((image for image in images if run_name(image.path) == run.name), None)
    try:
        if image is None:
            return False
        if image.bval is not None:
            return bool((read_bvals(image.bval) <= search.b0_threshold).all())
        shape = search.header(image.path).shape
        return len(shape) == 3 or shape[3] <= MIN_DIRECTIONS
    except AlpsError:
        return False


def run_name(image: Path) -> str:
    """Return the name of the run of an image: its entities except ``part`` and ``desc``."""
    entities = {key: label for key, label in entities_of(image.name).items() if key not in ("part", "desc")}
    return "_".join(f"{key}-{label}" for key, label in entities.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Searches the files of a participant; results and headers are cached."""

    index: Index
    participant: str
    selection: Selection
    b0_threshold: float
    cache: dict[Any, Any] = field(default_factory=dict)

    def find(self, kind: Kind) -> list[Path]:
        """Return the selected images of a kind."""
        if kind not in self.cache:
            self.cache[kind] = self.selection.find(self.index, self.participant, kind)
        images: list[Path] = self.cache[kind]
        return images

    def header(self, image: Path) -> ImageHeader:
        """Return the header of an image; errors as in `read_header`."""
        if image not in self.cache:
            self.cache[image] = read_header(image)
        header: ImageHeader = self.cache[image]
        return header

    def candidates(self) -> FieldmapCandidates:
        """Return the candidate fieldmaps for the runs of the participant."""
        if "candidates" not in self.cache:
            paths = [*self.find("fmap"), *self.find("sbref"), *Selection().find(self.index, self.participant, "dwi")]
            images = []
            for path in paths:
                metadata: Mapping[str, Any] = {}
                with suppress(AlpsError):  # an invalid sidecar counts as empty, so that it cannot fail the run
                    metadata = self.index.metadata(path)
                bval = None
                with suppress(AlpsError):
                    bval = self.index.table(path, ".bval")
                images.append(FieldmapImage(path=path, metadata=metadata, bval=bval))
            self.cache["candidates"] = FieldmapCandidates(root=self.index.root, images=images, header=self.header)
        candidates: FieldmapCandidates = self.cache["candidates"]
        return candidates


def _find_run(image: Path, search: _Search) -> DwiRun | UnusableRun:
    entities = {key: label for key, label in entities_of(image.name).items() if key not in ("part", "desc")}
    name = run_name(image)
    try:
        for key, label in entities.items():
            checked_label(key, label)
        check_series(image)
        preprocessed = "desc" in entities_of(image.name)
        bval, bvec = search.index.table(image, ".bval"), _bvec_of(image, search.index)
        check_available(bval)
        check_available(bvec)
        stem = stem_of(image.name)
        masks = [image.with_name(stem.replace("desc-preproc_dwi", "desc-brain_mask") + end) for end in IMAGE_EXTENSIONS]
        mask = next((path for path in masks if path.exists()), None) if "desc-preproc" in stem else None
        metadata = search.index.metadata(image)
        candidates = None if preprocessed else search.candidates()
        return DwiRun(
            entities=entities,
            image=image,
            bval=bval,
            bvec=bvec,
            metadata=metadata,
            preprocessed=preprocessed,
            mask=mask,
            t1w=_t1w_of(entities, search),
            transforms=find_transforms(search.index.root, entities) if preprocessed else {},
            fieldmaps=() if candidates is None else find_fieldmaps(image, metadata, candidates),
            notes=() if candidates is None else find_unusable_fieldmaps(image, metadata, candidates),
        )
    except AlpsError as error:
        return UnusableRun(name=name, error=error)


def _bvec_of(image: Path, index: Index) -> Path:
    """Return the file with the b-vectors of an image; a table in world axes (.b) has priority over FSL's.

    Raises
    ------
    GradientError
        If the image is from QSIPrep and the table is missing: its ``.bvec`` is in image axes, without the sign change
        of the first axis in the FSL convention.
    """
    world_table = image.with_name(image.name.split(".", 1)[0] + ".b")
    if world_table.is_symlink() or world_table.exists():
        return world_table
    if "desc" in entities_of(image.name) and "qsiprep" in generated_by_programs(index.root):
        raise GradientError(
            str(image),
            f"from QSIPrep, whose .bvec is not in FSL convention, and {world_table.name} is missing",
            "add that file",
        )
    return index.table(image, ".bvec")


def _t1w_of(entities: dict[str, str], search: _Search) -> Path | None:
    """Return the T1w image of the session and space of the run, or of the participant; None if ambiguous.

    Repeated scans (names that differ only in ``run``) are not ambiguous: the first is used.
    """
    images = [path for path in search.find("t1w") if path.exists()]
    for key in ("ses", "space"):
        images = [path for path in images if entities_of(path.name).get(key) == entities.get(key)] or images
    protocols = {tuple(item for item in entities_of(path.name).items() if item[0] != "run") for path in images}
    return images[0] if len(protocols) == 1 else None

"""Fieldmaps of a run: the images from which its susceptibility field can be estimated.

Metadata have priority: ``IntendedFor``, or ``B0FieldIdentifier`` given in ``B0FieldSource`` of the run. Images without
such metadata are used for runs of their session: reverse-phase images if they have the same grid, phases and fields if
the session has a single set of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps.errors import AlpsError
from bids_alps.io.images import ImageHeader
from bids_alps.io.inheritance import entities_of, stem_of, suffix_of
from bids_alps.model import Array, Fieldmap, FieldmapImage

Header = Callable[[Path], ImageHeader]
"""Function that returns the header of an image."""

_AXES = {"i": 0, "j": 1, "k": 2}
_REVERSE = ("epi", "dwi", "sbref")
PARALLEL = 0.9
"""Cosine above which phase-encoding directions count as equal."""
_SIZE_TOLERANCE, _ROTATION_TOLERANCE_DEGREES = 0.01, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldmapCandidates:
    """Candidate fieldmaps for the runs of a participant.

    Parameters
    ----------
    root
        Root of the dataset.
    images
        Images of the ``fmap`` folders, and series and single-band images of the ``dwi`` folders, with sidecars.
    header
        Function that returns the header of an image.
    """

    root: Path
    images: Sequence[FieldmapImage]
    header: Header


def find_fieldmaps(image: Path, metadata: Mapping[str, Any], candidates: FieldmapCandidates) -> tuple[Fieldmap, ...]:
    """Return the fieldmaps of a run, in order of priority.

    Reverse-phase images are used only if the sidecars give their phase encoding, and that of the run, with sign.

    Parameters
    ----------
    image, metadata
        The run and its sidecar.
    candidates
        Candidate fieldmaps of the participant.
    """
    others = [other for other in candidates.images if other.path != image and other.path.exists()]
    intended = [other for other in others if is_assigned_to(other, image, metadata)]
    session = entities_of(image.name).get("ses")
    # images of fmap/ that are assigned to certain runs are not for others
    unassigned = [
        other
        for other in others
        if other not in intended
        and entities_of(other.path.name).get("ses") == session
        and not (
            other.path.parent.name == "fmap"
            and (listed(other.metadata, "IntendedFor") or listed(other.metadata, "B0FieldIdentifier"))
        )
    ]
    direction = phase_direction(image, metadata, candidates.header)
    fieldmaps: list[Fieldmap] = []
    if direction is not None:
        same_grid_images = [other for other in unassigned if same_grid(other.path, image, candidates.header)]
        fieldmaps += _reverse(intended, image, direction, candidates.header, crossed=True)
        fieldmaps += _reverse(same_grid_images, image, direction, candidates.header, crossed=False)
    phases = _phases(unassigned, others)
    methods = [fieldmap.method for fieldmap in phases]
    # of unassigned phases and fields, only those that are the single ones of their kind
    unambiguous = [fieldmap for fieldmap in phases if methods.count(fieldmap.method) == 1]
    return (*fieldmaps, *_phases(intended, others), *unambiguous)


def is_assigned_to(fieldmap: FieldmapImage, image: Path, metadata: Mapping[str, Any]) -> bool:
    """Whether the metadata of an image assign it, or its field, to a run."""
    named = any(_names(target, image) for target in listed(fieldmap.metadata, "IntendedFor"))
    fields = set(listed(metadata, "B0FieldSource")) & set(listed(fieldmap.metadata, "B0FieldIdentifier"))
    return named or bool(fields)


def find_unusable_fieldmaps(
    image: Path, metadata: Mapping[str, Any], candidates: FieldmapCandidates
) -> tuple[str, ...]:
    """Return a sentence for each fieldmap that may have been intended for a run but cannot be used."""
    notes = []
    for fieldmap in candidates.images:
        if fieldmap.path.parent.name == "fmap":
            targets = listed(fieldmap.metadata, "IntendedFor")
            missing = [target for target in targets if not _exists(target, fieldmap.path, candidates)]
            notes += [f"{fieldmap.path.name}: IntendedFor has {target}, which does not exist" for target in missing]
        if (
            suffix_of(fieldmap.path.name) in _REVERSE
            and fieldmap.path != image
            and is_assigned_to(fieldmap, image, metadata)
        ):
            lacking = [
                path.name
                for path, fields in ((fieldmap.path, fieldmap.metadata), (image, metadata))
                if _encoding(fields) is None
            ]
            if lacking:
                notes.append(
                    f"{fieldmap.path.name} is intended for it, but no PhaseEncodingDirection in {' and '.join(lacking)}"
                )
    return tuple(notes)


def listed(sidecar: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of a field that is a text or a list of texts."""
    value = sidecar.get(name, [])
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _names(target: str, image: Path) -> bool:
    """Whether an ``IntendedFor`` entry refers to an image; by its name, which is unique in a dataset."""
    if target.startswith("bids:") and not target.startswith("bids::"):
        return False  # in another dataset
    return stem_of(target.rpartition("/")[2]) == stem_of(image.name)


def _exists(target: str, fieldmap: Path, candidates: FieldmapCandidates) -> bool:
    if target.startswith("bids:") and not target.startswith("bids::"):
        return True  # in another dataset, which is not checked
    participant = candidates.root / fieldmap.relative_to(candidates.root).parts[0]
    image = (candidates.root if target.startswith("bids::") else participant) / target.removeprefix("bids::")
    return image.exists() or image.is_symlink() or any(participant.glob(f"**/{image.name}"))


def _encoding(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return voxel axis and sign of phase encoding; None if the sidecar does not have both."""
    direction = str(metadata.get("PhaseEncodingDirection", ""))
    if direction.rstrip("-") not in _AXES or len(direction) > 2:
        return None
    return _AXES[direction[0]], -1 if direction.endswith("-") else 1


def phase_direction(path: Path, metadata: Mapping[str, Any], header: Header) -> Array | None:
    """Return the unit vector of phase encoding in world axes, shape (3,)."""
    encoding = _encoding(metadata)
    if encoding is None:
        return None
    try:
        axis: Array = header(path).affine[:3, encoding[0]] * encoding[1]
    except AlpsError:  # it cannot be read, so it cannot be used
        return None
    return axis / np.linalg.norm(axis)


def same_grid(image: Path, other: Path, header: Header) -> bool:
    """Whether two images have the same matrix, voxel size and orientation; head motion between them is allowed."""
    try:
        first, second = header(image), header(other)
    except AlpsError:
        return False
    sizes = [np.linalg.norm(header.affine[:3, :3], axis=0) for header in (first, second)]
    axes = [header.affine[:3, :3] / size for header, size in zip((first, second), sizes, strict=True)]
    # angle of the rotation between the axes, from its trace: tr(R) = 1 + 2 cos(angle)
    angle = np.degrees(np.arccos(np.clip((np.trace(axes[0].T @ axes[1]) - 1) / 2, -1, 1)))
    same_size = bool((np.abs(sizes[0] - sizes[1]) <= _SIZE_TOLERANCE * sizes[0]).all())
    return first.shape[:3] == second.shape[:3] and same_size and bool(angle < _ROTATION_TOLERANCE_DEGREES)


def _reverse(
    images: Iterable[FieldmapImage],
    run: Path,
    direction: Array,
    header: Header,
    *,
    crossed: bool,
) -> list[Fieldmap]:
    """Return the fieldmaps of images with a different phase encoding; ``epi`` images first, then ``dwi`` series.

    Images encoded along another axis are used only if `crossed` and there is none with opposite encoding.
    """
    cosines = {
        candidate.path: float(direction @ along)
        for candidate in images
        if suffix_of(candidate.path.name) in _REVERSE
        and (along := phase_direction(candidate.path, candidate.metadata, header)) is not None
    }
    entities = entities_of(run.name).items()
    fieldmaps = []
    for suffix in _REVERSE:
        kind = sorted(
            (
                candidate
                for candidate in images
                if candidate.path in cosines and suffix_of(candidate.path.name) == suffix
            ),
            # most entities in common with the run first
            key=lambda candidate: (-len(entities & entities_of(candidate.path.name).items()), candidate.path),
        )
        opposite = [candidate for candidate in kind if cosines[candidate.path] < -PARALLEL]
        across = [candidate for candidate in kind if abs(cosines[candidate.path]) <= PARALLEL] if crossed else []
        matching = [candidate for candidate in kind if cosines[candidate.path] > PARALLEL]
        selected = opposite or across
        if suffix != "epi":
            selected, matching = selected[:1], []
        if selected:
            fieldmaps.append(
                Fieldmap(method="reverse phase encoding", images=tuple(selected), matching=tuple(matching))
            )
    return fieldmaps


def _phases(images: Iterable[FieldmapImage], others: Sequence[FieldmapImage]) -> list[Fieldmap]:
    """Return the fieldmaps of phase differences, pairs of phases and measured fields, with their magnitude images."""
    by_suffix = {
        suffix: [image for image in images if suffix_of(image.path.name) == suffix]
        for suffix in ("fieldmap", "phasediff", "phase1")
    }
    fieldmaps = [
        Fieldmap(method="measured field", images=(image,), magnitudes=_siblings(image, ("magnitude",), others))
        for image in by_suffix["fieldmap"]
    ]
    for image in by_suffix["phasediff"]:
        magnitudes = _siblings(image, ("magnitude1", "magnitude2"), others)
        fieldmaps.append(Fieldmap(method="phase difference", images=(image,), magnitudes=magnitudes))
    for image in by_suffix["phase1"]:
        second = [other for other in others if _is_sibling(image.path, other.path, "phase2")]
        magnitudes = _siblings(image, ("magnitude1", "magnitude2"), others)
        fieldmaps += [Fieldmap(method="two phases", images=(image, *second), magnitudes=magnitudes)] if second else []
    return [fieldmap for fieldmap in fieldmaps if fieldmap.magnitudes]


def _siblings(image: FieldmapImage, suffixes: Sequence[str], others: Sequence[FieldmapImage]) -> tuple[Path, ...]:
    return tuple(other.path for suffix in suffixes for other in others if _is_sibling(image.path, other.path, suffix))


def _is_sibling(path_a: Path, other: Path, suffix: str) -> bool:
    ours, theirs = (
        {key: label for key, label in entities_of(path.name).items() if key != "part"} for path in (path_a, other)
    )
    return other.parent == path_a.parent and suffix_of(other.name) == suffix and ours == theirs

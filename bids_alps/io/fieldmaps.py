"""Which images tell of the susceptibility field of a run.

What a dataset says goes first: ``IntendedFor``, or ``B0FieldIdentifier`` named by the run's ``B0FieldSource``.
Images that say nothing serve runs of their session: with reverse phase encoding those of the same grid, phases and
fields where the session has a single set of them.
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
"""What reads the header of an image."""

_AXES = {"i": 0, "j": 1, "k": 2}
_REVERSE = ("epi", "dwi", "sbref")
PARALLEL = 0.9
"""Cosine from which directions of phase encoding count as one."""
_SAME_SIZE, _SAME_TURN_DEGREES = 0.01, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What may tell of the field of a participant's runs.

    Parameters
    ----------
    root
        Root of the dataset.
    images
        Images of the ``fmap`` folders, unweighted and single-band images of the ``dwi`` folders, with their sidecars.
    header
        What reads the header of one.
    """

    root: Path
    images: Sequence[FieldmapImage]
    header: Header


def find_fieldmaps(image: Path, metadata: Mapping[str, Any], known: Candidates) -> tuple[Fieldmap, ...]:
    """Return what the susceptibility field of a run can be found from, the best first.

    Nothing is taken for reversed whose phase encoding, or the run's, is not told with its sign.

    Parameters
    ----------
    image, metadata
        The run and its sidecar.
    known
        What there is.
    """
    others = [one for one in known.images if one.path != image and one.path.exists()]
    meant = [one for one in others if is_meant_for(one, image, metadata)]
    silent = [one for one in others if one not in meant and _same_session(one.path, image) and not _states_aim(one)]
    direction = phase_direction(image, metadata, known.header)
    found: list[Fieldmap] = []
    if direction is not None:
        alike = [one for one in silent if same_grid(one.path, image, known.header)]
        found += _reverse(meant, image, direction, known.header, crossed=True)
        found += _reverse(alike, image, direction, known.header, crossed=False)
    return (*found, *_phases(meant, others), *_only(_phases(silent, others)))


def is_meant_for(one: FieldmapImage, image: Path, metadata: Mapping[str, Any]) -> bool:
    """Whether an image says that it, or the field it belongs to, is meant for a run."""
    named = any(_names(target, image) for target in listed(one.metadata, "IntendedFor"))
    fields = set(listed(metadata, "B0FieldSource")) & set(listed(one.metadata, "B0FieldIdentifier"))
    return named or bool(fields)


def find_doubts(image: Path, metadata: Mapping[str, Any], known: Candidates) -> tuple[str, ...]:
    """Return a sentence for each fieldmap that could not be taken though it may have been meant to serve a run."""
    doubts = []
    for one in known.images:
        if one.path.parent.name == "fmap":
            aims = listed(one.metadata, "IntendedFor")
            missing = [target for target in aims if not _is_there(target, one.path, known)]
            doubts += [f"{one.path.name}: IntendedFor names {target}, which is not there" for target in missing]
        if suffix_of(one.path.name) in _REVERSE and one.path != image and is_meant_for(one, image, metadata):
            silent = [
                path.name for path, fields in ((one.path, one.metadata), (image, metadata)) if _encoding(fields) is None
            ]
            if silent:
                doubts.append(
                    f"{one.path.name} is meant for it, but PhaseEncodingDirection is not told of {' and '.join(silent)}"
                )
    return tuple(doubts)


def listed(sidecar: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of a field that holds one or a list of them."""
    value = sidecar.get(name, [])
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _states_aim(one: FieldmapImage) -> bool:
    """Whether an image of the ``fmap`` folder says what it is for, so that it is for nothing else."""
    aims = [*listed(one.metadata, "IntendedFor"), *listed(one.metadata, "B0FieldIdentifier")]
    return one.path.parent.name == "fmap" and bool(aims)


def _names(target: str, image: Path) -> bool:
    """Whether an ``IntendedFor`` entry names an image: names are unique in a dataset, whatever folders are told."""
    if target.startswith("bids:") and not target.startswith("bids::"):
        return False  # of another dataset
    return stem_of(target.rpartition("/")[2]) == stem_of(image.name)


def _is_there(target: str, fieldmap: Path, known: Candidates) -> bool:
    if target.startswith("bids:") and not target.startswith("bids::"):
        return True  # of another dataset, which is not looked into
    participant = known.root / fieldmap.relative_to(known.root).parts[0]
    image = (known.root if target.startswith("bids::") else participant) / target.removeprefix("bids::")
    return image.exists() or image.is_symlink() or any(participant.glob(f"**/{image.name}"))


def _same_session(one: Path, other: Path) -> bool:
    return entities_of(one.name).get("ses") == entities_of(other.name).get("ses")


def _encoding(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return voxel axis and sign of phase encoding; None where the sidecar does not tell both."""
    told = str(metadata.get("PhaseEncodingDirection", ""))
    if told.rstrip("-") not in _AXES or len(told) > 2:
        return None
    return _AXES[told[0]], -1 if told.endswith("-") else 1


def phase_direction(path: Path, metadata: Mapping[str, Any], header: Header) -> Array | None:
    """Return the unit vector of phase encoding in world axes, shape (3,)."""
    encoding = _encoding(metadata)
    if encoding is None:
        return None
    try:
        axis: Array = header(path).affine[:3, encoding[0]] * encoding[1]
    except AlpsError:  # it cannot be read: it serves no run
        return None
    return axis / np.linalg.norm(axis)


def same_grid(one: Path, other: Path, header: Header) -> bool:
    """Whether two images have voxels of one number, size and orientation; they may lie apart by head motion."""
    try:
        first, second = header(one), header(other)
    except AlpsError:
        return False
    sizes = [np.linalg.norm(found.affine[:3, :3], axis=0) for found in (first, second)]
    axes = [found.affine[:3, :3] / size for found, size in zip((first, second), sizes, strict=True)]
    turned = np.degrees(np.arccos(np.clip((np.trace(axes[0].T @ axes[1]) - 1) / 2, -1, 1)))
    same_size = bool((np.abs(sizes[0] - sizes[1]) <= _SAME_SIZE * sizes[0]).all())
    return first.shape[:3] == second.shape[:3] and same_size and bool(turned < _SAME_TURN_DEGREES)


def _reverse(
    images: Iterable[FieldmapImage],
    run: Path,
    direction: Array,
    header: Header,
    *,
    crossed: bool,
) -> list[Fieldmap]:
    """Return the fieldmaps of images with another phase encoding, fieldmaps proper before series of the ``dwi`` folder.

    Those of another axis serve only where `crossed` and none is opposite.
    """
    cosines = {
        one.path: float(direction @ along)
        for one in images
        if suffix_of(one.path.name) in _REVERSE
        and (along := phase_direction(one.path, one.metadata, header)) is not None
    }
    found = []
    for suffix in _REVERSE:
        kind = sorted(
            (one for one in images if one.path in cosines and suffix_of(one.path.name) == suffix),
            key=lambda one: (-_shared(one.path, run), one.path),
        )
        opposite = [one for one in kind if cosines[one.path] < -PARALLEL]
        across = [one for one in kind if abs(cosines[one.path]) <= PARALLEL] if crossed else []
        matching = [one for one in kind if cosines[one.path] > PARALLEL]
        chosen = opposite or across
        if suffix != "epi":
            chosen, matching = chosen[:1], []
        if chosen:
            found.append(Fieldmap(method="reverse phase encoding", images=tuple(chosen), matching=tuple(matching)))
    return found


def _shared(one: Path, other: Path) -> int:
    """Return how many entities two names have in common: the more, the more they belong together."""
    return len(entities_of(one.name).items() & entities_of(other.name).items())


def _phases(images: Iterable[FieldmapImage], others: Sequence[FieldmapImage]) -> list[Fieldmap]:
    """Return the fieldmaps among phase differences, pairs of phases and measured fields; magnitudes lie beside them."""
    by_suffix = {
        suffix: [one for one in images if suffix_of(one.path.name) == suffix]
        for suffix in ("fieldmap", "phasediff", "phase1")
    }
    found = [
        Fieldmap(method="measured field", images=(one,), magnitudes=_beside(one, ("magnitude",), others))
        for one in by_suffix["fieldmap"]
    ]
    for one in by_suffix["phasediff"]:
        magnitudes = _beside(one, ("magnitude1", "magnitude2"), others)
        found.append(Fieldmap(method="phase difference", images=(one,), magnitudes=magnitudes))
    for one in by_suffix["phase1"]:
        second = [other for other in others if _is_sibling(one.path, other.path, "phase2")]
        magnitudes = _beside(one, ("magnitude1", "magnitude2"), others)
        found += [Fieldmap(method="two phases", images=(one, *second), magnitudes=magnitudes)] if second else []
    return [one for one in found if one.magnitudes]


def _beside(one: FieldmapImage, suffixes: Sequence[str], others: Sequence[FieldmapImage]) -> tuple[Path, ...]:
    return tuple(other.path for suffix in suffixes for other in others if _is_sibling(one.path, other.path, suffix))


def _is_sibling(one: Path, other: Path, suffix: str) -> bool:
    ours, theirs = (
        {key: label for key, label in entities_of(path.name).items() if key != "part"} for path in (one, other)
    )
    return other.parent == one.parent and suffix_of(other.name) == suffix and ours == theirs


def _only(found: list[Fieldmap]) -> list[Fieldmap]:
    """Return fieldmaps that nothing says the aim of: none where there are several of a kind to choose from."""
    methods = [one.method for one in found]
    return [one for one in found if methods.count(one.method) == 1]

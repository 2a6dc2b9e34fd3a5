"""Which images show the same head with another phase encoding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_alps.io.inheritance import entities_of, suffix_of

_OPPOSITE = {"i": "i-", "j": "j-", "k": "k-", "i-": "i", "j-": "j", "k-": "k"}


def find_reverse_phase(
    image: Path, metadata: Mapping[str, Any], root: Path, candidates: Mapping[Path, Mapping[str, Any]]
) -> tuple[Path, ...]:
    """Return the images from which the susceptibility field of a run can be estimated.

    A fieldmap that says it is meant for the run goes first (``IntendedFor``, then ``B0FieldIdentifier`` named by
    the run's ``B0FieldSource``); without one, diffusion runs of the same session that differ in ``dir`` alone and were
    encoded the opposite way.

    Parameters
    ----------
    image, metadata
        The run and its sidecar.
    root
        Root of the dataset.
    candidates
        Images of the participant's ``fmap`` and ``dwi`` folders, with their sidecars.
    """
    read = {path: told for path, told in candidates.items() if path != image and path.exists()}
    epis = {path: told for path, told in read.items() if path.parent.name == "fmap" and suffix_of(path.name) == "epi"}
    intended = [
        path for path, told in epis.items() if any(_names(one, image, root) for one in _listed(told, "IntendedFor"))
    ]
    if intended:
        return tuple(sorted(intended))
    fields = set(_listed(metadata, "B0FieldSource"))
    shared = [path for path, told in read.items() if fields & set(_listed(told, "B0FieldIdentifier"))]
    if shared:
        return tuple(sorted(shared))
    runs = [path for path in read if suffix_of(path.name) == "dwi" and path.parent.name == "dwi"]
    return tuple(sorted(path for path in runs if _is_opposite(image, metadata, path, read[path])))


def find_dangling_intended_for(root: Path, candidates: Mapping[Path, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return a sentence for each fieldmap whose ``IntendedFor`` names an image that is not there: it may serve none.

    Parameters
    ----------
    root
        Root of the dataset.
    candidates
        Images of the participant, with their sidecars.
    """
    told = []
    for path, sidecar in candidates.items():
        if path.parent.name == "fmap" and suffix_of(path.name) == "epi":
            missing = [one for one in _listed(sidecar, "IntendedFor") if not _is_there(one, path, root)]
            told += [f"{path.name}: IntendedFor names {one}, which is not there" for one in missing]
    return tuple(told)


def _is_there(target: str, fieldmap: Path, root: Path) -> bool:
    if target.startswith("bids:") and not target.startswith("bids::"):
        return True  # of another dataset, which is not looked into
    start = root if target.startswith("bids::") else root / fieldmap.relative_to(root).parts[0]
    image = start / target.removeprefix("bids::")
    return image.exists() or image.is_symlink()


def _listed(sidecar: Mapping[str, Any], name: str) -> list[str]:
    value = sidecar.get(name, [])
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _names(target: str, image: Path, root: Path) -> bool:
    """Whether an ``IntendedFor`` entry names an image: a BIDS URI, or a path below the participant's folder."""
    relative = image.relative_to(root)
    if target.startswith("bids::"):
        return relative.as_posix() == target.removeprefix("bids::")
    return Path(*relative.parts[1:]).as_posix() == target.removeprefix("./")


def _is_opposite(image: Path, metadata: Mapping[str, Any], other: Path, told: Mapping[str, Any]) -> bool:
    ours, theirs = ({k: v for k, v in entities_of(path.name).items() if k != "dir"} for path in (image, other))
    return ours == theirs and _OPPOSITE.get(str(metadata.get("PhaseEncodingDirection"))) == told.get(
        "PhaseEncodingDirection"
    )

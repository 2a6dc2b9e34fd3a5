"""Which gradient table and sidecar belong to an image: the inheritance principle of BIDS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bids_alps.errors import AmbiguityError, MetadataError, NoInputError

Names = Callable[[Path], tuple[str, ...]]

IMAGE_EXTENSIONS = (".nii.gz", ".nii")
"""Of every image that is read."""


def entities_of(name: str) -> dict[str, str]:
    """Return the entities of a file name, in its order.

    Examples
    --------
    >>> entities_of("sub-01_run-2_dwi.nii.gz")
    {'sub': '01', 'run': '2'}
    """
    stem = name.split(".", 1)[0]
    pairs = (part.partition("-") for part in stem.split("_") if "-" in part)
    return {key: label for key, _, label in pairs}


def suffix_of(name: str) -> str:
    """Return the suffix of a file name, such as ``dwi``."""
    return name.split(".", 1)[0].rpartition("_")[2]


def stem_of(name: str) -> str:
    """Return the name of an image without its extension, dots and all.

    Examples
    --------
    >>> stem_of("my.regions.nii.gz")
    'my.regions'
    """
    return name.removesuffix(".gz").removesuffix(".nii")


def list_names(folder: Path) -> tuple[str, ...]:
    """Return the names in a folder that have an extension; none where there is no such folder."""
    try:
        return tuple(name for name in os.listdir(folder) if "." in name)  # noqa: PTH208 -- ten times as fast as a glob
    except OSError:
        return ()


def find_inherited(image: Path, extension: str, root: Path, names: Names = list_names) -> Path:
    """Return the file that applies to an image: same suffix, entities a subset, the nearest level wins.

    In one folder a file named just like the image goes before more general ones.

    Parameters
    ----------
    image
        The image.
    extension
        ``.bval`` or ``.bvec``.
    root
        Root of the dataset, where the search ends.
    names
        What lists a folder; one that remembers saves time where many images of a dataset are looked at.

    Raises
    ------
    AmbiguityError
        If two files of one folder apply.
    NoInputError
        If none does.
    """
    for folder in _levels(image, root):
        found = _matches(image, folder, extension, names)
        if len(found) > 1:
            told = ", ".join(path.name for path in found)
            raise AmbiguityError(str(image), f"{len(found)} {extension} files apply in {folder}: {told}", "keep one")
        if found:
            return found[0]
    raise NoInputError(
        str(image), f"no {extension} file applies to it", f"put one beside it, named {_beside(image, extension)}"
    )


def read_sidecar(image: Path, root: Path, names: Names = list_names) -> dict[str, Any]:
    """Return the metadata of an image: every JSON file that applies, the nearer overriding the farther.

    The arguments are those of `find_inherited`.

    Raises
    ------
    AmbiguityError
        If two files of one folder apply.
    MetadataError
        If one of them is no JSON object.
    """
    merged: dict[str, Any] = {}
    for folder in reversed(list(_levels(image, root))):
        found = _matches(image, folder, ".json", names)
        if len(found) > 1:
            told = ", ".join(path.name for path in found)
            raise AmbiguityError(str(image), f"{len(found)} sidecars apply in {folder}: {told}", "keep one")
        for path in found:
            merged.update(read_json(path))
    return merged


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises
    ------
    MetadataError
        If it cannot be read or is no object.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(str(path), f"cannot be read as JSON ({error})", "repair the file, or fetch it") from error
    if not isinstance(content, dict):
        raise MetadataError(str(path), f"holds a {type(content).__name__}, not an object", "repair the file")
    return content


def _levels(image: Path, root: Path) -> Iterator[Path]:
    folder = image.parent
    while True:
        yield folder
        if folder in (root, folder.parent):
            return
        folder = folder.parent


def _matches(image: Path, folder: Path, extension: str, names: Names) -> list[Path]:
    """Return the files of one folder that apply; one named just like the image stands for all of them."""
    wanted, suffix = entities_of(image.name), suffix_of(image.name)
    found = sorted(
        name
        for name in names(folder)
        if name.endswith(f"{suffix}{extension}")
        and suffix_of(name) == suffix
        and entities_of(name).items() <= wanted.items()
    )
    exact = [name for name in found if entities_of(name) == wanted]
    return [folder / name for name in exact or found]


def _beside(image: Path, extension: str) -> str:
    return image.name.split(".", 1)[0] + extension

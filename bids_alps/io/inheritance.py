"""Gradient tables and sidecars of an image, by the BIDS inheritance principle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bids_alps.errors import AmbiguityError, MetadataError, NoInputError

Names = Callable[[Path], tuple[str, ...]]

IMAGE_EXTENSIONS = (".nii.gz", ".nii")
"""File extensions of images."""
TABLE_EXTENSIONS = (".bval", ".bvec")
"""File extensions of gradient tables."""


def entities_of(name: str) -> dict[str, str]:
    """Return the entities of a file name, in their order.

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
    """Return the name of an image without its extension; other dots are kept.

    Examples
    --------
    >>> stem_of("my.regions.nii.gz")
    'my.regions'
    """
    return name.removesuffix(".gz").removesuffix(".nii")


def list_names(folder: Path) -> tuple[str, ...]:
    """Return the names in a folder that have an extension; empty if the folder does not exist."""
    try:
        return tuple(name for name in os.listdir(folder) if "." in name)  # noqa: PTH208 -- ten times faster than glob
    except OSError:
        return ()


def cached_names(root: Path) -> Names:
    """Return a cached `list_names`; the cache of the root is shared between participants."""
    at_root = _list_root(root, root.stat().st_mtime_ns)
    below = cache(list_names)
    return lambda folder: at_root if folder == root else below(folder)


@lru_cache(maxsize=8)
def _list_root(root: Path, changed: int) -> tuple[str, ...]:  # noqa: ARG001 -- part of the cache key: a changed folder is listed again
    return list_names(root)


def find_inherited(image: Path, extension: str, root: Path, names: Names = list_names) -> Path:
    """Return the file that applies to an image: same suffix, a subset of its entities, on the closest level.

    In one folder a file with exactly the entities of the image has priority over more general ones. pybids is not used
    here: its ``get_bval`` and ``get_bvec`` return the file of ``run-1`` for an image without ``run``, and raise
    `IndexError` if there is none.

    Parameters
    ----------
    image
        The image.
    extension
        Extension, such as ``.bval`` or ``.bvec``.
    root
        Root of the dataset, the last level of the search.
    names
        Function that lists a folder; a cached one saves time for many images of a dataset.

    Raises
    ------
    AmbiguityError
        If two files of one folder apply.
    NoInputError
        If no file applies.
    """
    for level in _levels(image, root, extension, names):
        if level:
            return _select_file(image, level, extension)
    expected = image.name.split(".", 1)[0] + extension
    raise NoInputError(str(image), f"no {extension} file applies to it", f"add one next to it, named {expected}")


def sidecars_of(image: Path, root: Path, names: Names = list_names) -> list[list[Path]]:
    """Return the JSON files that apply to an image, closest folder first; arguments as in `find_inherited`."""
    return list(_levels(image, root, ".json", names))


def merge_sidecars(image: Path, levels: Sequence[Sequence[Path]]) -> dict[str, Any]:
    """Return the metadata of an image from the sidecars that apply to it; closer ones override more distant ones.

    Parameters
    ----------
    image
        The image.
    levels
        As returned by `sidecars_of`.

    Raises
    ------
    AmbiguityError
        If two files of one folder apply, and neither has exactly the entities of the image.
    MetadataError
        If one of them is not a JSON object.
    """
    merged: dict[str, Any] = {}
    for level in reversed(levels):
        if level:
            merged.update(read_json(_select_file(image, level, ".json")))
    return merged


def pybids_can_keep(content: Mapping[str, Any]) -> bool:
    """Whether pybids stores metadata unchanged: no field has the name of an entity, no text has a lone surrogate.

    Examples
    --------
    >>> pybids_can_keep({"EchoTime": 0.08}), pybids_can_keep({"run": "second"})
    (True, False)
    """
    return not any(key.islower() for key in content) and json.dumps(content, ensure_ascii=False).isprintable()


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises
    ------
    MetadataError
        If it cannot be read or is not an object.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(str(path), f"cannot be read as JSON ({error})", "repair or download the file") from error
    if not isinstance(content, dict):
        raise MetadataError(str(path), f"is a JSON {type(content).__name__}, not an object", "repair the file")
    return content


def _levels(image: Path, root: Path, extension: str, names: Names) -> Iterator[list[Path]]:
    """Yield the files that apply in each folder, from that of the image up to the root."""
    entities, suffix = entities_of(image.name), suffix_of(image.name)
    folder = image.parent
    while True:
        # inheritance principle: a file applies if the image has all its entities
        yield sorted(
            folder / name
            for name in names(folder)
            if name.endswith(f"{suffix}{extension}")
            and suffix_of(name) == suffix
            and entities_of(name).items() <= entities.items()
        )
        if folder in (root, folder.parent):
            return
        folder = folder.parent


def _select_file(image: Path, level: Sequence[Path], extension: str) -> Path:
    """Return the file of one folder that applies: the one with exactly the entities of the image, or the only one."""
    # the exact one first: without `run-` in its name, a file may also apply to other images
    exact = [path for path in level if entities_of(path.name) == entities_of(image.name)]
    matches = exact or level
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches)
        raise AmbiguityError(
            str(image), f"{len(matches)} {extension} files apply in {matches[0].parent}: {names}", "keep one"
        )
    return matches[0]

"""Which gradient table and sidecar belong to an image: the inheritance principle of BIDS."""

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
"""Of every image that is read."""
TABLE_EXTENSIONS = (".bval", ".bvec")
"""Of the two files of a gradient table."""


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


def remember_names(root: Path) -> Names:
    """Return what lists folders and remembers them: the root for all participants, so that a plan lists it once."""
    at_root = _list_root(root, root.stat().st_mtime_ns)
    below = cache(list_names)
    return lambda folder: at_root if folder == root else below(folder)


@lru_cache(maxsize=8)
def _list_root(root: Path, changed: int) -> tuple[str, ...]:  # noqa: ARG001 -- a folder that changed is listed anew
    return list_names(root)


def find_inherited(image: Path, extension: str, root: Path, names: Names = list_names) -> Path:
    """Return the file that applies to an image: same suffix, entities a subset, the nearest level wins.

    In one folder a file named just like the image goes before more general ones. pybids is no help here: its
    ``get_bval`` and ``get_bvec`` return the file of ``run-1`` for an image without ``run``, and raise `IndexError`
    where there is none.

    Parameters
    ----------
    image
        The image.
    extension
        Such as ``.bval`` or ``.bvec``.
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
    for level in _levels(image, root, extension, names):
        if level:
            return _the_one(image, level, extension)
    raise NoInputError(
        str(image), f"no {extension} file applies to it", f"put one beside it, named {_beside(image, extension)}"
    )


def sidecars_of(image: Path, root: Path, names: Names = list_names) -> list[list[Path]]:
    """Return the JSON files that apply to an image, the nearest folder first; arguments as of `find_inherited`."""
    return list(_levels(image, root, ".json", names))


def merge_sidecars(image: Path, levels: Sequence[Sequence[Path]]) -> dict[str, Any]:
    """Return the metadata of an image from the sidecars that apply to it, the nearer overriding the farther.

    Parameters
    ----------
    image
        The image.
    levels
        What `sidecars_of` returns.

    Raises
    ------
    AmbiguityError
        If two files of one folder apply, and neither is named just like the image.
    MetadataError
        If one of them is no JSON object.
    """
    merged: dict[str, Any] = {}
    for level in reversed(levels):
        if level:
            merged.update(read_json(_the_one(image, level, ".json")))
    return merged


def pybids_can_keep(content: Mapping[str, Any]) -> bool:
    """Whether pybids can keep metadata as they are: no field is named like an entity, no text holds a lone surrogate.

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
        If it cannot be read or is no object.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(str(path), f"cannot be read as JSON ({error})", "repair the file, or fetch it") from error
    if not isinstance(content, dict):
        raise MetadataError(str(path), f"holds a {type(content).__name__}, not an object", "repair the file")
    return content


def _levels(image: Path, root: Path, extension: str, names: Names) -> Iterator[list[Path]]:
    """Yield the files that apply, folder by folder, from that of the image up to the root."""
    entities, suffix = entities_of(image.name), suffix_of(image.name)
    folder = image.parent
    while True:
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


def _the_one(image: Path, level: Sequence[Path], extension: str) -> Path:
    """Return the file of one folder that applies: the one named just like the image, or the only one."""
    exact = [path for path in level if entities_of(path.name) == entities_of(image.name)]
    chosen = exact or level
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise AmbiguityError(
            str(image), f"{len(chosen)} {extension} files apply in {chosen[0].parent}: {names}", "keep one"
        )
    return chosen[0]


def _beside(image: Path, extension: str) -> str:
    return image.name.split(".", 1)[0] + extension

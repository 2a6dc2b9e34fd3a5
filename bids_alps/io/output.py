"""May a folder be written to? New, empty or our own ones may; whatever belongs to others stays as it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bids_alps.errors import OutputError
from bids_alps.io.root import PROGRAM, derivative_name, read_description

_PARTICIPANT = re.compile(r"sub-[a-zA-Z0-9+]+")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_PRESENT_BEFORE_RESULTS = ("logs", "work", "lost+found")
"""What batch systems, scratch space and new disks put into an output folder before anything is written."""
_OTHER = "choose a new or empty folder, or one that bids-alps made"

Identity = tuple[int, int]


def check_output(output_dir: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    """Check that a folder is this program's to write to: new, empty, or made by it.

    Folders are compared by device and inode, so that links, bind mounts, relative paths and the case of names hide
    nothing.

    Parameters
    ----------
    output_dir
        Where derivatives are to go.
    bids_dir
        The input.
    datasets
        Other datasets that are read, by name.

    Raises
    ------
    OutputError
        If it is an input or holds one, lies inside a participant's folder or in a dataset but not below its
        ``derivatives``, holds what this program did not make, or cannot be made or written to.
    """
    real = Path(os.path.realpath(output_dir))
    _refuse_inputs(output_dir, real, bids_dir, datasets)
    _refuse_participants(output_dir, (*real.parts, *mounted_from(real).parts))
    _refuse_datasets(output_dir, real, identify(bids_dir))
    if not is_ours(real):
        _refuse_foreign(output_dir, real)
    for name in _PRESENT_BEFORE_RESULTS:
        _refuse_link_out(output_dir / name, real)
    check_writable(real, str(output_dir), _OTHER)


def check_writable(folder: Path, where: str, remedy: str = "choose another folder") -> None:
    """Check that a folder can be written to, or be made.

    Raises
    ------
    OutputError
        If it is a file, or it or the first folder above it that exists cannot be written to.
    """
    real = Path(os.path.realpath(folder))
    nearest = next(path for path in (real, *real.parents) if identify(path) is not None)
    if not nearest.is_dir():
        raise OutputError(where, f"{nearest} is not a folder", remedy)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(where, f"{nearest} cannot be written to", remedy)


def check_source(output_dir: Path, bids_dir: Path) -> None:
    """Check that an output of ours was not made from another dataset, by the names of both.

    Raises
    ------
    OutputError
        If it was: results of both would be one dataset, and participants of one label one person.
    """
    there, here = read_description(output_dir).get("Name"), derivative_name(read_description(bids_dir))
    if there and here and there != here:
        raise OutputError(
            str(output_dir),
            f"its dataset_description.json says {there!r}, and the input would make it {here!r}",
            "choose another output folder; for a dataset that was renamed, put its new name into that file",
        )


def check_links(output_dir: Path, participant: str) -> None:
    """Check that no link leads from the folders of a participant to a place outside of the output.

    Files need no look: they are replaced, not written through.

    Raises
    ------
    OutputError
        If one does.
    """
    real, label = Path(os.path.realpath(output_dir)), f"sub-{participant}"
    for folder in (output_dir / label, output_dir / "logs" / label):
        _refuse_link_out(folder, real)
        for place, names, _ in os.walk(folder):
            for name in names:
                _refuse_link_out(Path(place) / name, real)


def _refuse_link_out(path: Path, output_dir: Path) -> None:
    target = Path(os.path.realpath(path))
    if path.is_symlink() and not target.is_relative_to(output_dir):
        raise OutputError(str(path), f"a link that leads out of the output, to {target}", "remove the link")


def identify(path: Path) -> Identity | None:
    """Return the device and the inode of what a path leads to; None where that is nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path, be there something or not, leads to a folder or to a place below it."""
    real, sought = Path(os.path.realpath(path)), identify(folder)
    by_inode = sought is not None and sought in map(identify, (real, *real.parents))
    return by_inode or real.is_relative_to(os.path.realpath(folder))


def mounted_from(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Path:
    """Return which folder of its file system is mounted where a path lies: a bind mount tells what it shows."""
    found = Path("/"), Path("/")
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return found[0]
    for fields in (line.split() for line in lines):
        root, point = (Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), field)) for field in fields[3:5])
        if path.is_relative_to(point) and point.is_relative_to(found[1]):  # the last of several hides the others
            found = root, point
    return found[0]


def is_ours(folder: Path) -> bool:
    """Whether a folder is a derivative dataset that this program made: the first of its ``GeneratedBy``."""
    described = read_description(folder)
    makers = described.get("GeneratedBy")
    first = makers[0] if isinstance(makers, list) and makers else None
    named = isinstance(first, dict) and first.get("Name") == PROGRAM
    return named and described.get("DatasetType") == "derivative"


def _refuse_inputs(output_dir: Path, real: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    output = identify(real)
    for name, path in (("the input", bids_dir), *((f"the dataset {name}", path) for name, path in datasets.items())):
        place = Path(os.path.realpath(path))
        if place == real or (output is not None and identify(path) == output):
            raise OutputError(str(output_dir), f"is {name} too", _OTHER)
        pooled = path != bids_dir and is_ours(path)  # results beside each other, under labels of their own
        if not pooled and output is not None and output in map(identify, place.parents):
            raise OutputError(str(output_dir), f"holds {name}, {path}", _OTHER)


def _refuse_participants(output_dir: Path, parts: Iterable[str]) -> None:
    inside = next((part for part in parts if _PARTICIPANT.fullmatch(part)), None)
    if inside is not None:
        raise OutputError(str(output_dir), f"lies inside {inside}, a participant's folder", _OTHER)


def _refuse_datasets(output_dir: Path, real: Path, bids_dir: Identity | None) -> None:
    """Refuse a place in a dataset that BIDS does not know: it would make that dataset invalid."""
    for folder in real.parents:
        is_dataset = identify(folder / "dataset_description.json") is not None or (
            bids_dir is not None and identify(folder) == bids_dir
        )
        if is_dataset and real.relative_to(folder).parts[0] != "derivatives":
            remedy = f"choose a folder outside of it, or {folder / 'derivatives' / PROGRAM}"
            raise OutputError(str(output_dir), f"lies in the dataset {folder}, outside its derivatives", remedy)


def _refuse_foreign(output_dir: Path, real: Path) -> None:
    """Refuse a folder that holds anything; it has no description of ours."""
    if not os.path.lexists(real):
        return
    try:
        entries = list(os.scandir(real))
    except OSError as error:
        raise OutputError(str(output_dir), f"cannot be listed ({error.strerror})", _OTHER) from error
    foreign = sorted(entry.name for entry in entries if not _is_harmless(entry))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        name = read_description(real).get("Name")
        whose = f" of the dataset {name!r}" if isinstance(name, str) else ""
        raise OutputError(
            str(output_dir), f"holds what bids-alps did not make ({', '.join(foreign[:3])}{more}){whose}", _OTHER
        )


def _is_harmless(entry: os.DirEntry[str]) -> bool:
    """Whether what lies in a folder says nothing of whose it is, such as ``.git`` or the logs of a batch system."""
    if entry.name == "derivatives" and entry.is_dir():
        return all(path.name.startswith(f"{PROGRAM}-") for path in Path(entry).iterdir())
    hidden = entry.name.startswith(".") and entry.name != ".bidsignore"
    return hidden or (entry.name in _PRESENT_BEFORE_RESULTS and entry.is_dir())

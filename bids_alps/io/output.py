"""Checks that the output folder is new, empty or from this program, so that no other data are overwritten."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from bids_alps.errors import OutputError
from bids_alps.io.root import PROGRAM, derivative_name, read_description

_PARTICIPANT = re.compile(r"sub-[a-zA-Z0-9+]+")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_PRESENT_BEFORE_RESULTS = ("logs", "work", "lost+found")
"""Folders that batch systems, temporary files and new disks may create in an output folder before any results."""
_SHARED = (*_PRESENT_BEFORE_RESULTS, "figures", "logs/settings", "logs/group")
"""Folders of an output that all participants share."""
_OTHER = "choose a new or empty folder, or an output of bids-alps"

Identity = tuple[int, int]


def check_output(output_dir: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    """Check that an output folder is new, empty, or from this program.

    Folders are compared by device and inode, which sees through links, bind mounts, relative paths and case.

    Parameters
    ----------
    output_dir
        Output folder.
    bids_dir
        Input dataset.
    datasets
        Other datasets that are read, by name.

    Raises
    ------
    OutputError
        If it is or contains an input, is inside a participant's folder or in a dataset outside ``derivatives``, has
        files of other programs or a shared folder that links out of it, or cannot be created or written to.
    """
    real = Path(os.path.realpath(output_dir))
    _refuse_inputs(output_dir, real, bids_dir, datasets)
    inside = next((part for part in (*real.parts, *mounted_from(real).parts) if _PARTICIPANT.fullmatch(part)), None)
    if inside is not None:
        raise OutputError(str(output_dir), f"is inside {inside}, a participant's folder", _OTHER)
    input_id = identify(bids_dir)
    for folder in real.parents:  # inside a dataset, but outside its derivatives, files would make it invalid
        is_input = input_id is not None and identify(folder) == input_id
        is_dataset = is_input or identify(folder / "dataset_description.json") is not None
        if is_dataset and real.relative_to(folder).parts[0] != "derivatives":
            remedy = f"choose a folder outside of it, or {folder / 'derivatives' / PROGRAM}"
            raise OutputError(str(output_dir), f"is in the dataset {folder}, outside its derivatives folder", remedy)
    if not is_ours(real):
        _refuse_foreign(output_dir, real)
    for name in _SHARED:
        _refuse_link_out(output_dir / name, real)
    check_writable(real, str(output_dir), _OTHER)


def check_writable(folder: Path, where: str, remedy: str = "choose another folder") -> None:
    """Check that a folder can be created or written to.

    Raises
    ------
    OutputError
        If it is a file, or if it, or its closest existing parent, cannot be written to.
    """
    real = Path(os.path.realpath(folder))
    nearest = next(path for path in (real, *real.parents) if identify(path) is not None)
    if not nearest.is_dir():
        raise OutputError(where, f"{nearest} is not a folder", remedy)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(where, f"{nearest} cannot be written to", remedy)


def check_source(output_dir: Path, bids_dir: Path) -> None:
    """Check that existing results are not from another dataset, by the names of both.

    Raises
    ------
    OutputError
        If they are: results of both would be mixed, and participants with the same label confused.
    """
    existing_name, expected_name = read_description(output_dir).get("Name"), derivative_name(read_description(bids_dir))
    if existing_name and expected_name and existing_name != expected_name:
        raise OutputError(
            str(output_dir),
            f"its dataset_description.json has the name {existing_name!r}, this input would give {expected_name!r}",
            "choose another output folder; if the dataset was renamed, enter the new name in that file",
        )


def check_links(output_dir: Path, participant: str) -> None:
    """Check that no link in the folders of a participant points outside the output.

    Only links to folders matter: files are replaced, not overwritten in place.

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
        raise OutputError(str(path), f"a link that points outside the output, to {target}", "remove the link")


def identify(path: Path) -> Identity | None:
    """Return device and inode of the target of a path; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path, existing or not, is a folder or below it."""
    real, target = Path(os.path.realpath(path)), identify(folder)
    by_inode = target is not None and target in map(identify, (real, *real.parents))
    return by_inode or real.is_relative_to(os.path.realpath(folder))


def mounted_from(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Path:
    """Return the folder, in its file system, that is mounted at the location of a path; for bind mounts the source."""
    mounted = Path("/"), Path("/")
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return mounted[0]
    for fields in (line.split() for line in lines):
        # fields 4 and 5 of mountinfo: folder in its file system, and mount point; blanks are octal escapes
        root, point = (Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), field)) for field in fields[3:5])
        if path.is_relative_to(point) and point.is_relative_to(mounted[1]):  # a later mount hides earlier ones
            mounted = root, point
    return mounted[0]


def is_ours(folder: Path) -> bool:
    """Whether a folder is a derivative dataset from this program, by the first entry of ``GeneratedBy``."""
    described = read_description(folder)
    generated_by = described.get("GeneratedBy")
    first = generated_by[0] if isinstance(generated_by, list) and generated_by else None
    named = isinstance(first, dict) and first.get("Name") == PROGRAM
    return named and described.get("DatasetType") == "derivative"


def _refuse_inputs(output_dir: Path, real: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    output = identify(real)
    for name, path in (("the input", bids_dir), *((f"the dataset {name}", path) for name, path in datasets.items())):
        place = Path(os.path.realpath(path))
        if place == real or (output is not None and identify(path) == output):
            raise OutputError(str(output_dir), f"is also {name}", _OTHER)
        pooled = path != bids_dir and is_ours(path)  # results side by side, by --output-label
        if not pooled and output is not None and output in map(identify, place.parents):
            raise OutputError(str(output_dir), f"contains {name}, {path}", _OTHER)


def _refuse_foreign(output_dir: Path, real: Path) -> None:
    """Refuse a folder with files of other programs."""
    if not os.path.lexists(real):
        return
    try:
        entries = list(os.scandir(real))
    except OSError as error:
        raise OutputError(str(output_dir), f"cannot be read ({error.strerror})", _OTHER) from error
    foreign = sorted(entry.name for entry in entries if not _is_harmless(entry))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        name = read_description(real).get("Name")
        whose = f" of the dataset {name!r}" if isinstance(name, str) else ""
        raise OutputError(
            str(output_dir), f"has files that bids-alps did not write ({', '.join(foreign[:3])}{more}){whose}", _OTHER
        )


def _is_harmless(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is no data, such as ``.git`` or logs of a batch system."""
    if entry.name == "derivatives" and entry.is_dir():
        return all(path.name.startswith(f"{PROGRAM}-") for path in Path(entry).iterdir())
    hidden = entry.name.startswith(".") and entry.name != ".bidsignore"
    return hidden or (entry.name in _PRESENT_BEFORE_RESULTS and entry.is_dir())

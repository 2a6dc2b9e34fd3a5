"""Is a file's content there? The light check that every input gets before work begins."""

from __future__ import annotations

from pathlib import Path

from bids_alps.errors import ImageError, NoInputError
from bids_alps.io.images import read_header

_DEFLATE_LIMIT = 1032
"""No deflate stream expands by more; a header that claims more than that of its file lies."""
_POINTER = b"/annex/objects/"


def check_there(path: Path) -> None:
    """Check that a file is there with its content, not a link or pointer to content that was not fetched.

    Raises
    ------
    NoInputError
        If it is not; the remedy names datalad where that would help.
    ImageError
        If it is empty.
    """
    fetch = f"run `datalad get {path}`"
    if path.is_symlink() and not path.exists():
        raise NoInputError(str(path), "a link to content that is not there", fetch)
    if not path.is_file():
        raise NoInputError(str(path), "no such file", "check the dataset")
    size = path.stat().st_size
    if size == 0:
        raise ImageError(str(path), "an empty file", "copy or fetch it again")
    if size < 1000:
        with path.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise NoInputError(str(path), "a pointer to content that is not there", fetch)


def check_series(path: Path) -> None:
    """Check that an image is there, is a 4-D NIfTI, and can hold what its header promises.

    Raises
    ------
    NoInputError, ImageError
        If not; see `check_there`.
    """
    check_there(path)
    header = read_header(path)
    if len(header.shape) != 4:
        raise ImageError(str(path), f"{len(header.shape)}-D image of shape {header.shape}", "give a 4-D series")
    held = path.stat().st_size * (_DEFLATE_LIMIT if path.name.endswith(".gz") else 1)
    if header.stored_bytes > held:
        raise ImageError(
            str(path),
            f"its header promises {header.stored_bytes} bytes, its file holds at most {held}",
            "copy or fetch it again",
        )

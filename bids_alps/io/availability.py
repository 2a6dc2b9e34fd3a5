"""Quick checks of input files before processing: content available, size consistent with the header."""

from __future__ import annotations

from pathlib import Path

from bids_alps.errors import ImageError, NoInputError
from bids_alps.io.images import read_header

_DEFLATE_LIMIT = 1032
"""Maximum compression ratio of deflate; a header that implies more data than this is wrong."""
_POINTER = b"/annex/objects/"


def check_available(path: Path) -> None:
    """Check that a file exists with its content, not only as a link or pointer of git-annex.

    Raises
    ------
    NoInputError
        If it does not; with the datalad command where that helps.
    ImageError
        If it is empty.
    """
    fetch = f"run `datalad get {path}`"
    if path.is_symlink() and not path.exists():
        raise NoInputError(str(path), "a link to content that is not available", fetch)
    if not path.is_file():
        raise NoInputError(str(path), "no such file", "check the dataset")
    size = path.stat().st_size
    if size == 0:
        raise ImageError(str(path), "an empty file", "copy or download it again")
    if size < 1000:
        with path.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise NoInputError(str(path), "a pointer to content that is not available", fetch)


def check_series(path: Path) -> None:
    """Check that an image exists, is a 4-D NIfTI, and is not smaller than its header implies.

    Raises
    ------
    NoInputError, ImageError
        If not; see `check_available`.
    """
    check_available(path)
    header = read_header(path)
    if len(header.shape) != 4:
        raise ImageError(str(path), f"{len(header.shape)}-D image of shape {header.shape}", "give a 4-D series")
    available = path.stat().st_size * (_DEFLATE_LIMIT if path.name.endswith(".gz") else 1)
    if header.stored_bytes > available:
        raise ImageError(
            str(path),
            f"its header implies {header.stored_bytes} bytes, its file has at most {available}",
            "copy or download it again",
        )

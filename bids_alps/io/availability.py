"""Is a file's content there? The light check that every input gets before work begins."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from bids_alps.errors import ImageError, NoInputError

_HEADER_BYTES = 348
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
    dimensions, bits = _dimensions(path, _header(path))
    if len(dimensions) != 4:
        raise ImageError(str(path), f"{len(dimensions)}-D image of shape {dimensions}", "give a 4-D series")
    promised = bits // 8
    for n in dimensions:
        promised *= n
    held = path.stat().st_size * (_DEFLATE_LIMIT if path.name.endswith(".gz") else 1)
    if promised > held:
        raise ImageError(
            str(path), f"its header promises {promised} bytes, its file holds at most {held}", "copy or fetch it again"
        )


def read_shape(path: Path) -> tuple[int, ...]:
    """Read how many voxels an image has along each dimension, from its header alone.

    Raises
    ------
    ImageError
        If it is no NIfTI.
    """
    return _dimensions(path, _header(path))[0]


def _header(path: Path) -> bytes:
    with path.open("rb") as stream:
        start = stream.read(4096)
    if path.name.endswith(".gz"):
        try:
            start = zlib.decompressobj(wbits=31).decompress(start, _HEADER_BYTES)
        except zlib.error as error:
            raise ImageError(str(path), f"no gzip file ({error})", "copy or fetch it again") from error
    if len(start) < _HEADER_BYTES:
        raise ImageError(str(path), f"only {len(start)} bytes of a header", "copy or fetch it again")
    return start[:_HEADER_BYTES]


def _dimensions(path: Path, header: bytes) -> tuple[tuple[int, ...], int]:
    for order in "<>":
        if struct.unpack_from(f"{order}i", header)[0] == _HEADER_BYTES:
            count, *sizes = struct.unpack_from(f"{order}8h", header, 40)
            (bits,) = struct.unpack_from(f"{order}h", header, 72)
            if 1 <= count <= 7 and all(n > 0 for n in sizes[:count]):
                return tuple(sizes[:count]), max(bits, 8)
        elif struct.unpack_from(f"{order}i", header)[0] == 540:  # NIfTI-2
            count, *wide = struct.unpack_from(f"{order}8q", header, 16)
            (bits,) = struct.unpack_from(f"{order}h", header, 14)
            if 1 <= count <= 7 and all(n > 0 for n in wide[:count]):
                return tuple(wide[:count]), max(bits, 8)
    raise ImageError(str(path), "no NIfTI header", "convert the series again")

"""Atomic writing: a temporary file next to the target, then a rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import nibabel as nib
import numpy as np
from zlib_ng import zlib_ng

from bids_alps.errors import AlpsError, OutputError, StorageError
from bids_alps.io.temporary import create_temporary
from bids_alps.model import Array, SpatialMap

_REFUSED = {
    errno.EACCES,
    errno.ELOOP,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EEXIST,
}

_TRANSIENT = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
    *(errno.ECONNRESET, errno.ECONNABORTED, errno.ESHUTDOWN, errno.EAGAIN, errno.ENOLCK, errno.ENODEV, errno.ENXIO),
}
"""How a network file system or a disk fails for a while; neither a full disk nor what is not allowed passes."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error is a transient storage failure."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _TRANSIENT:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; readers see the old or the new content, never a part.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    StorageError
        If the disk is full or fails.
    """
    _write(path, lambda stream: stream.write(content))


def _write(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, fill)
    except OSError as error:
        raise _explained(path, error) from error


def _replace(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    handle, temporary = create_temporary(path)
    try:
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
            stream.flush()
            # before the rename: a crash of the machine leaves the old file or the whole new one
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _explained(path: Path, error: OSError) -> AlpsError:
    reason = error.strerror or str(error)
    if error.errno in _REFUSED:
        return OutputError(str(path), f"cannot be written ({reason})", "choose an output folder that can be written to")
    return StorageError(str(path), f"writing failed ({reason})", "check the space and health of the disk")


def append_text(path: Path) -> TextIO:
    """Open a text file for appending, without following links.

    Raises
    ------
    OutputError
        If it is a link, or cannot be written to.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise _explained(path, error) from error
    return os.fdopen(handle, "a", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically; non-finite values become null."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    """Return a value as JSON types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file only if its content differs; return whether it was written.

    Jobs of an array share the files at the root of the output, so an equal file is left alone.
    """
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return False
    write_bytes(path, content)
    return True


def write_nifti(stream: BinaryIO, data: Array, affine: Array, *, dtype: Any, intent: str = "none") -> None:
    """Write a gzipped NIfTI-1 file volume by volume, without a second copy of the series."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(data.shape)
    header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), *(1.0,) * (data.ndim - 3)))
    header.set_xyzt_units("mm")
    header.set_intent(intent)
    # both forms, since programs differ in which one they read
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header.set_slope_inter(1.0, 0.0)
    # 348 bytes of header, and four that say that no extension follows
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    packer = _gzip_packer(np.dtype(dtype))
    stream.write(packer.compress(header.binaryblock + b"\0" * 4))
    # NIfTI stores the first axis fastest: whole volumes, the last axis slowest
    for index in np.ndindex(*data.shape[3:][::-1]):
        stream.write(packer.compress(np.asarray(data[(..., *index[::-1])], dtype=dtype).tobytes(order="F")))
    stream.write(packer.flush())


def _gzip_packer(dtype: np.dtype[Any]) -> Any:
    """Return a compressor to gzip without a time stamp: the same image gives the same bytes (unlike with ISA-L).

    Noise in single precision repeats nothing but zeros: with runs and Huffman codes alone, such images are as small as
    with a search for other matches (levels 2 and 3; within 1 %), in less than half the time. Labels repeat themselves.
    """
    level, strategy = (1, zlib_ng.Z_RLE) if dtype.kind == "f" else (2, zlib_ng.Z_DEFAULT_STRATEGY)
    return zlib_ng.compressobj(level, zlib_ng.DEFLATED, 16 + zlib_ng.MAX_WBITS, 9, strategy)


def write_displacements(path: Path, field: SpatialMap) -> None:
    """Write displacements as ITK reads them: a vector image, components along LPS+.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``.
    field
        Displacements in RAS+ mm, shape (i, j, k, 3).
    """
    lps = np.array([-1, -1, 1], dtype=np.float32)
    vectors = (np.asarray(field.data, dtype=np.float32) * lps)[..., None, :]
    _write(path, lambda stream: write_nifti(stream, vectors, field.affine, dtype=np.float32, intent="vector"))


def write_map(
    path: Path, image: SpatialMap, *, sidecar: Mapping[str, Any] | None = None, dtype: Any = np.float32
) -> None:
    """Write an image (``.nii.gz``) and, first, its JSON sidecar; both atomically.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``.
    image
        What to write.
    sidecar
        Content of the JSON file beside it; none where None.
    dtype
        Type on disk.
    """
    if sidecar is not None:
        write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
    _write(path, lambda stream: write_nifti(stream, image.data, image.affine, dtype=dtype))

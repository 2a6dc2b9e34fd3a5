"""Reading diffusion images and their gradient tables, with every complaint at the door."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_alps.errors import AlpsError, GradientError, ImageError, NoInputError
from bids_alps.model import Array, DwiRun, DwiSeries, Gradients, SpatialMap
from bids_alps.model.arrays import checked_affine
from bids_alps.numerics.tensors.gradients import world_from_fsl

MAXIMUM_BYTES = 64 * 2**30
"""Largest image that is read, decompressed, bytes: an error in a header, or a bomb, would ask for more."""

UNIT_TOLERANCE = 0.02
"""How far from 1 the length of a b-vector may be, as rounding in a text file makes it."""


_DAMAGED = (OSError, EOFError, zlib.error, ValueError, TypeError, ArithmeticError, nib.filebasedimages.ImageFileError)
"""What nibabel raises for files that are no images, or only a part of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What the header of an image promises: its shape, and the bytes of its values as stored."""

    shape: tuple[int, ...]
    stored_bytes: int


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image alone; same errors as `read_map`."""
    image = _open(path)
    return ImageHeader(shape=image.shape, stored_bytes=_stored_bytes(image))


def read_map(path: Path, *, dtype: Any = np.float32) -> SpatialMap:
    """Read a 3-D image, or a 4-D one with a single volume.

    Raises
    ------
    NoInputError
        If there is no such file, or a link without content.
    ImageError
        If it cannot be read or has more volumes.
    """
    image = _open(path)
    data = _data(path, image, dtype)
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ImageError(str(path), f"{data.ndim} dimensions, shape {data.shape}", "give a 3-D image")
    return SpatialMap(data=data, affine=image.affine)


def read_volumes(path: Path) -> SpatialMap:
    """Read a 3-D or 4-D image as a 4-D one, float32; same errors as `read_map`."""
    image = _open(path)
    data = _data(path, image, np.float32)
    return SpatialMap(data=data[..., None] if data.ndim == 3 else data, affine=image.affine)


def read_series(run: DwiRun) -> DwiSeries:
    """Read a run: signal as float32, gradients in RAS+ world axes.

    Raises
    ------
    NoInputError
        If a file is not there, or a link without content.
    ImageError
        If the image is not 4-D, cannot be read whole, or has values that are not finite.
    GradientError
        If the b-values or b-vectors cannot be used, or do not fit the image.
    """
    image = _open(run.image)
    if len(image.shape) != 4:
        raise ImageError(str(run.image), f"{len(image.shape)}-D image of shape {image.shape}", "give a 4-D series")
    gradients = read_gradients(run, image.affine, volumes=image.shape[3])
    data = _data(run.image, image, np.float32)
    bad = sum(int(np.count_nonzero(~np.isfinite(data[..., n]))) for n in range(data.shape[3]))
    if bad:
        raise ImageError(str(run.image), f"{bad} values are not finite", "convert the series again")
    return DwiSeries(image=SpatialMap(data=data, affine=image.affine), gradients=gradients)


def read_gradients(run: DwiRun, affine: Array, *, volumes: int) -> Gradients:
    """Read b-values and b-vectors of a run as world directions; see `read_series` for errors."""
    bvals = read_bvals(run.bval)
    if bvals.size != volumes:
        raise GradientError(
            str(run.bval), f"{bvals.size} b-values for {volumes} volumes", "give one b-value per volume"
        )
    in_world = run.bvec.suffix == ".b"
    bvecs = read_world_bvecs(run.bvec, bvals) if in_world else read_bvecs(run.bvec, volumes=volumes)
    lengths = np.linalg.norm(bvecs, axis=1)
    weighted = bvals > 50
    if (weighted & (lengths < 0.5)).any():
        lost = np.flatnonzero(weighted & (lengths < 0.5))
        raise GradientError(
            str(run.bvec),
            f"{lost.size} of {int(weighted.sum())} diffusion-weighted volumes have a b-vector of length "
            f"{lengths[lost[0]]:.3f} (first: volume {lost[0]})",
            "give a unit vector for each weighted volume",
        )
    off = weighted & (np.abs(lengths - 1) > UNIT_TOLERANCE)
    if off.any():
        worst = int(np.argmax(np.where(off, np.abs(lengths - 1), 0)))
        raise GradientError(
            str(run.bvec),
            f"b-vector of volume {worst} has length {lengths[worst]:.3f}",
            "normalise the b-vectors (and scale the b-values where their length stood for it)",
        )
    unit = np.divide(bvecs, lengths[:, None], out=np.zeros_like(bvecs), where=lengths[:, None] >= 0.5)
    try:
        return Gradients(bvals=bvals, bvecs=unit if in_world else world_from_fsl(unit, affine))
    except GradientError as error:
        raise error.at(str(run.bval)) from error


def read_bvals(path: Path) -> Array:
    """Read b-values, shape (n,), s/mm^2, from one line or one column."""
    table = _numbers(path)
    if 1 not in table.shape:
        raise GradientError(str(path), f"a table of shape {table.shape}", "write all b-values on one line")
    return table.reshape(-1)


def read_bvecs(path: Path, *, volumes: int) -> Array:
    """Read b-vectors in FSL convention, shape (n, 3), from three lines of n numbers."""
    table = _numbers(path)
    if table.shape == (3, volumes):
        return table.T
    if table.shape == (volumes, 3):
        raise GradientError(
            str(path), f"{volumes} lines of 3 numbers: the table is transposed", f"write 3 lines of {volumes} numbers"
        )
    raise GradientError(
        str(path), f"a table of shape {table.shape} for {volumes} volumes", f"write 3 lines of {volumes} numbers"
    )


def read_world_bvecs(path: Path, bvals: Array) -> Array:
    """Read directions in RAS+ world axes, shape (n, 3), from MRtrix3's table of x, y, z and b, one line a volume.

    Parameters
    ----------
    path
        The table, as QSIPrep writes it beside its series.
    bvals
        b-values of the series, shape (n,), s/mm^2, which the table must repeat.

    Raises
    ------
    GradientError
        If the table has another shape, or other b-values.
    """
    table = _numbers(path)
    if table.shape != (bvals.size, 4):
        raise GradientError(str(path), f"a table of shape {table.shape}", f"write {bvals.size} lines of x, y, z and b")
    strayed = np.abs(table[:, 3] - bvals) > 1 + 0.01 * bvals
    if strayed.any():
        first = int(np.argmax(strayed))
        raise GradientError(
            str(path),
            f"b = {table[first, 3]:g} in volume {first}, {bvals[first]:g} in the .bval file",
            "give both files of one series",
        )
    return table[:, :3]


def _numbers(path: Path) -> Array:
    try:
        if path.stat().st_size > 2**24:
            raise GradientError(str(path), f"{path.stat().st_size} bytes", "give a text file of b-values or b-vectors")
        lines = [line.split() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        table = np.array([[float(word) for word in line] for line in lines], dtype=np.float64)
    except OSError as error:
        raise _not_there(path, error) from error
    except ValueError as error:
        raise GradientError(str(path), f"no table of numbers ({error})", "give numbers separated by blanks") from error
    if table.size == 0 or not np.isfinite(table).all():
        raise GradientError(str(path), "empty, or a value that is not finite", "give finite numbers")
    return table


def _open(path: Path) -> Any:
    try:
        image: Any = nib.load(path)
    except FileNotFoundError as error:
        raise _not_there(path, error) from error
    except (*_DAMAGED, nib.spatialimages.HeaderDataError, nib.spatialimages.HeaderTypeError) as error:
        raise ImageError(
            str(path), f"cannot be read as NIfTI ({error})", "convert it again, or fetch it whole"
        ) from error
    try:
        checked_affine(image.affine)
    except ImageError as error:
        raise error.at(str(path)) from error
    stored = _stored_bytes(image)
    if stored > MAXIMUM_BYTES:
        raise ImageError(str(path), f"its header speaks of {stored / 2**30:.0f} GiB", "check the header")
    return image


def _stored_bytes(image: Any) -> int:
    return math.prod(image.shape) * int(image.get_data_dtype().itemsize)


def _data(path: Path, image: Any, dtype: Any) -> Array:
    try:
        scaled = np.asanyarray(image.dataobj)
    except _DAMAGED as error:
        raise ImageError(str(path), f"truncated or damaged ({error})", "convert it again, or fetch it whole") from error
    if scaled.dtype.kind not in "biuf":
        raise ImageError(str(path), f"values of type {scaled.dtype}", "give an image of real numbers")
    return np.asarray(scaled, dtype=dtype)


def _not_there(path: Path, error: OSError) -> AlpsError:
    if path.is_symlink():
        return NoInputError(str(path), "a link to content that is not there", f"run `datalad get {path}`")
    return NoInputError(str(path), f"cannot be read ({error.strerror or error})", "check the path and its permissions")

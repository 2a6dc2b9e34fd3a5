"""Read and validate diffusion images and their gradient tables."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from scipy import ndimage
from zlib_ng import gzip_ng, zlib_ng

from bids_alps.errors import ImageError
from bids_alps.io.gradient_tables import read_gradients, unreadable
from bids_alps.model import Array, DwiRun, DwiSeries, SpatialMap
from bids_alps.model.arrays import checked_affine

MAX_BYTES = 64 * 2**30
"""Largest image that is read, decompressed, bytes: an error in a header, or a bomb, would ask for more."""

_BACKGROUND = 0.1
"""Share of the 98th percentile of the mean signal up to which a voxel is background."""


_ZLIB_NG_ERROR: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stub declares an instance
_DAMAGED = (
    *(OSError, EOFError, zlib.error, _ZLIB_NG_ERROR, ValueError, TypeError, ArithmeticError),
    nib.filebasedimages.ImageFileError,
)
"""What nibabel and the decompression raise for files that are no images, or only a part of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Geometry and size of an image, from its header.

    Parameters
    ----------
    shape
        Of the image.
    stored_bytes
        Of its values, before compression.
    affine
        Voxels to RAS+ world mm.
    sform_code, qform_code
        Codes of the NIfTI header; 0 if absent.
    left_right_known
        Whether the header distinguishes left from right: it has a sform or a qform, and the two agree.
    """

    shape: tuple[int, ...]
    stored_bytes: int
    affine: Array
    sform_code: int = 0
    qform_code: int = 0
    left_right_known: bool = True


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image; same errors as `read_map`."""
    image = _open(path)
    codes = [int(image.header[f"{form}form_code"]) if isinstance(image, nib.Nifti1Pair) else 1 for form in "sq"]
    known = any(codes)
    if all(codes):
        try:
            axes = [np.asarray(form)[:3, :3] for form in (image.get_sform(), image.get_qform())]
            from_one_to_other = axes[1] @ np.linalg.inv(axes[0])
            known = bool(from_one_to_other[0, 0] > 0)  # x of one form lies along x of the other
        except (ValueError, ArithmeticError, AttributeError, np.linalg.LinAlgError):
            known = False
    return ImageHeader(
        shape=image.shape,
        stored_bytes=_stored_bytes(image),
        affine=image.affine,
        sform_code=codes[0],
        qform_code=codes[1],
        left_right_known=known,
    )


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


def read_series(run: DwiRun, *, b0_threshold: float = 50.0) -> DwiSeries:
    """Read a run: signal as float32, gradients in RAS+ world axes.

    Tolerated with a note: non-finite values in the background (read as 0), non-finite b-vectors at b=0, transposed
    tables of b-vectors, and b-vectors up to 10 % longer or shorter than 1.

    Parameters
    ----------
    run
        Its files.
    b0_threshold
        Volumes with a b-value up to this are treated as b=0, s/mm^2.

    Raises
    ------
    NoInputError
        If a file is not there, or a link without content.
    ImageError
        If the image is not 4-D, cannot be read whole, has values in the head that are not finite, or an empty volume.
    GradientError
        If the b-values or b-vectors cannot be used, or do not fit the image.
    """
    image = _open(run.image)
    if len(image.shape) != 4:
        raise ImageError(str(run.image), f"{len(image.shape)}-D image of shape {image.shape}", "give a 4-D series")
    notes: list[str] = []
    gradients = read_gradients(run, image.affine, volumes=image.shape[3], b0_threshold=b0_threshold, notes=notes)
    data = _without_gaps(run.image, _data(run.image, image, np.float32), notes)
    empty = [n for n in range(data.shape[3]) if not data[..., n].any()]
    if empty:
        listed = ", ".join(map(str, empty[:5])) + (" ..." if len(empty) > 5 else "")
        raise ImageError(
            str(run.image),
            f"{len(empty)} of {data.shape[3]} volumes are zero everywhere (volume {listed})",
            "convert the series again, or leave them out of image and tables",
        )
    return DwiSeries(image=SpatialMap(data=data, affine=image.affine), gradients=gradients, notes=tuple(notes))


def _without_gaps(path: Path, data: Array, notes: list[str]) -> Array:
    """Return a series with non-finite values of the background set to 0."""
    lost = np.zeros(data.shape[:3], dtype=bool)
    count = 0
    for n in range(data.shape[3]):
        bad = ~np.isfinite(data[..., n])
        count += int(np.count_nonzero(bad))
        lost |= bad
    if not count:
        return data
    # signal around each gap: mean over its valid neighbors in 3 x 3 x 3 voxels
    whole = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    mean = whole.mean(-1)
    valid = ndimage.uniform_filter((~lost).astype(np.float32), 3)
    around = ndimage.uniform_filter(mean, 3) / np.maximum(valid, 1 / 27)
    parts, number = ndimage.label(lost)
    edge = np.ones(lost.shape, dtype=bool)
    edge[1:-1, 1:-1, 1:-1] = False
    outside = np.isin(parts, np.setdiff1d(np.unique(parts[edge & lost]), [0]))  # such as NaN all around a brain
    inside = lost & ~outside & (around > _BACKGROUND * np.percentile(mean, 98))
    if number and inside.any():
        raise ImageError(
            str(path),
            f"{count} values are not finite, {int(inside.sum())} voxels of them in the head",
            "convert the series again",
        )
    notes.append(f"{count} values of {path.name} that are not finite, all in the background, were read as 0")
    return whole


def _open(path: Path) -> Any:
    try:
        image: Any = nib.load(path)
    except FileNotFoundError as error:
        raise unreadable(path, error) from error
    except (*_DAMAGED, nib.spatialimages.HeaderDataError, nib.spatialimages.HeaderTypeError) as error:
        raise ImageError(
            str(path), f"cannot be read as NIfTI ({error})", "convert it again, or fetch it whole"
        ) from error
    try:
        checked_affine(image.affine)
    except ImageError as error:
        raise error.at(str(path)) from error
    stored = _stored_bytes(image)
    if stored > MAX_BYTES:
        raise ImageError(str(path), f"its header speaks of {stored / 2**30:.0f} GiB", "check the header")
    return image


def _stored_bytes(image: Any) -> int:
    return math.prod(image.shape) * int(image.get_data_dtype().itemsize)


def _data(path: Path, image: Any, dtype: Any) -> Array:
    stored = image.dataobj
    if stored.dtype.kind not in "biuf":
        raise ImageError(str(path), f"values of type {stored.dtype}", "give an image of real numbers")
    if not math.prod(stored.shape):
        raise ImageError(str(path), f"no voxels: shape {stored.shape}", "convert it again, or fetch it whole")
    try:
        if type(stored) is ArrayProxy and path.suffix == ".gz":  # zlib-ng decompresses twice as fast as zlib
            header = (stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter)
            with gzip_ng.open(path, "rb") as stream:
                return _by_volumes(ArrayProxy(stream, header), dtype)
        return _by_volumes(stored, dtype)
    except _DAMAGED as error:
        raise ImageError(str(path), f"truncated or damaged ({error})", "convert it again, or fetch it whole") from error


def _by_volumes(stored: Any, dtype: Any) -> Array:
    """Return stored values scaled and converted; those of a series volume by volume, since scaling makes float64."""
    if len(stored.shape) != 4:
        return np.asarray(np.asanyarray(stored), dtype=dtype)
    data = np.empty(stored.shape, dtype=dtype, order="F")
    for n in range(stored.shape[3]):
        try:
            data[..., n] = stored[..., n]
        except _DAMAGED as error:
            raise OSError(f"volume {n + 1} of {stored.shape[3]}: {error}") from error
    return data

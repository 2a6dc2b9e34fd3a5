"""Conversion to and from SimpleITK and greedy, which use LPS+ instead of RAS+ coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk

from bids_alps.model import Array, SpatialMap

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run ITK with one thread: its metrics sum in the order in which threads finish, so results would vary.

    ``ImageRegistrationMethod.SetNumberOfThreads`` does not affect all of its parts.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def itk_image(image: SpatialMap) -> sitk.Image:
    """Return a 3-D map as a SimpleITK image of float32.

    The columns of the affine must be orthogonal up to rounding, as those of scanners are; shear would be lost.
    """
    matrix = _FLIP @ image.affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    # closest orthogonal matrix, since ITK rejects directions with rounding errors
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    itk = sitk.GetImageFromArray(np.ascontiguousarray(image.data.T, dtype=np.float32))
    itk.SetSpacing(spacing.tolist())
    itk.SetOrigin(matrix[:3, 3].tolist())
    itk.SetDirection((left @ right).ravel().tolist())
    return itk


def grid_affine(image: sitk.Image) -> Array:
    """Return the affine of an ITK image: voxel indices to RAS+ world mm, shape (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return _FLIP @ matrix


def spatial_map(image: sitk.Image) -> SpatialMap:
    """Return an ITK image as a map in the RAS+ frame; vectors of three become RAS+ vectors in the last axis."""
    values = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        return SpatialMap(data=values.T, affine=grid_affine(image))
    vectors = np.transpose(values, (2, 1, 0, 3)) * np.array([-1, -1, 1], dtype=values.dtype)
    return SpatialMap(data=vectors, affine=grid_affine(image))


def ras_matrix(transform: sitk.Transform) -> Array:
    """Return a linear ITK transform as the RAS+ matrix by which it maps points, shape (4, 4)."""
    corners = np.vstack([np.zeros(3), np.eye(3) * 100.0])
    mapped = np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (mapped[1:] - mapped[0]).T / 100.0, mapped[0]
    return _FLIP @ matrix @ _FLIP


def itk_affine(matrix: Array) -> sitk.AffineTransform:
    """Return a RAS+ matrix, shape (4, 4), as an ITK transform."""
    lps = _FLIP @ np.asarray(matrix, dtype=np.float64) @ _FLIP
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def isotropic(image: sitk.Image, step_mm: float, *, padding_mm: float = 0.0) -> sitk.Image:
    """Return an image resampled to an isotropic grid along world axes, smoothed against aliasing, zero outside."""
    low, high = _extent(image)
    low, high = low - padding_mm, high + padding_mm
    size = np.maximum(np.ceil((high - low) / step_mm), 1).astype(int)
    return sitk.Resample(
        smoothed(image, step_mm / 2),
        size.tolist(),
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear,
        low.tolist(),
        [step_mm] * 3,
        np.eye(3).ravel().tolist(),
        0.0,
        sitk.sitkFloat32,
    )


def smoothed(image: sitk.Image, sigma_mm: float) -> sitk.Image:
    """Return an image smoothed to a given Gaussian width, including that of the voxel: unchanged along coarser axes."""
    widths = [np.sqrt(max(sigma_mm**2 - (size / 2) ** 2, 0.0)) for size in image.GetSpacing()]
    return sitk.SmoothingRecursiveGaussian(image, [max(width, 1e-3) for width in widths]) if any(widths) else image


def _extent(image: sitk.Image) -> tuple[Array, Array]:
    """Return the lowest and highest LPS coordinates of an image's voxel centers."""
    size = np.array(image.GetSize()) - 1
    corners = np.array(
        [image.TransformContinuousIndexToPhysicalPoint((size * corner).tolist()) for corner in np.ndindex(2, 2, 2)]
    )
    return corners.min(axis=0), corners.max(axis=0)


def itk_text(matrix: Array) -> str:
    """Return a RAS+ matrix, shape (4, 4), as an ITK text file of an affine transform (LPS, same point mapping).

    Examples
    --------
    >>> print(itk_text(np.eye(4)).splitlines()[3])
    Parameters: 1 0 0 0 1 0 0 0 1 0 0 0
    """
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ matrix @ flip + 0.0
    numbers = " ".join(f"{value:.12g}" for value in (*lps[:3, :3].ravel(), *lps[:3, 3]))
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
    )

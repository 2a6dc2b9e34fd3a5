"""Interpolation of images at points, compiled: by cubic B-splines, and linearly.

interpn (Rust) evaluates a cubic B-spline about three times as fast as `scipy.ndimage.map_coordinates`; the coefficients
are SciPy's, so that both give the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from interpn import MultiBsplineRegular, MultilinearRegular
from interpn.serialization import ArrayF32
from scipy import ndimage

from bids_alps.model import Array

_MARGIN = 2


@dataclass(frozen=True, slots=True)
class CubicSpline:
    """An image as a cubic B-spline, mirrored at its outermost voxels.

    Parameters
    ----------
    spline
        The coefficients, with a rim.
    shape
        Of the image.
    """

    spline: MultiBsplineRegular
    shape: tuple[int, ...]

    @classmethod
    def of_image(cls, image: Array) -> CubicSpline:
        """Return the spline through the values of an image, shape (i, j, k)."""
        return cls.of_coefficients(ndimage.spline_filter(image, order=3, mode="mirror", output=np.float32))

    @classmethod
    def of_coefficients(cls, coefficients: Array) -> CubicSpline:
        """Return the spline with given coefficients, shape (i, j, k)."""
        # a rim, since interpn ends its splines otherwise, and wants four voxels along each axis
        padded = np.pad(np.asarray(coefficients, dtype=np.float32), _MARGIN, mode="reflect")
        return cls(
            MultiBsplineRegular(
                dims=list(padded.shape),
                starts=_vector(-_MARGIN),
                steps=_vector(1),
                coeffs=ArrayF32(data=padded.ravel()),
                linearize_extrapolation=False,
            ),
            coefficients.shape,
        )

    @classmethod
    def mean(cls, splines: Sequence[CubicSpline]) -> CubicSpline:
        """Return the mean of splines of the same grid."""
        first = splines[0]
        total = np.zeros(first.spline.coeffs.data.size, dtype=np.float32)
        for each in splines:
            total += each.spline.coeffs.data
        total /= len(splines)
        return cls(first.spline.model_copy(update={"coeffs": ArrayF32(data=total)}), first.shape)

    def __call__(self, voxels: Array) -> Array:
        """Return the values at voxel indices, shape (3, n), those outside the grid moved to its edge; float32, (n,)."""
        values: Array = self.spline.eval_unchecked(_on_grid(voxels, self.shape))
        return values


@dataclass(frozen=True, slots=True)
class LinearImage:
    """An image between whose voxels values are interpolated linearly.

    Parameters
    ----------
    linear
        The values.
    shape
        Of the image.
    """

    linear: MultilinearRegular
    shape: tuple[int, ...]

    @classmethod
    def of_image(cls, image: Array) -> LinearImage:
        """Return an image of shape (i, j, k), ready for interpolation."""
        values = np.asarray(image, dtype=np.float32)
        if 1 in image.shape:  # interpn wants two voxels along each axis
            values = np.pad(values, [(0, int(n == 1)) for n in image.shape], mode="edge")
        origin, step = np.zeros(3, np.float32), np.ones(3, np.float32)
        return cls(MultilinearRegular.new(list(values.shape), origin, step, values), image.shape)

    def __call__(self, voxels: Array) -> Array:
        """Return the values at voxel indices, shape (3, n), those outside the grid moved to its edge; float32, (n,).

        Examples
        --------
        >>> ramp = LinearImage.of_image(np.arange(8.0).reshape(2, 2, 2))
        >>> ramp(np.array([[0.5, 1.0], [0.0, 1.0], [0.0, 3.0]])).tolist()
        [2.0, 7.0]
        """
        values: Array = self.linear.eval_unchecked(_on_grid(voxels, self.shape))
        return values


def is_on_grid(voxels: Array, shape: tuple[int, ...]) -> Array:
    """Return which voxel indices, shape (3, n), lie between the outermost voxel centers of a grid; shape (n,)."""
    inside: Array = np.ones(voxels.shape[1], dtype=bool)
    for index, n in zip(voxels, shape, strict=True):
        inside &= (index >= 0) & (index <= n - 1)
    return inside


def _on_grid(voxels: Array, shape: tuple[int, ...]) -> list[Array]:
    return [np.clip(index, 0, n - 1, dtype=np.float32) for index, n in zip(voxels, shape, strict=True)]


def _vector(value: float) -> ArrayF32:
    return ArrayF32(data=np.full(3, value, dtype=np.float32))

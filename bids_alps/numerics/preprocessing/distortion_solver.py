"""Displacement that makes two images with different phase encoding equal, at one resolution level.

Gauss-Newton steps by conjugate gradients on central differences, with a smoothness term and the barrier against
folding of Ruthotto et al. 2012, doi 10.1088/0031-9155/57/18/5715.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg

from bids_alps.model import Array
from bids_alps.numerics.interpolation import CubicSpline, LinearImage, is_on_grid

SMOOTHNESS = 0.01
BARRIER = 0.1
"""Weights of the field's roughness and of what keeps it from folding, beside squared intensities relative to tissue."""
MAX_SLOPE = 0.95
"""Steepest field; at 1 an image would fold."""


@dataclass(slots=True, kw_only=True)
class EpiImage:
    """One image of the pair, on the grid of the first."""

    data: Array
    voxels: Array
    own_axis: int
    axis: int
    shift: float
    slope: float

    def smoothed(self, sigma: float) -> tuple[CubicSpline, LinearImage]:
        """Return the smoothed image, and its derivative along phase encoding."""
        smooth = ndimage.gaussian_filter(self.data, sigma)
        derivative = np.gradient(smooth, axis=self.own_axis)
        return CubicSpline.of_image(smooth), LinearImage.of_image(derivative)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwarpedImage:
    """An image corrected by a field, and its derivatives with respect to the field and its slope."""

    corrected: Array
    by_field: Array
    by_slope: Array


def unwarp(side: EpiImage, images: tuple[CubicSpline, LinearImage], field: Array, stride: int) -> UnwarpedImage:
    """Correct one side on a coarser grid, given its image and derivative from `EpiImage.smoothed`."""
    grid = np.indices(field.shape, dtype=np.float32).reshape(3, -1)
    to_side = side.voxels.astype(np.float32)
    places = (to_side[:3, :3] * stride) @ grid + to_side[:3, 3:]
    places[side.own_axis] += np.float32(side.shift) * field.ravel()
    inside, (image, derivative) = is_on_grid(places, side.data.shape), images
    value, slope = ((values * inside).reshape(field.shape) for values in (image(places), derivative(places)))
    stretch = 1 + side.slope * _difference(field, side.axis, stride)
    return UnwarpedImage(corrected=value * stretch, by_field=side.shift * slope * stretch, by_slope=side.slope * value)


def _difference(field: Array, axis: int, stride: int) -> Array:
    """Return central differences per voxel of the full grid, zero at both ends."""
    moved = np.moveaxis(field, axis, 0)
    out = np.zeros_like(moved)
    np.subtract(moved[2:], moved[:-2], out=out[1:-1])
    out *= 0.5 / stride
    return np.moveaxis(out, 0, axis)


def _difference_adjoint(values: Array, axis: int, stride: int) -> Array:
    moved = np.moveaxis(values, axis, 0)
    out = np.zeros_like(moved)
    out[2:] += moved[1:-1]
    out[:-2] -= moved[1:-1]
    out *= 0.5 / stride
    return np.moveaxis(out, 0, axis)


def _roughness(field: Array, size: Array, stride: int) -> Array:
    """Return the (negative) Laplacian of the field, in units of the smallest voxel edge."""
    out = np.zeros_like(field)
    for axis in range(3):
        step = np.diff(field, axis=axis) * float((size.min() / size[axis] / stride) ** 2)
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        out[tuple(before)] -= step
        out[tuple(after)] += step
    return out


@dataclass(slots=True, kw_only=True)
class Problem:
    """The pair at one resolution level."""

    sides: tuple[EpiImage, EpiImage]
    images: tuple[tuple[CubicSpline, LinearImage], tuple[CubicSpline, LinearImage]]
    size: Array
    stride: int
    weight: float = SMOOTHNESS

    def residual(self, field: Array) -> tuple[UnwarpedImage, UnwarpedImage, Array]:
        """Return both images corrected by a field, and their difference."""
        first, second = (unwarp(s, i, field, self.stride) for s, i in zip(self.sides, self.images, strict=True))
        return first, second, first.corrected - second.corrected

    def cost(self, field: Array, residual: Array) -> float:
        """Return the value to minimize; infinite where the field folds."""
        slopes = [side.slope * _difference(field, side.axis, self.stride) for side in self.sides]
        if max(float(np.abs(slope).max()) for slope in slopes) > MAX_SLOPE:
            return float("inf")
        rough = np.vdot(field, _roughness(field, self.size, self.stride))
        squares = [slope * slope for slope in slopes]
        barrier = sum(float(np.sum(square * square / (1 - square))) for square in squares)
        return float(np.vdot(residual, residual)) + self.weight * float(rough) + BARRIER * barrier

    def barrier(self, field: Array) -> tuple[list[Array], list[Array]]:
        """Return the derivatives of the folding barrier with respect to the slope of the field along each axis."""
        firsts, seconds = [], []
        for side in self.sides:
            slope = side.slope * _difference(field, side.axis, self.stride)
            square = slope * slope  # numpy takes forty times as long for a third or higher power
            rest = 1 - square
            firsts.append((BARRIER * side.slope) * slope * square * (4 - 2 * square) / (rest * rest))
            bend = square * (12 + square * (2 * square - 6)) / (rest * rest * rest)
            seconds.append((BARRIER * side.slope**2) * bend)
        return firsts, seconds

    def _by_axis(self, first: Array, second: Array) -> dict[int, Array]:
        """Return the parts of both images by axis of distortion: their sum if it is the same, as in most pairs."""
        one, other = (side.axis for side in self.sides)
        return {one: first + second} if one == other else {one: first, other: second}

    def step(self, field: Array, first: UnwarpedImage, second: UnwarpedImage, residual: Array) -> Array:
        """Return the Gauss-Newton step."""
        plain = first.by_field - second.by_field
        by_slope = self._by_axis(first.by_slope, -second.by_slope)
        pull, stiffness = (self._by_axis(*derivatives) for derivatives in self.barrier(field))

        def normal(flat: Array) -> Array:
            change = flat.reshape(field.shape)
            slopes = {axis: _difference(change, axis, self.stride) for axis in by_slope}
            forward = plain * change
            for axis, slope in slopes.items():
                forward += by_slope[axis] * slope
            full: Array = plain * forward + self.weight * _roughness(change, self.size, self.stride)
            for axis, slope in slopes.items():
                full += _difference_adjoint(by_slope[axis] * forward + stiffness[axis] * slope, axis, self.stride)
            return full.ravel()

        slope = first.by_slope**2 + second.by_slope**2 + sum(stiffness.values())
        diagonal = plain**2 + slope / (2 * self.stride**2) + 6 * self.weight / self.stride**2
        operator = LinearOperator((field.size, field.size), matvec=normal, dtype=field.dtype)
        precondition = LinearOperator(
            (field.size, field.size), matvec=lambda flat: flat / diagonal.ravel(), dtype=field.dtype
        )
        gradient = plain * residual + self.weight * _roughness(field, self.size, self.stride)
        for axis in by_slope:
            gradient += _difference_adjoint(by_slope[axis] * residual + pull[axis], axis, self.stride)
        change, _ = cg(operator, -gradient.ravel(), rtol=0.03, maxiter=40, M=precondition)
        return np.asarray(change, dtype=field.dtype).reshape(field.shape)

    def minimize(self, field: Array, steps: int) -> Array:
        """Return the field after damped Gauss-Newton steps."""
        first, second, residual = self.residual(field)
        cost = self.cost(field, residual)
        for _ in range(steps):
            change, length = self.step(field, first, second, residual), 1.0
            while length > 0.1:
                tried = field + length * change
                seen = self.residual(tried)
                if self.cost(tried, seen[2]) < cost:
                    break
                length /= 2
            else:
                return field
            field, (first, second, residual) = tried, seen
            before, cost = cost, self.cost(field, residual)
            if before - cost < 1e-3 * before:
                return field
        return field

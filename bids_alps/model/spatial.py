"""Images on a grid in world space, and spatial transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bids_alps.errors import ImageError
from bids_alps.model.arrays import Array, checked_affine, read_only

_CONVERGED_MM = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialMap:
    """A 3-D image, or a 4-D image with a non-spatial last axis, on a grid in world space.

    Parameters
    ----------
    data
        Shape (i, j, k) or (i, j, k, n), in the voxel order of its file.
    affine
        Voxel indices to RAS+ world mm, shape (4, 4).
    """

    data: Array
    affine: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", read_only(self.data))
        object.__setattr__(self, "affine", checked_affine(self.affine))
        if self.data.ndim not in (3, 4):
            raise ImageError("image", f"{self.data.ndim} dimensions", "give a 3-D or 4-D image")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The three spatial dimensions."""
        i, j, k = self.data.shape[:3]
        return i, j, k

    @property
    def voxel_size(self) -> Array:
        """Edge lengths of a voxel, shape (3,), mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def like(self, data: Array) -> SpatialMap:
        """Return other data on the same grid."""
        return SpatialMap(data=data, affine=self.affine)

    def world(self, voxels: Array) -> Array:
        """Return the RAS+ world mm of voxel indices, both of shape (..., 3)."""
        return transform_points(self.affine, voxels)

    def outermost_points(self) -> Array:
        """Return world points among which are those of the non-zero voxels furthest in any direction, shape (n, 3).

        They are the first and the last voxel of each line along the last axis: a hundredth of a brain mask.

        Examples
        --------
        >>> SpatialMap(data=np.array([[[0, 1, 1, 1]], [[0, 0, 0, 0]]]), affine=np.eye(4)).outermost_points().tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]
        """
        inside = np.asarray(self.data, dtype=bool)
        lines = np.argwhere(inside.any(axis=2))
        of_lines = inside[tuple(lines.T)]
        ends = (of_lines.argmax(axis=1), of_lines.shape[1] - 1 - of_lines[:, ::-1].argmax(axis=1))
        return self.world(np.concatenate([np.column_stack([lines, end]) for end in ends]))

    def points_within(self, voxels: Array, per_edge: int) -> Array:
        """Return a regular lattice of world points in each voxel, shapes (n, 3) to (n, per_edge^3, 3), mm."""
        steps = (np.arange(per_edge) + 0.5) / per_edge - 0.5
        cell = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.world(voxels[:, None, :] + cell)

    def same_grid(self, other: SpatialMap) -> bool:
        """Whether another image has the same spatial shape and the same affine, within 1e-3 mm."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=1e-3))

    def contains(self, points: Array) -> Array:
        """Return which points in RAS+ world mm are inside the grid, shapes (..., 3) and (...).

        Examples
        --------
        >>> image = SpatialMap(data=np.zeros((2, 2, 2)), affine=np.eye(4))
        >>> image.contains(np.array([[0, 0, 1.4], [0, 0, 1.6]])).tolist()
        [True, False]
        """
        indices = self.voxels(points)
        return np.all((indices > -0.5) & (indices < np.array(self.shape) - 0.5), axis=-1)

    def voxels(self, points: Array) -> Array:
        """Return the (fractional) voxel indices of points in RAS+ world mm, both of shape (..., 3)."""
        return transform_points(np.linalg.inv(self.affine), points)


@dataclass(frozen=True, kw_only=True)
class SpatialTransform:
    """Map from subject to template points: p -> affine @ (p + u(p)), all in RAS+ world mm.

    Parameters
    ----------
    affine
        Subject to template, shape (4, 4).
    rigid
        Rigid part, subject to template, shape (4, 4), by which pose correction rotates tensors. It is from a rigid
        registration and thus free of the shear of `affine`.
    displacement
        u on a grid in *subject* space, shape (i, j, k, 3), mm, extrapolated by the nearest edge value. None for an
        affine transform.
    """

    affine: Array
    rigid: Array
    displacement: SpatialMap | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", checked_affine(self.affine))
        object.__setattr__(self, "rigid", checked_affine(self.rigid))
        if self.displacement is not None:  # one component after another in memory: twice as fast to interpolate
            by_component = np.ascontiguousarray(np.moveaxis(self.displacement.data, -1, 0))
            object.__setattr__(self, "displacement", self.displacement.like(np.moveaxis(by_component, 0, -1)))

    @cached_property
    def rotation(self) -> Array:
        """Rotation from subject axes to template axes, shape (3, 3)."""
        return read_only(self.rigid[:3, :3])

    def template_from_subject(self, points: Array) -> Array:
        """Return the template points of subject points, both of shape (..., 3), mm."""
        points = np.asarray(points, dtype=np.float64)
        moved = points if self.displacement is None else points + sample_linear(self.displacement, points)
        return transform_points(self.affine, moved)

    def subject_from_template(self, points: Array, *, iterations: int = 30) -> Array:
        """Return the subject points of template points, both of shape (..., 3), mm, by fixed-point iteration.

        A point is iterated until it moves by less than `_CONVERGED_MM`.
        """
        inverse = np.linalg.inv(self.affine)
        target = transform_points(inverse, np.asarray(points, dtype=np.float64))
        if self.displacement is None:
            return target
        goals = target.reshape(-1, 3)
        found, moving = goals.copy(), np.arange(len(goals))
        for _ in range(iterations):
            # p + u(p) = target; it converges where u changes by less than 1 mm per mm
            before = found[moving]
            found[moving] = goals[moving] - sample_linear(self.displacement, before)
            moving = moving[np.abs(found[moving] - before).max(axis=1) > _CONVERGED_MM]
            if not moving.size:
                break
        return found.reshape(target.shape)


def transform_points(matrix: Array, points: Array) -> Array:
    """Return points of shape (..., 3) mapped by an affine matrix of shape (4, 4)."""
    points = np.asarray(points)
    flat = points.reshape(-1, 3)  # one large product; for a stack, NumPy would make many small ones
    moved: Array = (flat @ matrix[:3, :3].T + matrix[:3, 3]).reshape(points.shape)
    return moved


def sample_linear(image: SpatialMap, points: Array, volumes: Sequence[int] | None = None) -> Array:
    """Return the values of an image at world points by linear interpolation; edge values outside.

    Parameters
    ----------
    image
        Shape (i, j, k) or (i, j, k, n).
    points
        Shape (..., 3), RAS+ world mm.
    volumes
        Of a 4-D image, by default all.

    Returns
    -------
    Array
        Shape (...) or (..., n), float64.
    """
    from scipy.ndimage import map_coordinates  # imported here, since it is rarely needed

    points = np.asarray(points, dtype=np.float64)
    coordinates = image.voxels(points).reshape(-1, 3).T

    def interpolate(channel: Array) -> Array:
        values: Array = map_coordinates(channel, coordinates, order=1, mode="nearest", output=np.float64)
        return values.reshape(points.shape[:-1])

    if image.data.ndim == 3:
        return interpolate(image.data)
    return np.stack(
        [interpolate(image.data[..., n]) for n in (range(image.data.shape[3]) if volumes is None else volumes)], axis=-1
    )


def sample_nearest(labels: SpatialMap, points: Array) -> Array:
    """Return the label of the voxel that contains each point, 0 outside the grid.

    Parameters
    ----------
    labels
        Shape (i, j, k).
    points
        Shape (..., 3), RAS+ world mm.

    Examples
    --------
    >>> labels = SpatialMap(data=np.arange(8).reshape(2, 2, 2), affine=np.eye(4))
    >>> sample_nearest(labels, np.array([[1, 0.4, 0.6], [0, 0, 9]])).tolist()
    [5, 0]
    """
    nearest = np.rint(labels.voxels(points)).astype(int)
    within = np.all((nearest >= 0) & (nearest < np.array(labels.shape)), axis=-1, keepdims=True)
    values = labels.data[tuple(np.moveaxis(np.where(within, nearest, 0), -1, 0))]
    return np.where(within[..., 0], values, 0)

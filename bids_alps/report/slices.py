"""Planes through a subject in display axes, sampled from images of any orientation.

The display axes are x left to right, y posterior to anterior, z inferior to superior, in mm: the scanner's world
axes, or these rotated by the rigid part of the registration so that the head has the orientation of the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, Roi, SpatialMap, read_only, sample_linear

IN_PLANE = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
"""Horizontal and vertical axis of a plane, by its normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A plane in display axes.

    Parameters
    ----------
    axis
        Normal: 0 sagittal, 1 coronal, 2 axial.
    level
        Position along the normal, mm.
    points
        Subject points (RAS+ world mm) of the pixels, shape (rows, columns, 3), rows upwards.
    extent
        Left, right, bottom, top edge, mm.
    """

    axis: int
    level: float
    points: Array
    extent: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """Axes and limits in which a subject is shown.

    Parameters
    ----------
    display_from_subject
        Rigid map from the subject's RAS+ world mm to the display, shape (4, 4).
    low, high
        Corners of the displayed box, shape (3,), mm in display axes.
    """

    display_from_subject: Array
    low: Array
    high: Array

    def __post_init__(self) -> None:
        for name in ("display_from_subject", "low", "high"):
            object.__setattr__(self, name, read_only(getattr(self, name), np.float64))

    @property
    def rotation(self) -> Array:
        """Rotation that takes subject axes to display axes, shape (3, 3)."""
        return self.display_from_subject[:3, :3]

    def place(self, points: Array) -> Array:
        """Return display points of subject points, both of shape (..., 3), mm."""
        return points @ self.rotation.T + self.display_from_subject[:3, 3]

    def plane(self, axis: int, level: float, *, step_mm: float = 1.0, corners: Array | None = None) -> Plane:
        """Return a plane with square pixels.

        Parameters
        ----------
        axis, level
            Normal and position along it, mm.
        step_mm
            Pixel size.
        corners
            Low and high corner of a smaller box to show, shape (2, 3), mm.
        """
        low, high = (self.low, self.high) if corners is None else corners
        across, up = IN_PLANE[axis]
        columns, rows = (np.arange(low[n] + step_mm / 2, high[n], step_mm) for n in (across, up))
        points = np.empty((rows.size, columns.size, 3))
        points[..., axis], points[..., across], points[..., up] = level, columns, rows[:, None]
        inverse = np.linalg.inv(self.display_from_subject)
        half = step_mm / 2
        extent = (columns[0] - half, columns[-1] + half, rows[0] - half, rows[-1] + half)
        return Plane(axis=axis, level=level, points=points @ inverse[:3, :3].T + inverse[:3, 3], extent=extent)


def find_display(mask: SpatialMap, display_from_subject: Array, *, margin_mm: float = 6.0) -> Display:
    """Return the display that shows a mask, shape (i, j, k), with a margin."""
    corners = mask.outermost_points()
    bounds = Display(display_from_subject=display_from_subject, low=np.zeros(3), high=np.zeros(3))
    placed = bounds.place(corners if len(corners) else mask.world(np.array([[0, 0, 0], np.array(mask.shape) - 1])))
    low, high = placed.min(axis=0) - margin_mm, placed.max(axis=0) + margin_mm
    low[2] = max(low[2], high[2] - 165)  # some masks extend into the neck
    return Display(display_from_subject=display_from_subject, low=low, high=high)


def sample_plane(image: SpatialMap, plane: Plane, volumes: Sequence[int] | None = None) -> Array:
    """Return an image (of a 4-D one the given volumes) in a plane, shape (rows, columns[, n]); zero outside of it."""
    values = sample_linear(image, plane.points, volumes)
    values[~image.contains(plane.points)] = 0
    return values


def roi_map(roi: Roi, like: SpatialMap) -> SpatialMap:
    """Return the weights of a region as an image of the part of the grid of another around it, one voxel more."""
    first = roi.voxels.min(axis=0) - 1
    weights = np.zeros(roi.voxels.max(axis=0) - first + 2)
    weights[tuple((roi.voxels - first).T)] = roi.weights
    affine = like.affine.copy()
    affine[:3, 3] = like.world(first)
    return SpatialMap(data=weights, affine=affine)


def roi_center(roi: Roi, like: SpatialMap) -> Array:
    """Return the weighted center of a region in RAS+ world mm, shape (3,)."""
    return np.average(like.world(roi.voxels), axis=0, weights=roi.weights)


def color_fa(fa: SpatialMap, v1: SpatialMap, rotation: Array) -> SpatialMap:
    """Return the color FA (principal direction scaled by FA): red x, green y, blue z in display axes.

    Parameters
    ----------
    fa
        Fractional anisotropy, shape (i, j, k).
    v1
        Principal eigenvectors in RAS+ world axes, shape (i, j, k, 3).
    rotation
        Subject axes to display axes, shape (3, 3).

    Returns
    -------
    SpatialMap
        Shape (i, j, k, 3), 0 to 1.
    """
    rotated = np.abs(np.nan_to_num(v1.data) @ rotation.T)
    brightness = np.clip(np.nan_to_num(fa.data) / 0.8, 0, 1)
    return fa.like(np.clip(rotated * brightness[..., None], 0, 1))

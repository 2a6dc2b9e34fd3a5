"""Rigid motion and eddy-current distortion of one volume, by Gauss-Newton on points of a reference.

A point x of the reference lies at ``q = center + R (x - center) + t`` in the moved head, and appears at
``y = q + u (terms(q - center) . e)`` in the acquired volume, u being the world direction of phase encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.model import Array
from bids_alps.numerics.interpolation import CubicSpline, is_on_grid

LINEAR_TERMS, QUADRATIC_TERMS = 3, 9
_TUKEY = 4.685
_CONVERGED_RAD, _CONVERGED_MM = 1e-4, 5e-3
"""Last step of a fit; each is about a tenth of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMotion:
    """Map from points of the head at rest to an acquired volume, all in RAS+ world mm.

    Parameters
    ----------
    rotation
        Rotation vector about `center`, radians, shape (3,).
    translation
        mm, shape (3,).
    eddy
        Displacement along `direction`: coefficients of x, y, z and, where there are nine, of x^2, y^2, z^2, xy, xz,
        yz (mm about `center`); mm/mm and mm/mm^2. Empty for a rigid motion.
    center, direction
        Center of rotation and unit vector of phase encoding, shape (3,).
    """

    rotation: Array
    translation: Array
    eddy: Array
    center: Array
    direction: Array

    @property
    def matrix(self) -> Array:
        """The rigid part as a matrix of shape (4, 4), moved from rest."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(self.rotation).as_matrix()
        matrix[:3, 3] = self.center - matrix[:3, :3] @ self.center + self.translation
        return matrix

    def moved(self, points: Array) -> Array:
        """Return points of the head at rest after the motion, before distortion; shape (n, 3)."""
        matrix = self.matrix
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def acquired(self, points: Array) -> Array:
        """Return points of the head at rest in the volume, with distortion; shape (n, 3)."""
        return self.places(points, np.eye(4)).T

    def places(self, points: Array, inverse: Array) -> Array:
        """Return the voxels of the volume that image points of the head at rest.

        Parameters
        ----------
        points
            World mm, shape (n, 3); fastest as float32 in Fortran order.
        inverse
            World mm to voxels, shape (4, 4).

        Returns
        -------
        Array
            Voxel indices, shape (3, n), in the type of the points.
        """
        rigid, eddy = self.matrix, np.eye(4)
        if self.eddy.size != QUADRATIC_TERMS:  # motion, linear eddy currents and voxels together are one affine map
            linear = self.eddy if self.eddy.size else np.zeros(3)
            eddy[:3, :3] += np.outer(self.direction, linear)
            eddy[:3, 3] = -self.direction * (linear @ self.center)
            whole = (inverse @ eddy @ rigid).astype(points.dtype)
            return whole[:3, :3] @ points.T + whole[:3, 3:]
        moved = self.moved(points)
        shift = eddy_terms(moved - self.center, self.eddy.size) @ self.eddy
        return inverse[:3, :3] @ (moved + shift[:, None] * self.direction).T + inverse[:3, 3:]

    def stretch(self, points: Array) -> Array:
        """Return the stretch of the image by eddy currents along phase encoding at points at rest; shape (n,)."""
        gradient = self.eddy[:3] @ self.direction if self.eddy.size else 0.0
        stretch = np.full(len(points), 1.0 + gradient, dtype=points.dtype)
        if self.eddy.size == QUADRATIC_TERMS:
            x, y, z = (self.moved(points) - self.center).T
            u, v, w = self.direction
            slopes = np.stack([2 * x * u, 2 * y * v, 2 * z * w, x * v + y * u, x * w + z * u, y * w + z * v], 1)
            stretch += slopes @ self.eddy[3:]
        return stretch

    def after(self, matrix: Array) -> VolumeMotion:
        """Return this motion relative to another reference position: `matrix` maps the new to the old one."""
        joined = self.matrix @ matrix
        rotation = Rotation.from_matrix(joined[:3, :3])
        translation = joined[:3, :3] @ self.center + joined[:3, 3] - self.center
        return VolumeMotion(
            rotation=rotation.as_rotvec(),
            translation=translation,
            eddy=self.eddy,
            center=self.center,
            direction=self.direction,
        )

    def step(self, change: Array) -> VolumeMotion:
        """Return the motion with parameters (rotation, translation, eddy) changed."""
        return VolumeMotion(
            rotation=self.rotation + change[:3],
            translation=self.translation + change[3:6],
            eddy=self.eddy + change[6:],
            center=self.center,
            direction=self.direction,
        )


def no_motion(center: Array, direction: Array, terms: int = 0) -> VolumeMotion:
    """Return no motion, with room for `terms` eddy coefficients."""
    return VolumeMotion(
        rotation=np.zeros(3), translation=np.zeros(3), eddy=np.zeros(terms), center=center, direction=direction
    )


def eddy_terms(offset: Array, number: int) -> Array:
    """Return the polynomials of the eddy-current field at offsets from the center; shapes (n, 3), (n, number)."""
    if number == LINEAR_TERMS:
        return offset
    x, y, z = offset.T
    return np.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePoints:
    """Points of a reference image with values and gradients.

    Parameters
    ----------
    points
        RAS+ world mm, shape (n, 3).
    values, gradients
        Intensity, shape (n,), and its gradient in world axes, per mm, shape (n, 3).
    """

    points: Array
    values: Array
    gradients: Array


def world_points(voxels: Array, affine: Array) -> Array:
    """Return RAS+ world mm of voxel indices, both of shape (n, 3), as `VolumeMotion.places` is fastest with them."""
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float32, order="F")


def sample_reference(image: Array, affine: Array, voxels: Array) -> ReferencePoints:
    """Return voxels of an image, indices of shape (n, 3), as points with values and gradients (central differences)."""
    flat, index, last = np.ravel(image), voxels.T, np.array(image.shape) - 1
    place = np.ravel_multi_index(tuple(index), image.shape)
    slopes = np.empty((len(voxels), 3))
    for axis, step in enumerate(np.cumprod([1, *image.shape[:0:-1]])[::-1]):
        above, below = index[axis] < last[axis], index[axis] > 0
        slopes[:, axis] = (flat[place + step * above] - flat[place - step * below]) / np.maximum(above + 1 * below, 1)
    return ReferencePoints(
        points=world_points(voxels, affine),
        values=flat[place],
        gradients=slopes @ np.linalg.inv(affine[:3, :3]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted motion, with the correlation with the reference and the gain relative to it."""

    motion: VolumeMotion
    correlation: float
    gain: float


def fit_motion(
    volume: CubicSpline, affine: Array, reference: ReferencePoints, start: VolumeMotion, *, iterations: int = 8
) -> Fit:
    """Return the motion that registers a volume to the reference.

    Derivatives come from the reference alone: its noise is independent of the volume's, so noise does not
    bias the fit towards positions on the grid.

    Parameters
    ----------
    volume
        The volume.
    affine
        Its voxels to world mm.
    reference
        Points with values and gradients.
    start
        First guess; its number of eddy coefficients is kept.
    """
    jacobian = _jacobian(reference, start)
    least = 20 * jacobian.shape[1]
    if len(jacobian) < least:
        return Fit(motion=start, correlation=0.0, gain=0.0)
    scale = np.maximum(np.sqrt((jacobian**2).mean(0)), 1e-12)
    jacobian = (jacobian / scale).astype(np.float32)
    inverse = np.linalg.inv(affine)
    motion = start
    correlation = gain = 0.0
    for _ in range(iterations):
        places = motion.places(reference.points, inverse)
        inside = is_on_grid(places, volume.shape)
        if inside.sum() < least:
            return Fit(motion=start, correlation=0.0, gain=0.0)
        seen = slice(None) if inside.all() else inside
        observed, expected = volume(places)[seen], reference.values[seen]
        gain = float(observed @ expected / max(expected @ expected, 1e-12))
        correlation = _correlation(observed, expected)
        residual = observed - np.float32(gain) * expected
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-12
        weights = np.maximum(1 - (residual / (_TUKEY * spread)) ** 2, 0) ** 2
        weighted = jacobian[seen] * weights[:, None]
        normal = gain**2 * (weighted.T @ jacobian[seen]).astype(np.float64)
        normal[np.diag_indices_from(normal)] *= 1 + 1e-6
        change = -np.linalg.lstsq(normal, gain * (weighted.T @ residual).astype(np.float64), rcond=1e-12)[0] / scale
        motion = motion.step(change)
        if np.abs(change[:3]).max() < _CONVERGED_RAD and np.abs(change[3:6]).max() < _CONVERGED_MM:
            break
    return Fit(motion=motion, correlation=correlation, gain=gain)


def _jacobian(reference: ReferencePoints, motion: VolumeMotion) -> Array:
    offset = reference.points - motion.center
    columns = [np.cross(offset, reference.gradients), reference.gradients]
    if motion.eddy.size:
        along = reference.gradients @ motion.direction
        columns.append(eddy_terms(offset, motion.eddy.size) * along[:, None])
    return np.concatenate(columns, axis=1)


def _correlation(first: Array, second: Array) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / max(np.sqrt((first @ first) * (second @ second)), 1e-12))

"""Correction of motion, eddy currents and susceptibility distortion in one interpolation.

A point x of the undistorted head at rest lies at ``x + b(x) u`` in the distorted image at rest, and from there is
moved by the motion of the volume. The value there is multiplied by the Jacobian of the distortion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from bids_alps.model import Array
from bids_alps.numerics.interpolation import CubicSpline, LinearImage
from bids_alps.numerics.preprocessing.distortion import Distortion
from bids_alps.numerics.preprocessing.motion import SeriesMotion, acquired_slices
from bids_alps.numerics.preprocessing.prediction import fit_covariance, leave_one_out_weights
from bids_alps.numerics.preprocessing.volume_motion import (
    VolumeMotion,
    fit_motion,
    no_motion,
    sample_reference,
    world_points,
)
from bids_alps.numerics.tensors.gradients import find_shells

_COVARIANCE_VOXELS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Target grid of the correction.

    Parameters
    ----------
    shape, affine
        Voxels, and their RAS+ world mm.
    pose
        World mm on this grid to world mm of the series at rest, shape (4, 4); the identity for its own grid.
    """

    shape: tuple[int, int, int]
    affine: Array
    pose: Array

    @property
    def points(self) -> Array:
        """World mm of the series at rest, shape (n, 3), float32."""
        return world_points(np.indices(self.shape).reshape(3, -1).T, self.pose @ self.affine)


SENTENCE = "Corrected volumes were resampled once, by cubic B-splines."


def resample_series(
    data: Array,
    affine: Array,
    motion: SeriesMotion,
    *,
    distortion: Distortion | None = None,
    grid: Grid | None = None,
    out: Array | None = None,
) -> Array:
    """Return the corrected series, volume by volume, by cubic B-splines.

    Parameters
    ----------
    data, affine
        Series, shape (i, j, k, n), and voxels to world mm.
    motion
        Where each volume was acquired.
    distortion
        Field of the series at rest, on its grid; used only if it is proven.
    grid
        Target grid; by default that of the series.
    out
        Array to write to; `data` itself is possible with its own grid.
    """
    grid = grid or Grid(shape=data.shape[:3], affine=affine, pose=np.eye(4))
    points, gain = _distorted(grid.points, affine, distortion)
    inverse = np.linalg.inv(affine)
    if out is None:  # volumes one after the other in memory: each is written, and later read, as one piece
        out = np.empty((*grid.shape, data.shape[3]), dtype=np.float32, order="F")
    for number, volume in enumerate(motion.volumes):
        image = np.nan_to_num(np.asarray(data[..., number], dtype=np.float32))
        values = CubicSpline.of_image(image)(volume.places(points, inverse))
        values *= gain * volume.stretch(points)
        out[..., number] = np.maximum(values, 0, out=values).reshape(grid.shape)  # splines overshoot at edges
    return out


def _distorted(points: Array, affine: Array, distortion: Distortion | None) -> tuple[Array, Array]:
    """Return the positions of undistorted points in the distorted image at rest, and the Jacobian there."""
    if distortion is None or not distortion.proven:
        return points, np.ones(len(points), dtype=np.float32)
    inverse = np.linalg.inv(affine)
    voxels = inverse[:3, :3] @ points.T + inverse[:3, 3:]
    field, axis = distortion.displacement, distortion.phase_axis
    shift, slope = (LinearImage.of_image(image)(voxels) for image in (field, np.gradient(field, axis=axis)))
    moved = points.T + affine[:3, axis, None].astype(points.dtype) * shift  # in the type and order of `world_points`
    return moved.T, 1 + slope


def replace_outliers(
    corrected: Array, affine: Array, bvals: Array, motion: SeriesMotion, *, distortion: Distortion | None = None
) -> float:
    """Replace values from slices with signal loss by predictions.

    Parameters
    ----------
    corrected
        Series on its own grid, shape (i, j, k, n); changed in place.
    affine, bvals, motion, distortion
        As it was corrected.

    Returns
    -------
    float
        Fraction of the weighted volumes' voxels that were replaced.
    """
    shells = find_shells(bvals)
    members = np.flatnonzero((shells > 0) & motion.usable)
    lost = _lost_voxels(corrected.shape[:3], affine, motion, distortion)
    if not lost or members.size < 2:
        return 0.0
    first = corrected[..., 0]
    bright = np.argwhere(first > 0.3 * np.percentile(first, 95))
    chosen = corrected[tuple(bright[:: max(1, len(bright) // _COVARIANCE_VOXELS)].T)][:, members]
    covariance = fit_covariance(
        chosen.T @ chosen / len(chosen), motion.bvecs[members], np.unique(shells[members], return_inverse=True)[1]
    )
    weights = leave_one_out_weights(covariance).astype(np.float32)
    for _ in range(2):  # twice, as one lost slice may help to predict another
        for row, volume in enumerate(members.tolist()):
            if volume in lost:
                where = np.unravel_index(lost[volume], corrected.shape[:3])
                predicted = np.zeros(lost[volume].size, dtype=np.float32)
                for weight, member in zip(weights[row], members.tolist(), strict=True):
                    predicted += weight * corrected[..., member][where]
                corrected[..., volume][where] = np.maximum(predicted, 0)
    replaced = sum(voxels.size for volume, voxels in lost.items() if volume in members)
    return replaced / (first.size * members.size)


def _lost_voxels(
    shape: tuple[int, ...], affine: Array, motion: SeriesMotion, distortion: Distortion | None
) -> dict[int, Array]:
    """Return the flat indices of voxels read from lost slices or their neighbors, by volume."""
    afflicted = np.flatnonzero(motion.outlier_slices.any(1)).tolist()
    if not afflicted:
        return {}
    grid = Grid(shape=(shape[0], shape[1], shape[2]), affine=affine, pose=np.eye(4))
    points, _ = _distorted(grid.points, affine, distortion)
    lost = {}
    for volume in afflicted:
        slices = acquired_slices(motion.volumes[volume], affine, motion.slice_axis, points)
        flags = ndimage.binary_dilation(motion.outlier_slices[volume])
        lost[volume] = np.flatnonzero(flags[np.clip(np.rint(slices), 0, flags.size - 1).astype(int)])
    return lost


def mean_b0(data: Array, affine: Array, bvals: Array, motion: SeriesMotion) -> Array:
    """Return the mean b=0 image, corrected for motion; shape (i, j, k)."""
    base = np.flatnonzero((find_shells(bvals) == 0) & motion.usable).tolist()
    part = replace(motion, volumes=tuple(motion.volumes[volume] for volume in base))
    return resample_series(data[..., base], affine, part).mean(-1)


def align_b0s(first: Array, second: Array, affines: tuple[Array, Array], mask: Array) -> VolumeMotion:
    """Return the rigid motion between the reference positions of two runs, from their corrected images.

    Parameters
    ----------
    first, second
        Mean corrected b=0 images, each on its own grid.
    affines
        Voxels to world mm of each.
    mask
        Brain of the first.

    Returns
    -------
    VolumeMotion
        World mm at rest in the first run to world mm at rest in the second; its `matrix` is a `Grid`'s pose.
    """
    image = ndimage.gaussian_filter(np.asarray(first, dtype=np.float32), 1)
    reference = sample_reference(image, affines[0], np.argwhere(mask))
    moving = CubicSpline.of_image(ndimage.gaussian_filter(np.asarray(second, dtype=np.float32), 1))
    start = no_motion(reference.points.mean(0, dtype=np.float64), np.zeros(3))
    return fit_motion(moving, affines[1], reference, start, iterations=20).motion

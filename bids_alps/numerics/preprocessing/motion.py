"""Motion of a series: head motion parameters, rotated gradients and outlier slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array
from bids_alps.numerics.preprocessing.volume_motion import VolumeMotion

HEAD_RADIUS_MM = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesMotion:
    """Motion of a series.

    Parameters
    ----------
    volumes
        Motion of each volume relative to the first b=0 volume.
    bvecs
        Gradient directions rotated to the reference position of the head, shape (n, 3), unit, RAS+ world.
    outlier_slices
        Acquired slices with signal dropout, shape (n, slices), bool.
    usable
        Volumes that could be realigned, shape (n,), bool.
    correlation
        Correlation of each volume with its prediction, shape (n,).
    slice_axis
        Voxel axis of the slices.
    eddy_shift
        Shift of each whole volume along phase encoding by eddy currents, mm, shape (n,): part of `volumes`, but not of
        the head motion.
    """

    volumes: tuple[VolumeMotion, ...]
    bvecs: Array
    outlier_slices: Array
    usable: Array
    correlation: Array
    slice_axis: int
    eddy_shift: Array

    @property
    def translation(self) -> Array:
        """Translation of the head, without the shift by eddy currents, shape (n, 3), mm."""
        translations: Array = np.array([v.translation for v in self.volumes])
        return translations - self.eddy_shift[:, None] * np.array([v.direction for v in self.volumes])

    @property
    def rotation(self) -> Array:
        """Rotation vectors, shape (n, 3), radians."""
        return np.array([v.rotation for v in self.volumes])

    @property
    def framewise_displacement(self) -> Array:
        """Power's framewise displacement, shape (n,), mm, zero for the first; doi 10.1016/j.neuroimage.2011.10.018.

        Sum of absolute changes of three translations, and three rotations as arcs on a sphere of 50 mm radius.
        """
        parameters = np.c_[HEAD_RADIUS_MM * self.rotation, self.translation]
        return np.r_[0.0, np.abs(np.diff(parameters, axis=0)).sum(1)]

    @property
    def confounds(self) -> Mapping[str, Array]:
        """Columns of the motion table: mm, radians, mm, number of slices, 0 or 1."""
        columns = {f"trans_{axis}": self.translation[:, i] for i, axis in enumerate("xyz")}
        columns |= {f"rot_{axis}": self.rotation[:, i] for i, axis in enumerate("xyz")}
        columns["framewise_displacement"] = self.framewise_displacement
        columns["eddy_shift"] = self.eddy_shift
        columns["outlier_slices"] = self.outlier_slices.sum(1)
        columns["usable"] = self.usable.astype(int)
        return columns


def rotate_bvecs(bvecs: Array, motion: list[VolumeMotion] | tuple[VolumeMotion, ...]) -> Array:
    """Return gradients in the reference position of the head, by the inverse rotation of each volume; shape (n, 3)."""
    # row vector times R is R' g: the inverse rotation of the head motion
    return np.array([vector @ volume.matrix[:3, :3] for vector, volume in zip(bvecs, motion, strict=True)])


def acquired_slices(motion: VolumeMotion, affine: Array, slice_axis: int, points: Array) -> Array:
    """Return the (fractional) slice in which points of the reference head were acquired; shapes (n, 3), (n,)."""
    return motion.places(points, np.linalg.inv(affine))[slice_axis]

"""Protocol of the registration engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.errors import RegistrationError
from bids_alps.model import Array, Pose, SpatialMap, SpatialTransform, SubjectMaps, Template

WHERE = "registration"
_MIN_BRAIN_ML = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Result of a registration engine.

    Parameters
    ----------
    transform
        Transform from subject to template.
    pose
        Angles of the rigid part, with their standard error.
    placement_se_mm
        Standard error of the position of ROI centers, mm per axis, as estimated by the engine; it enters the
        uncertainty of the index.
    metrics
        Quality metrics: similarity, similarity of random poses, overlap, Jacobian range and so on.
    engine
        Name and version of the engine.
    """

    transform: SpatialTransform
    pose: Pose
    placement_se_mm: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    engine: str = ""


class Registrar(Protocol):
    """Registers a subject to a template."""

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return the registration of a subject to a template.

        The result is bitwise identical for any number of threads.

        Raises
        ------
        RegistrationError
            If the registration fails: empty mask, no overlap, or no convergence.
        """
        ...


def check_subject(subject: SubjectMaps) -> None:
    """Raise RegistrationError if the mask is too small to be a brain."""
    volume_ml = float(subject.mask.data.sum() * np.prod(subject.mask.voxel_size)) / 1000
    if volume_ml < _MIN_BRAIN_ML:
        raise RegistrationError(
            WHERE,
            f"the brain mask has a volume of {volume_ml:.0f} ml, less than the {_MIN_BRAIN_ML:.0f} ml needed for "
            "registration",
            "provide a better mask, or check that the scan shows a head",
        )


def pose_of(rotation: Array, *, se_degrees: float = 0.0) -> Pose:
    """Return the pose angles of a rotation from subject to template axes, shape (3, 3).

    Examples
    --------
    >>> pose_of(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])).yaw
    90.0
    """
    # lower case: about fixed axes, first x, then y, then z
    pitch, roll, yaw = (float(angle) for angle in Rotation.from_matrix(rotation).as_euler("xyz", degrees=True))
    return Pose(pitch=pitch, roll=roll, yaw=yaw, se_degrees=se_degrees)


def jacobian_range(displacement: SpatialMap | None, mask: SpatialMap) -> dict[str, float]:
    """Return the 1st and 99th percentile of the deformation's Jacobian determinant inside the brain."""
    if displacement is None:
        return {"jacobian_low": 1.0, "jacobian_high": 1.0}
    index = np.round(displacement.voxels(mask.world(np.argwhere(mask.data)))).astype(int)
    inside = np.clip(index, 0, np.array(displacement.shape) - 1)
    low, high = np.percentile(jacobian_determinants(displacement)[tuple(inside.T)], [1, 99])
    return {"jacobian_low": float(low), "jacobian_high": float(high)}


def jacobian_determinants(displacement: SpatialMap) -> Array:
    """Return det(I + du/dp) at every voxel, shape (i, j, k): 1 if volume is preserved, <= 0 if the warp folds."""
    inverse = np.linalg.inv(displacement.affine[:3, :3])
    slopes = [np.gradient(np.moveaxis(displacement.data, -1, 0), axis=axis) for axis in (1, 2, 3)]
    # per voxel times voxels per mm: the columns of I + du/dp
    x, y, z = (
        sum(slope * factor for slope, factor in zip(slopes, inverse[:, axis].astype(np.float32), strict=True))
        + np.eye(3, dtype=np.float32)[axis].reshape(3, 1, 1, 1)
        for axis in range(3)
    )
    determinants: Array = (x * np.cross(y, z, axis=0)).sum(axis=0)
    return determinants

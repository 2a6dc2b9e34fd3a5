"""The default engine: many starts, rigid, similarity, regularised affine, then a gently regularised deformation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

from bids_alps.errors import RegistrationError
from bids_alps.model import Array, Pose, SpatialMap, SpatialTransform
from bids_alps.registration.base import Registration, SubjectMaps, Template
from bids_alps.registration.contrast import subject_contrast, template_contrast
from bids_alps.registration.deformable import fit_displacement, jacobian_determinants
from bids_alps.registration.linear import AFFINE, SIMILARITY, LinearFit, Pair, fit_linear
from bids_alps.registration.search import find_starts, random_similarities

WHERE = "registration"
_RIM_MM = 6.0
_LEAST_BRAIN_ML = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Staged registration of diffusion maps to tissue maps.

    Parameters
    ----------
    deformable
        Whether a deformation follows the affine stage.
    smoothing
        Gaussian widths in voxels of the deformation's updates and of its whole field.
    seed
        Seed of the random poses that the found one is compared with.
    """

    deformable: bool = True
    smoothing: tuple[float, float] = (3.0, 1.5)
    seed: int = 20170617

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return where points of the subject lie in the template.

        Raises
        ------
        RegistrationError
            If the mask is empty or holds too little to be a brain, or no start overlaps.
        """
        check_subject(subject)
        fixed, moving = template_contrast(template), subject_contrast(subject)
        region = distance_transform_edt(~template.mask.data, sampling=template.mask.voxel_size) <= _RIM_MM
        coarse, middle, fine = (Pair(fixed, moving, region, step) for step in (8.0, 4.0, 2.0))
        starts = [
            fit_linear(middle, start.rigid, SIMILARITY) for start in find_starts(coarse, template.mask, subject.mask)
        ]
        best = max(starts, key=lambda fit: fit.similarity)
        fit = fit_linear(fine, fit_linear(middle, best, AFFINE), AFFINE)
        if fit.similarity <= 0:
            raise RegistrationError(
                WHERE, f"the best correlation with the template is {fit.similarity:.2f}", "check that it shows a head"
            )
        affine = np.linalg.inv(fit.subject_from_template)
        displacement = (
            fit_displacement(fixed, moving, subject.mask, affine, smoothing=self.smoothing) if self.deformable else None
        )
        transform = SpatialTransform(affine=affine, rigid=rigid_about_brain(fit), displacement=displacement)
        spread = rotation_spread(fit, starts)
        metrics = {
            "similarity": fit.similarity,
            "similarity_random": float(random_similarities(coarse, fit, draws=100, seed=self.seed).max()),
            "similarity_coarse": coarse.similarity(fit.subject_from_template)[0],
            "covered": fit.covered,
            "scale_min": float(fit.scales.min()),
            "scale_max": float(fit.scales.max()),
            "start_spread_degrees": spread,
            **jacobian_range(displacement, subject.mask),
        }
        return Registration(
            transform=transform,
            pose=pose_of(transform.rotation, se_degrees=spread),
            placement_se_mm=1.0,
            metrics=metrics,
            engine="staged 1",
        )


def check_subject(subject: SubjectMaps) -> None:
    """Raise RegistrationError where the mask holds too little to be a brain."""
    volume_ml = float(subject.mask.data.sum() * np.prod(subject.mask.voxel_size)) / 1000
    if volume_ml < _LEAST_BRAIN_ML:
        raise RegistrationError(
            WHERE,
            f"the brain mask holds {volume_ml:.0f} ml, fewer than the {_LEAST_BRAIN_ML:.0f} ml that alignment needs",
            "give a better mask, or check that the scan shows a head",
        )


def pose_of(rotation: Array, *, se_degrees: float = 0.0) -> Pose:
    """Return the angles of a rotation that takes subject axes to template axes, shape (3, 3).

    Examples
    --------
    >>> pose_of(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])).yaw
    90.0
    """
    pitch, roll, yaw = (float(angle) for angle in Rotation.from_matrix(rotation).as_euler("xyz", degrees=True))
    return Pose(pitch=pitch, roll=roll, yaw=yaw, se_degrees=se_degrees)


def rigid_about_brain(fit: LinearFit) -> Array:
    """Return the rigid part, subject to template, shape (4, 4), that keeps the brain's centre where the fit puts it."""
    return np.linalg.inv(fit.rigid.subject_from_template)


def rotation_spread(fit: LinearFit, others: list[LinearFit]) -> float:
    """Return the root mean square angle between a fit's rotation and others', degrees."""
    angles = [Rotation.from_matrix(other.rotation @ fit.rotation.T).magnitude() for other in others]
    return float(np.degrees(np.sqrt(np.mean(np.square(angles)))))


def jacobian_range(displacement: SpatialMap | None, mask: SpatialMap) -> dict[str, float]:
    """Return the 1st and 99th percentile of the deformation's Jacobian determinant inside the brain."""
    if displacement is None:
        return {"jacobian_low": 1.0, "jacobian_high": 1.0}
    index = np.round(displacement.voxels(mask.world(np.argwhere(mask.data)))).astype(int)
    inside = np.clip(index, 0, np.array(displacement.shape) - 1)
    low, high = np.percentile(jacobian_determinants(displacement)[tuple(inside.T)], [1, 99])
    return {"jacobian_low": float(low), "jacobian_high": float(high)}

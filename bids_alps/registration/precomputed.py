"""Engine for precomputed transforms: ITK and QSIPrep files, FSL matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bids_alps.errors import RegistrationError
from bids_alps.model import Array, SpatialMap, SpatialTransform, SubjectMaps, Template, transform_points
from bids_alps.registration.base import Registration, check_subject, jacobian_range, pose_of

PointMap = Callable[[Array], Array]

_GRID_MM = 4.0
_INVERSIONS = 25
_CLOSED_MM, _MAX_GAP_MM = 1e-3, 0.5
_ASSUMED_SE_MM, _ASSUMED_SE_DEGREES = 1.0, 1.0  # unknown for files; about twice that of the default engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Precomputed:
    """A registration computed by another program.

    Parameters
    ----------
    subject_from_template
        Function from template to subject points, both of shape (n, 3), RAS+ mm: the content of an ITK transform file
        ``from-<subject>_to-<template>_mode-image_xfm``, since resampling pulls values from the subject.
    name
        Source of the transform, for provenance.
    """

    subject_from_template: PointMap
    name: str = "precomputed"

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return the registration as an affine and a residual displacement field.

        Raises
        ------
        RegistrationError
            If the mask is empty, or the transform cannot be inverted, or mirrors or collapses space.
        """
        check_subject(subject)
        # a sample of the voxels is enough for twelve parameters
        points = template.mask.world(np.argwhere(template.mask.data)[::97])
        affine = self._affine(self.subject_from_template(points), points)
        left, _, right = np.linalg.svd(affine[:3, :3])
        rigid = np.eye(4)
        # rotation nearest to the affine (polar factor); the determinant has been checked
        rigid[:3, :3] = left @ right
        center = points.mean(axis=0)
        # the rigid part agrees with the transform at the center of the brain
        rigid[:3, 3] = center - rigid[:3, :3] @ self.subject_from_template(center[None])[0]
        displacement = self._displacement(affine, subject.mask)
        transform = SpatialTransform(affine=affine, rigid=rigid, displacement=displacement)
        return Registration(
            transform=transform,
            pose=pose_of(transform.rotation, se_degrees=_ASSUMED_SE_DEGREES),
            placement_se_mm=_ASSUMED_SE_MM,
            metrics=jacobian_range(displacement, subject.mask),
            engine=self.name,
        )

    def _affine(self, subject_points: Array, template_points: Array) -> Array:
        """Return the least-squares affine of the transform over the template's brain, subject to template."""
        design = np.column_stack([subject_points, np.ones(len(subject_points))])
        solution = np.linalg.lstsq(design, template_points, rcond=None)[0]
        affine = np.eye(4)
        affine[:3] = solution.T
        determinant = float(np.linalg.det(affine[:3, :3]))
        if not 0.2 < determinant < 5:
            raise RegistrationError(
                self.name,
                f"the transform changes volumes by a factor of {determinant:.2f}, outside the plausible range of 0.5 "
                "to 2",
                "check that it maps the diffusion image to the template, and not the inverse",
            )
        return affine

    def _displacement(self, affine: Array, mask: SpatialMap) -> SpatialMap | None:
        """Return u of p_template = affine @ (p + u(p)) around the brain, None if the transform is affine."""
        inside = mask.world(np.argwhere(mask.data))
        low, high = inside.min(axis=0) - 2 * _GRID_MM, inside.max(axis=0) + 2 * _GRID_MM
        shape = np.ceil((high - low) / _GRID_MM).astype(int) + 1
        grid_affine = np.diag([_GRID_MM, _GRID_MM, _GRID_MM, 1.0])
        grid_affine[:3, 3] = low
        points = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3) * _GRID_MM + low
        mapped = transform_points(affine, points)
        gap = np.zeros_like(points)
        active = np.arange(len(points))  # fixed-point iteration for points that have not converged
        for _ in range(_INVERSIONS):
            gap[active] = points[active] - self.subject_from_template(mapped[active])
            active = active[np.abs(gap[active]).max(axis=1) > _CLOSED_MM]
            if not active.size:
                break
            # a gap g in the subject is closed, to first order, by a step A g in the template
            mapped[active] += gap[active] @ affine[:3, :3].T
        self._refuse_gaps(points, gap, inside)
        moved = transform_points(np.linalg.inv(affine), mapped) - points
        if np.abs(moved).max() < 1e-3:
            return None
        return SpatialMap(data=moved.reshape(*shape, 3).astype(np.float32), affine=grid_affine)

    def _refuse_gaps(self, points: Array, gap: Array, inside: Array) -> None:
        """Raise RegistrationError if the inversion fails in the center of the brain."""
        middle = np.abs(points - inside.mean(axis=0)).max(axis=1) < 40
        worst = float(np.linalg.norm(gap[middle], axis=1).max(initial=0.0))
        if worst > _MAX_GAP_MM:
            raise RegistrationError(
                self.name,
                f"the transform cannot be inverted: inversion errors of up to {worst:.1f} mm",
                "provide a diffeomorphic transform",
            )

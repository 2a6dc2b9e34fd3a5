"""Transforms that other programs found: ITK and QSIPrep files, FSL matrices, as one engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bids_alps.errors import RegistrationError
from bids_alps.model import Array, SpatialMap, SpatialTransform, SubjectMaps, Template
from bids_alps.registration.base import Registration, check_subject, jacobian_range, pose_of

PointMap = Callable[[Array], Array]

_GRID_MM = 4.0
_INVERSIONS = 25
_CLOSED_MM, _LARGEST_GAP_MM = 1e-3, 0.5
_ASSUMED_SE_MM, _ASSUMED_SE_DEGREES = 1.0, 1.0  # no file tells its error: some twice that of the default engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Precomputed:
    """An alignment found elsewhere.

    Parameters
    ----------
    subject_from_template
        Takes template points to subject points, both of shape (n, 3), RAS+ mm: what an ITK transform file
        ``from-<subject>_to-<template>_mode-image_xfm`` holds, since resampling asks where a template voxel comes from.
    name
        Where it comes from, for the record.
    """

    subject_from_template: PointMap
    name: str = "precomputed"

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return the alignment in our own form: an affine, and what it leaves as a displacement.

        Raises
        ------
        RegistrationError
            If the mask is empty, or the transform cannot be inverted, or mirrors or collapses space.
        """
        check_subject(subject)
        points = template.mask.world(np.argwhere(template.mask.data)[::97])
        affine = self._affine(self.subject_from_template(points), points)
        left, _, right = np.linalg.svd(affine[:3, :3])
        rigid = np.eye(4)
        rigid[:3, :3] = left @ right
        centre = points.mean(axis=0)
        rigid[:3, 3] = centre - rigid[:3, :3] @ self.subject_from_template(centre[None])[0]
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
        """Return the affine nearest to the transform over the template's brain, subject to template."""
        design = np.column_stack([subject_points, np.ones(len(subject_points))])
        solution = np.linalg.lstsq(design, template_points, rcond=None)[0]
        affine = np.eye(4)
        affine[:3] = solution.T
        determinant = float(np.linalg.det(affine[:3, :3]))
        if not 0.2 < determinant < 5:
            raise RegistrationError(
                self.name,
                f"the transform changes volumes by a factor of {determinant:.2f}, where heads differ by .5 to 2",
                "check that it leads from the diffusion image to the template, and not the other way",
            )
        return affine

    def _displacement(self, affine: Array, mask: SpatialMap) -> SpatialMap | None:
        """Return u of p_template = affine @ (p + u(p)) about the brain, None where the transform is affine."""
        inside = mask.world(np.argwhere(mask.data))
        low, high = inside.min(axis=0) - 2 * _GRID_MM, inside.max(axis=0) + 2 * _GRID_MM
        shape = np.ceil((high - low) / _GRID_MM).astype(int) + 1
        grid_affine = np.diag([_GRID_MM, _GRID_MM, _GRID_MM, 1.0])
        grid_affine[:3, 3] = low
        points = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3) * _GRID_MM + low
        found = points @ affine[:3, :3].T + affine[:3, 3]
        gap = np.zeros_like(points)
        left = np.arange(len(points))
        for _ in range(_INVERSIONS):
            gap[left] = points[left] - self.subject_from_template(found[left])
            left = left[np.abs(gap[left]).max(axis=1) > _CLOSED_MM]
            if not left.size:
                break
            found[left] += gap[left] @ affine[:3, :3].T
        self._refuse_gaps(points, gap, inside)
        back = np.linalg.inv(affine)
        moved = found @ back[:3, :3].T + back[:3, 3] - points
        if np.abs(moved).max() < 1e-3:
            return None
        return SpatialMap(data=moved.reshape(*shape, 3).astype(np.float32), affine=grid_affine)

    def _refuse_gaps(self, points: Array, gap: Array, inside: Array) -> None:
        """Raise RegistrationError where the inverse does not lead back in the middle of the brain."""
        middle = np.abs(points - inside.mean(axis=0)).max(axis=1) < 40
        worst = float(np.linalg.norm(gap[middle], axis=1).max(initial=0.0))
        if worst > _LARGEST_GAP_MM:
            raise RegistrationError(
                self.name,
                f"the transform cannot be inverted: points miss themselves by up to {worst:.1f} mm",
                "give a transform without folds",
            )

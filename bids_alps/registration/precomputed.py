"""Transforms that other programs found: ITK and QSIPrep files, FSL matrices, as one engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from bids_alps.errors import BadDataError, NoInputError, RegistrationError
from bids_alps.model import Array, SpatialMap, SpatialTransform
from bids_alps.registration.base import Registration, SubjectMaps, Template
from bids_alps.registration.itk import itk_image, spatial_map
from bids_alps.registration.staged import check_subject, jacobian_range, pose_of

PointMap = Callable[[Array], Array]

_FLIP = np.array([-1.0, -1.0, 1.0])  # RAS+ to LPS+ and back
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


def read_itk_transform(path: Path) -> PointMap:
    """Read an ITK transform (.h5, .txt, .mat, .tfm, composite or not; displacements, .nii.gz) as a map of RAS+ points.

    Raises
    ------
    NoInputError
        If the file is not there.
    BadDataError
        If it holds no 3-D transform that ITK can read.
    """
    if not path.is_file():
        raise NoInputError(str(path), "no such file", "check the path of the transform")
    try:
        transform = _read_transform(path)
    except RuntimeError as error:  # ITK has one exception for everything
        raise BadDataError(str(path), "ITK cannot read it as a transform", "give an ITK .h5, .txt or .mat") from error
    if transform.GetDimension() != 3:
        raise BadDataError(str(path), f"a {transform.GetDimension()}-D transform", "give a 3-D one")

    def moved(points: Array) -> Array:
        lps = [transform.TransformPoint(point) for point in (np.asarray(points) * _FLIP).tolist()]
        mapped: Array = np.array(lps).reshape(-1, 3) * _FLIP
        return mapped

    return moved


def resample_labels(labels: SpatialMap, path: Path, onto: SpatialMap) -> SpatialMap:
    """Return labels on the grid of another space, by the nearest voxel, through an ITK transform file.

    Parameters
    ----------
    labels
        Whole numbers, shape (i, j, k).
    path
        File that resamples images of their space onto that of `onto`, ``from-<theirs>_..._mode-image_xfm``.
    onto
        Image whose grid is wanted; 0 is returned where `labels` does not reach.
    """
    nearest = sitk.Resample(itk_image(labels), itk_image(onto), _read_transform(path), sitk.sitkNearestNeighbor)
    return onto.like(spatial_map(nearest).data.astype(labels.data.dtype))


def read_itk_matrix(path: Path) -> Array:
    """Read a linear ITK transform as the RAS+ matrix by which it maps points, shape (4, 4); errors as above."""
    corners = np.vstack([np.zeros(3), 100 * np.eye(3)])
    moved = read_itk_transform(path)(corners)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (moved[1:] - moved[0]).T / 100, moved[0]
    return matrix


def _read_transform(path: Path) -> sitk.Transform:
    if path.name.endswith((".nii", ".nii.gz")):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    transform: sitk.Transform = sitk.ReadTransform(str(path))
    return transform


def read_fsl_matrix(path: Path, subject: SpatialMap, template: SpatialMap) -> PointMap:
    """Read a FLIRT matrix from subject to template as a map of RAS+ points from template to subject.

    FSL's coordinates are voxel indices times voxel size, with the first axis reversed where the image's affine has
    a positive determinant; so both images are needed.

    Raises
    ------
    NoInputError
        If the file is not there.
    BadDataError
        If it is no invertible 4 x 4 matrix.
    """
    if not path.is_file():
        raise NoInputError(str(path), "no such file", "check the path of the matrix")
    try:
        matrix = np.loadtxt(path)
        inverse = np.linalg.inv(matrix.reshape(4, 4))
    except (ValueError, np.linalg.LinAlgError) as error:
        raise BadDataError(str(path), "no invertible 4 x 4 matrix", "give the matrix that flirt -omat wrote") from error
    ras = _world_from_fsl(subject) @ inverse @ np.linalg.inv(_world_from_fsl(template))

    def moved(points: Array) -> Array:
        subject_points: Array = np.asarray(points) @ ras[:3, :3].T + ras[:3, 3]
        return subject_points

    return moved


def _world_from_fsl(image: SpatialMap) -> Array:
    """Return the matrix from FSL's scaled voxel coordinates to RAS+ mm, shape (4, 4)."""
    scale = np.diag([*(1 / image.voxel_size), 1.0])
    reverse = np.eye(4)
    if np.linalg.det(image.affine[:3, :3]) > 0:
        reverse[0, 0], reverse[0, 3] = -1.0, image.shape[0] - 1.0
    world: Array = image.affine @ reverse @ scale
    return world

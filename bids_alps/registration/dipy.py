"""DIPY engine: centers of mass, rigid and affine registration by mutual information, then SyN."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from bids_alps.model import Array, SpatialMap, SpatialTransform, SubjectMaps, Template
from bids_alps.numerics.itk import isotropic, itk_affine, itk_image, spatial_map
from bids_alps.numerics.tissue_contrast import subject_contrast, template_contrast
from bids_alps.registration.base import Registration, check_subject, jacobian_range, pose_of

_STEP_MM = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DipySyn:
    """Affine registration and SyN of DIPY (Avants 2008, doi 10.1016/j.media.2007.06.004) on the FA-MD contrast.

    It has a single starting pose, so that heads rotated by more than about 20 degrees may not converge.
    """

    def register(self, subject: SubjectMaps, template: Template) -> Registration:
        """Return the registration of a subject to a template.

        Raises
        ------
        RegistrationError
            If the mask is empty or too small to be a brain.
        """
        check_subject(subject)
        with threadpool_limits(limits=1):  # BLAS sums depend on the number of threads
            return self._aligned(subject, template)

    def _aligned(self, subject: SubjectMaps, template: Template) -> Registration:
        fixed = isotropic(itk_image(subject_contrast(subject)), _STEP_MM, padding_mm=6.0)
        contrast = template_contrast(template)
        rigid, affine = _linear(spatial_map(fixed), spatial_map(isotropic(itk_image(contrast), _STEP_MM)))
        moving = sitk.Resample(itk_image(contrast), fixed, itk_affine(affine), sitk.sitkLinear)
        displacement = _deformation(spatial_map(fixed), spatial_map(moving))
        left, _, right = np.linalg.svd(rigid[:3, :3])
        rigid = rigid.copy()
        # numerical errors of the optimizer removed: the nearest rotation
        rigid[:3, :3] = left @ right
        transform = SpatialTransform(affine=affine, rigid=rigid, displacement=displacement)
        return Registration(
            transform=transform,
            pose=pose_of(transform.rotation),
            placement_se_mm=1.5,
            metrics=jacobian_range(displacement, subject.mask),
            engine="dipy SyN",
        )


def _linear(fixed: SpatialMap, moving: SpatialMap) -> tuple[Array, Array]:
    """Return rigid and affine matrices, subject to template, shape (4, 4) each."""
    from dipy.align.imaffine import AffineRegistration, MutualInformationMetric, transform_centers_of_mass
    from dipy.align.transforms import AffineTransform3D, RigidTransform3D

    start = transform_centers_of_mass(fixed.data, fixed.affine, moving.data, moving.affine).affine
    method = AffineRegistration(
        metric=MutualInformationMetric(nbins=32, sampling_proportion=None),
        level_iters=[200, 60, 15],
        sigmas=[3.0, 1.0, 0.0],
        factors=[4, 2, 1],
        verbosity=0,
    )
    matrices = []
    for kind in (RigidTransform3D(), AffineTransform3D()):
        start = method.optimize(
            fixed.data,
            moving.data,
            kind,
            None,
            static_grid2world=fixed.affine,
            moving_grid2world=moving.affine,
            starting_affine=start,
        ).affine
        matrices.append(np.asarray(start))
    return matrices[0], matrices[1]


def _deformation(fixed: SpatialMap, moving: SpatialMap) -> SpatialMap:
    """Return the displacement field from `fixed` to `moving`, on their common grid, mm."""
    from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
    from dipy.align.metrics import CCMetric

    method = SymmetricDiffeomorphicRegistration(CCMetric(3, sigma_diff=3.0), level_iters=[30, 20, 5])
    method.verbosity = 0
    mapping = method.optimize(fixed.data, moving.data, static_grid2world=fixed.affine, moving_grid2world=moving.affine)
    return fixed.like(np.asarray(mapping.get_forward_field(), dtype=np.float32))

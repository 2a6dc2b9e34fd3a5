"""Stage: registration of the subject to the template."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bids_alps.io.images import read_map
from bids_alps.io.templates import template_label
from bids_alps.io.transforms import find_transform_to, read_itk_transform
from bids_alps.io.writing import write_displacements, write_text
from bids_alps.model import Array, DwiRun, SpatialMap, SubjectMaps
from bids_alps.numerics.itk import itk_text
from bids_alps.registration.base import Registrar, Registration
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.tensors import TensorFit


def subject_maps(fitted: TensorFit, run: DwiRun) -> SubjectMaps:
    """Return the maps of the subject for registration."""
    return SubjectMaps(
        fa=fitted.fa,
        md=fitted.md,
        b0=fitted.b0,
        mask=fitted.field.image.like(fitted.field.mask),
        t1w=None if run.t1w is None or not run.needs_t1w else read_map(run.t1w),
    )


def make_registrar(run: DwiRun, method: Method) -> Registrar:
    """Return the registration engine of the method; ``precomputed`` uses the transform of the preprocessed run.

    Raises
    ------
    NoInputError
        If the run has no transform to the template.
    """
    engine = ENGINES[method.registrar]
    if not engine.needs_transform:
        return engine.make()
    path = find_transform_to(run, template_label(method.template))
    return engine.make(subject_from_template=read_itk_transform(path), name=f"precomputed: {path.name}")


FIELD_STEP_MM = 4.0
"""Grid spacing of displacement fields in the output; the deformation is smooth over centimeters."""


def write_transforms(outputs: RunOutputs, registration: Registration, mask: SpatialMap, template: SpatialMap) -> None:
    """Write the registration in both directions as displacement fields, and its rigid and affine parts as ITK text.

    Parameters
    ----------
    outputs
        Output paths of the run.
    registration
        The registration.
    mask, template
        Brain masks of scan and template, which the fields cover.
    """
    transform = registration.transform
    inverse = np.linalg.inv(transform.affine)
    # A file "from A to B" resamples images of A onto B: it maps points of B to A.
    write_displacements(outputs.path("xfm"), displacements(template, transform.subject_from_template))
    write_displacements(outputs.path("xfm_inverse"), displacements(mask, transform.template_from_subject))
    write_text(outputs.path("xfm_rigid"), itk_text(np.linalg.inv(transform.rigid)))
    write_text(outputs.path("xfm_affine"), itk_text(inverse))
    write_text(outputs.path("xfm_inverse_affine"), itk_text(transform.affine))
    for key in ("xfm", "xfm_inverse", "xfm_rigid", "xfm_affine", "xfm_inverse_affine"):
        outputs.write_sidecar(key)


def displacements(mask: SpatialMap, map_points: Callable[[Array], Array]) -> SpatialMap:
    """Return the displacements by a point map around a mask, on a grid along world axes, shape (i, j, k, 3), mm."""
    inside = mask.outermost_points()
    low = inside.min(axis=0) - 3 * FIELD_STEP_MM
    shape = np.ceil((inside.max(axis=0) - low) / FIELD_STEP_MM).astype(int) + 4
    affine = np.diag([FIELD_STEP_MM] * 3 + [1.0])
    affine[:3, 3] = low
    grid = SpatialMap(data=np.zeros(shape, dtype=np.float32), affine=affine)
    points = grid.world(np.moveaxis(np.indices(shape), 0, -1))
    return grid.like((map_points(points) - points).astype(np.float32))

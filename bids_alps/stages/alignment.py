"""The stage that aligns the subject with the template."""

from __future__ import annotations

import numpy as np

from bids_alps.io.images import read_map
from bids_alps.io.writing import write_text
from bids_alps.model import DwiRun
from bids_alps.registration.base import Registration, SubjectMaps
from bids_alps.registration.itk import itk_text
from bids_alps.stages.place import Place
from bids_alps.stages.tensors import Fitted


def subject_maps(fitted: Fitted, run: DwiRun) -> SubjectMaps:
    """Return what a registration engine sees of the subject."""
    return SubjectMaps(
        fa=fitted.fa,
        md=fitted.md,
        b0=fitted.b0,
        mask=fitted.field.image.like(fitted.field.mask),
        t1w=None if run.t1w is None else read_map(run.t1w),
    )


def write_transforms(place: Place, registration: Registration) -> None:
    """Write the rigid and the affine part of the alignment as ITK text."""
    transform = registration.transform
    inverse = np.linalg.inv(transform.affine)
    # A file "from A to B" resamples images of A onto B: it maps points of B to A.
    write_text(place.path("xfm_rigid"), itk_text(np.linalg.inv(transform.rigid)))
    write_text(place.path("xfm_affine"), itk_text(inverse))
    write_text(place.path("xfm_inverse_affine"), itk_text(transform.affine))

"""Where the head of a diffusion scan lies in another image of it, such as a T1w that was taken minutes apart."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from threadpoolctl import threadpool_limits

from bids_alps.model import Array, SpatialMap, SubjectMaps
from bids_alps.numerics.tissue_contrast import subject_contrast
from bids_alps.registration.linear import RIGID, LinearFit, Pair, fit_linear

_STEPS_MM = (8.0, 4.0, 2.5)
_DEPTH_MM = 6.0  # echo-planar images are distorted most at the brain's edge


def align_t1w(subject: SubjectMaps, t1w: SpatialMap) -> LinearFit:
    """Return the rigid alignment of a T1w with the diffusion maps of the same head.

    A T1w is bright where the contrast of the diffusion maps is: in white matter most, in CSF least. The search begins
    where both world coordinates are the same, and maximises the correlation inside the brain.

    Parameters
    ----------
    subject
        Diffusion maps.
    t1w
        With its skull or without, on a grid of its own.

    Returns
    -------
    LinearFit
        Its `subject_from_template` takes points of the diffusion image to points of the T1w, RAS+ mm.
    """
    mask = subject.mask
    depth = distance_transform_edt(np.pad(mask.data, 1, mode="edge"), sampling=mask.voxel_size)[1:-1, 1:-1, 1:-1]
    region = depth > _DEPTH_MM
    centre = mask.world(np.argwhere(region)).mean(axis=0)
    fit = LinearFit(parameters=np.zeros(12), centre=centre, target=centre)
    contrast = subject_contrast(subject)
    with threadpool_limits(limits=1):  # sums of BLAS depend on how work is parted
        for step_mm in _STEPS_MM:
            fit = fit_linear(Pair(contrast, t1w, region, step_mm), fit, RIGID)
    return fit


def shift_mm(matrix: Array, mask: SpatialMap) -> float:
    """Return how far a matrix, shape (4, 4), moves the voxels of a mask: root mean square, mm.

    Examples
    --------
    >>> moved = np.eye(4)
    >>> moved[:3, 3] = 3, 4, 0
    >>> shift_mm(moved, SpatialMap(data=np.ones((2, 2, 2)), affine=np.eye(4)))
    5.0
    """
    points = mask.world(np.argwhere(mask.data))
    moved = points @ matrix[:3, :3].T + matrix[:3, 3] - points
    return float(np.sqrt((moved**2).sum(axis=1).mean()))

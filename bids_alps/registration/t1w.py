"""Rigid registration of a diffusion scan to another image of the same head, such as a T1w."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from threadpoolctl import threadpool_limits

from bids_alps.model import Array, SpatialMap, SubjectMaps, transform_points
from bids_alps.numerics.tissue_contrast import subject_contrast
from bids_alps.registration.linear import RIGID, LinearFit, Pair, fit_linear

_STEPS_MM = (8.0, 4.0, 2.5)
_DEPTH_MM = 6.0  # EPI distortion is largest at the edge of the brain


def align_t1w(subject: SubjectMaps, t1w: SpatialMap) -> LinearFit:
    """Return the rigid registration of a T1w image to the diffusion maps of the same head.

    T1w images and the contrast of the diffusion maps both have bright white matter and dark CSF. The search starts
    from identical world coordinates and maximizes the correlation inside the brain.

    Parameters
    ----------
    subject
        Diffusion maps.
    t1w
        T1w image with or without skull, on its own grid.

    Returns
    -------
    LinearFit
        `subject_from_template` maps points of the diffusion image to points of the T1w image, RAS+ mm.
    """
    mask = subject.mask
    # padded by its edge: where the field of view ends, the brain goes on
    depth = distance_transform_edt(np.pad(mask.data, 1, mode="edge"), sampling=mask.voxel_size)[1:-1, 1:-1, 1:-1]
    region = depth > _DEPTH_MM
    center = mask.world(np.argwhere(region)).mean(axis=0)
    fit = LinearFit(parameters=np.zeros(12), center=center, target=center)
    contrast = subject_contrast(subject)
    with threadpool_limits(limits=1):  # BLAS sums depend on the number of threads
        for step_mm in _STEPS_MM:
            fit = fit_linear(Pair(contrast, t1w, region, step_mm), fit, RIGID)
    return fit


def shift_mm(matrix: Array, mask: SpatialMap) -> float:
    """Return the root mean square displacement of the voxels of a mask by a matrix, shape (4, 4), mm.

    Examples
    --------
    >>> moved = np.eye(4)
    >>> moved[:3, 3] = 3, 4, 0
    >>> shift_mm(moved, SpatialMap(data=np.ones((2, 2, 2)), affine=np.eye(4)))
    5.0
    """
    points = mask.world(np.argwhere(mask.data))
    moved = transform_points(matrix, points) - points
    return float(np.sqrt((moved**2).sum(axis=1).mean()))

"""Rigid registration of two images of the same head with different contrast, by mutual information."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from bids_alps.model import Array, SpatialMap
from bids_alps.numerics.itk import itk_image, ras_matrix, single_threaded

_BINS = 32


def align_by_mutual_information(fixed: Array, moving: Array, mask: Array, affine: Array) -> Array:
    """Return the rigid transform from the head in one image to the head in another image on the same grid.

    Mattes mutual information over all voxels of the mask, without random sampling.

    Parameters
    ----------
    fixed, moving
        Shape (i, j, k); the second on the same grid.
    mask
        Voxels to compare, shape (i, j, k), bool.
    affine
        Voxels to RAS+ world mm.

    Returns
    -------
    ndarray
        World mm in `fixed` to world mm in `moving`, shape (4, 4).
    """
    with single_threaded():
        return _align(fixed, moving, mask, affine)


def _align(fixed: Array, moving: Array, mask: Array, affine: Array) -> Array:
    center = affine[:3, :3] @ np.argwhere(mask).mean(0) + affine[:3, 3]
    transform = sitk.Euler3DTransform()
    transform.SetCenter((center * [-1, -1, 1]).tolist())  # ITK's frame is LPS+
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    fixed_mask = itk_image(SpatialMap(data=mask, affine=affine))
    method.SetMetricFixedMask(sitk.Cast(fixed_mask, sitk.sitkUInt8))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(0.5, 0.005, 60, relaxationFactor=0.6)
    method.SetOptimizerScales([2500.0] * 3 + [1.0] * 3)  # a radian moves the surface of the brain by about 50 mm
    method.SetSmoothingSigmasPerLevel([2.0, 0.0])
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetInitialTransform(transform, inPlace=True)
    images = (itk_image(SpatialMap(data=data, affine=affine)) for data in (fixed, moving))
    method.Execute(*images)
    return ras_matrix(transform)


def mutual_information(one: Array, other: Array) -> float:
    """Return the normalized mutual information of two images minus 1; 0 for independent images.

    (H(A) + H(B)) / H(A, B) - 1 with 64 bins, each image clipped at its 99.5th percentile (Studholme 1999,
    doi 10.1016/S0031-3203(98)00091-0).

    Examples
    --------
    >>> ramp = np.arange(6400.0)
    >>> round(mutual_information(ramp, 2 * ramp), 6), round(mutual_information(ramp, ramp % 64), 1)
    (1.0, 0.0)
    """
    clipped = [np.minimum(values, np.percentile(values, 99.5)) for values in (one, other)]
    counts, _, _ = np.histogram2d(clipped[0].ravel(), clipped[1].ravel(), bins=2 * _BINS)
    joint = counts / counts.sum()
    entropies = [_entropy(probabilities) for probabilities in (joint.sum(0), joint.sum(1), joint)]
    return float((entropies[0] + entropies[1]) / entropies[2] - 1) if entropies[2] > 0 else 0.0


def _entropy(probabilities: Array) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())

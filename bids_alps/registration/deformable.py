"""The deformable stage: greedy diffeomorphic registration (picsl_greedy) of affinely aligned tissue maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import picsl_greedy
import SimpleITK as sitk

from bids_alps.model import Array, SpatialMap
from bids_alps.numerics.itk import isotropic, itk_affine, itk_image, spatial_map

_STEP_MM = 2.0
_PADDING_MM = 6.0
_MARGIN = 8
"""Voxels of the grid around the brain mask; beyond, nothing drives the deformation."""
_COARSEST = 4
_ITERATIONS = "60x40x10"


def fit_displacement(
    channels: Sequence[tuple[SpatialMap, SpatialMap]],
    mask: SpatialMap,
    affine: Array,
    *,
    smoothing: tuple[float, float],
) -> SpatialMap:
    """Return u of p_template = affine @ (p + u(p)) on a 2 mm grid along world axes around the brain.

    Parameters
    ----------
    channels
        Pairs of template and subject maps, each on its own grid, with equal weights.
    mask
        Region of the subject used for the metric, bool.
    affine
        Matrix from subject to template, RAS+, shape (4, 4).
    smoothing
        Gaussian standard deviations of the update field and of the total field, voxels of the current level.
    """
    images: dict[str, sitk.Image | None] = {"u": None}
    inputs, still = "", sitk.Transform(3, sitk.sitkIdentity)
    indicator = itk_image(mask.like(mask.data.astype(np.float32)))
    driving = sitk.Resample(indicator, isotropic(indicator, _STEP_MM, padding_mm=_PADDING_MM), still, sitk.sitkLinear)
    box = _box(driving > 0.5)
    for n, (template, subject) in enumerate(channels):
        fixed = isotropic(itk_image(subject), _STEP_MM, padding_mm=_PADDING_MM)[box]
        images[f"f{n}"] = fixed
        images[f"m{n}"] = sitk.Resample(itk_image(template), fixed, itk_affine(affine), sitk.sitkLinear)
        inputs += f" -i f{n} m{n}"
    images["g"] = sitk.Cast(sitk.BinaryDilate(driving[box] > 0.5, [3, 3, 3]), sitk.sitkFloat32)
    update, total = smoothing
    greedy = picsl_greedy.Greedy3D()
    greedy.execute(
        # one thread and a fixed seed: sums depend on the partition of work, and the metric adds noise to its images;
        # "-wp 0": by default, greedy rounds displacements to a tenth of a voxel
        f"-threads 1 -seed 1 -V 0 -float -m NCC 3x3x3 -n {_ITERATIONS} -s {update}vox {total}vox{inputs} -gm g "
        "-wp 0 -o u",
        **images,
    )
    return spatial_map(greedy["u"])


def _box(mask: sitk.Image) -> tuple[slice, ...]:
    """Return the part of a grid that has all of a mask and a margin, from a voxel of the coarsest grid on."""
    # arrays of ITK have the axes z, y, x
    inside = np.argwhere(sitk.GetArrayViewFromImage(mask).T)
    low = np.maximum(inside.min(0) - _MARGIN, 0) // _COARSEST * _COARSEST
    high = np.minimum(inside.max(0) + 1 + _MARGIN, mask.GetSize())
    return tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))

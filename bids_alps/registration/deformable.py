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
_ITERATIONS = "60x40x10"


def fit_displacement(
    channels: Sequence[tuple[SpatialMap, SpatialMap]],
    mask: SpatialMap,
    affine: Array,
    *,
    smoothing: tuple[float, float],
) -> SpatialMap:
    """Return u of p_template = affine @ (p + u(p)) on a 2 mm grid along world axes around the subject.

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
    inputs = ""
    for n, (template, subject) in enumerate(channels):
        fixed = isotropic(itk_image(subject), _STEP_MM, padding_mm=_PADDING_MM)
        images[f"f{n}"] = fixed
        images[f"m{n}"] = sitk.Resample(itk_image(template), fixed, itk_affine(affine), sitk.sitkLinear)
        inputs += f" -i f{n} m{n}"
    still = sitk.Transform(3, sitk.sitkIdentity)
    driving = sitk.Resample(itk_image(mask.like(mask.data.astype(np.float32))), fixed, still, sitk.sitkLinear)
    images["g"] = sitk.Cast(sitk.BinaryDilate(driving > 0.5, [3, 3, 3]), sitk.sitkFloat32)
    update, total = smoothing
    greedy = picsl_greedy.Greedy3D()
    greedy.execute(
        # one thread and a fixed seed: sums depend on the partition of work, and the metric adds noise to its images
        f"-threads 1 -seed 1 -V 0 -float -m NCC 3x3x3 -n {_ITERATIONS} -s {update}vox {total}vox{inputs} -gm g -o u",
        **images,
    )
    return spatial_map(greedy["u"])

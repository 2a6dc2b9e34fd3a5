"""Noise and Gibbs ringing removed from a raw series by DIPY.

MP-PCA: Veraart 2016, doi 10.1016/j.neuroimage.2016.08.016. Subvoxel shifts: Kellner 2016, doi 10.1002/mrm.26054.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array

DENOISED = (
    "Noise was reduced by principal component analysis with a threshold from random matrix theory (MP-PCA; "
    "[@veraart2016]), as implemented in DIPY ([@garyfallidis2014])."
)
UNRINGED = (
    "Gibbs ringing was removed by local subvoxel shifts ([@kellner2016]), as implemented in DIPY ([@garyfallidis2014])."
)
MIN_VOLUMES = 30
"""With fewer volumes there are too few components to separate noise from signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """A denoised series, shape (i, j, k, n), float32, and the noise's standard deviation, shape (i, j, k)."""

    data: Array
    sigma: Array


def patch_radius(volumes: int) -> int:
    """Return the radius of the smallest cube with odd edge and at least as many voxels as volumes.

    Examples
    --------
    >>> patch_radius(27), patch_radius(33), patch_radius(200)
    (1, 2, 3)
    """
    radius = 1
    while (2 * radius + 1) ** 3 < volumes:
        radius += 1
    return radius


def denoise(data: Array, mask: Array) -> Denoised:
    """Return a series denoised by MP-PCA inside a mask; unchanged outside.

    Parameters
    ----------
    data
        Signal, shape (i, j, k, n). Every spatial axis must be as long as a patch, ``2 * patch_radius(n) + 1``.
    mask
        Voxels to denoise, shape (i, j, k), bool.
    """
    from dipy.denoise.localpca import mppca  # imported here, since it is off by default

    radius = patch_radius(data.shape[3])
    with np.errstate(invalid="ignore"):  # 0/0 in voxels without a patch
        denoised, sigma = mppca(
            data, mask=mask, patch_radius=radius, return_sigma=True, out_dtype=np.float32, suppress_warning=True
        )
    inside = mask & np.isfinite(denoised).all(-1)
    return Denoised(
        data=np.where(inside[..., None], denoised, data).astype(np.float32), sigma=np.where(inside, sigma, 0)
    )


def remove_ringing(data: Array, *, slice_axis: int = 2) -> Array:
    """Return a series without Gibbs ringing in the plane of its slices.

    Parameters
    ----------
    data
        Magnitude, shape (i, j, k, n).
    slice_axis
        Spatial axis across the slices.
    """
    from dipy.denoise.gibbs import gibbs_removal

    return gibbs_removal(data, slice_axis=slice_axis, inplace=False, num_processes=1).astype(np.float32)

"""Position of the tracts relative to the template, from the profile of diffusivities along x.

From the midline outward fibers run along z (corona radiata), then along y (superior longitudinal fasciculus): the
contrast (Dzz - Dyy) / (Dzz + Dyy) is positive, then negative. The shift between the measured and the
expected profile is the offset of the regions from the tracts, independent of the registration.
"""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array, SpatialTransform, TensorField, sample_linear
from bids_alps.numerics.tensors.tensor import rotate_elements

_X_MM = np.arange(16.0, 56.0, 2.0)
_EXPECTED = np.array(
    [
        *(0.0, 0.0, 0.1, 0.28, 0.4, 0.42, 0.35, 0.2, 0.01, -0.23),
        *(-0.39, -0.455, -0.41, -0.325, -0.225, -0.14, -0.065, -0.015, 0.01, 0.03),
    ]
)
"""Mean of eleven scans of four participants at y -24 to -8 and z 25 to 31 mm of MNI152NLin2009aSym, both sides."""

_COMPARED_MM = np.arange(20.0, 47.0)
_Y_MM, _Z_MM = np.arange(-24.0, -7.0, 4.0), np.arange(25.0, 32.0, 2.0)
_REACH_MM, _STEP_MM = 10.0, 0.25


def measure_tract_shift(field: TensorField, transform: SpatialTransform) -> dict[str, float]:
    """Return the lateral offset of the tracts from their expected position, mm, by side; NaN outside the scan.

    Parameters
    ----------
    field
        Tensors of the subject in world axes.
    transform
        Transform from subject to a template in MNI coordinates.

    Returns
    -------
    dict
        ``left`` and ``right``: positive if the tracts are lateral to the regions, that is, the regions are too
        medial.
    """
    return {side: _shift(_contrast(field, transform, sign)) for side, sign in (("left", -1.0), ("right", 1.0))}


def _contrast(field: TensorField, transform: SpatialTransform, sign: float) -> tuple[Array, Array]:
    """Return distances from the midline, mm, and the contrast at these, both of shape (n,)."""
    x = np.arange(_COMPARED_MM[0] - _REACH_MM, _COMPARED_MM[-1] + _REACH_MM + 1)
    grid = np.stack(np.meshgrid(sign * x, _Y_MM, _Z_MM, indexing="ij"), axis=-1)
    points = transform.subject_from_template(grid.reshape(-1, 3))
    elements = rotate_elements(sample_linear(field.image, points), transform.rotation)
    inside = sample_linear(field.image.like(field.mask.astype(np.float32)), points) > 0.5
    inside = (inside & field.image.contains(points)).reshape(len(x), -1)
    elements = np.where(inside[..., None], elements.reshape(len(x), -1, 6), np.nan)
    # ratio of sums over y and z at each x: a mean of ratios would be biased by noise
    yy, zz = (np.nansum(elements[..., n], axis=1) for n in (3, 5))
    known = (inside.mean(1) > 0.5) & (yy + zz > 0)
    return x, np.where(known, (zz - yy) / np.where(known, yy + zz, 1.0), np.nan)


def _shift(profile: tuple[Array, Array]) -> float:
    """Return the shift, mm, that maximizes the correlation of a profile with the expected one."""
    x, contrast = profile
    known = np.isfinite(contrast)
    if known.mean() < 0.8:
        return float("nan")
    expected = np.interp(_COMPARED_MM, _X_MM, _EXPECTED)
    # positive: the measured profile lies further from the midline than expected
    shifts = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    moved = [np.interp(_COMPARED_MM + shift, x[known], contrast[known]) for shift in shifts]
    return float(shifts[int(np.argmax([np.corrcoef(one, expected)[0, 1] for one in moved]))])

"""Lesions in a subject: lesion fractions of voxels and regions, and regions without lesions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bids_alps.errors import CoverageError
from bids_alps.model import Array, Roi, SpatialMap, SpatialTransform
from bids_alps.numerics.index.atlas import place_labels

MEASURED = (
    "The fraction of each region inside the lesion mask was measured, and the index with and without lesion voxels."
)
EXCLUDED = "Voxels that contain lesions were excluded from the regions."
MIN_COVERED = 0.9
"""Minimum fraction of the brain covered by the field of view of a lesion mask."""


def lesion_fraction_map(lesions: SpatialMap, transform: SpatialTransform, mask: SpatialMap) -> SpatialMap:
    """Return the lesion fraction of each brain voxel, shape (i, j, k), 0 to 1.

    Parameters
    ----------
    lesions
        1 in lesions, 0 elsewhere, on any grid, shape (l, m, n).
    transform
        Transform from subject to the space of `lesions`.
    mask
        Brain mask on the subject's grid; 0 is returned outside.

    Raises
    ------
    CoverageError
        If more than a tenth of the brain lies outside the field of view of `lesions`.
    """
    covered = covered_fraction(lesions, transform, mask)
    if covered < MIN_COVERED:
        raise CoverageError(
            "lesion mask",
            f"its field of view covers {covered:.0%} of the brain",
            "check its world coordinates, or provide a mask that covers the whole brain",
        )
    placed = place_labels(lesions, transform, mask)
    share = np.zeros(mask.shape, dtype=np.float32)
    share[tuple(placed.voxels.T)] = placed.weights
    return mask.like(share)


def covered_fraction(lesions: SpatialMap, transform: SpatialTransform, mask: SpatialMap) -> float:
    """Return the fraction of brain voxels with their center in the field of view of a lesion mask.

    Examples
    --------
    >>> brain = SpatialMap(data=np.ones((4, 4, 4), dtype=bool), affine=np.eye(4))
    >>> half = SpatialMap(data=np.zeros((2, 4, 4)), affine=np.eye(4))
    >>> covered_fraction(half, SpatialTransform(affine=np.eye(4), rigid=np.eye(4)), brain)
    0.5
    """
    centers = mask.world(np.argwhere(np.asarray(mask.data, dtype=bool)))
    return float(lesions.contains(transform.template_from_subject(centers)).mean())


def lesion_overlap(roi: Roi, share: SpatialMap) -> float:
    """Return the weighted lesion fraction of a region; NaN without voxels.

    Parameters
    ----------
    roi
        Region on the grid of `share`, weighted by the fraction of each voxel inside.
    share
        Lesion fraction of each voxel, shape (i, j, k).

    Examples
    --------
    >>> roi = Roi(name="projection_left", voxels=np.array([[0, 0, 0], [0, 0, 1]]), weights=np.array([1.0, 0.5]))
    >>> float(round(lesion_overlap(roi, SpatialMap(data=np.array([[[1.0, 0.5]]]), affine=np.eye(4))), 3))
    0.833
    """
    return float(roi.mean(share.data)) if roi.weights.sum() > 0 else float("nan")


def without_lesions(rois: Iterable[Roi], share: SpatialMap) -> tuple[Roi, ...]:
    """Return regions without voxels that contain lesions: even a partial lesion changes the tensor of a voxel."""
    return tuple(_healthy(roi, np.asarray(share.data)) for roi in rois)


def _healthy(roi: Roi, share: Array) -> Roi:
    healthy = share[tuple(roi.voxels.T)] == 0
    return replace(roi, voxels=roi.voxels[healthy], weights=roi.weights[healthy])


def volume_ml(share: SpatialMap) -> float:
    """Return the volume of lesions, mL, from the lesion fraction of each voxel."""
    # the determinant of the affine is the volume of a voxel, mm^3
    return float(np.sum(share.data, dtype=np.float64) * abs(np.linalg.det(share.affine[:3, :3])) / 1000)

"""A registered run, and the weights of its regions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, Check, Roi, RoiPreset, SpatialMap, SpatialTransform
from bids_alps.numerics.index.lesions import without_lesions
from bids_alps.numerics.index.rois import weight_by_tissue
from bids_alps.registration.base import Registration
from bids_alps.settings import Method
from bids_alps.stages.lesions import Lesions
from bids_alps.stages.tensors import TensorFit


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedRun:
    """A run with tensors and registration, ready for measuring the index.

    Parameters
    ----------
    fitted
        Tensors and scalar maps.
    registration
        Registration of the scan to the template.
    method
        Settings of the method.
    checks
        Quality checks of previous stages.
    lesions
        Lesions on the diffusion grid; None if no dataset of lesions was given.
    """

    fitted: TensorFit
    registration: Registration
    method: Method
    checks: tuple[Check, ...] = ()
    lesions: Lesions | None = None

    @property
    def mask(self) -> SpatialMap:
        """Brain mask on the diffusion grid."""
        return self.fitted.field.image.like(self.fitted.field.mask)

    @property
    def lesion_fraction(self) -> SpatialMap | None:
        """Fraction of each voxel in lesions; None without a lesion mask."""
        return self.lesions.fraction if self.lesions else None

    @property
    def excluded(self) -> SpatialMap | None:
        """Map of voxels to exclude from the regions (> 0); None if lesions are not excluded."""
        return self.lesion_fraction if self.method.exclude_lesions else None

    @property
    def rotation(self) -> Array:
        """Rotation from scanner axes to those of the index, shape (3, 3); identity without pose correction."""
        return self.registration.transform.rotation if self.method.pose_correction else np.eye(3)


def transform_for_preset(preset: RoiPreset, registration: Registration) -> SpatialTransform:
    """Return the transform from the scan to the space of a preset; identity for manual ROIs."""
    return SpatialTransform(affine=np.eye(4), rigid=np.eye(4)) if preset.native else registration.transform


def apply_roi_weights(
    aligned: AlignedRun, rois: tuple[Roi, ...], excluded: SpatialMap | None = None
) -> tuple[Roi, ...]:
    """Return regions with the weights of the method, without voxels that overlap `excluded`."""
    rois = rois if excluded is None else without_lesions(rois, excluded)
    return weight_by_tissue(rois, aligned.fitted.field) if aligned.method.roi_weighting == "tissue" else rois


def used_regions(rois: Iterable[Roi]) -> list[Roi]:
    """Return the regions that enter the index."""
    return [roi for roi in rois if roi.region in ("projection", "association")]


def has_regions(rois: Iterable[Roi]) -> bool:
    """Whether every region that enters the index has at least one voxel."""
    return all(roi.weights.size for roi in used_regions(rois))

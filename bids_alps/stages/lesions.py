"""The stage that places lesions on the diffusion grid, and tells what they do to the index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bids_alps.errors import CoverageError
from bids_alps.io.lesions import DWI, T1W, read_lesions
from bids_alps.model import AlpsResult, Check, LesionEffect, Roi, SpatialMap, SpatialTransform
from bids_alps.numerics.lesions import lesion_overlap, share_in_lesions, volume_ml
from bids_alps.numerics.quality import judge
from bids_alps.stages.place import Place

_HERE = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """Lesions of a run.

    Parameters
    ----------
    share
        Fraction of each voxel in lesions, shape (i, j, k); None where the run has no mask.
    space
        Whose world coordinates the mask had.
    """

    share: SpatialMap | None
    space: str


def place_lesions(place: Place, transform: SpatialTransform, mask: SpatialMap) -> Lesions | None:
    """Carry the lesions of a run to its grid and write them; None where no dataset of lesions was given.

    Parameters
    ----------
    place
        Where files go, of which run, with which template.
    transform
        Subject to template.
    mask
        Brain mask on the diffusion grid.

    Raises
    ------
    AlpsError
        If the mask cannot be used.
    """
    told = place.run.lesions
    if told is None:
        return None
    if told.path is None:
        return Lesions(share=None, space="")
    lesions = read_lesions(told.path, told.space, template=place.template)
    try:
        share = share_in_lesions(lesions, _HERE if told.space in (DWI, T1W) else transform, mask)
    except CoverageError as error:
        raise error.at(str(told.path)) from error
    place.write("lesions", share, Sources=[f"bids:lesions:{told.path.name}"])
    return Lesions(share=share, space=told.space)


def tell_effect(
    result: AlpsResult,
    rois: Iterable[Roi],
    lesions: Lesions,
    indices: tuple[Mapping[str, float], Mapping[str, float]],
) -> AlpsResult:
    """Return a result with the share of each region in lesions, and the index with and without them.

    Parameters
    ----------
    result
        What was measured.
    rois
        Regions with the fraction of each voxel inside.
    lesions
        Lesions on the same grid.
    indices
        The index by hemisphere with every voxel, and without those that a lesion touches.
    """
    if lesions.share is None:
        return result
    overlaps = {roi.name: lesion_overlap(roi, lesions.share) for roi in rois}
    measured = tuple(replace(roi, scalars={**roi.scalars, "lesion_overlap": overlaps[roi.name]}) for roi in result.rois)
    effect = LesionEffect(
        space=lesions.space, volume_ml=volume_ml(lesions.share), alps_with=indices[0], alps_without=indices[1]
    )
    return replace(result, rois=measured, lesions=effect)


def check_lesions(result: AlpsResult, lesions: Lesions | None) -> tuple[Check, ...]:
    """Return the check of lesions in the regions of the index; none where no dataset of lesions was given."""
    if lesions is None:
        return ()
    used = [roi for roi in result.rois if roi.name.startswith(("projection", "association"))]
    overlaps = [roi.scalars.get("lesion_overlap", float("nan")) for roi in used]
    return (judge("lesion_overlap", float(np.max(overlaps))),)

"""The stage that places lesions on the diffusion grid, and tells what they do to the index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bids_alps.errors import CoverageError, RegistrationError
from bids_alps.io.lesions import ANATOMICAL, DWI, T1W, read_lesions
from bids_alps.model import (
    AlpsResult,
    Array,
    Check,
    DwiRun,
    LesionEffect,
    Roi,
    SpatialMap,
    SpatialTransform,
    Statement,
    SubjectMaps,
    Template,
)
from bids_alps.numerics.index.lesions import EXCLUDED, MEASURED, lesion_fraction_map, lesion_overlap, volume_ml
from bids_alps.quality.checks import evaluate
from bids_alps.registration.t1w import align_t1w, shift_mm
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.statements import say

T1W_ALIGNED = (
    "Lesion masks drawn on the T1w image were placed by a rigid alignment of that image with the diffusion images."
)
T1W_AS_IT_LIES = "Lesion masks drawn on anatomical images were taken as they lie, without alignment."
LEAST_SIMILARITY = 0.4
"""Correlation with the diffusion maps below which a T1w counts as not aligned: .60 to .65 in real scans, .1 to .25
where the T1w is uncorrected for the profile of its coils, and the alignment wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """Lesions of a run.

    Parameters
    ----------
    fraction
        Fraction of each voxel in lesions, shape (i, j, k); None where the run has no mask.
    space
        Whose world coordinates the mask had.
    uncorrected_mm
        How far the T1w lies beside the diffusion image, of a mask that was taken as it lies; NaN where that cannot be
        measured, None for any other mask.
    """

    fraction: SpatialMap | None
    space: str
    uncorrected_mm: float | None = None
    statements: tuple[Statement, ...] = ()


def place_lesions(
    outputs: RunOutputs,
    subject: SubjectMaps,
    template: Template,
    transform: SpatialTransform,
    *,
    t1w_aligned: bool = False,
) -> Lesions | None:
    """Carry the lesions of a run to its grid and write them; None where no dataset of lesions was given.

    Parameters
    ----------
    outputs
        Where files go, and of which run.
    subject
        Diffusion maps with the brain mask, and the T1w if there is one.
    template, transform
        Template, and subject to template.
    t1w_aligned
        Whether masks drawn on an anatomical image are taken as they lie.

    Raises
    ------
    AlpsError
        If the mask cannot be used, or the T1w that it was drawn on cannot be aligned.
    """
    told = outputs.run.lesions
    if told is None:
        return None
    if told.path is None:
        return Lesions(fraction=None, space="")
    lesions = read_lesions(told.path, told.space, template=template)
    fields: dict[str, Any] = {"Sources": [f"bids:lesions:{told.path.name}"]}
    shift = None
    if told.space in ANATOMICAL:
        matrix, shift = _find_t1w(outputs.run, subject, refuse=not t1w_aligned)
        fields |= {"T1wShift": shift if np.isfinite(shift) else "n/a", "T1wAligned": t1w_aligned}
        matrix = np.eye(4) if t1w_aligned else matrix
        transform = SpatialTransform(affine=matrix, rigid=np.eye(4))
    elif told.space == DWI:
        transform = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))
    try:
        fraction = lesion_fraction_map(lesions, transform, subject.mask)
    except CoverageError as error:
        raise error.at(str(told.path)) from error
    outputs.write("lesions", fraction, **fields)
    return Lesions(
        fraction=fraction,
        space=told.space,
        uncorrected_mm=shift if t1w_aligned else None,
        statements=say("regions", *([T1W_AS_IT_LIES if t1w_aligned else T1W_ALIGNED] if shift is not None else [])),
    )


def _find_t1w(run: DwiRun, subject: SubjectMaps, *, refuse: bool) -> tuple[Array, float]:
    """Return the matrix from the diffusion image to the T1w, shape (4, 4), and how far it moves the brain, mm.

    What cannot be aligned gives NaN, or RegistrationError where that is to be refused.
    """
    unknown = np.eye(4), float("nan")
    if run.lesions is None or run.lesions.space != T1W or subject.t1w is None:
        return unknown
    fit = align_t1w(subject, subject.t1w)
    if fit.similarity >= LEAST_SIMILARITY:
        return fit.subject_from_template, shift_mm(fit.subject_from_template, subject.mask)
    if refuse:
        raise RegistrationError(
            str(run.t1w),
            f"correlates with the diffusion maps by {fit.similarity:.2f} at best, less than {LEAST_SIMILARITY}: "
            "lesions drawn on it cannot be placed",
            "give a T1w corrected for the profile of its coils, or the mask in the space of the diffusion image",
        )
    return unknown


def state_lesions(lesions: Lesions | None, *, excluded: bool) -> tuple[Statement, ...]:
    """Return what lesions of a run say; `excluded` is whether regions are measured without them."""
    if lesions is None or lesions.fraction is None:
        return ()
    return (*lesions.statements, *say("regions", MEASURED, *([EXCLUDED] if excluded else [])))


def add_lesion_effect(
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
    if lesions.fraction is None:
        return result
    overlaps = {roi.name: lesion_overlap(roi, lesions.fraction) for roi in rois}
    measured = tuple(replace(roi, scalars={**roi.scalars, "lesion_overlap": overlaps[roi.name]}) for roi in result.rois)
    effect = LesionEffect(
        space=lesions.space, volume_ml=volume_ml(lesions.fraction), alps_with=indices[0], alps_without=indices[1]
    )
    return replace(result, rois=measured, lesions=effect)


def check_lesions(result: AlpsResult, lesions: Lesions | None) -> tuple[Check, ...]:
    """Return the checks of lesions in the regions of the index; none where no dataset of lesions was given."""
    if lesions is None:
        return ()
    used = [roi for roi in result.rois if roi.name.startswith(("projection", "association"))]
    overlaps = [roi.scalars.get("lesion_overlap", float("nan")) for roi in used]
    checks = (evaluate("lesion_overlap", float(np.max(overlaps))),)
    trusted = lesions.uncorrected_mm
    return checks if trusted is None else (*checks, evaluate("lesion_t1w_shift", trusted))

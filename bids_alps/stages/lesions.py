"""Stage: lesions on the diffusion grid, and their effect on the index."""

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
from bids_alps.stages.statements import make_statement

T1W_ALIGNED = (
    "Lesion masks drawn on the T1w image were transformed by a rigid registration of that image to the diffusion "
    "images."
)
T1W_NOT_REGISTERED = "Lesion masks drawn on anatomical images were used without registration."
MIN_SIMILARITY = 0.4
"""Correlation with the diffusion maps below which the registration of a T1w has failed: 0.60 to 0.65 in real scans, 0.1
to 0.25 in scans with uncorrected intensity bias and a wrong registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """Lesions of a run.

    Parameters
    ----------
    fraction
        Fraction of each voxel in lesions, shape (i, j, k); None if the run has no mask.
    space
        Space of the mask.
    uncorrected_mm
        Displacement between T1w and diffusion image, for a mask used without registration; NaN if it cannot be
        measured, None for other masks.
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
    """Transform the lesions of a run to its grid and write them; None if no dataset of lesions was given.

    Parameters
    ----------
    outputs
        Output paths of the run.
    subject
        Diffusion maps with brain mask, and the T1w if there is one.
    template, transform
        Template, and transform from subject to template.
    t1w_aligned
        Whether masks drawn on anatomical images are used without registration.

    Raises
    ------
    AlpsError
        If the mask cannot be used, or the T1w on which it was drawn cannot be registered.
    """
    mask = outputs.run.lesions
    if mask is None:
        return None
    if mask.path is None:
        return Lesions(fraction=None, space="")
    lesions = read_lesions(mask.path, mask.space, template=template)
    fields: dict[str, Any] = {"Sources": [f"bids:lesions:{mask.path.name}"]}
    shift = None
    if mask.space in ANATOMICAL:
        matrix, shift = _register_t1w(outputs.run, subject, refuse=not t1w_aligned)
        fields |= {"T1wShift": shift if np.isfinite(shift) else "n/a", "T1wAligned": t1w_aligned}
        matrix = np.eye(4) if t1w_aligned else matrix
        transform = SpatialTransform(affine=matrix, rigid=np.eye(4))
    elif mask.space == DWI:
        transform = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))
    try:
        fraction = lesion_fraction_map(lesions, transform, subject.mask)
    except CoverageError as error:
        raise error.at(str(mask.path)) from error
    outputs.write("lesions", fraction, **fields)
    return Lesions(
        fraction=fraction,
        space=mask.space,
        uncorrected_mm=shift if t1w_aligned else None,
        statements=make_statement(
            "regions", *([T1W_NOT_REGISTERED if t1w_aligned else T1W_ALIGNED] if shift is not None else [])
        ),
    )


def _register_t1w(run: DwiRun, subject: SubjectMaps, *, refuse: bool) -> tuple[Array, float]:
    """Return the matrix from the diffusion image to the T1w, shape (4, 4), and the mean displacement of the brain, mm.

    NaN, or RegistrationError if `refuse`, for a T1w that cannot be registered.
    """
    unknown = np.eye(4), float("nan")
    if run.lesions is None or run.lesions.space != T1W or subject.t1w is None:
        return unknown
    fit = align_t1w(subject, subject.t1w)
    if fit.similarity >= MIN_SIMILARITY:
        return fit.subject_from_template, shift_mm(fit.subject_from_template, subject.mask)
    if refuse:
        raise RegistrationError(
            str(run.t1w),
            f"correlation with the diffusion maps {fit.similarity:.2f}, less than {MIN_SIMILARITY}: "
            "lesions drawn on it cannot be placed",
            "give a T1w corrected for intensity bias, or the mask in the space of the diffusion image",
        )
    return unknown


def lesion_statements(lesions: Lesions | None, *, excluded: bool) -> tuple[Statement, ...]:
    """Return the statements about lesions of a run; `excluded`: whether they are excluded from the regions."""
    if lesions is None or lesions.fraction is None:
        return ()
    return (*lesions.statements, *make_statement("regions", MEASURED, *([EXCLUDED] if excluded else [])))


def add_lesion_effect(
    result: AlpsResult,
    rois: Iterable[Roi],
    lesions: Lesions,
    indices: tuple[Mapping[str, float], Mapping[str, float]],
) -> AlpsResult:
    """Return a result with the lesion fraction of each region, and the index with and without lesions.

    Parameters
    ----------
    result
        Result of the index.
    rois
        Regions with the fraction of each voxel inside.
    lesions
        Lesions on the same grid.
    indices
        The index by hemisphere with all voxels, and without voxels that overlap a lesion.
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
    """Return the checks of lesions in the regions of the index; empty if no dataset of lesions was given."""
    if lesions is None:
        return ()
    used = [roi for roi in result.rois if roi.name.startswith(("projection", "association"))]
    overlaps = [roi.scalars.get("lesion_overlap", float("nan")) for roi in used]
    checks = (evaluate("lesion_overlap", float(np.max(overlaps))),)
    shift_mm = lesions.uncorrected_mm
    return checks if shift_mm is None else (*checks, evaluate("lesion_t1w_shift", shift_mm))

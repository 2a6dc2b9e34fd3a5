"""Alternative indices: other b-values, tissue weighting, spheres, free-water correction, crossing fibers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bids_alps.errors import AlpsError
from bids_alps.io.presets import read_preset
from bids_alps.model import AlpsResult, Roi, RoiDiffusivity, RoiPreset
from bids_alps.numerics.index.alps import alps_by_hemisphere, alps_from_series, as_floats, mean_tensor
from bids_alps.numerics.index.crossing import measure_crossing
from bids_alps.numerics.index.free_water import measure_free_water
from bids_alps.numerics.index.lesions import without_lesions
from bids_alps.numerics.index.rois import elements_in, place_preset, tissue_share, weight_by_tissue
from bids_alps.numerics.tensors.calibration import reweight
from bids_alps.numerics.tensors.tensor import rotate_elements
from bids_alps.stages.aligned import AlignedRun, apply_roi_weights, has_regions, transform_for_preset, used_regions

_SPHERES = "alps-sphere"


def add_other_tissue(aligned: AlignedRun, result: AlpsResult, whole: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the fraction of other tissue in each region, and with the tissue-weighted index."""
    field = aligned.fitted.field
    shares = {
        roi.name: 1 - float(roi.weights @ tissue_share(elements_in(field, roi)) / roi.weights.sum())
        if roi.weights.size
        else float("nan")
        for roi in whole
    }
    measured = tuple(replace(roi, scalars={**roi.scalars, "other_tissue": shares[roi.name]}) for roi in result.rois)
    weighted = {
        roi.name: rotate_elements(mean_tensor(field, roi), aligned.rotation)
        for roi in weight_by_tissue(
            whole if aligned.excluded is None else without_lesions(whole, aligned.excluded), field
        )
    }
    alternatives = {**result.alternatives, "tissue_weighted": as_floats(alps_by_hemisphere(weighted))}
    return replace(result, rois=measured, alternatives=alternatives)


def alternative_indices(aligned: AlignedRun, rois: tuple[Roi, ...]) -> dict[str, dict[str, float]]:
    """Return the index with the b-values of the gradient table, and with b-values calibrated per axis."""
    series = aligned.fitted.as_recorded
    calibrated = reweight(series, aligned.fitted.weighting.corrected)
    return {
        "uncalibrated": alps_from_series(series, rois, aligned.rotation),
        "calibrated": alps_from_series(calibrated, rois, aligned.rotation),
    }


def sphere_index(aligned: AlignedRun, preset: RoiPreset) -> dict[str, dict[str, float]]:
    """Return the index in the spheres of most studies (`alps-sphere`); empty if not defined in the template."""
    if preset.native or preset.name == _SPHERES:
        return {}
    try:
        spheres = read_preset(_SPHERES, template=preset.template)
    except AlpsError:  # their centers cannot be transformed to this template
        return {}
    rois = place_preset(spheres, transform_for_preset(spheres, aligned.registration), aligned.mask)
    if not has_regions(rois):
        return {}
    rois = apply_roi_weights(aligned, rois, aligned.excluded)
    means = {roi.name: rotate_elements(mean_tensor(aligned.fitted.field, roi), aligned.rotation) for roi in rois}
    return {"spheres": as_floats(alps_by_hemisphere(means))}


def add_free_water_index(aligned: AlignedRun, result: AlpsResult, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the free-water-corrected index and the free-water fractions, if there are two shells."""
    fitted = aligned.fitted
    if fitted.water_volumes is None:
        return result
    corrected = measure_free_water(fitted.all_shells, fitted.water_volumes, used_regions(rois), aligned.rotation)
    fractions = {name: {"free_water": fraction} for name, fraction in corrected.fractions.items()}
    return replace(result, rois=with_scalars(result.rois, fractions), alps_water_corrected=corrected.alps)


def add_crossing_index(aligned: AlignedRun, result: AlpsResult, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the index without crossing fibers, and the fraction of fibers along each axis."""
    fitted = aligned.fitted
    if fitted.crossing is None:
        return result
    volumes, response = fitted.crossing
    seed = aligned.method.random_seed
    crossing = measure_crossing(fitted.all_shells, volumes, used_regions(rois), aligned.rotation, response, seed=seed)
    fractions = {
        name: {f"fraction_{axis}": share for axis, share in shares.items()}
        for name, shares in crossing.fractions.items()
    }
    alternatives = {**result.alternatives, "crossing": crossing.alps, "crossing_se": crossing.se}
    return replace(result, rois=with_scalars(result.rois, fractions), alternatives=alternatives)


def with_scalars(
    rois: Iterable[RoiDiffusivity], scalars: Mapping[str, Mapping[str, float]]
) -> tuple[RoiDiffusivity, ...]:
    """Return measurements of regions with additional scalars by region."""
    return tuple(replace(roi, scalars={**roi.scalars, **scalars.get(roi.name, {})}) for roi in rois)

"""The index as it would be otherwise, beside the one that is reported: other b-values, without other tissue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bids_alps.errors import AlpsError
from bids_alps.io.presets import read_preset
from bids_alps.model import AlpsResult, Roi, RoiDiffusivity, RoiPreset
from bids_alps.numerics.index.alps import alps_by_hemisphere, as_floats, index_of_series, mean_tensor
from bids_alps.numerics.index.crossing import choose_crossing_volumes, measure_crossing, single_fibre_response
from bids_alps.numerics.index.free_water import measure_free_water
from bids_alps.numerics.index.lesions import without_lesions
from bids_alps.numerics.index.rois import elements_in, place_preset, tissue_share, weight_by_tissue
from bids_alps.numerics.tensors.calibration import reweight
from bids_alps.numerics.tensors.tensor import eigen_system, rotate_elements
from bids_alps.stages.aligned import AlignedRun, apply_roi_weights, has_regions, transform_for_preset, used_regions

_SPHERES = "alps-sphere"


def add_other_tissue(aligned: AlignedRun, result: AlpsResult, whole: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the share of each region that is no white matter, and with the index without it."""
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
    """Return the index with b-values as the table has them, and corrected by axis where tissue agrees."""
    fitted = aligned.fitted
    return {
        "uncalibrated": index_of_series(fitted.tabled, rois, aligned.rotation),
        "calibrated": index_of_series(reweight(fitted.tabled, fitted.weighting.corrected), rois, aligned.rotation),
    }


def sphere_index(aligned: AlignedRun, preset: RoiPreset) -> dict[str, dict[str, float]]:
    """Return the index in the spheres of most studies (`alps-sphere`); nothing where the template has none of them."""
    if preset.native or preset.name == _SPHERES:
        return {}
    try:
        spheres = read_preset(_SPHERES, template=preset.template)
    except AlpsError:  # a template that their centres cannot be carried to
        return {}
    rois = place_preset(spheres, transform_for_preset(spheres, aligned.registration), aligned.mask)
    if not has_regions(rois):
        return {}
    rois = apply_roi_weights(aligned, rois, aligned.excluded)
    means = {roi.name: rotate_elements(mean_tensor(aligned.fitted.field, roi), aligned.rotation) for roi in rois}
    return {"spheres": as_floats(alps_by_hemisphere(means))}


def add_free_water_index(aligned: AlignedRun, result: AlpsResult, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the index of the tissue alone and the fraction of free water, where there are two shells."""
    fitted = aligned.fitted
    if fitted.water_volumes is None:
        return result
    found = measure_free_water(fitted.whole, fitted.water_volumes, used_regions(rois), aligned.rotation)
    fractions = {name: {"free_water": fraction} for name, fraction in found.fractions.items()}
    return replace(result, rois=with_scalars(result.rois, fractions), alps_water_corrected=found.alps)


def add_crossing_index(aligned: AlignedRun, result: AlpsResult, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the index without fibres that cross, and the share of fibres along each axis."""
    fitted = aligned.fitted
    volumes = choose_crossing_volumes(fitted.whole.gradients, b0_threshold=aligned.method.b0_threshold)
    if volumes is None:
        return result
    inside = fitted.field.mask
    response = single_fibre_response(eigen_system(fitted.field.image.data[inside])[0], fitted.fa.data[inside])
    seed = aligned.method.random_seed
    found = measure_crossing(fitted.whole, volumes, used_regions(rois), aligned.rotation, response, seed=seed)
    fractions = {
        name: {f"fraction_{axis}": share for axis, share in shares.items()} for name, shares in found.fractions.items()
    }
    alternatives = {**result.alternatives, "crossing": found.alps, "crossing_se": found.se}
    return replace(result, rois=with_scalars(result.rois, fractions), alternatives=alternatives)


def with_scalars(
    rois: Iterable[RoiDiffusivity], scalars: Mapping[str, Mapping[str, float]]
) -> tuple[RoiDiffusivity, ...]:
    """Return measurements of regions with further scalars by region."""
    return tuple(replace(roi, scalars={**roi.scalars, **scalars.get(roi.name, {})}) for roi in rois)

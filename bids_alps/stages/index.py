"""The stage that places the regions of interest, measures the index and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bids_alps.errors import CoverageError
from bids_alps.io.derivatives import ROI_LABELS
from bids_alps.io.presets import preset_labels
from bids_alps.io.results import alps_rows, quality_rows, roi_rows, write_results
from bids_alps.model import (
    AlpsResult,
    Array,
    Check,
    Interval,
    Roi,
    RoiPreset,
    SpatialMap,
    SpatialTransform,
    Status,
    worst_status,
)
from bids_alps.numerics.index.alps import mean_tensor, measure_alps
from bids_alps.numerics.index.free_water import measure_free_water
from bids_alps.numerics.index.lesions import without_lesions
from bids_alps.numerics.index.rois import place_preset, prepare_placement, weight_by_tissue
from bids_alps.numerics.index.uncertainty import add_resolution, blur_by_a_voxel, estimate_intervals
from bids_alps.numerics.tensors.tensor import rotate_elements
from bids_alps.quality.checks import apply_thresholds, check_index, parse_thresholds
from bids_alps.registration.base import Registration
from bids_alps.settings import Method
from bids_alps.stages.lesions import Lesions, add_lesion_effect, check_lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.tensors import TensorFit, check_acquisition, describe_acquisition

LARGEST_OFFSET = 4.5
"""Standard errors beyond which no placement is drawn in practice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The index of one preset with its regions, checks and status."""

    preset: RoiPreset
    rois: tuple[Roi, ...]
    result: AlpsResult
    checks: tuple[Check, ...]
    status: Status


def measure(
    fitted: TensorFit,
    registration: Registration,
    preset: RoiPreset,
    method: Method,
    before: tuple[Check, ...],
    lesions: Lesions | None = None,
) -> Measurement:
    """Place the regions of one preset and measure the index; `before` are the checks of the stages before.

    An alignment that fails its checks gives no index, unless the method keeps failed ones.

    Raises
    ------
    CoverageError
        If every region lies outside the brain mask or the field of view.
    """
    mask = fitted.field.image.like(fitted.field.mask)
    whole = place_preset(preset, transform_for_preset(preset, registration), mask)
    if not any(roi.weights.size for roi in whole):
        raise CoverageError(
            "regions of interest",
            "none of them lies inside the brain mask and the field of view",
            "check the registration figure: the scan may not cover the level of the lateral ventricles",
        )
    turned = method.pose_correction or preset.conventions != "anatomical"

    def indexed(rois: tuple[Roi, ...]) -> AlpsResult:
        rotation, pose = registration.transform.rotation, registration.pose
        return measure_alps(fitted.field, rois, rotation, pose, pose_correction=turned)

    touched = lesions.share if lesions else None
    excluded = touched if method.exclude_lesions else None
    rois = apply_roi_weights(whole, fitted, method, excluded)
    result = indexed(rois)
    if lesions is not None and touched is not None:
        every, healthy = (indexed(apply_roi_weights(whole, fitted, method, left_out)) for left_out in (None, touched))
        result = add_lesion_effect(result, whole, lesions, (every.alps, healthy.alps))
    if preset.conventions == "anatomical":
        intervals = measure_intervals(fitted, registration, preset, rois, method, excluded)
        result = replace(result, interval=intervals)
        result = add_free_water_index(result, fitted, rois, registration.transform.rotation if turned else np.eye(3))
    found = (*check_index(result), *check_lesions(result, lesions), *check_acquisition(fitted), *before)
    checks = apply_thresholds(found, parse_thresholds(method.threshold))
    misaligned = any(check.status == "fail" and check.name.startswith("registration_") for check in checks)
    if misaligned and not method.keep_failed:
        result = without_index(result)
    return Measurement(
        preset=preset,
        rois=rois,
        result=result,
        checks=checks,
        status=worst_status(check.status for check in checks),
    )


def transform_for_preset(preset: RoiPreset, registration: Registration) -> SpatialTransform:
    """Return the map from the scan to where the regions of a preset were defined."""
    return SpatialTransform(affine=np.eye(4), rigid=np.eye(4)) if preset.native else registration.transform


def apply_roi_weights(
    rois: tuple[Roi, ...], fitted: TensorFit, method: Method, excluded: SpatialMap | None = None
) -> tuple[Roi, ...]:
    """Return regions with the weights that the method asks for, without voxels that touch what is `excluded`."""
    rois = rois if excluded is None else without_lesions(rois, excluded)
    return weight_by_tissue(rois, fitted.field) if method.roi_weighting == "tissue" else rois


def add_free_water_index(result: AlpsResult, fitted: TensorFit, rois: tuple[Roi, ...], turn: Array) -> AlpsResult:
    """Return a result with the index of the tissue alone and the share of free water, where shells can tell."""
    used = [roi for roi in rois if roi.region in ("projection", "association")]
    if fitted.water_volumes is None or not all(roi.weights.size for roi in used):
        return result
    found = measure_free_water(fitted.whole, fitted.water_volumes, used, turn)
    measured = tuple(
        replace(roi, scalars={**roi.scalars, "free_water": found.fractions.get(roi.name, float("nan"))})
        for roi in result.rois
    )
    return replace(result, rois=measured, alps_water_corrected=found.alps)


def measure_intervals(
    fitted: TensorFit,
    registration: Registration,
    preset: RoiPreset,
    rois: tuple[Roi, ...],
    method: Method,
    excluded: SpatialMap | None = None,
) -> Mapping[str, Interval]:
    """Return how sure the index is, by hemisphere: noise, placement and pose; no region touches what is `excluded`."""
    turn = registration.transform.rotation if method.pose_correction else np.eye(3)
    placed = prepare_means(fitted, registration, preset, method, excluded)
    errors = (registration.placement_se_mm, registration.pose.se_degrees if method.pose_correction else 0.0)
    intervals = estimate_intervals(fitted.series, rois, turn, placed, errors, seed=method.random_seed)
    return add_resolution(intervals, placed({}), blurred_means(fitted, rois, turn))


def prepare_means(
    fitted: TensorFit, registration: Registration, preset: RoiPreset, method: Method, excluded: SpatialMap | None = None
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return what gives mean tensors, template axes, of the regions displaced by offsets: name -> shape (3,), mm."""
    mask = fitted.field.image.like(fitted.field.mask)
    turn = registration.transform.rotation if method.pose_correction else np.eye(3)
    place = prepare_placement(
        preset,
        transform_for_preset(preset, registration),
        mask,
        margin_mm=LARGEST_OFFSET * registration.placement_se_mm,
    )

    def placed(offsets: Mapping[str, Array]) -> dict[str, Array]:
        moved = apply_roi_weights(tuple(place(offsets)), fitted, method, excluded)
        return {roi.name: rotate_elements(mean_tensor(fitted.field, roi), turn) for roi in moved}

    return placed


def blurred_means(fitted: TensorFit, rois: tuple[Roi, ...], turn: Array) -> dict[str, Array]:
    """Return mean tensors, template axes, of regions in tensors blurred by a voxel more."""
    rough = blur_by_a_voxel(fitted.field)
    return {roi.name: rotate_elements(mean_tensor(rough, roi), turn) for roi in rois}


def without_index(result: AlpsResult) -> AlpsResult:
    """Return a result without an index: what was measured in the regions stays, for whoever looks into it."""
    nothing = dict.fromkeys(result.alps, float("nan"))
    lesions = result.lesions and replace(result.lesions, alps_with=nothing, alps_without=nothing)
    bare = replace(result, alps=nothing, alps_uncorrected=nothing, interval={}, alps_water_corrected={})
    return replace(bare, lesions=lesions)


def write_measures(place: RunOutputs, fitted: TensorFit, measured: tuple[Measurement, ...], end: str = "") -> None:
    """Write the regions as images and everything measured as tables; `end` is that of the files' keys."""
    rows: dict[str, list[dict[str, Any]]] = {f"{key}{end}": [] for key in ("alps", "roi_stats", "quality")}
    for one in measured:
        write_regions(place, fitted.field.image, one, end)
        acquisition = describe_acquisition(one.preset, fitted, place.run)
        acquisition = replace(acquisition, frame=end.removeprefix("_") or acquisition.frame)
        rows[f"alps{end}"] += alps_rows(one.result, acquisition, one.status)
        rows[f"roi_stats{end}"] += roi_rows(one.result.rois, one.preset.name)
        rows[f"quality{end}"] += quality_rows(one.checks, one.preset.name)
    write_results({key: place.path(key) for key in rows}, rows)


def write_regions(place: RunOutputs, grid: SpatialMap, measured: Measurement, end: str = "") -> None:
    """Write the regions of one preset as weights and as labels, on the grid of an image."""
    weights = np.zeros((*grid.shape, len(ROI_LABELS)), dtype=np.float32)
    for roi in measured.rois:
        weights[(*roi.voxels.T, ROI_LABELS[roi.name] - 1)] = roi.weights
    labels = np.where(weights.max(-1) > 0, weights.argmax(-1) + 1, 0)
    (label,) = preset_labels((measured.preset.name,))
    place.write(f"probseg{end}", grid.like(weights), preset=label)
    place.write(f"dseg{end}", grid.like(labels), dtype=np.uint8, preset=label)

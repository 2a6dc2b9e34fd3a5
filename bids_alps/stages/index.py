"""The stage that places the regions of interest, measures the index and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bids_alps.errors import CoverageError
from bids_alps.io.derivatives import ROI_LABELS
from bids_alps.io.presets import preset_labels
from bids_alps.io.results import Processing, alps_rows, quality_rows, roi_rows, write_results
from bids_alps.model import (
    AlpsResult,
    Array,
    Check,
    Interval,
    Roi,
    RoiPreset,
    SpatialMap,
    SpatialTransform,
    Statement,
    Status,
)
from bids_alps.numerics.index.alps import mean_tensor, measure_alps
from bids_alps.numerics.index.free_water import measure_free_water
from bids_alps.numerics.index.lesions import without_lesions
from bids_alps.numerics.index.rois import place_preset, prepare_placement, weight_by_tissue
from bids_alps.numerics.index.uncertainty import add_resolution, blur_by_a_voxel, estimate_intervals
from bids_alps.numerics.tensors.tensor import rotate_elements
from bids_alps.quality.checks import apply_thresholds, check_index, overall_status, parse_thresholds
from bids_alps.registration.base import Registration
from bids_alps.settings import Method
from bids_alps.stages.lesions import Lesions, add_lesion_effect, check_lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.statements import state_index, state_quality
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
    statements: tuple[Statement, ...] = ()

    @property
    def summary(self) -> str:
        """The index in one line, or which checks failed where it is withheld."""
        name, alps = self.preset.name, self.result.alps
        if self.result.alps_unreliable:
            return f"{name} no index, since {', '.join(self.failed)} failed"
        return f"{name} {' '.join(f'{side} {value:.3f}' for side, value in alps.items())} ({self.status})"

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.status == "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedRun:
    """A run that is ready to be measured.

    Parameters
    ----------
    fitted
        Its tensors and maps.
    registration
        Alignment of the scan with the template.
    method
        Settings of the method.
    checks
        Checks of the stages before.
    lesions
        Lesions on its grid, None where no dataset of lesions was given.
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
        """Fraction of each voxel in lesions, where there is a mask of them."""
        return self.lesions.fraction if self.lesions else None

    @property
    def excluded(self) -> SpatialMap | None:
        """Voxels above zero are left out of the regions; None where none is."""
        return self.lesion_fraction if self.method.exclude_lesions else None

    @property
    def rotation(self) -> Array:
        """Scanner axes to the axes of the index, shape (3, 3): the identity without pose correction."""
        return self.registration.transform.rotation if self.method.pose_correction else np.eye(3)


def measure(aligned: AlignedRun, preset: RoiPreset) -> Measurement:
    """Place the regions of one preset and measure the index.

    Where a check fails that makes the index unreliable it is withheld, unless the method keeps failed ones.

    Raises
    ------
    CoverageError
        If every region lies outside the brain mask or the field of view.
    """
    whole = place_regions(aligned, preset)
    rois = apply_roi_weights(aligned, whole, aligned.excluded)
    result = measure_result(aligned, preset, rois)
    fraction = aligned.lesion_fraction
    if aligned.lesions is not None and fraction is not None:
        every, healthy = (
            measure_result(aligned, preset, apply_roi_weights(aligned, whole, excluded)).alps
            for excluded in (None, fraction)
        )
        result = add_lesion_effect(result, whole, aligned.lesions, (every, healthy))
    if preset.conventions == "anatomical":
        result = replace(result, interval=measure_intervals(aligned, preset, rois))
        result = add_free_water_index(aligned, result, rois)
    found = (*check_index(result), *check_lesions(result, aligned.lesions), *check_acquisition(aligned.fitted))
    checks = apply_thresholds((*found, *aligned.checks), parse_thresholds(aligned.method.threshold))
    status = overall_status(checks)
    statements = state_index(preset, result, aligned.method) if preset.conventions == "anatomical" else ()
    statements += state_quality(checks, aligned.method, failed=status == "fail")
    if status == "fail" and not aligned.method.keep_failed:
        result = withhold_index(result)
    return Measurement(preset=preset, rois=rois, result=result, checks=checks, status=status, statements=statements)


def place_regions(aligned: AlignedRun, preset: RoiPreset) -> tuple[Roi, ...]:
    """Return the regions of a preset on the run's grid, each voxel with the fraction of it inside."""
    rois = place_preset(preset, transform_for_preset(preset, aligned.registration), aligned.mask)
    if not any(roi.weights.size for roi in rois):
        raise CoverageError(
            "regions of interest",
            "none of them lies inside the brain mask and the field of view",
            "check the registration figure: the scan may not cover the level of the lateral ventricles",
        )
    return rois


def transform_for_preset(preset: RoiPreset, registration: Registration) -> SpatialTransform:
    """Return the map from the scan to where the regions of a preset were defined."""
    return SpatialTransform(affine=np.eye(4), rigid=np.eye(4)) if preset.native else registration.transform


def apply_roi_weights(
    aligned: AlignedRun, rois: tuple[Roi, ...], excluded: SpatialMap | None = None
) -> tuple[Roi, ...]:
    """Return regions with the weights that the method asks for, without voxels that touch what is `excluded`."""
    rois = rois if excluded is None else without_lesions(rois, excluded)
    return weight_by_tissue(rois, aligned.fitted.field) if aligned.method.roi_weighting == "tissue" else rois


def measure_result(aligned: AlignedRun, preset: RoiPreset, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return the index of regions; conventions other than ours rotate tensors as they have it."""
    rotated = aligned.method.pose_correction or preset.conventions != "anatomical"
    registration = aligned.registration
    return measure_alps(
        aligned.fitted.field, rois, registration.transform.rotation, registration.pose, pose_correction=rotated
    )


def add_free_water_index(aligned: AlignedRun, result: AlpsResult, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return a result with the index of the tissue alone and the fraction of free water, where there are two shells."""
    fitted = aligned.fitted
    used = [roi for roi in rois if roi.region in ("projection", "association")]
    if fitted.water_volumes is None or not all(roi.weights.size for roi in used):
        return result
    found = measure_free_water(fitted.whole, fitted.water_volumes, used, aligned.rotation)
    measured = tuple(
        replace(roi, scalars={**roi.scalars, "free_water": found.fractions.get(roi.name, float("nan"))})
        for roi in result.rois
    )
    return replace(result, rois=measured, alps_water_corrected=found.alps)


def measure_intervals(aligned: AlignedRun, preset: RoiPreset, rois: tuple[Roi, ...]) -> Mapping[str, Interval]:
    """Return the uncertainty of the index by hemisphere: noise, placement, pose and resolution."""
    placed = prepare_means(aligned, preset)
    registration = aligned.registration
    pose_error = registration.pose.se_degrees if aligned.method.pose_correction else 0.0
    intervals = estimate_intervals(
        aligned.fitted.series,
        rois,
        aligned.rotation,
        placed,
        (registration.placement_se_mm, pose_error),
        seed=aligned.method.random_seed,
    )
    return add_resolution(intervals, placed({}), blurred_means(aligned, rois))


def prepare_means(aligned: AlignedRun, preset: RoiPreset) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return what gives mean tensors, template axes, of the regions displaced by offsets: name -> shape (3,), mm."""
    registration, field = aligned.registration, aligned.fitted.field
    place = prepare_placement(
        preset,
        transform_for_preset(preset, registration),
        aligned.mask,
        margin_mm=LARGEST_OFFSET * registration.placement_se_mm,
    )

    def placed(offsets: Mapping[str, Array]) -> dict[str, Array]:
        rois = apply_roi_weights(aligned, tuple(place(offsets)), aligned.excluded)
        return {roi.name: rotate_elements(mean_tensor(field, roi), aligned.rotation) for roi in rois}

    return placed


def blurred_means(aligned: AlignedRun, rois: tuple[Roi, ...]) -> dict[str, Array]:
    """Return mean tensors, template axes, of regions in tensors blurred by one more voxel."""
    blurred = blur_by_a_voxel(aligned.fitted.field)
    return {roi.name: rotate_elements(mean_tensor(blurred, roi), aligned.rotation) for roi in rois}


def withhold_index(result: AlpsResult) -> AlpsResult:
    """Return a result whose index stands in `alps_unreliable` alone; what was measured in the regions stays."""
    nothing = dict.fromkeys(result.alps, float("nan"))
    return replace(
        result,
        alps=nothing,
        alps_uncorrected=nothing,
        alps_unreliable=result.alps,
        interval={},
        alps_water_corrected={},
        lesions=result.lesions and replace(result.lesions, alps_with=nothing, alps_without=nothing),
    )


def write_measures(
    outputs: RunOutputs,
    fitted: TensorFit,
    measured: tuple[Measurement, ...],
    processing: Mapping[str, Processing],
    end: str = "",
) -> None:
    """Write the regions as images and everything measured as tables.

    Parameters
    ----------
    outputs
        Where they go.
    fitted, measured
        What was found.
    processing
        How the index of each preset was made, by its name.
    end
        That of the files' keys.
    """
    rows: dict[str, list[dict[str, Any]]] = {f"{key}{end}": [] for key in ("alps", "roi_stats", "quality")}
    for one in measured:
        write_regions(outputs, fitted.field.image, one, end)
        acquisition = describe_acquisition(one.preset, fitted, outputs.run)
        acquisition = replace(acquisition, frame=end.removeprefix("_") or acquisition.frame)
        rows[f"alps{end}"] += alps_rows(one.result, acquisition, processing[one.preset.name], one.status)
        rows[f"roi_stats{end}"] += roi_rows(one.result.rois, one.preset.name)
        rows[f"quality{end}"] += quality_rows(one.checks, one.preset.name)
    write_results({key: outputs.path(key) for key in rows}, rows)


def write_regions(outputs: RunOutputs, grid: SpatialMap, measured: Measurement, end: str = "") -> None:
    """Write the regions of one preset as weights and as labels, on the grid of an image."""
    weights = np.zeros((*grid.shape, len(ROI_LABELS)), dtype=np.float32)
    for roi in measured.rois:
        weights[(*roi.voxels.T, ROI_LABELS[roi.name] - 1)] = roi.weights
    labels = np.where(weights.max(-1) > 0, weights.argmax(-1) + 1, 0)
    (label,) = preset_labels((measured.preset.name,))
    outputs.write(f"probseg{end}", grid.like(weights), preset=label)
    outputs.write(f"dseg{end}", grid.like(labels), dtype=np.uint8, preset=label)

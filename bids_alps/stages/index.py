"""Stage: placement of the regions of interest, measurement and output of the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bids_alps.errors import CoverageError
from bids_alps.io.derivative_kinds import ROI_LABELS
from bids_alps.io.presets import preset_labels
from bids_alps.io.results import Processing, alps_rows, quality_rows, roi_rows, write_results
from bids_alps.model import SIDES, AlpsResult, Check, Roi, RoiPreset, Statement, Status
from bids_alps.numerics.index.alps import measure_alps
from bids_alps.numerics.index.noise_floor import noise_floor_bias
from bids_alps.numerics.index.rois import place_preset, place_trilinear
from bids_alps.numerics.index.tract_profile import measure_tract_shift
from bids_alps.quality.checks import apply_thresholds, check_index, evaluate, overall_status, parse_thresholds
from bids_alps.stages.aligned import AlignedRun, apply_roi_weights, has_regions, transform_for_preset, used_regions
from bids_alps.stages.alternatives import (
    add_crossing_index,
    add_free_water_index,
    add_other_tissue,
    alternative_indices,
    sphere_index,
)
from bids_alps.stages.lesions import add_lesion_effect, check_lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.statements import index_statements, quality_statements
from bids_alps.stages.tensors import TensorFit, describe_acquisition
from bids_alps.stages.uncertainty import measure_intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The index of one preset with the tensors it was measured in, its regions, checks and status."""

    preset: RoiPreset
    fitted: TensorFit
    rois: tuple[Roi, ...]
    result: AlpsResult
    checks: tuple[Check, ...]
    status: Status
    statements: tuple[Statement, ...] = ()

    @property
    def summary(self) -> str:
        """The index in one line, or which checks failed if it is withheld."""
        name, alps = self.preset.name, self.result.alps
        if self.result.alps_unreliable:
            return f"{name} no index, since {', '.join(self.failed)} failed"
        values = " ".join(f"{side} {'n/a' if np.isnan(value) else f'{value:.3f}'}" for side, value in alps.items())
        return f"{name} {values} ({self.status})"

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.status == "fail")


def measure(aligned: AlignedRun, preset: RoiPreset) -> Measurement:
    """Place the regions of one preset and measure the index.

    The index is withheld if a check that makes it unreliable fails, unless ``keep_failed`` is set.

    Raises
    ------
    CoverageError
        If all regions are outside the brain mask or the field of view.
    """
    whole = place_regions(aligned, preset)
    rois = apply_roi_weights(aligned, whole, aligned.excluded)
    result = measure_result(aligned, rois)
    fraction = aligned.lesion_fraction
    if aligned.lesions is not None and fraction is not None:
        with_lesions, without = (
            measure_result(aligned, apply_roi_weights(aligned, whole, excluded)).alps for excluded in (None, fraction)
        )
        result = add_lesion_effect(result, whole, aligned.lesions, (with_lesions, without))
    result = add_other_tissue(aligned, result, whole)
    floor: Mapping[str, float] = {}
    if preset.conventions == "anatomical" and has_regions(rois):
        floor = noise_floor_bias(aligned.fitted.series, used_regions(rois), aligned.rotation, aligned.fitted.noise_sd)
        others = alternative_indices(aligned, rois) | sphere_index(aligned, preset)
        result = replace(result, interval=measure_intervals(aligned, preset, rois, floor, others.get("spheres", {})))
        result = add_crossing_index(aligned, add_free_water_index(aligned, result, rois), rois)
        result = replace(result, alternatives={**result.alternatives, **others})
    index_checks = (
        *check_index(result),
        *check_placement(aligned, preset),
        *check_noise_floor(floor),
        *check_lesions(result, aligned.lesions),
        *aligned.fitted.checks,
    )
    checks = apply_thresholds((*index_checks, *aligned.checks), parse_thresholds(aligned.method.threshold))
    status = overall_status(checks)
    statements = index_statements(preset, result, aligned.method) if preset.conventions == "anatomical" else ()
    statements += quality_statements(checks, aligned.method, failed=status == "fail")
    if status == "fail" and not aligned.method.keep_failed:
        result = withhold_index(result)
    if any(check.name == "left_right_known" and check.value < 1 for check in checks):
        result = withhold_sides(result)
    return Measurement(
        preset=preset,
        fitted=aligned.fitted,
        rois=rois,
        result=result,
        checks=checks,
        status=status,
        statements=statements,
    )


def check_placement(aligned: AlignedRun, preset: RoiPreset) -> tuple[Check, ...]:
    """Return the check of the positions of the tracts, of the worse side; only in MNI templates."""
    if not preset.template.startswith("MNI152"):
        return ()
    shifts = measure_tract_shift(aligned.fitted.field, aligned.registration.transform).values()
    return (evaluate("registration_tract_shift", max(shifts, key=lambda shift: abs(np.nan_to_num(shift, nan=np.inf)))),)


def check_noise_floor(floor: Mapping[str, float]) -> tuple[Check, ...]:
    """Return the check of the effect of the noise floor on the index, of the side with the larger effect."""
    return (evaluate("noise_floor", 100 * max(abs(floor[side]) for side in SIDES)),) if floor else ()


def place_regions(aligned: AlignedRun, preset: RoiPreset) -> tuple[Roi, ...]:
    """Return the regions of a preset on the diffusion grid, with the fraction of each voxel inside."""
    place = place_preset if preset.conventions == "anatomical" else place_trilinear
    rois = place(preset, transform_for_preset(preset, aligned.registration), aligned.mask)
    if not any(roi.weights.size for roi in rois):
        raise CoverageError(
            "regions of interest",
            "all regions are outside the brain mask or the field of view",
            "check the registration figure: the scan may not cover the level of the lateral ventricles",
        )
    return rois


def measure_result(aligned: AlignedRun, rois: tuple[Roi, ...]) -> AlpsResult:
    """Return the index of regions."""
    registration = aligned.registration
    return measure_alps(
        aligned.fitted.field,
        rois,
        registration.transform.rotation,
        registration.pose,
        pose_correction=aligned.method.pose_correction,
    )


def withhold_index(result: AlpsResult) -> AlpsResult:
    """Return a result with the index moved to `alps_unreliable`; measurements in the regions are kept."""
    missing = dict.fromkeys(result.alps, float("nan"))
    return replace(
        result,
        alps=missing,
        alps_uncorrected=missing,
        alps_unreliable=result.alps,
        interval={},
        alps_water_corrected={},
        alternatives={},
        lesions=result.lesions and replace(result.lesions, alps_with=missing, alps_without=missing),
    )


def withhold_sides(result: AlpsResult) -> AlpsResult:
    """Return a result for an image with unknown left and right: only the bilateral index is kept."""

    def bilateral(values: Mapping[str, float]) -> dict[str, float]:
        return {side: value if side == "bilateral" else float("nan") for side, value in values.items()}

    lesions = result.lesions
    return replace(
        result,
        alps=bilateral(result.alps),
        alps_uncorrected=bilateral(result.alps_uncorrected),
        alps_unreliable=bilateral(result.alps_unreliable),
        alps_water_corrected=bilateral(result.alps_water_corrected),
        alternatives={name: bilateral(values) for name, values in result.alternatives.items()},
        interval={side: interval for side, interval in result.interval.items() if side == "bilateral"},
        lesions=lesions
        and replace(lesions, alps_with=bilateral(lesions.alps_with), alps_without=bilateral(lesions.alps_without)),
    )


def write_measures(
    outputs: RunOutputs,
    measured: tuple[Measurement, ...],
    processing: Mapping[str, Processing],
    end: str = "",
) -> None:
    """Write the regions as images and the measurements as tables.

    Parameters
    ----------
    outputs
        Where they go.
    measured
        Measurements of each preset.
    processing
        Processing of each preset, by name.
    end
        Suffix of the keys of the files.
    """
    rows: dict[str, list[dict[str, Any]]] = {f"{key}{end}": [] for key in ("alps", "roi_stats", "quality")}
    for measurement in measured:
        write_regions(outputs, measurement, end)
        acquisition = describe_acquisition(measurement.preset, measurement.fitted, outputs.run)
        acquisition = replace(acquisition, frame=end.removeprefix("_") or acquisition.frame)
        rows[f"alps{end}"] += alps_rows(
            measurement.result, acquisition, processing[measurement.preset.name], measurement.status
        )
        rows[f"roi_stats{end}"] += roi_rows(measurement.result.rois, measurement.preset.name)
        rows[f"quality{end}"] += quality_rows(measurement.checks, measurement.preset.name)
    write_results({key: outputs.path(key) for key in rows}, rows)


def write_regions(outputs: RunOutputs, measured: Measurement, end: str = "") -> None:
    """Write the regions of a preset as weights and as labels, on the diffusion grid."""
    grid = measured.fitted.field.image
    weights = np.zeros((*grid.shape, len(ROI_LABELS)), dtype=np.float32)
    for roi in measured.rois:
        weights[(*roi.voxels.T, ROI_LABELS[roi.name] - 1)] = roi.weights
    labels = np.where(weights.max(-1) > 0, weights.argmax(-1) + 1, 0)
    (label,) = preset_labels((measured.preset.name,))
    outputs.write(f"probseg{end}", grid.like(weights), preset=label)
    outputs.write(f"dseg{end}", grid.like(labels), dtype=np.uint8, preset=label)

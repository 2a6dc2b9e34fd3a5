"""Stage: uncertainty of the index."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bids_alps.model import Array, Interval, Roi, RoiPreset
from bids_alps.numerics.index.alps import alps_by_hemisphere, alps_from_series, as_floats, mean_tensor
from bids_alps.numerics.index.rois import prepare_placement
from bids_alps.numerics.index.uncertainty import Errors, Systematic, add_systematic, blur_by_a_voxel, estimate_intervals
from bids_alps.numerics.tensors.calibration import reweight
from bids_alps.numerics.tensors.tensor import rotate_elements
from bids_alps.stages.aligned import AlignedRun, apply_roi_weights, transform_for_preset
from bids_alps.stages.tensors import TensorFit

MAX_OFFSET = 4.5
"""Largest placement error to prepare for, in standard errors."""


def measure_intervals(
    aligned: AlignedRun,
    preset: RoiPreset,
    rois: tuple[Roi, ...],
    floor: Mapping[str, float],
    spheres: Mapping[str, float],
) -> Mapping[str, Interval]:
    """Return the uncertainty of the index by hemisphere, from random and systematic errors.

    `floor` is the relative change by the noise floor, `spheres` the index of the published spheres (empty if unknown).
    """
    placed, fitted = prepare_means(aligned, preset), aligned.fitted
    errors = Errors(
        placement_mm=aligned.registration.placement_se_mm,
        pose_degrees=aligned.registration.pose.se_degrees if aligned.method.pose_correction else 0.0,
        noise_sd=fitted.noise_sd,
    )
    intervals = estimate_intervals(
        fitted.series, rois, aligned.rotation, placed, errors, seed=aligned.method.random_seed
    )
    sharp = as_floats(alps_by_hemisphere(placed({})))
    blurred = as_floats(alps_by_hemisphere(blurred_means(aligned, rois)))
    calibration, uncorrected = gradient_effects(fitted, rois, aligned.rotation)
    return {
        side: add_systematic(
            interval,
            sharp[side],
            Systematic(
                resolution=float(np.log(blurred[side] / sharp[side])),
                calibration=calibration[side],
                uncorrected=uncorrected[side],
                noise_floor=float(np.log1p(floor[side])),
                regions=float(np.log(spheres[side] / sharp[side])) if spheres else 0.0,
            ),
        )
        for side, interval in intervals.items()
    }


def gradient_effects(
    fitted: TensorFit, rois: tuple[Roi, ...], rotation: Array
) -> tuple[dict[str, float], dict[str, float]]:
    """Return changes of the log index by gradient errors: by all of the measured error, and by what is left to correct.

    What is left to correct is the part on which tissues agree, 0 if the b-values are corrected.
    """
    measured, agreed, used, as_recorded = (
        alps_from_series(series, rois, rotation)
        for series in (
            reweight(fitted.as_recorded, fitted.weighting.measured),
            reweight(fitted.as_recorded, fitted.weighting.corrected),
            fitted.series,
            fitted.as_recorded,
        )
    )
    return (
        {side: float(np.log(measured[side] / as_recorded[side])) for side in as_recorded},
        {side: float(np.log(agreed[side] / used[side])) for side in as_recorded},
    )


def prepare_means(aligned: AlignedRun, preset: RoiPreset) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return a function that returns mean tensors (template axes) of regions displaced by offsets: name -> (3,), mm."""
    registration, field = aligned.registration, aligned.fitted.field
    place = prepare_placement(
        preset,
        transform_for_preset(preset, registration),
        aligned.mask,
        margin_mm=MAX_OFFSET * registration.placement_se_mm,
        names=[name for name in preset.centers if name.startswith(("projection", "association"))],
    )

    def placed(offsets: Mapping[str, Array]) -> dict[str, Array]:
        rois = apply_roi_weights(aligned, tuple(place(offsets)), aligned.excluded)
        return {roi.name: rotate_elements(mean_tensor(field, roi), aligned.rotation) for roi in rois}

    return placed


def blurred_means(aligned: AlignedRun, rois: tuple[Roi, ...]) -> dict[str, Array]:
    """Return mean tensors (template axes) of regions, in tensors blurred by one more voxel."""
    blurred = blur_by_a_voxel(aligned.fitted.field, np.concatenate([roi.voxels for roi in rois]))
    return {roi.name: rotate_elements(mean_tensor(blurred, roi), aligned.rotation) for roi in rois}

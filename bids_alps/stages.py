"""The stages of one run: each reads, calls pure functions, writes.

preprocess -> tensor -> registration -> regions and index -> checks -> report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps.correction import Correction, correct
from bids_alps.errors import CoverageError, ImageError
from bids_alps.io.derivatives import ROI_LABELS, derivative_path, sidecar_of
from bids_alps.io.images import read_map, read_series
from bids_alps.io.presets import read_preset
from bids_alps.io.results import Acquisition, alps_rows, overall_status, quality_rows, roi_rows, write_results
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_map, write_text
from bids_alps.model import AlpsResult, Array, Check, DwiRun, DwiSeries, Roi, RoiPreset, SpatialMap, Status, TensorField
from bids_alps.numerics.alps import mean_tensor, measure_alps
from bids_alps.numerics.gradients import choose_shells, count_directions
from bids_alps.numerics.mask import estimate_brain_mask
from bids_alps.numerics.quality import check_index, estimate_snr, judge
from bids_alps.numerics.rois import place_spheres, weight_by_tissue
from bids_alps.numerics.tensor import (
    design_matrix,
    eigen_system,
    fit_coefficients,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    rotate_elements,
)
from bids_alps.numerics.uncertainty import estimate_intervals
from bids_alps.registration import REGISTRARS
from bids_alps.registration.base import Registration, SubjectMaps
from bids_alps.registration.checks import check_registration
from bids_alps.registration.itk import itk_text
from bids_alps.report.catalogue import write_figures
from bids_alps.report.drawing import RunDrawing, draw_run_figures
from bids_alps.settings import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A series ready for the fit, with its brain mask, shape (i, j, k), and what was corrected."""

    series: DwiSeries
    mask: Array
    correction: Correction


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Tensors, the volumes that they were fitted to, maps made of them, and the SNR of the b0 that the fit leaves."""

    field: TensorField
    series: DwiSeries
    fa: SpatialMap
    md: SpatialMap
    b0: SpatialMap
    snr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The index of one preset with its regions, checks and status."""

    preset: RoiPreset
    rois: tuple[Roi, ...]
    result: AlpsResult
    checks: tuple[Check, ...]
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run's files go."""

    output_dir: Path
    run: DwiRun
    template: str

    def path(self, key: str) -> Path:
        """Return the path of a derivative."""
        return derivative_path(self.output_dir, self.run, key, template=self.template)

    def write(self, key: str, image: SpatialMap, *, dtype: Any = np.float32, **fields: Any) -> None:
        """Write an image with its sidecar."""
        write_map(self.path(key), image, sidecar=sidecar_of(self.run, key, **fields), dtype=dtype)


def run_stages(run: DwiRun, method: Method, output_dir: Path) -> tuple[Measured, ...]:
    """Take one run from its files to the index; return what was measured, one entry a preset."""
    place = Place(output_dir=output_dir, run=run, template=method.template)
    prepared = prepare(run, method, output_dir)
    place.write("mask", prepared.series.image.like(prepared.mask), dtype=np.uint8)
    fitted = fit(prepared, method)
    write_maps(place, fitted)
    subject = subject_maps(fitted, run)
    template = read_template(method.template)
    registration = REGISTRARS[method.registrar]().register(subject, template)
    write_transforms(place, registration)
    measured = []
    for name in method.rois:
        preset = read_preset(name, radius_mm=method.roi_radius)
        checks = check_registration(registration, subject, template, preset.centres)
        measured.append(measure(fitted, registration, preset, method, (*checks, *prepared.correction.checks)))
    write_measures(place, fitted, tuple(measured))
    draw(place, fitted, registration, measured[0], (method, prepared.correction))
    return tuple(measured)


def prepare(run: DwiRun, method: Method, output_dir: Path) -> Prepared:
    """Read a run, correct it where it is raw, and find the brain."""
    series = read_series(run)
    mask = read_mask(run, series) if run.mask else find_mask(series, b0_threshold=method.b0_threshold)
    correction = correct(run, series, mask, method, output_dir)
    if correction.series is not series and run.mask is None:
        mask = find_mask(correction.series, b0_threshold=method.b0_threshold)
    return Prepared(series=correction.series, mask=mask, correction=correction)


def read_mask(run: DwiRun, series: DwiSeries) -> Array:
    """Read the brain mask that was given with a run, shape (i, j, k).

    Raises
    ------
    ImageError
        If it lies on another grid.
    """
    assert run.mask is not None  # noqa: S101 -- the caller asked
    mask = read_map(run.mask)
    if mask.shape != series.image.shape or not np.allclose(mask.affine, series.image.affine, atol=1e-3):
        raise ImageError(
            str(run.mask),
            f"shape {mask.shape}, or another position than the series of {series.image.shape}",
            "use one grid",
        )
    inside: Array = mask.data > 0.5
    return inside


def find_mask(series: DwiSeries, *, b0_threshold: float) -> Array:
    """Return the brain mask of a series, shape (i, j, k)."""
    unweighted = series.gradients.bvals <= b0_threshold
    data = series.image.data
    b0 = mean_volume(data, unweighted if unweighted.any() else ~unweighted)
    weighted = mean_volume(data, ~unweighted) if (~unweighted).any() else None
    return estimate_brain_mask(b0, series.image.voxel_size, weighted)


def mean_volume(data: Array, volumes: Array) -> Array:
    """Return the mean of some volumes of a 4-D array, shape (i, j, k), float32, without a copy of the series."""
    total = np.zeros(data.shape[:3], dtype=np.float64)
    chosen = np.flatnonzero(volumes)
    for n in chosen:
        total += data[..., n]
    mean: Array = (total / chosen.size).astype(np.float32)
    return mean


def fit(prepared: Prepared, method: Method) -> Fitted:
    """Choose the shells, fit the tensors and make the maps."""
    series = prepared.series
    volumes = choose_shells(series.gradients, wanted=method.shells, b0_threshold=method.b0_threshold)
    chosen = DwiSeries(
        image=series.image.like(series.image.data[..., volumes]), gradients=series.gradients.take(volumes)
    )
    field = fit_tensor(chosen, prepared.mask)
    elements = field.image.data
    unweighted = chosen.gradients.bvals <= method.b0_threshold
    return Fitted(
        field=field,
        series=chosen,
        fa=field.image.like(fractional_anisotropy(elements).astype(np.float32)),
        md=field.image.like(mean_diffusivity(elements)),
        b0=field.image.like(mean_volume(chosen.image.data, unweighted)),
        snr=measure_snr(chosen, field),
    )


def write_maps(place: Place, fitted: Fitted) -> None:
    """Write the tensor and the maps that follow from it."""
    elements = fitted.field.image.data
    values = np.zeros((*fitted.field.mask.shape, 3), dtype=np.float32)
    values[fitted.field.mask] = eigen_system(elements[fitted.field.mask])[0]
    maps = {
        "fa": fitted.fa.data,
        "md": fitted.md.data,
        "ad": values[..., 0],
        "rd": values[..., 1:].mean(-1),
        "txx": elements[..., 0],
        "tyy": elements[..., 3],
        "tzz": elements[..., 5],
        "tensor": elements,
    }
    for key, data in maps.items():
        place.write(key, fitted.field.image.like(data))


def subject_maps(fitted: Fitted, run: DwiRun) -> SubjectMaps:
    """Return what a registration engine sees of the subject."""
    return SubjectMaps(
        fa=fitted.fa,
        md=fitted.md,
        b0=fitted.b0,
        mask=fitted.field.image.like(fitted.field.mask),
        t1w=None if run.t1w is None else read_map(run.t1w),
    )


def write_transforms(place: Place, registration: Registration) -> None:
    """Write the rigid and the affine part of the alignment as ITK text."""
    transform = registration.transform
    inverse = np.linalg.inv(transform.affine)
    # A file "from A to B" resamples images of A onto B: it maps points of B to A.
    write_text(place.path("xfm_rigid"), itk_text(np.linalg.inv(transform.rigid)))
    write_text(place.path("xfm_affine"), itk_text(inverse))
    write_text(place.path("xfm_inverse_affine"), itk_text(transform.affine))


def measure(
    fitted: Fitted, registration: Registration, preset: RoiPreset, method: Method, before: tuple[Check, ...]
) -> Measured:
    """Place the regions of one preset and measure the index; `before` are the checks of the stages before.

    An alignment that fails its checks gives no index, unless the method keeps failed ones.

    Raises
    ------
    CoverageError
        If every region lies outside the brain mask or the field of view.
    """
    mask = fitted.field.image.like(fitted.field.mask)
    rois = place_spheres(preset, registration.transform, mask)
    if not any(roi.weights.size for roi in rois):
        raise CoverageError(
            "regions of interest",
            "none of them lies inside the brain mask and the field of view",
            "check the registration figure: the scan may not cover the level of the lateral ventricles",
        )
    if method.roi_weighting == "tissue":
        rois = weight_by_tissue(rois, fitted.field)
    rotation = registration.transform.rotation
    result = measure_alps(fitted.field, rois, rotation, registration.pose, pose_correction=method.pose_correction)
    turn = rotation if method.pose_correction else np.eye(3)

    def placed(offsets: Mapping[str, Array]) -> dict[str, Array]:
        moved = place_spheres(preset, registration.transform, mask, offsets=offsets)
        return {roi.name: rotate_elements(mean_tensor(fitted.field, roi), turn) for roi in moved}

    errors = (registration.placement_se_mm, registration.pose.se_degrees if method.pose_correction else 0.0)
    interval = estimate_intervals(fitted.series, rois, turn, placed, errors, seed=method.random_seed)
    result = replace(result, interval=interval)
    misaligned = any(check.status == "fail" and check.name.startswith("registration_") for check in before)
    if misaligned and not method.keep_failed:
        result = withheld(result)
    checks = (*check_index(result), *check_acquisition(fitted), *before)
    return Measured(
        preset=preset,
        rois=rois,
        result=result,
        checks=checks,
        status=overall_status(checks),
    )


def withheld(result: AlpsResult) -> AlpsResult:
    """Return a result without an index: what was measured in the regions stays, for whoever looks into it."""
    nothing = dict.fromkeys(result.alps, float("nan"))
    return replace(result, alps=nothing, alps_uncorrected=nothing, interval={})


def measure_snr(series: DwiSeries, field: TensorField, *, voxels: int = 5000) -> float:
    """Return the SNR of the b0 that the fit leaves in white matter, from at most `voxels` evenly spread voxels."""
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    white = np.argwhere(field.mask & (fractional_anisotropy(field.image.data) > 0.3))
    if not len(white):
        return float("nan")
    chosen = white[:: max(1, len(white) // voxels)]
    signal = series.image.data[tuple(chosen.T)].astype(np.float64)
    return estimate_snr(signal, np.exp(fit_coefficients(signal, design) @ design.T), design.shape[1])


def check_acquisition(fitted: Fitted) -> tuple[Check, ...]:
    """Return the checks of what the scanner gave."""
    gradients = fitted.series.gradients
    weighted = np.linalg.norm(gradients.bvecs, axis=1) > 0
    return (
        judge("snr_b0", fitted.snr),
        judge("b_value", float(gradients.bvals[weighted].mean())),
        judge("directions", float(count_directions(gradients.bvecs[weighted]))),
    )


def draw(
    place: Place, fitted: Fitted, registration: Registration, measured: Measured, ran: tuple[Method, Correction]
) -> None:
    """Draw the figures of the run's report; `ran` is the method and the correction that came of it."""
    method, correction = ran
    _, vectors = eigen_system(fitted.field.image.data)
    drawing = RunDrawing(
        fa=fitted.fa,
        mask=fitted.field.image.like(fitted.field.mask),
        v1=fitted.field.image.like(vectors[..., 0].astype(np.float32)),
        rois=measured.rois,
        transform=registration.transform,
        template=read_template(method.template),
        turned=method.pose_correction,
        comparisons=correction.comparisons,
        motion=correction.motion,
    )
    write_figures(place.output_dir, place.run.name, draw_run_figures(drawing))


def write_measures(place: Place, fitted: Fitted, measured: tuple[Measured, ...]) -> None:
    """Write the regions as images and everything measured as tables."""
    shape = fitted.field.mask.shape
    weights = np.zeros((*shape, len(ROI_LABELS)), dtype=np.float32)
    for roi in measured[0].rois:
        weights[(*roi.voxels.T, ROI_LABELS[roi.name] - 1)] = roi.weights
    labels = np.where(weights.max(-1) > 0, weights.argmax(-1) + 1, 0)
    place.write("probseg", fitted.field.image.like(weights))
    place.write("dseg", fitted.field.image.like(labels), dtype=np.uint8)
    rows: dict[str, list[dict[str, Any]]] = {"alps": [], "roi_stats": [], "quality": []}
    for one in measured:
        acquisition = describe_acquisition(one.preset, fitted, place.run)
        rows["alps"] += alps_rows(one.result, acquisition, one.status)
        rows["roi_stats"] += roi_rows(one.result.rois, one.preset.name)
    rows["quality"] += quality_rows(measured[0].checks)
    write_results({key: place.path(key) for key in rows}, rows)


def describe_acquisition(preset: RoiPreset, fitted: Fitted, run: DwiRun) -> Acquisition:
    """Return what stands in every row beside the index."""
    gradients = fitted.series.gradients
    weighted = np.linalg.norm(gradients.bvecs, axis=1) > 0
    return Acquisition(
        roi_preset=preset.name,
        roi_radius=preset.radius_mm,
        b_value=float(gradients.bvals[weighted].mean()),
        n_directions=int(weighted.sum()),
        n_b0=int((~weighted).sum()),
        echo_time=run.metadata.get("EchoTime"),
    )

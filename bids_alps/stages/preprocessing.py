"""The stage that corrects a raw series: corrects, writes, and tells what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bids_alps.io.combining import parts_by_encoding
from bids_alps.io.derivatives import derivative_path, sidecar_of
from bids_alps.io.images import read_series
from bids_alps.io.tables import Column, write_table
from bids_alps.io.writing import write_map, write_text
from bids_alps.model import Array, Check, DwiRun, DwiSeries, FieldmapMethod, Gradients, Statement
from bids_alps.numerics.preprocessing import distortion, measured_field, outliers, realignment, resampling
from bids_alps.numerics.preprocessing.correction import (
    COMBINED,
    LEFT_OUT,
    CorrectedSeries,
    combine_runs,
    correct_series,
    encoding_from_sidecar,
    relative_gain,
)
from bids_alps.numerics.preprocessing.denoising import DENOISED, UNRINGED
from bids_alps.numerics.preprocessing.distortion import Distortion
from bids_alps.numerics.tensors.gradients import fsl_from_world
from bids_alps.quality.checks import evaluate
from bids_alps.report.drawing import BeforeAfter, Motion, compare_steps, trace_motion
from bids_alps.settings import Method
from bids_alps.stages.denoising import DenoisedSeries, clean
from bids_alps.stages.distortion import field_estimators
from bids_alps.stages.gradient_table import repair_table
from bids_alps.stages.masking import find_mask
from bids_alps.stages.statements import say

GIVEN = "The diffusion series had been preprocessed by another program and were used as they were given."
RAW = "The diffusion series were used without preprocessing."
TYPICAL_HZ = 20.0
"""Off-resonance to expect at the regions of the index at 3 T after shimming, Hz."""

_MEASURED = ("phase difference", "two phases", "measured field")
_TITLES = {"motion": "Head motion and eddy currents", "distortion": "Susceptibility distortion"}
_MOTION_COLUMNS = (
    *(Column(name=f"trans_{axis}", description=f"Translation along {axis}, world axes.", unit="mm") for axis in "xyz"),
    *(Column(name=f"rot_{axis}", description=f"Rotation about {axis}, world axes.", unit="rad") for axis in "xyz"),
    Column(name="framewise_displacement", description="Motion since the volume before (Power).", unit="mm"),
    Column(
        name="eddy_shift",
        description="Shift of the whole volume along phase encoding by eddy currents; not part of the head motion.",
        unit="mm",
    ),
    Column(name="outlier_slices", description="Slices whose signal was lost and replaced by its prediction."),
    Column(name="usable", description="Whether the volume was kept.", levels={"1": "kept", "0": "left out"}),
)


_ACQUISITION = (
    *("Manufacturer", "ManufacturersModelName", "MagneticFieldStrength", "SoftwareVersions", "EchoTime"),
    *("RepetitionTime", "FlipAngle", "MultibandAccelerationFactor", "ParallelReductionFactorInPlane", "PartialFourier"),
    *("PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing", "MultipartID"),
)
"""Fields of the raw sidecar that stay true of the preprocessed series."""

DistortionMethod = FieldmapMethod | Literal["none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessedSeries:
    """A corrected series, and what the report and the tables say of it: of merged runs, what holds for all."""

    series: DwiSeries
    motion_corrected: bool = False
    distortion_corrected: bool = False
    comparisons: tuple[BeforeAfter, ...] = ()
    motion: Motion | None = None
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    distortion_method: DistortionMethod = "none"
    given: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What became of distortion, for sidecars; nothing where another program knows."""
        if self.given:
            return {}
        return {"DistortionCorrected": self.distortion_corrected, "DistortionMethod": self.distortion_method}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What became of the files of one phase encoding: cleaned, corrected, and what is to be said."""

    cleaned: DenoisedSeries
    found: CorrectedSeries
    notes: list[str]

    @property
    def proven(self) -> bool:
        """Whether a field was applied."""
        return self.found.distortion is not None and self.found.distortion.proven


def correct(run: DwiRun, series: DwiSeries, mask: Array, method: Method, output_dir: Path) -> PreprocessedSeries:
    """Correct a raw series as far as the method asks, and write it; a preprocessed one stays as it is.

    A run of several files becomes one series on the grid of the first. Those of one phase encoding are corrected
    together; those of the opposite one are merged once both are without distortion.
    """
    if run.preprocessed:
        return PreprocessedSeries(series=series, notes=run.notes, given=True, statements=say("preparation", GIVEN))
    if method.skip_preprocessing or not corrects(method):
        left = _check_distortion(run, series, None)
        return PreprocessedSeries(series=series, notes=run.notes, checks=(left,), statements=say("preparation", RAW))
    parts = _correct_parts(run, series, mask, method)
    first, notes = parts[0], [note for part in parts for note in part.notes]
    whole = first.found.series
    for part in parts[1:]:
        whole = combine_runs(whole, part.found, mask, b0_threshold=method.b0_threshold)
    if run.partners:
        notes.append(f"{1 + len(run.partners)} files are one run: {len(whole.gradients)} volumes together")
    if not run.fieldmaps:
        notes.append("susceptibility distortion is not corrected: no fieldmap and no image of opposite phase encoding")
    elif not method.distortion_correction:
        notes.append("susceptibility distortion is not corrected: --no-distortion-correction")
    _write(run, whole, parts, notes, output_dir)
    field = first.found.distortion
    motion_checks = check_correction([part.found.figures for part in parts]) if method.motion_correction else ()
    return PreprocessedSeries(
        series=whole,
        comparisons=compare_steps(whole.image, first.cleaned.before_after) + _comparisons(first.found, method),
        motion=trace_motion(first.found.motion) if method.motion_correction else None,
        checks=(*motion_checks, _check_distortion(run, series, field)),
        notes=tuple(notes),
        motion_corrected=all(part.found.motion_corrected for part in parts),
        distortion_corrected=all(part.found.distortion_corrected for part in parts),
        distortion_method=_method_of(first),
        statements=state_correction(parts),
    )


def state_correction(parts: Sequence[_Part]) -> tuple[Statement, ...]:
    """Return what the steps that ran say, of one run or of several that were merged."""
    steps = {step for part in parts for step in part.cleaned.before_after}
    found = [part.found for part in parts]
    lost = sum(one.figures["unusable_volumes"] for one in found)
    texts = {
        DENOISED: "denoise" in steps,
        UNRINGED: "gibbs" in steps,
        realignment.SENTENCE: any(one.motion_corrected for one in found),
        outliers.SENTENCE: any(one.figures["replaced"] > 0 for one in found),
        LEFT_OUT: lost > 0,
        distortion.SENTENCE: any(_method_of(part) == "reverse phase encoding" for part in parts),
        measured_field.SENTENCE: any(_method_of(part) in _MEASURED for part in parts),
        resampling.SENTENCE: any(one.motion_corrected or one.distortion_corrected for one in found),
        COMBINED: len(parts) > 1,
    }
    ran = [text for text, holds in texts.items() if holds]
    return say("preparation", *(ran or [RAW]), volumes=lost)


def _method_of(part: _Part) -> DistortionMethod:
    field = part.found.distortion
    return field.method if field is not None and field.proven else "none"


def _check_distortion(run: DwiRun, series: DwiSeries, field: Distortion | None) -> Check:
    """Return the check of the displacement that is left at the regions, mm: 0 where it was corrected.

    Of a field that was found too small to be applied it is that field's, else what is typical of the readout.
    """
    encoding = encoding_from_sidecar(run.metadata, series.image.shape)
    size = float(series.image.voxel_size[encoding.phase_axis])
    if field is not None and field.proven:
        return evaluate("distortion_left", 0.0)
    if field is not None and field.is_small:
        return evaluate("distortion_left", field.size * size)
    return evaluate("distortion_left", (encoding.readout or float("nan")) * TYPICAL_HZ * size)


def corrects(method: Method) -> bool:
    """Whether a method changes raw series at all."""
    return method.denoising or method.unringing or method.motion_correction or method.distortion_correction


def _correct_parts(run: DwiRun, series: DwiSeries, mask: Array, method: Method) -> list[_Part]:
    """Return the corrected files of a run by phase encoding.

    Those of another encoding than the first are left out, with a note, where one of the two keeps its distortion.
    """
    (own, *others), parts = parts_by_encoding(run), list[_Part]()
    parts.append(_correct_part(own, _joined(series, own[1:], mask, method), mask, method))
    for files in others:
        joined = _joined(_read(files[0], method), files[1:], None, method)
        part = _correct_part(files, joined, find_mask(joined, b0_threshold=method.b0_threshold), method)
        same_encoding = files[0].metadata["PhaseEncodingDirection"] == run.metadata["PhaseEncodingDirection"]
        if same_encoding or (part.proven and parts[0].proven):
            parts.append(part)
        else:
            names = ", ".join(one.name for one in files)
            parts[0].notes.append(f"{names} left out: of the opposite phase encoding, and distortion is not corrected")
    return parts


def _read(run: DwiRun, method: Method) -> DwiSeries:
    series = read_series(run, b0_threshold=method.b0_threshold)
    return repair_table(series, find_mask(series, b0_threshold=method.b0_threshold), method)


def _joined(series: DwiSeries, files: Sequence[DwiRun], mask: Array | None, method: Method) -> DwiSeries:
    """Return a series with those of more files on the same voxels behind it, as bright without weighting as it is."""
    if not files:
        return series
    inside = find_mask(series, b0_threshold=method.b0_threshold) if mask is None else mask
    images, tables = [series.image.data], [series.gradients]
    for one in (_read(file, method) for file in files):
        gain = relative_gain(series, one, inside, b0_threshold=method.b0_threshold)
        images.append(one.image.data * np.float32(gain))
        tables.append(one.gradients)
    gradients = Gradients(
        bvals=np.concatenate([table.bvals for table in tables]), bvecs=np.concatenate([table.bvecs for table in tables])
    )
    return DwiSeries(image=series.image.like(np.concatenate(images, axis=3)), gradients=gradients)


def _correct_part(files: Sequence[DwiRun], series: DwiSeries, mask: Array, method: Method) -> _Part:
    run = files[0]
    cleaned = clean(run, series, mask, method)
    found = correct_series(
        cleaned.series,
        mask,
        encoding_from_sidecar(run.metadata, series.image.shape),
        fields=field_estimators(run, b0_threshold=method.b0_threshold) if method.distortion_correction else (),
        motion=method.motion_correction,
        b0_threshold=method.b0_threshold,
    )
    told = [*cleaned.notes, *(run.notes if method.distortion_correction else ()), *found.notes]
    return _Part(cleaned=cleaned, found=found, notes=told)


def _write(run: DwiRun, whole: DwiSeries, parts: list[_Part], notes: list[str], output_dir: Path) -> None:
    gradients, image, first = whole.gradients, whole.image, parts[0]
    steps = {
        "Noise": dict(first.cleaned.figures),
        "Motion": {key: value for key, value in first.found.figures.items() if np.isfinite(value)},
        "Notes": notes,
        "DistortionCorrected": all(part.found.distortion_corrected for part in parts),
        "DistortionMethod": _method_of(first),
    }
    kept = {name: run.metadata[name] for name in _ACQUISITION if name in run.metadata}
    fieldmaps = [path for part in run.fieldmaps for path in part.files if path.suffix != ".bval"]
    files = (run.image, *(partner.image for partner in run.partners), *fieldmaps)
    sources = tuple(dict.fromkeys(run.uri_of(path) for path in files))
    write_map(
        derivative_path(output_dir, run, "preproc"),
        image,
        sidecar=sidecar_of(run, "preproc", sources=sources, Preprocessing=steps, **kept),
    )
    write_text(derivative_path(output_dir, run, "preproc_bval"), " ".join(f"{b:g}" for b in gradients.bvals) + "\n")
    rows = fsl_from_world(gradients.bvecs, image.affine).T
    text = "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in rows)
    write_text(derivative_path(output_dir, run, "preproc_bvec"), text)
    table = [
        {name: values[n] for name, values in part.found.motion.confounds.items()}
        for part in parts
        for n in range(len(part.found.motion.usable))
    ]
    write_table(derivative_path(output_dir, run, "confounds"), table, _MOTION_COLUMNS)


def _comparisons(found: CorrectedSeries, method: Method) -> tuple[BeforeAfter, ...]:
    wanted = {"motion": method.motion_correction, "distortion": True}
    return tuple(
        BeforeAfter(
            name=name,
            title=_TITLES[name],
            before=found.series.image.like(before),
            after=found.series.image.like(after),
        )
        for name, (before, after) in found.before_after.items()
        if wanted[name]
    )


def check_correction(figures: Sequence[Mapping[str, float]]) -> tuple[Check, ...]:
    """Return the checks of motion from the figures of each run; of two runs the worse counts."""
    return (
        evaluate("framewise_displacement", max(one["fd_mean"] for one in figures)),
        evaluate("outlier_slices", max(one["outlier_slices"] for one in figures)),
    )

"""Stage: preprocessing of a raw series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bids_alps.io.combining import parts_by_encoding
from bids_alps.io.derivatives import derivative_path, sidecar_of
from bids_alps.io.tables import Column, write_table
from bids_alps.io.writing import write_map, write_text
from bids_alps.model import Array, Check, DwiRun, DwiSeries, FieldmapMethod, Statement
from bids_alps.numerics.preprocessing import distortion, measured_field, outliers, realignment, resampling
from bids_alps.numerics.preprocessing.correction import (
    ALIGNED,
    COMBINED,
    CONCATENATED,
    EXCLUDED,
    CorrectedSeries,
    combine_runs,
    correct_series,
    encoding_from_sidecar,
)
from bids_alps.numerics.preprocessing.denoising import DENOISED, UNRINGED
from bids_alps.numerics.preprocessing.distortion import Distortion
from bids_alps.numerics.tensors.gradients import fsl_from_world
from bids_alps.quality.checks import evaluate
from bids_alps.report.drawing import BeforeAfter, Motion, compare_steps, trace_motion
from bids_alps.settings import Method
from bids_alps.stages.denoising import DenoisedSeries, clean
from bids_alps.stages.distortion import field_estimators
from bids_alps.stages.masking import find_mask
from bids_alps.stages.merging import check_axes, join_files, read_file
from bids_alps.stages.statements import make_statement

GIVEN = "The diffusion series had been preprocessed by another program and were used unchanged."
RAW = "The diffusion series were used without preprocessing."
TYPICAL_HZ = 4.0
"""Typical off-resonance in the regions of the index at 3 T, beyond what the registration absorbs, Hz.

In reverse-phase pairs of two scanners the field at the four regions is 15 to 23 Hz, but most of it displaces the whole
deep brain; beyond an affine fit there remain 1.7 to 6.0 Hz (root mean square 3.7).
"""

_MEASURED = ("phase difference", "two phases", "measured field")
_TITLES = {"motion": "Head motion and eddy currents", "distortion": "Susceptibility distortion"}
_MOTION_COLUMNS = (
    *(Column(name=f"trans_{axis}", description=f"Translation along {axis}, world axes.", unit="mm") for axis in "xyz"),
    *(Column(name=f"rot_{axis}", description=f"Rotation about {axis}, world axes.", unit="rad") for axis in "xyz"),
    Column(name="framewise_displacement", description="Framewise displacement (Power et al. 2012).", unit="mm"),
    Column(
        name="eddy_shift",
        description="Shift of the whole volume along phase encoding by eddy currents; not part of the head motion.",
        unit="mm",
    ),
    Column(name="outlier_slices", description="Number of slices with signal dropout, replaced by their prediction."),
    Column(name="usable", description="Whether the volume was kept.", levels={"1": "kept", "0": "excluded"}),
)


_ACQUISITION = (
    *("Manufacturer", "ManufacturersModelName", "MagneticFieldStrength", "SoftwareVersions", "EchoTime"),
    *("RepetitionTime", "FlipAngle", "MultibandAccelerationFactor", "ParallelReductionFactorInPlane", "PartialFourier"),
    *("PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing", "MultipartID"),
)
"""Fields of the raw sidecar that remain valid for the preprocessed series."""

DistortionMethod = FieldmapMethod | Literal["none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessedSeries:
    """A preprocessed series, with results for the report and the tables."""

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
        """Distortion correction, for sidecars; empty if done by another program."""
        if self.given:
            return {}
        return {"DistortionCorrected": self.distortion_corrected, "DistortionMethod": self.distortion_method}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Files with the same phase encoding and voxel grid, denoised and corrected, with notes."""

    files: tuple[DwiRun, ...]
    cleaned: DenoisedSeries
    corrected: CorrectedSeries
    notes: list[str]

    @property
    def proven(self) -> bool:
        """Whether distortion was corrected."""
        return self.corrected.distortion is not None and self.corrected.distortion.proven

    @property
    def encoding(self) -> str:
        """Direction of phase encoding, which may be unknown for a single file."""
        return str(self.files[0].metadata.get("PhaseEncodingDirection"))


def correct(run: DwiRun, series: DwiSeries, mask: Array, method: Method, output_dir: Path) -> PreprocessedSeries:
    """Preprocess a raw series as requested by the method, and write it; a preprocessed series is unchanged.

    A corrected series takes the memory of the given one.

    A run of several files becomes one series on the grid of the first. Files with the same phase encoding are corrected
    together; those with opposite encoding are merged after distortion correction of both. Files are also merged if
    all corrections are off.
    """
    if run.preprocessed:
        return PreprocessedSeries(
            series=series, notes=run.notes, given=True, statements=make_statement("preparation", GIVEN)
        )
    if method.skip_preprocessing or not (corrects(method) or run.partners):
        check = _check_distortion(run, series, None)
        return PreprocessedSeries(
            series=series, notes=run.notes, checks=(check,), statements=make_statement("preparation", RAW)
        )
    parts = _correct_parts(run, series, mask, method)
    first, notes = parts[0], [note for part in parts for note in part.notes]
    whole = first.corrected.series
    for part in parts[1:]:
        whole = combine_runs(whole, part.corrected, mask, b0_threshold=method.b0_threshold)
    merged = sum(len(part.files) for part in parts)
    if merged > 1:
        notes.append(f"{merged} files were merged: {len(whole.gradients)} volumes in total")
    if not run.fieldmaps:
        notes.append(
            "susceptibility distortion is not corrected: no fieldmap and no image with opposite phase encoding"
        )
    elif not method.distortion_correction:
        notes.append("susceptibility distortion is not corrected: --no-distortion-correction")
    _write(run, whole, parts, notes, output_dir)
    field = first.corrected.distortion
    motion_checks = check_correction([part.corrected.figures for part in parts]) if method.motion_correction else ()
    return PreprocessedSeries(
        series=whole,
        comparisons=compare_steps(whole.image, first.cleaned.before_after) + _comparisons(first.corrected, method),
        motion=trace_motion(first.corrected.motion) if method.motion_correction else None,
        checks=(*motion_checks, _check_distortion(run, series, field)),
        notes=tuple(notes),
        motion_corrected=all(part.corrected.motion_corrected for part in parts),
        distortion_corrected=all(part.corrected.distortion_corrected for part in parts),
        distortion_method=_method_of(first),
        statements=correction_statements(parts),
    )


def correction_statements(parts: Sequence[_Part]) -> tuple[Statement, ...]:
    """Return the statements of the applied steps, of one run or of several merged ones."""
    steps = {step for part in parts for step in part.cleaned.before_after}
    corrected = [part.corrected for part in parts]
    excluded = sum(series.figures["unusable_volumes"] for series in corrected)
    texts = {
        DENOISED: "denoise" in steps,
        UNRINGED: "gibbs" in steps,
        realignment.SENTENCE: any(series.motion_corrected for series in corrected),
        outliers.SENTENCE: any(series.figures["replaced"] > 0 for series in corrected),
        EXCLUDED: excluded > 0,
        distortion.SENTENCE: any(_method_of(part) == "reverse phase encoding" for part in parts),
        measured_field.SENTENCE: any(_method_of(part) in _MEASURED for part in parts),
        resampling.SENTENCE: any(series.motion_corrected or series.distortion_corrected for series in corrected),
    }
    merging = {
        CONCATENATED: any(len(part.files) > 1 for part in parts),
        ALIGNED: any(part.encoding == parts[0].encoding for part in parts[1:]),
        COMBINED: any(part.encoding != parts[0].encoding for part in parts[1:]),
    }
    applied = [text for text, holds in texts.items() if holds] or [RAW]
    applied += [text for text, holds in merging.items() if holds]
    return make_statement("preparation", *applied, volumes=excluded)


def _method_of(part: _Part) -> DistortionMethod:
    field = part.corrected.distortion
    return field.method if field is not None and field.proven else "none"


def _check_distortion(run: DwiRun, series: DwiSeries, field: Distortion | None) -> Check:
    """Return the check of the remaining displacement at the regions, mm: 0 if distortion was corrected.

    For a field that was too small to be applied it is that of the field, else what is typical of the readout time.
    """
    encoding = encoding_from_sidecar(run.metadata, series.image.shape)
    size = float(series.image.voxel_size[encoding.phase_axis])
    if field is not None and field.proven:
        return evaluate("residual_distortion", 0.0)
    if field is not None and field.is_small:
        return evaluate("residual_distortion", field.size * size)
    return evaluate("residual_distortion", (encoding.readout or float("nan")) * TYPICAL_HZ * size)


def corrects(method: Method) -> bool:
    """Whether any preprocessing step is enabled."""
    return method.denoising or method.unringing or method.motion_correction or method.distortion_correction


def _correct_parts(run: DwiRun, series: DwiSeries, mask: Array, method: Method) -> list[_Part]:
    """Return the corrected files of a run, grouped by phase encoding.

    Files with another encoding than the first are excluded, with a note, unless distortion of both is corrected.
    """
    own, *others = parts_by_encoding(run)
    axes = {run.image.name: series.gradient_axes}
    # the notes of the first file are those of the run, which are reported by the caller
    joined = join_files([replace(series, notes=()), *_read(run, own[1:], axes, method)], mask, method)
    parts = [_correct_part(own, joined, mask, method)]
    for files in others:
        joined = join_files(_read(run, files, axes, method), None, method)
        part = _correct_part(files, joined, find_mask(joined, b0_threshold=method.b0_threshold), method)
        if part.encoding == parts[0].encoding or (part.proven and parts[0].proven):
            parts.append(part)
        else:
            names = ", ".join(file.name for file in files)
            parts[0].notes.append(f"{names} excluded: opposite phase encoding, and distortion is not corrected")
    return parts


def _read(run: DwiRun, files: Sequence[DwiRun], axes: dict[str, str], method: Method) -> list[DwiSeries]:
    """Read further files of a run; the axes of their gradient tables are added, and must be the same."""
    read = [read_file(file, method) for file in files]
    axes |= {file.image.name: series.gradient_axes for file, series in zip(files, read, strict=True)}
    check_axes(axes, run.name)
    return read


def _correct_part(files: Sequence[DwiRun], series: DwiSeries, mask: Array, method: Method) -> _Part:
    run = files[0]
    cleaned = clean(run, series, mask, method)
    corrected = correct_series(
        cleaned.series,
        mask,
        encoding_from_sidecar(run.metadata, series.image.shape),
        fields=field_estimators(run, b0_threshold=method.b0_threshold) if method.distortion_correction else (),
        motion=method.motion_correction,
        b0_threshold=method.b0_threshold,
    )
    of_files = dict.fromkeys(note for file in files for note in file.notes)
    notes = [*series.notes, *cleaned.notes, *of_files, *corrected.notes]
    return _Part(files=tuple(files), cleaned=cleaned, corrected=corrected, notes=notes)


def _write(run: DwiRun, whole: DwiSeries, parts: list[_Part], notes: list[str], output_dir: Path) -> None:
    gradients, image, first = whole.gradients, whole.image, parts[0]
    steps = {
        "Noise": dict(first.cleaned.figures),
        "Motion": {key: value for key, value in first.corrected.figures.items() if np.isfinite(value)},
        "Notes": notes,
        "DistortionCorrected": all(part.corrected.distortion_corrected for part in parts),
        "DistortionMethod": _method_of(first),
    }
    acquisition = {name: run.metadata[name] for name in _ACQUISITION if name in run.metadata}
    fieldmaps = [path for part in run.fieldmaps for path in part.files if path.suffix != ".bval"]
    files = (run.image, *(partner.image for partner in run.partners), *fieldmaps)
    sources = tuple(dict.fromkeys(run.uri_of(path) for path in files))
    write_map(
        derivative_path(output_dir, run, "preproc"),
        image,
        sidecar=sidecar_of(run, "preproc", sources=sources, Preprocessing=steps, **acquisition),
    )
    write_text(derivative_path(output_dir, run, "preproc_bval"), " ".join(f"{b:g}" for b in gradients.bvals) + "\n")
    rows = fsl_from_world(gradients.bvecs, image.affine).T
    text = "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in rows)
    write_text(derivative_path(output_dir, run, "preproc_bvec"), text)
    table = [
        {name: values[n] for name, values in part.corrected.motion.confounds.items()}
        for part in parts
        for n in range(len(part.corrected.motion.usable))
    ]
    write_table(derivative_path(output_dir, run, "confounds"), table, _MOTION_COLUMNS)


def _comparisons(corrected: CorrectedSeries, method: Method) -> tuple[BeforeAfter, ...]:
    shown = {"motion": method.motion_correction, "distortion": True}
    return tuple(
        BeforeAfter(
            name=name,
            title=_TITLES[name],
            before=corrected.series.image.like(before),
            after=corrected.series.image.like(after),
        )
        for name, (before, after) in corrected.before_after.items()
        if shown[name]
    )


def check_correction(figures: Sequence[Mapping[str, float]]) -> tuple[Check, ...]:
    """Return the checks of motion, of the worst run if several were merged."""
    return (
        evaluate("framewise_displacement", max(run["fd_mean"] for run in figures)),
        evaluate("outlier_slices", max(run["outlier_slices"] for run in figures)),
    )

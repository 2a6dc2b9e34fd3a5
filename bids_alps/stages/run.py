"""Processing of one run.

prepare -> tensors -> alignment -> lesions -> index -> regions of atlases -> figures
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_alps.io.atlases import atlas_label
from bids_alps.io.presets import read_presets, with_manual_rois
from bids_alps.io.templates import read_template
from bids_alps.model import DwiRun, RoiPreset, Statement, SubjectMaps, Template
from bids_alps.progress import log_stage
from bids_alps.registration.checks import check_registration
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.alps_sh import alps_sh_statement, measure_alps_sh
from bids_alps.stages.atlas import atlas_statement, measure_atlas, read_atlases
from bids_alps.stages.figures import draw
from bids_alps.stages.index import Measurement, measure, write_measures
from bids_alps.stages.lesions import lesion_statements, place_lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.prepare import PreparedSeries, prepare
from bids_alps.stages.processing import describe_processing
from bids_alps.stages.registration import make_registrar, subject_maps, write_transforms
from bids_alps.stages.statements import START, make_statement, registration_statements
from bids_alps.stages.tensors import fit, write_maps


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Measurements of a run, one per preset, and statements of its stages for the methods text."""

    measured: tuple[Measurement, ...]
    statements: tuple[Statement, ...]


def run_stages(run: DwiRun, method: Method, output_dir: Path) -> RunResult:
    """Process one run from its files to the index."""
    atlases = read_atlases(method)
    template = read_template(method.template)
    presets = read_presets(method.rois, template=template.name, radius_mm=method.roi_radius)
    outputs = RunOutputs(output_dir=output_dir, run=run, template=template.name)
    prepared = prepare(run, method, output_dir)
    log_stage(run.name, "corrected" if prepared.correction.motion else "read")
    outputs.write("mask", prepared.series.image.like(prepared.mask), dtype=np.uint8, **prepared.facts)
    fitted = fit(prepared, method)
    write_maps(outputs, fitted)
    log_stage(run.name, "fitted")
    subject = subject_maps(fitted, run)
    registration = make_registrar(run, method).register(subject, template)
    write_transforms(outputs, registration, subject.mask, template.mask)
    log_stage(run.name, "aligned")
    lesions = place_lesions(outputs, subject, template, registration.transform, t1w_aligned=method.t1w_aligned)
    aligned = AlignedRun(
        fitted=fitted, registration=registration, method=method, checks=prepared.checks, lesions=lesions
    )
    measured = tuple(measure_preset(aligned, preset, prepared, (subject, template), run) for preset in presets)
    processing = {
        preset.name: describe_processing(run, method, prepared.correction, rois, calibrated=fitted.calibrated)
        for rois, preset in zip(method.rois, presets, strict=True)
    }
    write_measures(outputs, measured, processing)
    label_images = tuple(
        measure_atlas(outputs, fitted, registration.transform, atlas, method.atlas_threshold) for atlas in atlases
    )
    log_stage(run.name, "measured")
    draw(outputs, aligned, measured, prepared.correction, label_images)
    log_stage(run.name, "plotted")
    statements = (
        *make_statement("start", START),
        *prepared.state(run),
        *fitted.statements,
        *registration_statements(method, template.name),
        *lesion_statements(lesions, excluded=method.exclude_lesions),
        *(statement for measurement in measured for statement in measurement.statements),
        *(statement for atlas in atlases for statement in atlas_statement(atlas, method.atlas_threshold)),
    )
    return RunResult(measured=measured, statements=statements)


def measure_preset(
    aligned: AlignedRun,
    preset: RoiPreset,
    prepared: PreparedSeries,
    maps: tuple[SubjectMaps, Template],
    run: DwiRun,
) -> Measurement:
    """Measure one preset by its conventions, in manual ROIs if the run has some, with its checks."""
    centers, pose = preset.centers, aligned.registration.transform.rotation
    if preset.conventions == "alps.sh":
        aligned = measure_alps_sh(prepared, aligned, maps)
    checks = check_registration(aligned.registration, *maps, centers, aligned.lesion_fraction)
    manual = run.regions.get(atlas_label(preset.name))
    if manual is not None:
        preset = with_manual_rois(preset, manual, aligned.mask, pose)
    measurement = measure(replace(aligned, checks=(*checks, *aligned.checks)), preset)
    if preset.conventions == "alps.sh":
        measurement = replace(measurement, statements=(*alps_sh_statement(preset), *measurement.statements))
    return measurement

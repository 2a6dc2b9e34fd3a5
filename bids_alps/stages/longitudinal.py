"""Longitudinal stage: the sessions of a participant in midpoint space, with one registration and one set of regions.

Each session has been processed before. To save memory only the scalar maps of all sessions are kept; each series is
read, and its tensors fitted, again when it is measured.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps.errors import AlpsError, BadDataError
from bids_alps.io.changes import CHANGE_COLUMNS, change_row
from bids_alps.io.images import read_map, read_series
from bids_alps.io.presets import read_presets
from bids_alps.io.results import Acquisition
from bids_alps.io.tables import read_table, write_table
from bids_alps.io.templates import read_template
from bids_alps.io.transforms import read_itk_matrix
from bids_alps.io.writing import write_displacements, write_text
from bids_alps.model import (
    SIDES,
    Check,
    DwiRun,
    RoiPreset,
    SpatialMap,
    SpatialTransform,
    SubjectMaps,
    Template,
    worst_status,
)
from bids_alps.numerics.index.change import Sensitivity, differing, measure_change, measure_sensitivity
from bids_alps.numerics.itk import itk_text
from bids_alps.quality.checks import evaluate
from bids_alps.quality.thresholds import THRESHOLDS
from bids_alps.registration import within_subject
from bids_alps.registration.base import Registration
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.within_subject import (
    Midpoint,
    average_maps,
    find_midpoint,
    transfer_registration,
    within_error,
)
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.gradient_table import repair_table
from bids_alps.stages.index import Measurement, measure, write_measures
from bids_alps.stages.lesions import Lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.processing import read_processing
from bids_alps.stages.registration import displacements, subject_maps
from bids_alps.stages.statements import make_statement
from bids_alps.stages.tensors import TensorFit, describe_acquisition, fit
from bids_alps.stages.uncertainty import blurred_means, prepare_means

LOG = logging.getLogger(__name__)
STATEMENTS = make_statement("sessions", within_subject.SENTENCE)
_TOLERANCES = {"b_value": 0.05, "directions": 0.1, "voxel_size": 0.05, "slice_thickness": 0.05, "echo_time": 0.05}
_OWN_CHECKS = ("left_right_known", "framewise_displacement", "outlier_slices", "residual_distortion")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionScan:
    """A session: its files, its scalar maps, and its own registration."""

    outputs: RunOutputs
    maps: SubjectMaps
    alignment: SpatialTransform

    @property
    def session(self) -> str:
        """Label of the session."""
        return self.outputs.run.session or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFrame:
    """The midpoint space of the sessions: its registration to the template, and the transform of each session."""

    registration: Registration
    midpoint: Midpoint
    template: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """Measurements of a session in midpoint space: per preset the index and its sensitivity to errors."""

    session: str
    measured: tuple[Measurement, ...]
    sensitivities: tuple[Sensitivity, ...]
    protocol: dict[str, float]

    @property
    def has_index(self) -> bool:
        """Whether there is an index with its interval."""
        return any(measurement.result.interval for measurement in self.measured)


def run_longitudinal(runs: Sequence[DwiRun], whole: DwiRun, method: Method, output_dir: Path) -> list[dict[str, Any]]:
    """Measure the sessions of a participant, each with its own results, in their midpoint space.

    Sessions whose own index is withheld, or which fail here, are excluded.

    Parameters
    ----------
    runs
        One per session.
    whole
        Represents all sessions: its name has no session.
    method, output_dir
        As for each session.

    Returns
    -------
    list of dict
        Rows of the table of changes.

    Raises
    ------
    BadDataError
        If fewer than two sessions can be measured, or no two of them with the same preset.
    """
    template = read_template(method.template)
    known = read_presets(method.rois, template=template.name, radius_mm=method.roi_radius)
    presets = [preset for preset in known if preset.conventions == "anatomical"]
    scans, repeats = list[SessionScan](), list[SessionResult]()
    for run in runs:
        with _excluding_errors(run):
            scans += read_scan(RunOutputs(output_dir=output_dir, run=run, template=template.name), presets, method)
    _refuse_fewer(len(scans), whole, "with its own index")
    together = RunOutputs(output_dir=output_dir, run=whole, template=template.name)
    frame = align(together, scans, template, method)
    for n, scan in enumerate(scans):
        with _excluding_errors(scan.outputs.run):
            repeats.append(measure_scan(scan, n, frame, presets, method))
    _refuse_fewer(sum(repeat.has_index for repeat in repeats), whole, "with an index in midpoint space")
    rows = compare(repeats)
    if not rows:
        raise BadDataError(
            f"{whole.name} --longitudinal",
            "no preset has an index with an interval in two sessions",
            "see the log and the quality checks; the results of each session remain valid",
        )
    write_table(together.path("change"), rows, CHANGE_COLUMNS)
    return rows


@contextmanager
def _excluding_errors(run: DwiRun) -> Iterator[None]:
    """Exclude a session that cannot be used, and continue with the others."""
    try:
        yield
    except AlpsError as error:
        LOG.warning("%s: excluded from the longitudinal results. %s", run.name, error)


def _refuse_fewer(number: int, whole: DwiRun, which: str) -> None:
    if number < 2:
        raise BadDataError(
            f"{whole.name} --longitudinal",
            f"{number} session {which}",
            "see the log and the quality checks; the results of each session remain valid",
        )


def read_scan(outputs: RunOutputs, presets: Sequence[RoiPreset], method: Method) -> tuple[SessionScan, ...]:
    """Return the maps and registration of a session; empty if its own index is withheld."""
    own = read_table(outputs.path("alps"))
    if own.loc[own["roi_preset"].isin([preset.name for preset in presets]), "alps"].isna().all():
        LOG.warning("%s: excluded from the longitudinal results, since its own index is withheld", outputs.run.name)
        return ()
    alignment = SpatialTransform(
        affine=np.linalg.inv(read_itk_matrix(outputs.path("xfm_affine"))),
        rigid=np.linalg.inv(read_itk_matrix(outputs.path("xfm_rigid"))),
    )
    maps = subject_maps(refit(outputs, method), replace(outputs.run, t1w=None))
    return (SessionScan(outputs=outputs, maps=maps, alignment=alignment),)


def refit(outputs: RunOutputs, method: Method) -> TensorFit:
    """Return the tensors of a session, fitted again to its preprocessed series."""
    run = outputs.run
    if outputs.path("preproc").exists():
        run = replace(
            run, image=outputs.path("preproc"), bval=outputs.path("preproc_bval"), bvec=outputs.path("preproc_bvec")
        )
    series = read_series(run, b0_threshold=method.b0_threshold)
    mask = read_map(outputs.path("mask")).data > 0.5
    series = repair_table(series, mask, method)
    return fit(PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series)), method)


def align(outputs: RunOutputs, scans: Sequence[SessionScan], template: Template, method: Method) -> SessionFrame:
    """Register the sessions to each other and their average to the template; write the average and the transforms."""
    maps = [scan.maps for scan in scans]
    midpoint = find_midpoint(maps, [scan.alignment for scan in scans], template)
    mean = average_maps(maps, midpoint)
    registration = ENGINES[method.registrar].make().register(mean, template)
    outputs.write("midpoint_fa", mean.fa)
    outputs.write("midpoint_md", mean.md)
    field = displacements(template.mask, registration.transform.subject_from_template)
    write_displacements(outputs.path("midpoint_xfm"), field)
    return SessionFrame(registration=registration, midpoint=midpoint, template=template)


def _earlier_checks(outputs: RunOutputs) -> tuple[Check, ...]:
    """Return the checks of preprocessing from the table of the session."""
    values = read_table(outputs.path("quality")).drop_duplicates("name").set_index("name")["value"]
    return tuple(evaluate(name, float(values[name])) for name in _OWN_CHECKS if name in values and name in THRESHOLDS)


def measure_scan(
    scan: SessionScan, number: int, frame: SessionFrame, presets: Sequence[RoiPreset], method: Method
) -> SessionResult:
    """Measure session `number` with the regions in midpoint space, and write the results."""
    fitted, matrix = refit(scan.outputs, method), frame.midpoint.frame_from_scan[number]
    registration = transfer_registration(frame.registration, matrix, _edge_mm(scan.maps.mask))
    similarity = evaluate("session_similarity", frame.midpoint.similarity[number])
    lesions = read_placed(scan.outputs)
    measured, sensitivities = [], []
    for preset in presets:
        fraction = lesions.fraction if lesions else None
        checks = check_registration(registration, scan.maps, frame.template, preset.centers, fraction)
        aligned = AlignedRun(
            fitted=fitted,
            registration=registration,
            method=method,
            checks=(*checks, similarity, *_earlier_checks(scan.outputs)),
            lesions=lesions,
        )
        measured.append(measure(aligned, preset))
        sensitivities.append(_sensitivity(aligned, frame.registration, measured[-1]))
    write_text(scan.outputs.path("xfm_midpoint"), itk_text(np.linalg.inv(matrix)))
    write_measures(scan.outputs, tuple(measured), read_processing(scan.outputs), "_longitudinal")
    return SessionResult(
        session=scan.session,
        measured=tuple(measured),
        sensitivities=tuple(sensitivities),
        protocol=describe_protocol(describe_acquisition(presets[0], fitted, scan.outputs.run), fitted.fa),
    )


def _edge_mm(image: SpatialMap) -> float:
    """Return the edge of a cube with the volume of a voxel, mm."""
    return float(np.prod(image.voxel_size)) ** (1 / 3)


def read_placed(outputs: RunOutputs) -> Lesions | None:
    """Read the lesions of a session on its diffusion grid, from its own outputs."""
    mask = outputs.run.lesions
    if mask is None:
        return None
    path = outputs.path("lesions")
    return Lesions(fraction=read_map(path) if path.exists() else None, space=mask.space)


def _sensitivity(aligned: AlignedRun, frame: Registration, measurement: Measurement) -> Sensitivity:
    own_mm, own_degrees = within_error(_edge_mm(aligned.fitted.fa))
    rotated = 1.0 if aligned.method.pose_correction else 0.0
    return measure_sensitivity(
        measurement.result.interval,
        prepare_means(aligned, measurement.preset),
        ((frame.placement_se_mm, rotated * frame.pose.se_degrees), (own_mm, rotated * own_degrees)),
        blurred_means(aligned, measurement.rois),
        seed=aligned.method.random_seed,
    )


def describe_protocol(acquisition: Acquisition, image: SpatialMap) -> dict[str, float]:
    """Return the parameters that must agree for changes to be comparable."""
    edges = sorted(float(edge) for edge in image.voxel_size)
    return {
        "b_value": acquisition.b_value,
        "directions": float(acquisition.n_directions),
        "voxel_size": edges[0],
        "slice_thickness": edges[-1],
        "echo_time": float(acquisition.echo_time or 0),
    }


def compare(repeats: Sequence[SessionResult]) -> list[dict[str, Any]]:
    """Return the rows of the table of changes: each pair of sessions, hemisphere and preset."""
    rows = []
    for first, second in itertools.combinations(repeats, 2):
        differs = differing(first.protocol, second.protocol, _TOLERANCES)
        for n, (one, other) in enumerate(zip(first.measured, second.measured, strict=True)):
            status = worst_status((one.status, other.status))
            for side in (*SIDES, "bilateral"):
                labels = {
                    "roi_preset": one.preset.name,
                    "hemisphere": side,
                    "first_session": first.session,
                    "second_session": second.session,
                }
                if side in one.result.interval and side in other.result.interval:
                    change = measure_change(first.sensitivities[n], second.sensitivities[n], side)
                    rows.append(change_row(change, labels, differs, status))
    return rows

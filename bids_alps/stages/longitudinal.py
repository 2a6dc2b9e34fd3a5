"""The sessions of a participant together: one frame midway, one alignment with the template, one set of regions.

Each session was taken through its own stages before. Only scalar maps of all sessions are held at a time: a series is
read again, and its tensors fitted again, when its turn comes.
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
    Array,
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
from bids_alps.registration.base import Registration
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.within_subject import average_maps, find_midpoint, transfer_registration, within_error
from bids_alps.settings import Method
from bids_alps.stages.index import Measurement, blurred_means, measure, prepare_means, write_measures
from bids_alps.stages.lesions import Lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import displacements, subject_maps
from bids_alps.stages.tensors import TensorFit, describe_acquisition, fit

LOG = logging.getLogger(__name__)
_TOLERANCES = {"b_value": 0.05, "directions": 0.1, "voxel_size": 0.05, "slice_thickness": 0.05, "echo_time": 0.05}
_OWN_CHECKS = ("framewise_displacement", "outlier_slices")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionScan:
    """A session that takes part: where its files are, its maps, and how it was aligned by itself."""

    place: RunOutputs
    maps: SubjectMaps
    alignment: SpatialTransform

    @property
    def session(self) -> str:
        """Label of the session."""
        return self.place.run.session or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What was measured of a session in the frame: per preset the index and how it answers to errors."""

    session: str
    measured: tuple[Measurement, ...]
    sensitivities: tuple[Sensitivity, ...]
    protocol: dict[str, float]

    @property
    def has_index(self) -> bool:
        """Whether an index with its interval was found."""
        return any(one.result.interval for one in self.measured)


def run_longitudinal(runs: Sequence[DwiRun], whole: DwiRun, method: Method, output_dir: Path) -> list[dict[str, Any]]:
    """Measure sessions of a participant, each with results of its own, in the frame midway between them.

    A session whose own alignment fails its checks is left out, and so is one that fails here.

    Parameters
    ----------
    runs
        One per session.
    whole
        Stands for all of them: its name has no session.
    method, output_dir
        As they were for each session.

    Returns
    -------
    list of dict
        Rows of the table of changes.

    Raises
    ------
    BadDataError
        If fewer than two sessions can be measured.
    """
    known = read_presets(method.rois, template=method.template, radius_mm=method.roi_radius)
    presets = [preset for preset in known if preset.conventions == "anatomical"]
    template = read_template(method.template)
    scans, repeats = list[SessionScan](), list[SessionResult]()
    for run in runs:
        with _spared(run):
            scans += read_scan(RunOutputs(output_dir=output_dir, run=run, template=method.template), method)
    _refuse_fewer(len(scans), whole, "whose alignment holds")
    together = RunOutputs(output_dir=output_dir, run=whole, template=method.template)
    registration, ways, similarity = align(together, scans, template, method)
    for scan, way, similar in zip(scans, ways, similarity, strict=True):
        checks = (evaluate("session_similarity", similar), *_earlier_checks(scan.place))
        with _spared(scan.place.run):
            repeats.append(measure_scan(scan, (registration, way), presets, method, (template, checks)))
    _refuse_fewer(sum(repeat.has_index for repeat in repeats), whole, "that has an index in one frame")
    rows = compare(repeats)
    write_table(together.path("change"), rows, CHANGE_COLUMNS)
    return rows


@contextmanager
def _spared(run: DwiRun) -> Iterator[None]:
    """Leave a session out that cannot be used, so that the others go on."""
    try:
        yield
    except AlpsError as error:
        LOG.warning("%s: left out of the longitudinal results. %s", run.name, error)


def _refuse_fewer(number: int, whole: DwiRun, which: str) -> None:
    if number < 2:
        raise BadDataError(
            f"{whole.name} --longitudinal",
            f"{number} session {which}",
            "the results of each session by itself stand; see the log and their checks",
        )


def read_scan(place: RunOutputs, method: Method) -> tuple[SessionScan, ...]:
    """Return what a session brings to the frame; nothing where its own alignment fails its checks."""
    failed = [
        str(row["name"])
        for row in read_table(place.path("quality")).to_dict("records")
        if row["status"] == "fail" and str(row["name"]).startswith("registration_")
    ]
    if failed and not method.keep_failed:
        LOG.warning("%s: left out of the longitudinal results, since %s failed", place.run.name, ", ".join(failed))
        return ()
    alignment = SpatialTransform(
        affine=np.linalg.inv(read_itk_matrix(place.path("xfm_affine"))),
        rigid=np.linalg.inv(read_itk_matrix(place.path("xfm_rigid"))),
    )
    maps = subject_maps(refit(place, method), replace(place.run, t1w=None))
    return (SessionScan(place=place, maps=maps, alignment=alignment),)


def refit(place: RunOutputs, method: Method) -> TensorFit:
    """Return the tensors of a session, fitted again to the series that its stages left."""
    run = place.run
    if place.path("preproc").exists():
        run = replace(
            run, image=place.path("preproc"), bval=place.path("preproc_bval"), bvec=place.path("preproc_bvec")
        )
    series = read_series(run)
    mask = read_map(place.path("mask")).data > 0.5
    return fit(PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series)), method)


def align(
    place: RunOutputs, scans: Sequence[SessionScan], template: Template, method: Method
) -> tuple[Registration, tuple[Array, ...], tuple[float, ...]]:
    """Align the sessions with each other and their mean with the template; write the mean and the transforms.

    Returns
    -------
    tuple
        Alignment of the frame; matrices from each session to it; correlation of each session with the others.
    """
    maps = [scan.maps for scan in scans]
    midpoint = find_midpoint(maps, [scan.alignment for scan in scans], template)
    mean = average_maps(maps, midpoint)
    registration = ENGINES[method.registrar].make().register(mean, template)
    place.write("midpoint_fa", mean.fa)
    place.write("midpoint_md", mean.md)
    field = displacements(template.mask, registration.transform.subject_from_template)
    write_displacements(place.path("midpoint_xfm"), field)
    return registration, midpoint.frame_from_scan, midpoint.similarity


def _earlier_checks(place: RunOutputs) -> tuple[Check, ...]:
    """Return the checks of preprocessing that the session's own table has."""
    values = read_table(place.path("quality")).drop_duplicates("name").set_index("name")["value"]
    return tuple(evaluate(name, float(values[name])) for name in _OWN_CHECKS if name in values and name in THRESHOLDS)


def measure_scan(
    scan: SessionScan,
    way: tuple[Registration, Array],
    presets: Sequence[RoiPreset],
    method: Method,
    about: tuple[Template, tuple[Check, ...]],
) -> SessionResult:
    """Measure one session with the regions of the frame, and write what was found."""
    (frame, matrix), (template, checks) = way, about
    fitted = refit(scan.place, method)
    voxel_mm = float(np.prod(scan.maps.mask.voxel_size)) ** (1 / 3)
    registration = transfer_registration(frame, matrix, voxel_mm)
    lesions = read_placed(scan.place)
    measured, sensitivities = [], []
    for preset in presets:
        touched = lesions.share if lesions else None
        aligned = check_registration(registration, scan.maps, template, preset.centres, touched)
        one = measure(fitted, registration, preset, method, (*aligned, *checks), lesions)
        measured.append(one)
        sensitivities.append(_sensitivity(fitted, (registration, frame), one, method, lesions))
    write_text(scan.place.path("xfm_midpoint"), itk_text(np.linalg.inv(matrix)))
    write_measures(scan.place, fitted, tuple(measured), "_longitudinal")
    return SessionResult(
        session=scan.session,
        measured=tuple(measured),
        sensitivities=tuple(sensitivities),
        protocol=describe_protocol(describe_acquisition(presets[0], fitted, scan.place.run), fitted.fa),
    )


def read_placed(place: RunOutputs) -> Lesions | None:
    """Read the lesions of a session as its own stages left them on its grid."""
    told = place.run.lesions
    if told is None:
        return None
    path = place.path("lesions")
    return Lesions(share=read_map(path) if path.exists() else None, space=told.space)


def _sensitivity(
    fitted: TensorFit,
    ways: tuple[Registration, Registration],
    one: Measurement,
    method: Method,
    lesions: Lesions | None,
) -> Sensitivity:
    registration, frame = ways
    excluded = lesions.share if lesions and method.exclude_lesions else None
    turn = registration.transform.rotation if method.pose_correction else np.eye(3)
    own_mm, own_degrees = within_error(float(np.prod(fitted.fa.voxel_size)) ** (1 / 3))
    turned = 1.0 if method.pose_correction else 0.0
    return measure_sensitivity(
        one.result.interval,
        prepare_means(fitted, registration, one.preset, method, excluded),
        ((frame.placement_se_mm, turned * frame.pose.se_degrees), (own_mm, turned * own_degrees)),
        blurred_means(fitted, one.rois, turn),
        seed=method.random_seed,
    )


def describe_protocol(acquisition: Acquisition, image: SpatialMap) -> dict[str, float]:
    """Return what must be alike for a change to be that of the head."""
    edges = sorted(float(edge) for edge in image.voxel_size)
    return {
        "b_value": acquisition.b_value,
        "directions": float(acquisition.n_directions),
        "voxel_size": edges[0],
        "slice_thickness": edges[-1],
        "echo_time": float(acquisition.echo_time or 0),
    }


def compare(repeats: Sequence[SessionResult]) -> list[dict[str, Any]]:
    """Return the rows of the table of changes: every pair of sessions, each hemisphere and preset."""
    rows = []
    for first, second in itertools.combinations(repeats, 2):
        differs = differing(first.protocol, second.protocol, _TOLERANCES)
        for n, (one, other) in enumerate(zip(first.measured, second.measured, strict=True)):
            status = worst_status(check.status for check in (*one.checks, *other.checks))
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

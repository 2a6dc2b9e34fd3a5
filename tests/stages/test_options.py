"""What each setting of the method changes, on a head whose index is known."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.errors import GradientError
from bids_alps.io.presets import read_preset
from bids_alps.io.results import Acquisition, Processing, alps_rows
from bids_alps.io.tables import format_cell
from bids_alps.io.writing import write_json, write_map
from bids_alps.model import Check, DwiRun, DwiSeries, Fieldmap, FieldmapImage, Gradients, SpatialMap
from bids_alps.numerics.index import free_water
from bids_alps.numerics.tensors.free_water import fit_free_water
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import PhantomSubject, make_subject
from bids_alps.quality.checks import evaluate
from bids_alps.quality.thresholds import THRESHOLDS
from bids_alps.registration.base import Registration
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method
from bids_alps.stages import alps_sh, preprocessing
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.alps_sh import measure_alps_sh
from bids_alps.stages.index import Measurement, measure
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries, correct
from bids_alps.stages.tensors import TensorFit, describe_acquisition, fit

pytestmark = [pytest.mark.medium, pytest.mark.untraced]

ACQUISITION = Acquisition(
    roi_preset="alps",
    conventions="anatomical",
    roi_radius=2.5,
    roi_semi_axes="",
    roi_source="template",
    b_value=1000.0,
    n_directions=8,
    n_b0=1,
    echo_time=None,
)
PROCESSING = Processing(
    settings_hash="0123abcd",
    pose_correction=True,
    preprocessed=True,
    motion_corrected=None,
    distortion_corrected=None,
    distortion_method=None,
    gradient_calibration=False,
    version="0",
)
SETTINGS = PhantomSettings(
    voxel_size=3.0, directions=8, shells=(1000.0, 2000.0), b0=1, snr=40.0, rotation=8.0, slab=30.0, scalp=False
)


@pytest.fixture(scope="module")
def phantom() -> PhantomSubject:
    return make_subject(SETTINGS, 3)


def fitted(phantom: PhantomSubject, bvals: Any = None, **method: Any) -> TensorFit:
    gradients = phantom.gradients if bvals is None else replace(phantom.gradients, bvals=bvals)
    series = DwiSeries(image=phantom.image, gradients=gradients)
    inside = phantom.image.data[..., 0] > 100
    prepared = PreparedSeries(series=series, mask=inside, correction=PreprocessedSeries(series=series))
    return fit(prepared, Method(**{"gradient_calibration": False, **method}))


@pytest.fixture(scope="module", autouse=True)
def _each_fit_of_free_water_once() -> Iterator[None]:
    """The same voxels are fitted once: the other measurements differ in later steps, and this takes most time."""
    known: dict[bytes, Any] = {}

    def fit_once(*arrays: Any) -> Any:
        key = b"".join(array.tobytes() for array in arrays)
        if key not in known:
            known[key] = fit_free_water(*arrays)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(free_water, "fit_free_water", fit_once)
        yield


FITS: dict[int, TensorFit] = {}


def fitted_once(phantom: PhantomSubject) -> TensorFit:
    if id(phantom) not in FITS:
        FITS[id(phantom)] = fitted(phantom)
    return FITS[id(phantom)]


def measured(phantom: PhantomSubject, before: tuple[Check, ...] = (), **method: Any) -> Measurement:
    chosen = Method(gradient_calibration=False, **method)
    truth = phantom.truth
    found = Registration(transform=truth.transform, pose=truth.pose, placement_se_mm=0.5)
    aligned = AlignedRun(fitted=fitted_once(phantom), registration=found, method=chosen, checks=before)
    return measure(aligned, read_preset("alps", radius_mm=chosen.roi_radius))


@pytest.fixture(scope="module")
def default(phantom: PhantomSubject) -> Measurement:
    return measured(phantom)


@pytest.mark.parametrize(("shells", "left"), [(None, {1000}), ((2000,), {2000}), ((1000, 2000), {1000, 2000})])
def test_the_requested_shells_are_used(phantom: PhantomSubject, shells: Any, left: set[float]) -> None:
    bvals = fitted(phantom, shells=shells).series.gradients.bvals
    assert set(bvals[bvals > 50].tolist()) == left


def test_volumes_up_to_the_b0_threshold_are_b0(phantom: PhantomSubject) -> None:
    bvals = np.where(phantom.gradients.bvals < 50, 40.0, phantom.gradients.bvals)
    assert fitted(phantom, bvals).b0.data.max() > 0
    with pytest.raises(GradientError):
        fitted(phantom, bvals, b0_threshold=20.0)


def test_volumes_with_wrong_b_values_are_calibrated(phantom: PhantomSubject) -> None:
    bvals = phantom.gradients.bvals.copy()
    first = int(np.flatnonzero(np.isclose(bvals, 1000))[0])
    bvals[first] *= 0.92
    kept = fitted(phantom, bvals).series.gradients.bvals
    calibrated = fitted(phantom, bvals, gradient_calibration=True).series.gradients.bvals
    volume = int(np.flatnonzero(np.isclose(kept, 920))[0])
    assert calibrated[volume] > 950


def test_without_pose_correction_the_index_is_in_scanner_axes(phantom: PhantomSubject, default: Measurement) -> None:
    assert default.result.alps != default.result.alps_uncorrected
    left_alone = measured(phantom, pose_correction=False).result
    assert left_alone.alps == left_alone.alps_uncorrected == default.result.alps_uncorrected


def test_with_unknown_sides_only_bilateral_values_are_kept(phantom: PhantomSubject, default: Measurement) -> None:
    result = measured(phantom, (evaluate("left_right_known", 0.0),), keep_failed=True).result
    of_sides = (result.alps, result.alps_uncorrected, result.alps_water_corrected, *result.alternatives.values())
    assert len(of_sides) > 5
    for values in of_sides:
        assert np.isnan([values["left"], values["right"]]).all()
    assert set(result.interval) == {"bilateral"}
    assert result.alternatives["spheres"]["bilateral"] == default.result.alternatives["spheres"]["bilateral"]


def test_alps_sh_fits_all_shells_and_reports_them(phantom: PhantomSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alps_sh, "fit_whole_brain", lambda _subject, _template, affine: affine)
    own, truth = fitted(phantom), phantom.truth
    found = Registration(transform=truth.transform, pose=truth.pose, placement_se_mm=0.5)
    series = DwiSeries(image=phantom.image, gradients=phantom.gradients)
    prepared = PreparedSeries(series=series, mask=own.field.mask, correction=PreprocessedSeries(series=series))
    aligned = AlignedRun(fitted=own, registration=found, method=Method(gradient_calibration=False))
    left_alone = replace(aligned, method=replace(aligned.method, pose_correction=False))
    measurement, same = (
        measure(measure_alps_sh(prepared, one, (None, None)), read_preset("alps.sh"))  # type: ignore[arg-type]
        for one in (aligned, left_alone)
    )
    assert same.result.alternatives == measurement.result.alternatives  # in image axes with either setting
    run = DwiRun(entities={"sub": "01"}, image=Path("a.nii"), bval=Path("a.bval"), bvec=Path("a.bvec"))
    described, main = (describe_acquisition(measurement.preset, one, run) for one in (measurement.fitted, own))
    assert (described.n_directions, main.n_directions) == (16, 8)
    assert described.b_value == pytest.approx(1500)


def test_tissue_weights_are_fractions_reduced_by_other_tissue(phantom: PhantomSubject, default: Measurement) -> None:
    fractions = {roi.name: roi.weights for roi in default.rois}
    weights = {roi.name: roi.weights for roi in measured(phantom, roi_weighting="tissue").rois}
    assert all((weights[name] <= fractions[name] + 1e-12).all() for name in weights)
    assert any((weights[name] < fractions[name] - 1e-3).any() for name in weights)


def test_a_radius_makes_spheres_of_that_size(phantom: PhantomSubject) -> None:
    small, large = (measured(phantom, roi_radius=radius, roi_weighting="fraction") for radius in (3.0, 6.0))
    volumes = [sum(roi.weights.sum() for roi in one.rois) for one in (small, large)]
    assert volumes[1] / volumes[0] == pytest.approx(8, rel=0.25)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("registration_overlap", 0.1),
        pytest.param("gradient_axes", 0.8, marks=pytest.mark.slow),
        pytest.param("gradient_spread", 20.0, marks=pytest.mark.slow),
        pytest.param("coverage", 0.3, marks=pytest.mark.slow),
        ("directions", 5.0),
        pytest.param("snr_b0", 2.0, marks=pytest.mark.slow),
        pytest.param("framewise_displacement", 4.0, marks=pytest.mark.slow),
        pytest.param("outlier_slices", 0.2, marks=pytest.mark.slow),
        pytest.param("session_similarity", 0.5, marks=pytest.mark.slow),
    ],
)
def test_an_index_with_a_failed_check_is_withheld_unless_kept(
    phantom: PhantomSubject, default: Measurement, name: str, value: float, keep: bool
) -> None:
    found = measured(phantom, (evaluate(name, value),), keep_failed=keep)
    rows = alps_rows(found.result, ACQUISITION, PROCESSING, found.status)
    withheld = ("alps", "alps_uncorrected", "alps_se", "alps_ci_low", "alps_ci_high", "alps_water_corrected")
    assert {row["status"] for row in rows} == {"fail"}
    assert {side: row["alps" if keep else "alps_unreliable"] for side, row in by_side(rows)} == default.result.alps
    if keep:
        assert {row["alps_unreliable"] for row in rows} == {None}
        assert all(np.isfinite(row["alps_se"]) for row in rows)
        return
    assert all(format_cell(row.get(column)) == "n/a" for row in rows for column in withheld)
    assert found.summary == f"alps no index, since {name} failed"


def by_side(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(row["hemisphere"], row) for row in rows]


def test_every_failure_except_of_lesion_columns_withholds_the_index() -> None:
    kept = {name for name, limit in THRESHOLDS.items() if not limit.withholds_index}
    assert kept == {"lesion_t1w_shift"}


def test_failed_lesion_columns_only_warn(phantom: PhantomSubject, default: Measurement) -> None:
    found = measured(phantom, (evaluate("lesion_t1w_shift", 9.0),))
    assert found.failed == ("lesion_t1w_shift",)
    assert found.status == "warn"
    assert found.result.alps == default.result.alps


def test_a_threshold_changes_the_status_of_its_check(phantom: PhantomSubject) -> None:
    status = {
        limits: next(check.status for check in measured(phantom, threshold=limits).checks if check.name == "snr_b0")
        for limits in ((), ("snr_b0=2000,1000",))
    }
    assert list(status.values()) == ["pass", "fail"]


def test_the_seed_affects_the_interval_only(phantom: PhantomSubject, default: Measurement) -> None:
    same, other = (measured(phantom, random_seed=seed).result for seed in (Method().random_seed, 1))
    assert same.interval == default.result.interval
    assert other.interval != default.result.interval
    assert other.alps == default.result.alps


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_can_be_selected(name: str) -> None:
    arguments = ["in", "out", "participant", "--registrar", name]
    assert settings_of(parse(arguments)).method.registrar == name
    options = {"subject_from_template": lambda points: points} if ENGINES[name].needs_transform else {}
    assert callable(ENGINES[name].make(**options).register)


def test_engine_references_are_in_the_bibliography() -> None:
    bibliography = tomllib.loads(files("bids_alps.resources").joinpath("references.toml").read_text())
    cited = {key for engine in ENGINES.values() for key in re.findall(r"\[@(\w+)\]", engine.sentence)}
    assert cited <= set(bibliography)


@pytest.fixture
def run(tmp_path: Path) -> DwiRun:
    """A run with a reverse-phase image."""
    grid = SpatialMap(data=np.ones((8, 8, 8)), affine=np.diag([3.0, 3, 3, 1]))
    reverse = tmp_path / "sub-01/fmap/sub-01_dir-PA_epi.nii.gz"
    sidecar = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}
    write_json(tmp_path / "dataset_description.json", {"Name": "a", "BIDSVersion": "1.8.0"})
    write_map(reverse, grid, sidecar=sidecar)
    here = tmp_path / "a"
    metadata = {**sidecar, "PhaseEncodingDirection": "j-"}
    opposite = FieldmapImage(path=reverse, metadata=sidecar)
    fieldmaps = (Fieldmap(method="reverse phase encoding", images=(opposite,)),)
    return DwiRun(entities={"sub": "01"}, image=here, bval=here, bvec=here, metadata=metadata, fieldmaps=fieldmaps)


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ({}, {"motion": True, "reverse": True}),
        ({"motion_correction": False}, {"motion": False, "reverse": True}),
        ({"distortion_correction": False}, {"motion": True, "reverse": False}),
        ({"motion_correction": False, "distortion_correction": False}, None),
        ({"skip_preprocessing": True}, None),
    ],
)
def test_each_correction_can_be_switched_off(
    run: DwiRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, asked: Any
) -> None:
    calls: list[dict[str, bool]] = []

    def stop(*_: Any, fields: Any, motion: bool, **__: Any) -> None:
        calls.append({"motion": motion, "reverse": bool(fields)})
        raise InterruptedError

    monkeypatch.setattr(preprocessing, "correct_series", stop)
    image = SpatialMap(data=np.ones((8, 8, 8, 7), np.float32), affine=np.diag([3.0, 3, 3, 1]))
    bvecs = np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
    series = DwiSeries(image=image, gradients=gradients_of(bvecs))
    if asked is None:
        assert correct(run, series, np.ones((8, 8, 8), bool), Method(**method), tmp_path / "out").series is series
        assert not (tmp_path / "out").exists()
        assert calls == []
        return
    with pytest.raises(InterruptedError):
        correct(run, series, np.ones((8, 8, 8), bool), Method(**method), tmp_path / "out")
    assert calls == [asked]


def gradients_of(bvecs: Any) -> Gradients:
    return Gradients(bvals=np.where(np.linalg.norm(bvecs, axis=1) > 0, 1000.0, 0.0), bvecs=bvecs)

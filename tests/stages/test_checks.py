"""For every check, data that trip it and data that do not, through the code that measures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.io.images import ImageHeader
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.model import (
    AlpsResult,
    DwiRun,
    DwiSeries,
    Gradients,
    Pose,
    Roi,
    RoiDiffusivity,
    SpatialMap,
    SpatialTransform,
    SubjectMaps,
    Template,
    TensorField,
    worst_status,
)
from bids_alps.numerics.index.alps import measure_alps
from bids_alps.numerics.index.noise_floor import noise_floor_bias
from bids_alps.numerics.index.rois import place_preset, tissue_share
from bids_alps.numerics.index.tract_profile import measure_tract_shift
from bids_alps.numerics.preprocessing.correction import measure_motion
from bids_alps.numerics.preprocessing.motion import SeriesMotion
from bids_alps.numerics.preprocessing.outliers import find_outlier_slices
from bids_alps.numerics.preprocessing.volume_motion import VolumeMotion
from bids_alps.numerics.tensors.tensor import elements_from_matrix
from bids_alps.quality.checks import check_index, evaluate
from bids_alps.quality.thresholds import THRESHOLDS
from bids_alps.registration.base import Registration, jacobian_range, pose_of
from bids_alps.registration.checks import check_registration
from bids_alps.registration.within_subject import find_midpoint
from bids_alps.settings import Method
from bids_alps.stages.alternatives import with_scalars
from bids_alps.stages.index import check_noise_floor
from bids_alps.stages.lesions import Lesions, add_lesion_effect, check_lesions
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries, check_correction, correct
from bids_alps.stages.tensors import check_acquisition, fit

pytestmark = pytest.mark.medium

TENSORS = {"projection": np.diag([0.6, 0.4, 1.1]) * 1e-3, "association": np.diag([0.65, 1.1, 0.4]) * 1e-3}
NAMES = [f"{region}_{side}" for side in ("left", "right") for region in TENSORS]
N = 10


def rotated(tensor, *angles):
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return turn @ tensor @ turn.T


def check_regions(*, voxels=N, coverage=1.0, pitch=0.0, **regions):
    """Checks of regions of ten voxels each; `regions` are the tensors of another, shape (3, 3) or (10, 3, 3)."""
    tensors = np.zeros((len(NAMES), N, 1, 3, 3))
    for row, name in enumerate(NAMES):
        region = name.partition("_")[0]
        tensors[row, :, 0] = regions.get(region, TENSORS[region])
    shape = tensors.shape[:3]
    image = SpatialMap(data=elements_from_matrix(tensors), affine=np.diag([2.0, 2, 2, 1]))
    field = TensorField(image=image, mask=np.ones(shape, dtype=bool), s0=np.ones(shape))
    rois = [
        Roi(
            name=name,
            voxels=np.array([[row, n, 0] for n in range(voxels)]),
            weights=np.ones(voxels),
            coverage=coverage,
        )
        for row, name in enumerate(NAMES)
    ]
    pose = pose_of(Rotation.from_euler("x", pitch, degrees=True).as_matrix())
    result = measure_alps(field, rois, np.eye(3), pose)
    other = {name: {"other_tissue": 1 - tissue_share(image.data[row]).mean()} for row, name in enumerate(NAMES)}
    return check_index(replace(result, rois=with_scalars(result.rois, other)))


def coverage_by_a_mask(edge):
    """The fraction of a sphere within a mask that ends at `edge`, mm."""
    mask = SpatialMap(
        data=np.moveaxis(np.indices((20, 20, 20)), 0, -1)[..., 0] < edge / 2, affine=np.diag([2.0, 2, 2, 1])
    )
    sphere = replace(read_preset("alps-sphere", radius_mm=5.0), centers={"projection_left": (20.0, 20.0, 20.0)})
    (roi,) = place_preset(sphere, SpatialTransform(affine=np.eye(4), rigid=np.eye(4)), mask)
    return roi.coverage


SCATTERED = np.array([rotated(TENSORS["projection"], 40 * (n % 2) - 20, 40 * (n // 2 % 2) - 20, 0) for n in range(N)])
HALF_GRAY = np.array([TENSORS["projection"] if n % 2 else 0.8e-3 * np.eye(3) for n in range(N)])
REGIONS = {
    "angle_projection": {"projection": rotated(TENSORS["projection"], 30, 0, 0)},
    "angle_association": {"association": rotated(TENSORS["association"], 0, 0, 30)},
    "tract_rotation": {name: rotated(TENSORS[name], 12, 0, 0) for name in ("projection", "association")},
    "dispersion": {"projection": SCATTERED},
    "fa": {"association": np.diag([0.65, 0.9, 0.55]) * 1e-3},
    "lambda2_lambda3": {"projection": np.diag([0.8, 0.4, 1.1]) * 1e-3},
    "off_tract_fraction": {"projection": HALF_GRAY},
    "other_tissue": {"projection": HALF_GRAY},
    "effective_voxels": {"voxels": 2},
    "coverage": {"coverage": coverage_by_a_mask(20)},
    "pitch": {"pitch": -12.0},
    "alps": {"projection": np.diag([1.0, 0.35, 1.3]) * 1e-3, "association": np.diag([0.9, 1.2, 0.4]) * 1e-3},
}


def check_scan(*, b=1000.0, directions=20, sd=20.0, strays=0.0, reading=(0, 1, 2)):
    """Checks of the acquisition of two families of thin straight bundles in tissue without a direction."""
    k = np.arange(directions) + 0.5
    z, turn = 1 - k / directions, np.pi * (1 + 5**0.5) * k
    vectors = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)
    weighting = np.r_[0, 0, b * (1 + strays * (vectors[:, 2] ** 2 - vectors[:, 1] ** 2))]
    truth = np.r_[np.zeros((2, 3)), vectors]
    exponents = weighting * np.einsum("ni,...ij,nj->...n", truth, bundles(), truth)
    data = 1000 * np.exp(-exponents) + np.random.default_rng(1).normal(scale=sd, size=exponents.shape)
    recorded = Gradients(bvals=np.r_[0, 0, np.full(directions, b)], bvecs=truth[:, list(reading)])
    series = DwiSeries(
        image=SpatialMap(data=data.astype(np.float32), affine=np.diag([3.0, 3, 3, 1])), gradients=recorded
    )
    prepared = PreparedSeries(
        series=series, mask=np.ones(data.shape[:3], dtype=bool), correction=PreprocessedSeries(series=series)
    )
    return check_acquisition(fit(prepared, Method()))


def bundles():
    shape = (24, 24, 20)
    places = np.moveaxis(np.indices(shape), 0, -1)
    halves = []
    for along in np.array([[0.75, 0.62, 0.23], [0.23, 0.62, 0.75]]):
        within = (np.cos(places @ np.linalg.svd(along[None])[2][1:].T) > 0).all(axis=-1)
        unit = along / np.linalg.norm(along)
        halves.append(np.eye(3) + within[..., None, None] * (np.outer(unit, unit) - np.eye(3) / 3))
    brain = 0.8e-3 * np.where((places[..., 0] < shape[0] // 2)[..., None, None], *halves)
    return np.where((places[..., 2] > 12)[..., None, None], 1.25e-3 * np.eye(3), brain)  # outer cortex and CSF on top


def check_floor(*, b=1000.0, sd=20.0):
    """The check of the noise floor, for regions of one voxel with a b=0 signal of 1000."""
    k = np.arange(30) + 0.5
    z, turn = 1 - k / 30, np.pi * (1 + 5**0.5) * k
    weighted = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)
    vectors = np.vstack([np.zeros(3), weighted])
    tensors = np.array([TENSORS[name.partition("_")[0]] for name in NAMES])
    bvals = np.r_[0, np.full(30, b)]
    signal = 1000 * np.exp(-bvals * np.einsum("ni,rij,nj->rn", vectors, tensors, vectors))
    series = DwiSeries(
        image=SpatialMap(data=np.hypot(signal, sd)[:, None, None], affine=np.eye(4)),
        gradients=Gradients(bvals=bvals, bvecs=vectors),
    )
    rois = [Roi(name=name, voxels=np.array([[row, 0, 0]]), weights=np.ones(1)) for row, name in enumerate(NAMES)]
    return check_noise_floor(noise_floor_bias(series, rois, np.eye(3), sd))


def check_tracts(*, outward=0.0):
    """The check of the tracts' place: a corona from 21 mm from the midline, an association tract from 32 to 44 mm."""
    affine = np.diag([1.0, 4, 4, 1])
    affine[:3, 3] = -65, -40, 15
    image = SpatialMap(data=np.zeros((131, 12, 6)), affine=affine)
    away = np.abs(image.world(np.moveaxis(np.indices(image.shape), 0, -1))[..., 0]) - outward
    share = [((low < away) & (away < high))[..., None, None] for low, high in ((21, 32), (32, 44))]
    tensors = np.where(share[0], TENSORS["projection"], np.where(share[1], TENSORS["association"], 0.7e-3 * np.eye(3)))
    elements = SpatialMap(data=elements_from_matrix(tensors), affine=affine)
    field = TensorField(image=elements, mask=np.ones(image.shape, dtype=bool), s0=np.ones(image.shape))
    shifts = measure_tract_shift(field, SpatialTransform(affine=np.eye(4), rigid=np.eye(4)))
    return tuple(evaluate("registration_tract_shift", shift) for shift in shifts.values())


SCANS: dict[str, dict[str, Any]] = {
    "snr_b0": {"sd": 150.0},
    "b_value": {"b": 2600.0},
    "directions": {"directions": 8},
    "gradient_spread": {"strays": 0.08},
    "gradient_axes": {"reading": (1, 0, 2)},
}


def check_motion(*, step=0.1, lost=0):
    """Checks of a head that moves by `step` mm from volume to volume; `lost` slices have half of their signal."""
    volumes, slices = 12, 10
    moved = tuple(
        VolumeMotion(
            rotation=np.zeros(3),
            translation=np.array([0, step * n, 0]),
            eddy=np.zeros(0),
            center=np.zeros(3),
            direction=np.eye(3)[1],
        )
        for n in range(volumes)
    )
    places = np.tile(np.repeat(np.arange(slices), 20), (volumes, 1))
    signal = np.random.default_rng(2).normal(100, 2, places.shape)
    for volume in range(lost):
        signal[volume, places[volume] == 2 + volume % 6] *= 0.5
    motion = SeriesMotion(
        volumes=moved,
        bvecs=np.zeros((volumes, 3)),
        outlier_slices=find_outlier_slices(
            zip(signal, np.full(places.shape, 100.0), places.astype(float), strict=True), slices
        ),
        usable=np.ones(volumes, dtype=bool),
        correlation=np.ones(volumes),
        slice_axis=2,
        eddy_shift=np.zeros(volumes),
    )
    return check_correction([measure_motion(motion)])


def check_overlap(*, reach=0, shift=1.0):
    """Checks of regions of ten voxels each, one of which has a lesion of `reach`; the T1w is off by `shift` mm."""
    share = np.zeros((len(NAMES), N, 1))
    share[1, :reach] = 1
    lesions = Lesions(
        fraction=SpatialMap(data=share, affine=np.diag([2.0, 2, 2, 1])), space="T1w", uncorrected_mm=shift
    )
    rois = [
        Roi(name=name, voxels=np.array([[row, n, 0] for n in range(N)]), weights=np.ones(N))
        for row, name in enumerate(NAMES)
    ]
    nothing = np.zeros(6)
    measured = tuple(
        RoiDiffusivity(name=name, tensor=nothing, tensor_uncorrected=nothing, scalars={}) for name in NAMES
    )
    result = AlpsResult(alps={}, alps_uncorrected={}, rois=measured, pose=Pose(pitch=0.0, roll=0.0, yaw=0.0))
    return check_lesions(add_lesion_effect(result, rois, lesions, ({}, {})), lesions)


def check_distortion(*, readout=0.01):
    """Checks of an uncorrected raw series of 3 mm without a fieldmap."""
    here = Path("x_dwi.nii.gz")
    metadata = {"PhaseEncodingDirection": "j", "TotalReadoutTime": readout}
    run = DwiRun(entities={"sub": "01"}, image=here, bval=here, bvec=here, metadata=metadata)
    gradients = Gradients(bvals=np.zeros(1), bvecs=np.zeros((1, 3)))
    image = SpatialMap(data=np.ones((4, 4, 4, 1)), affine=np.diag([3.0, 3, 3, 1]))
    series = DwiSeries(image=image, gradients=gradients)
    return correct(run, series, np.ones((4, 4, 4), bool), Method(skip_preprocessing=True), here.parent).checks


def check_header(*, known=True):
    """Checks of an image whose header may distinguish left from right."""
    image = SpatialMap(data=np.ones((4, 4, 4, 1)), affine=np.eye(4))
    series = DwiSeries(image=image, gradients=Gradients(bvals=np.zeros(1), bvecs=np.zeros((1, 3))))
    header = ImageHeader(shape=(4, 4, 4, 1), stored_bytes=64, affine=np.eye(4), left_right_known=known)
    correction = PreprocessedSeries(series=series)
    return PreparedSeries(series=series, mask=np.ones((4, 4, 4), bool), correction=correction, header=header).checks


MOTION: dict[str, dict[str, Any]] = {"framewise_displacement": {"step": 1.5}, "outlier_slices": {"lost": 5}}
CENTERS = {"projection_left": (-26.1, -16.1, 27.6), "projection_right": (26.1, -16.1, 27.6)}
FIGURES = {"similarity": 0.8, "similarity_coarse": 0.7, "similarity_random": 0.4, "similarity_rotated": 0.5}
SCALES = {"scale_min": 0.9, "scale_max": 1.0}


@pytest.fixture(scope="module")
def template():
    whole = read_template()
    every = {
        name: SpatialMap(
            data=getattr(whole, name).data[::3, ::3, ::3], affine=getattr(whole, name).affine @ np.diag([3.0, 3, 3, 1])
        )
        for name in ("t1w", "gm", "wm", "csf", "mask")
    }
    return Template(name="coarse", **every)


def subject_of(template, fa=0.5, fluid=3.0e-3):
    md = 0.8e-3 * (template.wm.data + template.gm.data) + fluid * template.csf.data
    return SubjectMaps(
        fa=template.wm.like(fa * template.wm.data),
        md=template.wm.like(md),
        b0=template.wm.like(md * 1e6),
        mask=template.mask,
    )


def check_sessions(template, *, other):
    """The check of two sessions of a head, or of two heads: one of them front to back."""
    first, second = subject_of(template), subject_of(template, fluid=2.8e-3)
    if other:
        turned_round = {name: template.wm.like(getattr(second, name).data[:, ::-1]) for name in ("fa", "md", "mask")}
        second = replace(second, **turned_round)
    here = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))
    return evaluate("session_similarity", min(find_midpoint([first, second], [here, here], template).similarity))


def check_alignment(template, *, matrix=None, bend=0.0, pose_se=0.5, fa=0.5, fluid=3.0e-3, lesions=None, **figures):
    """Checks of the template aligned with itself by a matrix that may be wrong."""
    matrix = np.eye(4) if matrix is None else matrix
    subject = subject_of(template, fa, fluid)
    place = np.moveaxis(np.indices(template.mask.shape), 0, -1)
    displacement = template.wm.like(np.sin(place / 2) * bend)
    registration = Registration(
        transform=SpatialTransform(affine=matrix, rigid=np.diag([*np.sign(np.diag(matrix)[:3]), 1.0])),
        pose=Pose(pitch=0.0, roll=0.0, yaw=0.0, se_degrees=pose_se),
        placement_se_mm=0.5,
        metrics={**FIGURES, **SCALES, **jacobian_range(displacement, template.mask), **figures},
    )
    return check_registration(registration, subject, template, CENTERS, lesions)


def shift(x):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


ALIGNMENTS = {
    "overlap": {"matrix": shift(40.0)},
    "similarity": {"similarity": 0.5},
    "similarity_margin": {"similarity_random": 0.65},
    "orientation_margin": {"similarity_rotated": 0.65},
    "scale_min": {"scale_min": 0.7},
    "scale_max": {"scale_max": 1.3},
    "jacobian_low": {"bend": 6.0},
    "jacobian_high": {"bend": 8.0},
    "pose_se": {"pose_se": 3.0},
    "roi_white_matter": {"fa": 0.15},
    "ventricle_contrast": {"fluid": 0.9e-3},
    "hemisphere_distance": {"matrix": np.diag([2.0, 1, 1, 1])},
}
TRIPS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (check_regions, change) for name, change in REGIONS.items()},
    **{name: (check_scan, change) for name, change in SCANS.items()},
    **{name: (check_motion, change) for name, change in MOTION.items()},
    "noise_floor": (check_floor, {"b": 3000.0, "sd": 80.0}),
    "registration_tract_shift": (check_tracts, {"outward": -4.0}),
    "residual_distortion": (check_distortion, {"readout": 0.15}),
    "left_right_known": (check_header, {"known": False}),
    "lesion_overlap": (check_overlap, {"reach": 2}),
    "lesion_t1w_shift": (check_overlap, {"shift": 4.0}),
}


def status_of(checks, name):
    return worst_status(check.status for check in checks if check.name == name)


def test_every_check_is_tested_here():
    alone = {"session_similarity"}
    assert {*TRIPS, *alone, *(f"registration_{name}" for name in ALIGNMENTS)} == set(THRESHOLDS)


@pytest.mark.parametrize("name", TRIPS)
def test_wrong_data_trigger_their_check(name):
    measure, change = TRIPS[name]
    assert status_of(measure(**change), name) in ("warn", "fail")


@pytest.mark.parametrize(
    "measure",
    [
        check_regions,
        check_scan,
        check_floor,
        check_tracts,
        check_motion,
        check_overlap,
        check_distortion,
        check_header,
    ],
)
def test_correct_data_trigger_no_check(measure):
    assert {check.name: check.value for check in measure() if check.status != "pass"} == {}


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_a_wrong_registration_triggers_its_check(template, name):
    assert status_of(check_alignment(template, **ALIGNMENTS[name]), f"registration_{name}") in ("warn", "fail")


def test_session_similarity_detects_another_head(template):
    assert check_sessions(template, other=True).status in ("warn", "fail")
    assert check_sessions(template, other=False).status == "pass"


def test_a_correct_registration_triggers_no_check(template):
    assert {check.name: check.value for check in check_alignment(template) if check.status != "pass"} == {}


def test_a_known_lesion_is_not_a_registration_failure(template):
    """FA lost in a ball about one center fails the check of white matter, unless the ball is known for a lesion."""
    points = template.wm.world(np.moveaxis(np.indices(template.wm.shape), 0, -1))
    ball = np.linalg.norm(points - CENTERS["projection_left"], axis=-1) < 6
    fa = 0.5 * np.where(ball, 0.1, 1)
    assert status_of(check_alignment(template, fa=fa), "registration_roi_white_matter") == "fail"
    lesions = template.wm.like(ball.astype(np.float32))
    assert status_of(check_alignment(template, fa=fa, lesions=lesions), "registration_roi_white_matter") == "pass"
    everything = lesions.like(np.ones(ball.shape))
    assert status_of(check_alignment(template, lesions=everything), "registration_roi_white_matter") == "fail"


def test_an_unmeasurable_registration_fails(template):
    assert status_of(check_alignment(template, similarity=float("nan")), "registration_similarity") == "fail"

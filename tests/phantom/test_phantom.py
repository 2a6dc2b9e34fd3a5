from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_alps.io.images import read_series
from bids_alps.io.layout import find_participants, find_runs
from bids_alps.io.tables import read_table
from bids_alps.model import DwiRun, sample_linear
from bids_alps.numerics.tensors.tensor import eigen_system, fit_tensor
from bids_alps.phantom import PARK_2023, PhantomSettings, make_subject, true_index, write_phantom
from bids_alps.phantom import subject as scan
from bids_alps.phantom.__main__ import main, make_parser
from bids_alps.phantom.anatomy import draw_diagonals
from bids_alps.phantom.scanner import Distortion, draw_distortion, draw_motion, make_gradients, spread_directions
from bids_alps.phantom.settings import STORAGES
from bids_alps.phantom.subject import make_head

SMALL = PhantomSettings(participants=1, voxel_size=4.0, directions=12, b0=1, snr=0.0, warp=0.0)


def tensor_at(subject, template_point):
    """Return the fitted tensor's first eigenvector, in template axes, at a template point."""
    from bids_alps.model import DwiSeries

    series = DwiSeries(image=subject.image, gradients=subject.gradients)
    point = subject.truth.transform.subject_from_template(np.array(template_point))
    voxel = np.round(series.image.voxels(point)).astype(int)
    mask = np.zeros(series.image.shape, bool)
    mask[tuple(voxel)] = True
    _, vectors = eigen_system(fit_tensor(series, mask).image.data[tuple(voxel)])
    return subject.truth.transform.rotation @ vectors[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_fibers_have_the_chosen_directions_in_every_storage_order(storage):
    subject = make_subject(SMALL, seed=3, storage=storage)
    for x in (-1, 1):
        assert abs(tensor_at(subject, (26.1 * x, -16.1, 27.6))[2]) > 0.97
        assert abs(tensor_at(subject, (38.7 * x, -16.4, 27.6))[1]) > 0.97


@pytest.mark.slow
def test_written_gradients_lead_back_to_world_axes(tmp_path):
    settings = PhantomSettings(
        participants=1, voxel_size=5.0, directions=8, b0=1, storage=("sagittal",), oblique=20.0, rotation=25.0
    )
    write_phantom(tmp_path, settings)
    (run,) = find_runs(tmp_path, "01")
    assert isinstance(run, DwiRun)
    made = make_subject(settings, 0)
    read = read_series(run)
    np.testing.assert_allclose(read.gradients.bvecs, made.gradients.bvecs, atol=2e-6)
    np.testing.assert_allclose(read.image.affine, made.image.affine, atol=1e-4)


def test_true_index_is_the_ratio_of_the_table():
    (x1, y1, _), (x2, _, z2) = PARK_2023["control"]["projection"][0], PARK_2023["control"]["association"][0]
    assert true_index(draw_diagonals("control"))["left"] == pytest.approx((x1 + x2) / (y1 + z2))


def test_patients_have_a_lower_index_than_controls():
    assert true_index(draw_diagonals("patient"))["bilateral"] < true_index(draw_diagonals("control"))["bilateral"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scan_and_another_seed_another():
    first, again, other = (make_subject(SMALL, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.image.data, again.image.data)
    assert first.truth.pose == again.truth.pose != other.truth.pose


@pytest.mark.slow
def test_pose_is_the_rotation_of_the_transform():
    truth = make_subject(SMALL, seed=5).truth
    pose = truth.pose
    expected = Rotation.from_euler("xyz", [pose.pitch, pose.roll, pose.yaw], degrees=True).as_matrix()
    np.testing.assert_allclose(truth.transform.rotation, expected, atol=1e-12)


@pytest.mark.slow
def test_rician_noise_has_the_chosen_size():
    clean = make_subject(SMALL).image.data
    noisy = make_subject(PhantomSettings(**{**vars_of(SMALL), "snr": 20.0})).image.data
    bright = clean > 600
    assert np.std((noisy - clean)[bright]) == pytest.approx(700 / 20, rel=0.05)


@pytest.mark.slow
def test_a_slab_has_the_requested_height():
    image = make_subject(PhantomSettings(**{**vars_of(SMALL), "slab": 84.0})).image
    assert image.shape[2] * 4.0 == pytest.approx(84, abs=4)


@pytest.mark.slow
def test_motion_is_recorded_and_moves_the_image():
    subject = make_subject(PhantomSettings(**{**vars_of(SMALL), "motion": 2.0, "voxel_size": 5.0}))
    assert np.allclose(subject.truth.motion[0], np.eye(4))
    assert not np.allclose(subject.truth.motion[1], np.eye(4))


def acquired_one_by_one(settings, subject, seed):
    """Each volume on its own, from the signal at eight points of each voxel."""
    head = make_head(settings, seed)
    grid, gradients = subject.image, subject.gradients
    center = head.transform.subject_from_template(np.array([0.0, -18.0, 27.0]))  # that of a slab
    rng = np.random.default_rng([settings.seed, seed, 0])
    draw_motion(rng, settings.motion, len(gradients))
    distortion = draw_distortion(rng, settings, grid, center)
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    volumes = []
    for n in range(len(gradients)):
        rotation, shift = subject.truth.motion[n, :3, :3], subject.truth.motion[n, :3, 3]
        total = np.zeros(len(voxels))
        for offset in itertools.product((-0.25, 0.25), repeat=3):
            source, intensity = distortion.of_volume(gradients, n).undo(grid.world(voxels + np.array(offset)))
            rotated = replace(gradients.take(np.array([n])), bvecs=gradients.bvecs[n : n + 1] @ rotation)
            total = total + head.signal((source - shift) @ rotation, rotated)[:, 0] * intensity / 8
        volumes.append(1000 * total.reshape(grid.shape))
    return np.stack(volumes, axis=-1)


@pytest.mark.slow
def test_each_volume_of_a_moving_head_equals_its_own_simulation():
    settings = PhantomSettings(
        **{**vars_of(SMALL), "directions": 6, "motion": 1.5, "eddy": 2.0, "susceptibility": 6.0, "slab": 40.0}
    )
    subject = make_subject(settings, 1)
    expected = acquired_one_by_one(settings, subject, 1)
    inside = (slice(4, -4), slice(4, -4), slice(2, -2))
    difference = (subject.image.data - expected)[inside]
    assert abs(difference.mean()) < 1
    assert np.sqrt((difference**2).mean()) < 20  # of a signal of 700, at edges between fluid and tissue


@pytest.mark.slow
def test_a_still_head_is_the_same_by_both_methods():
    settings = replace(SMALL, directions=6, voxel_size=5.0, susceptibility=4.0)
    head, grid = make_head(settings, 2), make_subject(settings, 2).image
    gradients = make_gradients(settings)
    distortion = replace(draw_distortion(np.random.default_rng(0), settings, grid, np.zeros(3)), susceptibility=0.0)
    still = scan._acquire_still(head, grid, gradients, distortion)
    moving = scan._acquire_moving(head, grid, gradients, np.tile(np.eye(4), (len(gradients), 1, 1)), distortion)
    np.testing.assert_allclose(moving, still, atol=2e-4)


@given(st.floats(-8, 8), st.floats(-0.05, 0.05))
@settings_of(max_examples=20, deadline=None)
def test_distortion_is_undone(susceptibility, eddy):
    distortion = Distortion(
        direction=np.array([0.0, 0.8, 0.6]),
        center=np.zeros(3),
        susceptibility=susceptibility,
        eddy_scale=1.0,
        eddy=np.array([eddy, -eddy, eddy / 2]),
    )
    points = np.random.default_rng(0).uniform(-80, 80, (200, 3))
    source, intensity = distortion.undo(points)
    np.testing.assert_allclose(source + distortion.shift(source)[:, None] * distortion.direction, points, atol=1e-5)
    step = 1e-3 * distortion.direction
    slope = (distortion.shift(source + step) - distortion.shift(source - step)) / 2e-3
    np.testing.assert_allclose(intensity, 1 / (1 + slope), rtol=1e-5)


@pytest.mark.slow
def test_opposite_phase_encoding_shifts_the_other_way():
    settings = PhantomSettings(**{**vars_of(SMALL), "susceptibility": 8.0, "rotation": 0.0, "b0": 1})
    subject = make_subject(settings)
    still = make_subject(PhantomSettings(**{**vars_of(settings), "susceptibility": 0.0}))
    forward, straight, backward = subject.image.data[..., 0], still.image.data[..., 0], subject.reverse.data[..., 0]
    assert np.abs(forward - backward).mean() > np.abs(forward - straight).mean() > 0
    assert forward.sum() == pytest.approx(straight.sum(), rel=0.02)  # signal moves, none is lost
    assert np.abs(subject.truth.shift).max() > 4


def test_directions_are_spread_over_the_sphere():
    vectors = spread_directions(30)
    cosines = np.abs(vectors @ vectors.T) - np.eye(30)
    assert np.degrees(np.arccos(cosines.max())) > 20
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)


@pytest.mark.slow
def test_the_dataset_has_the_requested_contents(tmp_path):
    code = main(
        f"{tmp_path} --participants 2 --sessions 2 --runs 2 --voxel-size 8 --directions 6 --b0 1 --t1w "
        "--susceptibility 4 --group-effect --snr 0".split()
    )
    assert code == 0
    assert find_participants(tmp_path) == ("01", "02")
    runs = find_runs(tmp_path, "02")
    assert [run.name for run in runs] == [f"sub-02_ses-{s}_dir-AP_run-{r}" for s in (1, 2) for r in (1, 2)]
    assert all([field.method for field in run.fieldmaps] == ["reverse phase encoding"] for run in runs)
    assert runs[0].t1w is not None
    people = read_table(tmp_path / "participants.tsv")
    assert list(people["group"]) == ["control", "patient"]
    truth = read_table(tmp_path / "derivatives" / "truth" / "truth.tsv")
    assert len(truth) == 8


def test_every_option_has_help():
    text = make_parser().format_help()
    for name in vars_of(SMALL):
        assert "--" + name.replace("_", "-") in text


@pytest.mark.slow
def test_a_template_point_has_its_true_place_in_the_subject():
    truth = make_subject(PhantomSettings(**{**vars_of(SMALL), "warp": 3.0}), seed=2).truth
    point = np.array([[26.1, -16.1, 27.6], [-38.7, -16.4, 27.6]])
    there = truth.transform.subject_from_template(point)
    np.testing.assert_allclose(truth.transform.template_from_subject(there), point, atol=1e-3)
    displacement = truth.transform.displacement
    assert displacement is not None
    assert np.ptp(sample_linear(displacement, there)) > 0


def vars_of(settings):
    from dataclasses import asdict

    return asdict(settings)

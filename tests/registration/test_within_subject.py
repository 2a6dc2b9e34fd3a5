"""Several scans of one head: their midpoint frame, and what is transferred from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from heads import CENTERS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, Pose, SpatialMap, SpatialTransform, SubjectMaps, Template
from bids_alps.registration.base import Registration
from bids_alps.registration.within_subject import (
    Midpoint,
    average_maps,
    find_midpoint,
    solve_midpoint,
    transfer_registration,
)

pytestmark = pytest.mark.medium

vectors = arrays(np.float64, 3, elements=st.floats(-0.4, 0.4))


def rigid(turn: Array, shift: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    return matrix


def motions_between(matrices: list[Array]) -> dict[tuple[int, int], Array]:
    """Return the motion from each scan to each other one; `matrices` lead from a common head to the scans."""
    return {(i, j): matrices[j] @ np.linalg.inv(matrices[i]) for i, j in permutations(range(len(matrices)), 2)}


def moved(matrix: Array, points: Array) -> Array:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@given(turn=vectors, shift=vectors)
def test_two_scans_meet_halfway(turn: Array, shift: Array) -> None:
    motion = rigid(turn, 30 * shift)
    one, other = solve_midpoint({(0, 1): motion, (1, 0): np.linalg.inv(motion)}, [np.zeros(3), 30 * shift])
    np.testing.assert_allclose(one[:3, :3], Rotation.from_rotvec(-turn / 2).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(other[:3, :3], Rotation.from_rotvec(turn / 2).as_matrix(), atol=1e-9)
    middle = 15 * shift
    np.testing.assert_allclose(moved(one, middle) + moved(other, middle), 30 * shift, atol=1e-8)
    np.testing.assert_allclose(other @ np.linalg.inv(one), motion, atol=1e-8)


@given(st.lists(st.tuples(vectors, vectors), min_size=2, max_size=5))
def test_consistent_motions_are_kept_with_zero_mean(scans: list[tuple[Array, Array]]) -> None:
    matrices = [rigid(turn, 30 * shift) for turn, shift in scans]
    motions = motions_between(matrices)
    centers = [matrix[:3, 3] for matrix in matrices]
    found = solve_midpoint(motions, centers)
    for (i, j), motion in motions.items():
        np.testing.assert_allclose(found[j] @ np.linalg.inv(found[i]), motion, atol=1e-7)
    mean = Rotation.from_matrix([matrix[:3, :3] for matrix in found]).mean()
    assert mean.magnitude() < 1e-7
    middle = np.mean(centers, axis=0)
    np.testing.assert_allclose(np.mean([moved(matrix, middle) for matrix in found], axis=0), middle, atol=1e-7)


@given(st.permutations(range(3)), st.integers(0, 99))
def test_scans_are_treated_equally_with_inconsistent_motions(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrices = [rigid(*rng.uniform(-0.3, 0.3, (2, 3))) for _ in range(3)]
    motions = {pair: rigid(*rng.normal(scale=0.01, size=(2, 3))) @ m for pair, m in motions_between(matrices).items()}
    centers = list(rng.uniform(-5, 5, (3, 3)))
    found = solve_midpoint(motions, centers)
    other = {(i, j): motions[order[i], order[j]] for i, j in motions}
    again = solve_midpoint(other, [centers[n] for n in order])
    for n, matrix in enumerate(again):
        np.testing.assert_allclose(matrix, found[order[n]], atol=1e-8)


@given(turn=vectors, shift=vectors)
def test_a_registration_is_transferred_exactly(turn: Array, shift: Array) -> None:
    rng = np.random.default_rng(1)
    grid = np.diag([20.0, 20.0, 20.0, 1.0])
    grid[:3, 3] = -100
    field = SpatialMap(data=rng.normal(size=(11, 11, 11, 3)), affine=grid)
    head = rigid(np.array([0.1, 0.2, -0.1]), np.array([3.0, 4, 5]))
    transform = SpatialTransform(affine=np.diag([1.1, 0.9, 1, 1]) @ head, rigid=head, displacement=field)
    frame = Registration(transform=transform, pose=Pose(pitch=0, roll=0, yaw=0), placement_se_mm=0.5)
    matrix = rigid(turn, 20 * shift)
    carried = transfer_registration(frame, matrix, 2.0)
    points = rng.uniform(-40, 40, (20, 3))
    expected = transform.template_from_subject(moved(matrix, points))
    np.testing.assert_allclose(carried.transform.template_from_subject(points), expected, atol=1e-4)
    np.testing.assert_allclose(carried.transform.rotation, transform.rotation @ matrix[:3, :3], atol=1e-12)
    assert carried.placement_se_mm > frame.placement_se_mm


@pytest.fixture(scope="module")
def scans(template: Template, turned_head: tuple[SubjectMaps, SpatialTransform]) -> list[tuple[SubjectMaps, Array]]:
    """Three scans of one head: rotated and moved on the same voxel grid, with the transforms from the first."""
    head = turned_head[0]
    rng = np.random.default_rng(3)
    found = []
    for turn, shift in (
        ([0.0, 0, 0], [0.0, 0, 0]),
        ([0.1, -0.05, 0.08], [4.0, -6, 3]),
        ([-0.06, 0.1, 0], [-3.0, 2, 5]),
    ):
        matrix = rigid(np.array(turn), np.array(shift))
        images = {}
        for name in ("fa", "md", "b0", "mask"):
            image = getattr(head, name)
            noise = 0.03 * rng.normal(size=image.shape) * (image.data != 0) if name == "fa" else 0
            images[name] = SpatialMap(
                data=image.data + noise if name != "mask" else image.data, affine=matrix @ image.affine
            )
        found.append((SubjectMaps(**images), matrix))
    return found


@pytest.fixture(scope="module")
def midpoint(
    scans: list[tuple[SubjectMaps, Array]], template: Template, alignments: list[SpatialTransform]
) -> Midpoint:
    return find_midpoint([scan for scan, _ in scans], alignments, template)


@pytest.fixture(scope="module")
def alignments(
    scans: list[tuple[SubjectMaps, Array]], turned_head: tuple[SubjectMaps, SpatialTransform]
) -> list[SpatialTransform]:
    """Alignments with the template that are wrong by some degrees and mm, differently in each scan."""
    truth, rng = turned_head[1], np.random.default_rng(8)
    found = []
    for _, matrix in scans:
        wrong = rigid(rng.normal(scale=0.03, size=3), rng.normal(scale=2, size=3)) @ np.linalg.inv(matrix)
        found.append(SpatialTransform(affine=truth.affine @ wrong, rigid=truth.rigid @ wrong))
    return found


def test_scans_are_aligned_with_each_other(
    scans: list[tuple[SubjectMaps, Array]], midpoint: Midpoint, turned_head: tuple[SubjectMaps, SpatialTransform]
) -> None:
    points = turned_head[1].subject_from_template(CENTERS)
    places = [moved(frame @ matrix, points) for frame, (_, matrix) in zip(midpoint.frame_from_scan, scans, strict=True)]
    assert np.linalg.norm(np.ptp(places, axis=0), axis=-1).max() < 0.15
    assert min(midpoint.similarity) > 0.9


def test_the_order_of_scans_changes_no_byte(
    scans: list[tuple[SubjectMaps, Array]], midpoint: Midpoint, template: Template, alignments: list[SpatialTransform]
) -> None:
    order = [2, 0, 1]
    again = find_midpoint([scans[n][0] for n in order], [alignments[n] for n in order], template)
    for n, matrix in zip(order, again.frame_from_scan, strict=True):
        assert matrix.tobytes() == midpoint.frame_from_scan[n].tobytes()
    assert again.similarity == tuple(midpoint.similarity[n] for n in order)


@pytest.mark.slow
def test_rotating_a_scan_moves_the_frame_with_the_head(
    scans: list[tuple[SubjectMaps, Array]], midpoint: Midpoint, template: Template, alignments: list[SpatialTransform]
) -> None:
    turn = rigid(np.array([0.12, 0.0, -0.1]), np.array([6.0, 0, -4]))
    images = {name: getattr(scans[1][0], name) for name in ("fa", "md", "b0", "mask")}
    rotated = SubjectMaps(
        **{name: SpatialMap(data=image.data, affine=turn @ image.affine) for name, image in images.items()}
    )
    back = np.linalg.inv(turn)
    way = SpatialTransform(affine=alignments[1].affine @ back, rigid=alignments[1].rigid @ back)
    again = find_midpoint([scans[0][0], rotated, scans[2][0]], [alignments[0], way, alignments[2]], template)
    before = np.linalg.inv(midpoint.frame_from_scan[1]) @ midpoint.frame_from_scan[0]
    after = back @ np.linalg.inv(again.frame_from_scan[1]) @ again.frame_from_scan[0]
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_mean_of_equal_scans_is_that_scan(turned_head: tuple[SubjectMaps, SpatialTransform]) -> None:
    head = turned_head[0]
    mean = average_maps([head, head], Midpoint(frame_from_scan=(np.eye(4), np.eye(4)), similarity=(1.0, 1.0)))
    one = average_maps([head], Midpoint(frame_from_scan=(np.eye(4),), similarity=(1.0,)))
    np.testing.assert_allclose(mean.fa.data, one.fa.data, atol=1e-6)
    volumes = [float(maps.mask.data.sum() * np.prod(maps.mask.voxel_size)) for maps in (head, mean)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)
    doubled = replace(head, b0=head.b0.like(2 * head.b0.data))
    scaled = average_maps([head, doubled], Midpoint(frame_from_scan=(np.eye(4), np.eye(4)), similarity=(1.0, 1.0)))
    np.testing.assert_allclose(scaled.b0.data, one.b0.data, atol=1e-5)

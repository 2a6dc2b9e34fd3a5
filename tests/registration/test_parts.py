"""Parts of registration whose answer has a closed form: starting poses, spreads, overlaps, volumes, rigid products."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from bids_alps.errors import RegistrationError
from bids_alps.model import Array, Pose, SpatialMap, SpatialTransform, SubjectMaps, Template
from bids_alps.numerics.tissue_contrast import csf_fraction, subject_contrast, template_contrast, white_matter
from bids_alps.registration import checks, dipy, search, staged
from bids_alps.registration.base import Registration, check_subject, jacobian_determinants, jacobian_range, pose_of
from bids_alps.registration.deformable import fit_displacement
from bids_alps.registration.identity import Identity
from bids_alps.registration.linear import LinearFit
from bids_alps.registration.precomputed import Precomputed
from bids_alps.registration.within_subject import Midpoint, average_maps, transfer_registration, within_error

HERE = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))


def box(low: int, high: int, shape: tuple[int, int, int] = (60, 60, 60), edge: float = 2.0) -> SpatialMap:
    """A mask whose voxels along x lie between two limits, 60 voxels of 2 mm along each axis about the origin."""
    data = np.zeros(shape, dtype=bool)
    data[low:high, 10:50, 10:50] = True
    affine = np.diag([edge, edge, edge, 1.0])
    affine[:3, 3] = -edge * np.array(shape) / 2
    return SpatialMap(data=data, affine=affine)


def subject_of(mask: SpatialMap, **maps: Any) -> SubjectMaps:
    flat = {"fa": 0.3, "md": 0.7e-3, "b0": 500.0}
    images = {name: mask.like(np.where(mask.data, maps.get(name, value), 0)) for name, value in flat.items()}
    return SubjectMaps(**images, mask=mask)


def template_of(mask: SpatialMap, csf: Array | None = None) -> Template:
    soft = mask.like(mask.data.astype(np.float32))
    fluid = mask.like(np.zeros(mask.shape, np.float32) if csf is None else csf)
    return Template(name="box", t1w=soft, mask=mask, wm=soft, gm=soft, csf=fluid)


def test_the_template_is_bright_in_white_matter_and_half_as_bright_in_gray() -> None:
    mask = box(20, 40)
    x = np.indices(mask.shape)[0]
    white, gray = np.where(x < 25, 1.0, 0.0), np.where((x >= 25) & (x < 30), 1.0, 0.0)
    white, gray = np.where(x == 30, 0.25, white), np.where(x == 30, 0.75, gray)  # a mixture; CSF beyond
    template = replace(template_of(mask), wm=mask.like(white), gm=mask.like(gray))
    profile = template_contrast(template).data[:, 30, 30]
    np.testing.assert_allclose(profile[20:40], [*[1.0] * 5, *[0.5] * 5, 0.25 + 0.375, *[0.0] * 9])
    assert not profile[:20].any()  # outside the brain
    assert not profile[40:].any()


def rotated(*angles: float) -> Array:
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


@pytest.mark.parametrize("shift", [0, 5, 10, 20])
def test_overlap_is_dice_of_boxes(shift: int) -> None:
    """Boxes of 20 voxels of which 20 - shift are common: Dice is (20 - shift) / 20."""
    template, mask = template_of(box(20, 40)), box(20 + shift, 40 + shift)
    assert checks.overlap(HERE, mask, template, step_mm=1) == pytest.approx((20 - shift) / 20, abs=0.03)


def test_overlap_counts_inside_of_the_field_of_view_alone() -> None:
    template = template_of(box(20, 40))
    narrow = SpatialMap(data=box(20, 40).data[30:], affine=box(20, 40).affine @ translation([30, 0, 0]))
    assert checks.overlap(HERE, narrow, template, step_mm=1) == pytest.approx(1, abs=0.02)
    empty = narrow.like(np.zeros(narrow.shape, dtype=bool))
    assert checks.overlap(HERE, empty, template_of(box(20, 20)), step_mm=1) == 0.0


def translation(shift: list[float]) -> Array:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def test_hemispheres_are_apart_along_the_x_axis_of_the_head() -> None:
    rotation = rotated(10, -8, 30)
    rigid = np.eye(4)
    rigid[:3, :3] = rotation
    transform = SpatialTransform(affine=rigid, rigid=rigid)
    head = {"a_left": [-26.0, 3, 4], "a_right": [25.0, -9, 2], "b_left": [-38.0, 1, 2], "b_right": [40.0, 1, 2]}
    scan = {name: (rotation.T @ point)[None] for name, point in head.items()}
    assert checks._hemisphere_distance(transform, scan) == pytest.approx(51.0)
    assert np.isnan(checks._hemisphere_distance(transform, {"a_left": scan["a_left"]}))


def test_points_of_the_ventricles_lie_beside_the_midline_at_the_height_of_the_regions() -> None:
    mask = box(0, 60)
    points = checks._ventricles(template_of(mask, csf=np.full(mask.shape, 0.95, np.float32)))
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose(low, [-18, -34, 14], atol=0.01)  # even numbers inside of 20, -35 to 15 and 12 to 26
    np.testing.assert_allclose(high, [18, 14, 24], atol=0.01)
    assert np.abs(points[:, 0]).min() == 4
    assert not len(checks._ventricles(template_of(mask, csf=np.full(mask.shape, 0.85, np.float32))))


def test_a_sphere_of_points_fills_its_radius() -> None:
    points = checks._sphere(2.5)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(2.5)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    assert len(points) == 33  # lattice points of a 5 x 5 x 5 cube within two steps of its middle


def test_lesions_leave_points_out() -> None:
    lesion = SpatialMap(data=np.repeat([0.0, 1.0], [75, 50]).reshape(5, 5, 5), affine=np.eye(4))
    points = np.array([[1.0, 1, 1], [4.0, 1, 1]])
    np.testing.assert_array_equal(checks._outside(lesion, points), points[:1])
    np.testing.assert_array_equal(checks._outside(None, points), points)


@pytest.mark.parametrize("axes", [np.diag([2.0, 2, 2]), rotated(20, 10, 5) @ np.diag([2.0, 3, 4])])
def test_volumes_change_by_the_determinant_of_a_linear_field(axes: Array) -> None:
    slope = np.array([[0.1, 0.03, 0.0], [-0.02, 0.2, 0.05], [0.01, 0.0, -0.15]])
    affine = np.eye(4)
    affine[:3, :3] = axes
    grid = SpatialMap(data=np.zeros((6, 7, 8)), affine=affine)
    field = grid.like(grid.world(np.stack(np.indices(grid.shape), axis=-1)) @ slope.T)
    expected = np.linalg.det(np.eye(3) + slope)
    np.testing.assert_allclose(jacobian_determinants(field), expected)
    mask = SpatialMap(data=np.ones((3, 3, 3), dtype=bool), affine=affine @ translation([1, 1, 1]))
    low_high = jacobian_range(field, mask)
    assert low_high == {"jacobian_low": pytest.approx(expected), "jacobian_high": pytest.approx(expected)}
    beyond = SpatialMap(data=np.ones((9, 9, 9), dtype=bool), affine=affine @ translation([-1, -1, 1]))
    assert jacobian_range(field, beyond)["jacobian_high"] == pytest.approx(expected)
    assert jacobian_range(None, mask) == {"jacobian_low": 1.0, "jacobian_high": 1.0}


def test_pose_is_told_in_degrees_about_each_axis() -> None:
    pose = pose_of(rotated(11, -7, 23), se_degrees=0.4)
    assert (pose.pitch, pose.roll, pose.yaw) == pytest.approx((11, -7, 23))
    assert pose.se_degrees == 0.4


def test_what_is_in_the_template_already_stays_there() -> None:
    found = Identity().register(subject_of(box(10, 50)), template_of(box(10, 50)))
    np.testing.assert_array_equal(found.transform.affine, np.eye(4))
    np.testing.assert_array_equal(found.transform.rigid, np.eye(4))
    assert found.pose == Pose(pitch=0.0, roll=0.0, yaw=0.0)
    assert found.placement_se_mm == 0.0


def test_a_brain_has_a_hundred_millilitres() -> None:
    check_subject(subject_of(box(0, 8)))  # 16 x 80 x 80 mm: 102.4 ml
    with pytest.raises(RegistrationError, match="90 ml, less than the 100 ml"):
        check_subject(subject_of(box(0, 7)))


def test_starting_poses_turn_about_each_axis_and_shift_along_z_alone() -> None:
    parameters = search._parameters([20.0, -14.0, 18.0], 35.0)
    np.testing.assert_allclose(parameters[:3], [0, 0, 35])
    np.testing.assert_allclose(Rotation.from_rotvec(parameters[3:6]).as_matrix(), rotated(20, -14, 18), atol=1e-12)
    np.testing.assert_array_equal(parameters[6:], np.zeros(6))
    assert len(parameters) == 12


def test_starting_poses_are_the_same_to_both_sides() -> None:
    """Heads lean to either side: with each starting angle goes its opposite, and one pose is upright."""
    for axis, angles in enumerate((search._PITCHES, search._ROLLS, search._YAWS)):
        turns = [search._parameters([float(angle * (n == axis)) for n in range(3)], 0.0)[3 + axis] for angle in angles]
        np.testing.assert_allclose(turns, -np.array(turns)[::-1], atol=1e-12)
        assert 0.0 in turns
    shifts = [search._parameters([0.0, 0.0, 0.0], shift)[2] for shift in search._SLAB_SHIFTS_MM]
    np.testing.assert_array_equal(shifts, -np.array(shifts)[::-1])
    assert 0.0 in shifts


class Compass:
    """A stand-in for contrasts: as similar as a rotation is near a known one."""

    def __init__(self, best: Array) -> None:
        self.best, self.seen = best, list[Array]()

    def similarity(self, matrix: Array) -> tuple[float, float]:
        self.seen.append(matrix)
        angle = Rotation.from_matrix(matrix[:3, :3] @ self.best.T).magnitude()
        return float(np.cos(angle)), 1.0


def test_random_poses_keep_size_and_stay_within_two_centimeters() -> None:
    fit = LinearFit(parameters=np.r_[[1.0, 2, 3], np.zeros(9)], center=np.ones(3), target=np.zeros(3))
    compass: Any = Compass(np.eye(3))
    found = search.random_similarities(compass, fit, draws=80, seed=4)
    matrices = np.array(compass.seen)
    np.testing.assert_allclose(np.linalg.det(matrices[:, :3, :3]), 1)
    shifts = matrices[:, :3, :3] @ np.ones(3) + matrices[:, :3, 3] - [1, 2, 3]
    assert np.abs(shifts).max() <= 20
    assert np.abs(shifts).max() > 17
    assert found.shape == (80,)
    assert found.mean() == pytest.approx(-0.5, abs=0.2)  # the mean cosine of the angle of a uniform random rotation
    another: Any = Compass(np.eye(3))
    again = search.random_similarities(another, fit, draws=80, seed=4)
    np.testing.assert_array_equal(found, again)


def test_center_of_mass_is_that_of_a_box() -> None:
    np.testing.assert_allclose(search.center_of_mass(box(20, 30)), [-11, -1, -1])


def fit_turned(*angles: float) -> LinearFit:
    matrix = np.eye(4)
    matrix[:3, :3] = rotated(*angles)
    return LinearFit.of_matrix(matrix, np.zeros(3))


def test_spread_of_rotations_is_the_root_mean_square_angle() -> None:
    assert staged.rotation_spread(fit_turned(0, 0, 10), []) == 0.0
    others = [fit_turned(0, 0, 13), fit_turned(0, 0, 6)]
    assert staged.rotation_spread(fit_turned(0, 0, 10), others) == pytest.approx(np.sqrt((9 + 16) / 2))


def test_error_of_placement_adds_anatomy_voxels_and_fit_in_squares() -> None:
    mask = SpatialMap(data=np.ones((2, 2, 2)), affine=np.diag([2.0, 2.0, 6.75, 1]))  # as large as 3 mm
    fit = fit_turned(0, 0, 0)
    assert staged.placement_se(fit, mask) == pytest.approx(np.sqrt(0.8**2 + 0.3**2))
    known = replace(fit, covariance=np.diag([0.1, 0.2, 0.3, 9, 9, 9.0]))
    assert staged.placement_se(known, mask) == pytest.approx(np.sqrt(0.8**2 + 0.3**2 + 0.2))


@pytest.mark.parametrize(("similarity", "good"), [(0.29, False), (0.31, True)])
def test_a_head_resembles_the_template(similarity: float, good: bool) -> None:
    fit = replace(fit_turned(0, 0, 0), similarity=similarity)
    if good:
        staged.require_similarity(fit)
        return
    with pytest.raises(RegistrationError, match=r"0\.29 with the template, less than 0\.3"):
        staged.require_similarity(fit)


def test_a_pose_is_better_than_turned_and_random_ones() -> None:
    sound = {"similarity_coarse": 0.6, "similarity_rotated": 0.5, "similarity_random": 0.4}
    staged.require_orientation(sound)
    with pytest.raises(RegistrationError, match="90 or 180 degrees"):
        staged.require_orientation({**sound, "similarity_rotated": 0.7})
    with pytest.raises(RegistrationError, match="no better than random"):
        staged.require_orientation({**sound, "similarity_random": 0.7})


def test_the_inner_brain_is_deep_and_above_the_commissures() -> None:
    mask = box(10, 50)
    inside = mask.world(np.argwhere(staged.inner_brain(mask)))
    # faces at 38, 38 and 38 mm; the first voxel outside is 2 mm further, and inside counts what is deeper than 8
    np.testing.assert_allclose(inside.max(axis=0), [30, 30, 30], atol=2.01)
    assert inside[:, 2].min() == 2
    np.testing.assert_allclose(inside[:, :2].min(axis=0), [-32, -32], atol=2.01)


def test_tissue_is_told_by_fa_and_md() -> None:
    """White matter by FA up to .5 and MD from 1.2 to 2.6 um2/ms, less at the rim; CSF by the same MD."""
    mask = box(10, 50)
    for fa, md, fluid in ((0.25, 0.7e-3, 0.0), (0.25, 1.9e-3, 0.5), (0.6, 0.7e-3, 0.0), (0.1, 2.6e-3, 1.0)):
        subject = subject_of(mask, fa=fa, md=md)
        white = min(fa / 0.5, 1) * (1 - fluid)
        middle = (30, 30, 30)
        assert white_matter(subject).data[middle] == pytest.approx(white)
        assert csf_fraction(subject).data[middle] == pytest.approx(fluid, abs=1e-6)
        assert subject_contrast(subject).data[middle] == pytest.approx(0.5 * (1 - fluid) + 0.5 * white)
        assert csf_fraction(subject).data[0, 0, 0] == subject_contrast(subject).data[0, 0, 0] == 0
        assert white_matter(subject).data[10, 30, 30] == pytest.approx(white * 2 / 6)  # 2 mm below the surface


def test_the_whole_brain_is_fitted_by_its_white_matter() -> None:
    mask = box(10, 50)
    points = mask.world(np.stack(np.indices(mask.shape), axis=-1))

    def tract(shift: float) -> Array:
        center = np.add(np.array([[-12.0, 8, 5], [14, -6, 8], [2, 12, -14]]), [shift, -shift / 2, 0])
        return np.exp(-((points[..., None, :] - center) ** 2).sum(-1) / (2 * 8**2)).sum(-1).clip(0, 1)

    template = replace(template_of(mask), wm=mask.like(tract(0.0).astype(np.float32)))
    found = staged.fit_whole_brain(subject_of(mask, fa=0.5 * tract(4.0)), template, np.eye(4))
    np.testing.assert_allclose(found @ [4.0, -2, 0, 1], [0, 0, 0, 1], atol=0.7)


def map_by(matrix: Array) -> Precomputed:
    return Precomputed(subject_from_template=lambda points: points @ matrix[:3, :3].T + matrix[:3, 3])


def test_an_affine_of_a_file_is_taken_whole_and_its_rotation_is_proper() -> None:
    matrix = translation([4, -6, 9])
    matrix[:3, :3] = rotated(8, -5, 12) @ np.diag([0.9, 1.1, 0.95])
    found = map_by(matrix).register(subject_of(box(10, 50)), template_of(box(10, 50)))
    np.testing.assert_allclose(found.transform.affine, np.linalg.inv(matrix), atol=1e-9)
    assert found.transform.displacement is None
    np.testing.assert_allclose(found.transform.rotation @ found.transform.rotation.T, np.eye(3), atol=1e-9)
    assert found.placement_se_mm == 1.0
    assert found.pose.se_degrees == 1.0


@pytest.mark.parametrize(("scale", "good"), [(0.55, False), (0.62, True), (1.65, True), (1.75, False)])
def test_an_affine_of_a_file_that_changes_volumes_beyond_reason_is_refused(scale: float, good: bool) -> None:
    """Volumes change by the cube: 6, 4.2, 0.22 and 0.19 times."""
    engine, subject = map_by(np.diag([scale, scale, scale, 1])), subject_of(box(10, 50))
    if good:
        engine.register(subject, template_of(box(10, 50)))
        return
    with pytest.raises(RegistrationError, match="changes volumes by a factor"):
        engine.register(subject, template_of(box(10, 50)))


def test_a_warp_of_a_file_is_inverted_to_a_thousandth_of_a_millimeter() -> None:
    def bend(points: Array) -> Array:
        return points + 2.0 * np.sin(points[:, [1, 2, 0]] / 25)

    found = Precomputed(subject_from_template=bend).register(subject_of(box(10, 50)), template_of(box(10, 50)))
    assert found.transform.displacement is not None
    points = np.random.default_rng(5).uniform(-20, 20, (200, 3))
    back = found.transform.template_from_subject(bend(points))
    assert np.abs(back - points).max() < 0.1  # the field is sampled every 4 mm


def test_a_warp_of_a_file_that_folds_is_refused() -> None:
    def fold(points: Array) -> Array:
        return points + 8 * np.sin(points / 3)

    with pytest.raises(RegistrationError, match="cannot be inverted"):
        Precomputed(subject_from_template=fold).register(subject_of(box(10, 50)), template_of(box(10, 50)))


def test_a_registration_of_the_frame_is_carried_by_a_rigid_product() -> None:
    frame_from_scan = translation([3, -4, 5])
    frame_from_scan[:3, :3] = rotated(5, 12, -9)
    affine, rigid = translation([1, 2, 3]), translation([2, 1, 0])
    affine[:3, :3], rigid[:3, :3] = np.diag([1.1, 0.9, 1.05]) @ rotated(2, 3, 4), rotated(2, 3, 4)
    rng = np.random.default_rng(7)
    grid = np.diag([9.0, 9, 9, 1]) @ translation([-4, -4, -4])
    field = SpatialMap(data=rng.uniform(-1, 1, (8, 8, 8, 3)), affine=grid)
    frame = Registration(
        transform=SpatialTransform(affine=affine, rigid=rigid, displacement=field),
        pose=pose_of(rigid[:3, :3], se_degrees=0.3),
        placement_se_mm=0.8,
        engine="x",
    )
    found = transfer_registration(frame, frame_from_scan, 3.0)
    points = rng.uniform(-12, 12, (40, 3))
    in_frame = points @ frame_from_scan[:3, :3].T + frame_from_scan[:3, 3]
    np.testing.assert_allclose(
        found.transform.template_from_subject(points), frame.transform.template_from_subject(in_frame), atol=1e-4
    )
    np.testing.assert_allclose(found.transform.rigid, rigid @ frame_from_scan)
    assert found.pose.se_degrees == pytest.approx(np.hypot(0.3, 0.1))
    assert found.placement_se_mm == pytest.approx(np.hypot(0.8, 0.15))
    assert within_error(3.0) == pytest.approx((0.15, 0.1))


def test_the_mean_of_scans_is_that_of_their_voxels_at_one_signal() -> None:
    """Two scans in place whose FA is .2 and .4 and whose b=0 signals have other units: .3, and a median of 1."""
    mask = box(20, 40)
    scans = [subject_of(mask, fa=fa, md=md, b0=b0) for fa, md, b0 in ((0.2, 1e-3, 100.0), (0.4, 2e-3, 900.0))]
    found = average_maps(scans, Midpoint(frame_from_scan=(np.eye(4), np.eye(4)), similarity=(1.0, 1.0)))
    inside = found.mask.data
    assert inside.sum() == pytest.approx(mask.data.sum(), rel=0.05)
    np.testing.assert_allclose(found.fa.data[inside], 0.3, rtol=1e-5)
    np.testing.assert_allclose(found.md.data[inside], 1.5e-3, rtol=1e-5)
    np.testing.assert_allclose(found.b0.data[inside], 1.0, rtol=1e-5)
    assert (found.fa.data[~inside] == 0).all()
    low = mask.world(np.argwhere(mask.data)).min(axis=0)
    np.testing.assert_allclose(found.mask.affine[:3, 3], low - 6.0)
    away = translation([30.0, 0, 0])
    apart = average_maps(scans, Midpoint(frame_from_scan=(np.eye(4), away), similarity=(1.0, 1.0)))
    places = apart.mask.world(np.argwhere(apart.mask.data))
    assert places[:, 0].min() >= low[0] + 28  # only where more than half of the scans are


def test_a_shift_of_tissue_is_found_by_the_deformable_stage() -> None:
    mask = box(10, 50)
    points = mask.world(np.stack(np.indices(mask.shape), axis=-1))

    def ball(middle: float) -> SpatialMap:
        return mask.like((1 / (1 + np.exp(np.linalg.norm(points - [middle, 0, 0], axis=-1) - 15))).astype(np.float32))

    field = fit_displacement([(ball(3.0), ball(0.0))], mask, np.eye(4), smoothing=(2.0, 1.0))
    edge = np.linalg.norm(field.world(np.stack(np.indices(field.shape), axis=-1)), axis=-1)
    shown = np.asarray(field.data)[np.abs(edge - 15) < 2]
    assert np.median(shown[:, 0]) == pytest.approx(3, abs=1.2)
    assert np.abs(np.median(shown[:, 1:], axis=0)).max() < 0.3


def test_the_pose_of_dipys_fit_is_the_rotation_nearest_to_its_rigid_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimizer leaves a rotation up to rounding; here, a matrix that is stretched as well."""
    mask = box(10, 50)
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = rotated(12, -7, 20) @ np.diag([1.02, 0.99, 1.01]), [3, -4, 5]
    affine = rigid @ np.diag([1.1, 0.9, 1.0, 1.0])
    monkeypatch.setattr(dipy, "_linear", lambda fixed, moving: (rigid, affine))
    monkeypatch.setattr(dipy, "_deformation", lambda fixed, moving: fixed.like(np.zeros((*fixed.shape, 3), np.float32)))
    found = dipy.DipySyn().register(subject_of(mask), template_of(mask))
    np.testing.assert_allclose(found.transform.rigid[:3, :3], polar(rigid[:3, :3])[0], atol=1e-12)
    np.testing.assert_allclose(found.transform.rigid[:3, 3], rigid[:3, 3])
    np.testing.assert_array_equal(found.transform.affine, affine)

"""The index and other measures in regions whose tensors are given explicitly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.model import DwiSeries, Gradients, Pose, Roi, SpatialMap, TensorField
from bids_alps.numerics.index.alps import alps_by_hemisphere, alps_from_series, alps_index, measure_alps, measure_roi

NAMES = ("projection_left", "projection_right", "association_left", "association_right")
POSE = Pose(pitch=0.0, roll=0.0, yaw=0.0)
TURN = Rotation.from_euler("xyz", [25, -15, 35], degrees=True).as_matrix()  # scanner axes to template axes


def tensor(values, directions=None):
    """Return the six elements, mm^2/s, of eigenvalues in 1e-3 mm^2/s along the columns of `directions`."""
    directions = np.eye(3) if directions is None else np.asarray(directions, float)
    matrix = directions @ np.diag(np.asarray(values) * 1e-3) @ directions.T
    return matrix[[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]


def field_of(*tensors, affine=None):
    """Return a row of voxels along x."""
    data = np.array(tensors, dtype=np.float64)[:, None, None, :]
    mask = np.ones(data.shape[:3], dtype=bool)
    image = SpatialMap(data=data, affine=np.eye(4) if affine is None else affine)
    return TensorField(image=image, mask=mask, s0=mask.astype(float))


def roi(name, *weights, first=0):
    voxels = np.array([[first + n, 0, 0] for n in range(len(weights))])
    return Roi(name=name, voxels=voxels, weights=np.array(weights, float))


def scalars(name, weights, tensors, rotation=None):
    measured = measure_roi(field_of(*tensors), roi(name, *weights), np.eye(3) if rotation is None else rotation)
    return measured.scalars


def test_index_divides_sums_of_the_right_elements():
    projection, association = np.array([7.0, 91, 92, 5, 93, 94]), np.array([11.0, 95, 96, 97, 98, 4])
    assert float(alps_index(projection, association)) == pytest.approx((7 + 11) / (5 + 4))


def test_index_is_a_ratio_of_sums_and_not_a_mean_of_ratios():
    projection, association = np.array([6.0, 0, 0, 3, 0, 0]), np.array([2.0, 0, 0, 0, 0, 4])
    assert float(alps_index(projection, association)) == pytest.approx(8 / 7)
    assert pytest.approx(8 / 7) != (6 / 3 + 2 / 4) / 2


@pytest.mark.parametrize("denominator", [0.0, -1.0])
def test_there_is_no_index_without_a_positive_denominator(denominator):
    assert np.isnan(alps_index(np.array([1.0, 0, 0, denominator, 0, 0]), np.array([1.0, 0, 0, 0, 0, 0])))


def test_bilateral_index_is_the_arithmetic_mean_of_the_hemispheres():
    left, right = np.array([1.0, 0, 0, 1, 0, 1]), np.array([4.0, 0, 0, 1, 0, 1])
    means = {f"{region}_left": left for region in ("projection", "association")}
    means |= {f"{region}_right": right for region in ("projection", "association")}
    found = alps_by_hemisphere(means)
    assert (float(found["left"]), float(found["right"])) == (1, 4)
    assert float(found["bilateral"]) == 2.5  # their geometric mean is 2, their harmonic mean 1.6


def test_the_index_uses_mean_tensors_before_and_after_rotation():
    own = {  # template axes, 1e-3 mm^2/s
        "projection_left": (0.6, 0.4, 1.2),
        "projection_right": (0.7, 0.4, 1.2),
        "association_left": (0.6, 1.3, 0.3),
        "association_right": (0.5, 1.3, 0.3),
    }
    in_scanner = [tensor(own[name], TURN.T) for name in NAMES]  # D_scanner = R^T D_template R
    found = measure_alps(field_of(*in_scanner), [roi(name, 1, first=n) for n, name in enumerate(NAMES)], TURN, POSE)
    assert found.alps["left"] == pytest.approx(1.2 / 0.7)
    assert found.alps["right"] == pytest.approx(1.2 / 0.7)
    assert found.alps["bilateral"] == pytest.approx(1.2 / 0.7)
    xx, yy, zz = (np.array([element[n] for element in in_scanner]) for n in (0, 3, 5))
    assert found.alps_uncorrected["left"] == pytest.approx((xx[0] + xx[2]) / (yy[0] + zz[2]))
    assert found.alps_uncorrected["right"] == pytest.approx((xx[1] + xx[3]) / (yy[1] + zz[3]))
    assert found.alps_uncorrected["left"] != pytest.approx(found.alps["left"], rel=0.02)


def test_without_pose_correction_the_index_of_the_scanner_axes_is_reported():
    field = field_of(*[tensor((0.6, 0.4, 1.2), TURN.T)] * 4)
    rois = [roi(name, 1, first=n) for n, name in enumerate(NAMES)]
    found = measure_alps(field, rois, TURN, POSE, pose_correction=False)
    assert found.alps == found.alps_uncorrected
    assert found.alps != measure_alps(field, rois, TURN, POSE).alps
    (px, py, _), _, (ax, _, az), _ = (region.diagonal for region in found.rois)
    assert found.alps["left"] == pytest.approx((px + ax) / (py + az))  # the components are in the same axes


def test_mean_tensor_is_weighted():
    measured = measure_roi(
        field_of(tensor((1, 1, 1)), tensor((2, 2, 2))), roi("projection_left", 0.25, 0.75), np.eye(3)
    )
    np.testing.assert_allclose(measured.tensor, 1.75e-3 * np.array([1, 0, 0, 1, 0, 1]), atol=1e-12)
    assert measured.scalars["n_voxels"] == pytest.approx(1.6)  # Kish: 1 / (0.25^2 + 0.75^2)


def test_axial_and_radial_diffusivity_follow_the_sorted_eigenvalues():
    found = scalars("projection_left", [1], [tensor((0.3, 0.9, 1.5))])
    assert found["ad"] == pytest.approx(1.5e-3)
    assert found["rd"] == pytest.approx(0.6e-3)
    assert found["md"] == pytest.approx(0.9e-3)
    assert found["lambda2_lambda3"] == pytest.approx(3)
    deviation = np.array([0.3, 0.9, 1.5]) - 0.9
    norm = np.linalg.norm([0.3, 0.9, 1.5])
    assert found["fa"] == pytest.approx(np.sqrt(1.5) * np.linalg.norm(deviation) / norm)
    assert found["mode"] == pytest.approx(0, abs=1e-9)  # the middle eigenvalue is the mean of the other two


def test_scalars_are_voxel_means_and_lambda2_lambda3_uses_the_mean_tensor():
    along_x, along_y = tensor((1.5, 0.3, 0.3)), tensor((0.3, 1.5, 0.3))
    found = scalars("projection_left", [3, 1], [along_x, along_y])
    assert found["ad"] == pytest.approx(1.5e-3)
    assert found["rd"] == pytest.approx(0.3e-3)
    assert found["mode"] == pytest.approx(1)
    assert found["lambda2_lambda3"] == pytest.approx((0.75 * 0.3 + 0.25 * 1.5) / 0.3)


def test_the_center_is_weighted_in_world_coordinates():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    measured = measure_roi(field_of(*[tensor((1, 1, 1))] * 2, affine=affine), roi("projection_left", 1, 3), np.eye(3))
    assert [measured.scalars[axis] for axis in "xyz"] == pytest.approx([11.5, 20, 30])


@pytest.mark.parametrize(("region", "axis"), [("projection", 2), ("association", 1), ("subcortical", 0)])
def test_angle_of_v1_is_measured_in_the_axes_of_the_template(region, axis):
    values = np.full(3, 0.3)
    values[axis] = 1.5
    elements = tensor(values, TURN.T)  # fibers along the expected axis of the template, as the scanner sees them
    assert scalars(f"{region}_left", [1], [elements], TURN)["v1_angle"] == pytest.approx(0, abs=1e-4)
    wrong_way = TURN.T @ np.eye(3)[axis]
    expected = np.degrees(np.arccos(abs((TURN.T @ wrong_way)[axis])))
    assert expected > 20
    assert scalars(f"{region}_left", [1], [elements], TURN.T)["v1_angle"] == pytest.approx(expected, abs=1e-4)
    bare = np.degrees(np.arccos(abs(wrong_way[axis])))
    assert scalars(f"{region}_left", [1], [elements])["v1_angle"] == pytest.approx(bare, abs=1e-4)


def test_dispersion_of_a_fan_is_the_arc_cosine_of_the_root_mean_square_cosine():
    half = np.radians(20)

    def leaning(angle):
        return Rotation.from_rotvec([angle, 0, 0]).as_matrix()

    fan = [tensor((0.3, 0.3, 1.5), leaning(sign * half)) for sign in (-1, 1)]
    found = scalars("projection_left", [1, 1], fan)
    assert found["v1_dispersion"] == pytest.approx(20)  # cos^2 about the axis is cos^2(20 degrees) in both
    assert found["v1_angle"] == pytest.approx(0, abs=1e-4)
    assert scalars("projection_left", [1], fan[:1])["v1_dispersion"] == pytest.approx(0, abs=1e-4)


def test_dispersion_does_not_depend_on_signs_of_eigenvectors_and_counts_weights():
    first, second = tensor((0.3, 0.3, 1.5)), tensor((1.5, 0.3, 0.3))
    found = scalars("projection_left", [3, 1], [first, second])
    assert found["v1_dispersion"] == pytest.approx(np.degrees(np.arccos(np.sqrt(0.75))))


def test_off_tract_voxels_have_another_direction_or_are_not_white_matter():
    leaning = [Rotation.from_rotvec([np.radians(angle), 0, 0]).as_matrix() for angle in (0, 44, 46)]
    fibers = [tensor((0.3, 0.3, 1.5), turn) for turn in leaning]
    gray = tensor((0.8, 0.8, 0.9))
    found = scalars("projection_left", [1, 2, 3, 4], [*fibers, gray])
    assert found["off_tract_fraction"] == pytest.approx(0.7)


def test_off_tract_voxels_are_found_in_the_axes_of_the_template():
    fibers = tensor((0.3, 0.3, 1.5), TURN.T)
    assert scalars("projection_left", [1], [fibers], TURN)["off_tract_fraction"] == 0
    further = Rotation.from_euler("x", 50, degrees=True).as_matrix()
    assert scalars("projection_left", [1], [tensor((0.3, 0.3, 1.5), further.T)], further)["off_tract_fraction"] == 0
    assert scalars("projection_left", [1], [tensor((0.3, 0.3, 1.5), further.T)], further.T)["off_tract_fraction"] == 1


def test_a_region_without_a_voxel_is_recorded_and_has_no_index():
    field = field_of(*[tensor((0.6, 0.4, 1.2))] * 4)
    rois = [roi(name, 1, first=n) for n, name in enumerate(NAMES[:3])]
    empty = Roi(name="association_right", voxels=np.zeros((0, 3), int), weights=np.zeros(0), coverage=0.0)
    found = measure_alps(field, [*rois, empty], np.eye(3), POSE)
    assert np.isfinite(found.alps["left"])
    assert np.isnan([found.alps["right"], found.alps["bilateral"]]).all()
    last = found.rois[3].scalars
    assert (last["n_voxels"], last["coverage"]) == (0, 0)
    assert np.isnan([last["fa"], last["v1_angle"], last["x"]]).all()


def test_the_index_of_a_series_equals_that_of_its_tensors():
    directions = np.random.default_rng(0).normal(size=(12, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gradients = Gradients(bvals=np.r_[0.0, np.full(12, 1000.0)], bvecs=np.vstack([np.zeros(3), directions]))
    matrices = [TURN.T @ np.diag(values) @ TURN for values in ([0.6, 0.4, 1.2], [0.6, 0.4, 1.2], [0.5, 1.3, 0.3])]
    attenuation = [np.einsum("ni,ij,nj->n", gradients.bvecs, one, gradients.bvecs) for one in (*matrices, matrices[2])]
    data = 500 * np.exp(-gradients.bvals * 1e-3 * np.array(attenuation))[:, None, None, :]
    series = DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=gradients)
    other = roi("subcortical_left", 1)
    found = alps_from_series(series, [other, *(roi(name, 1, first=n) for n, name in enumerate(NAMES))], TURN)
    assert found == pytest.approx(dict.fromkeys(("left", "right", "bilateral"), 1.1 / 0.7), rel=1e-6)

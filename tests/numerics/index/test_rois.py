from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_alps.io.presets import preset_names, read_preset
from bids_alps.model import SIDES, Pose, Roi, SpatialMap, SpatialTransform, TensorField, sample_linear
from bids_alps.numerics.index.alps import alps_by_hemisphere, alps_index, mean_tensor, measure_alps
from bids_alps.numerics.index.rois import (
    angles_to_expected_axis,
    place_preset,
    place_trilinear,
    prepare_placement,
    weight_by_tissue,
)
from bids_alps.numerics.tensors.tensor import rotate_elements

angles = st.floats(-40, 40)
STORAGES = [
    np.diag([sx, sy, sz]) @ np.eye(3)[:, order]
    for sx, sy, sz, order in [
        (1, 1, 1, [0, 1, 2]),
        (-1, 1, 1, [0, 1, 2]),
        (-1, -1, 1, [0, 1, 2]),
        (1, 1, -1, [1, 2, 0]),
    ]
]
POSE = Pose(pitch=0.0, roll=0.0, yaw=0.0)
P, A, S = (0.63e-3, 0, 0, 0.42e-3, 0, 1.11e-3), (0.64e-3, 0, 0, 1.11e-3, 0, 0.38e-3), (1e-3, 0, 0, 0.65e-3, 0, 0.6e-3)
TRUTH = (0.63 + 0.64) / (0.42 + 0.38)


def grid(axes=None, size=2.0, extent=140.0, turn=None):
    """Return a mask of ones about the origin of the template, in a storage order."""
    axes = np.eye(3) if axes is None else axes
    linear = (np.eye(3) if turn is None else turn) @ axes * size
    shape = np.array([int(extent / size)] * 3)
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = np.array([0.0, -16, 27]) - linear @ ((shape - 1) / 2)
    return SpatialMap(data=np.ones(shape, bool), affine=affine)


def brain(mask, transform):
    """Return tensors that are projection, association or subcortical by the distance from the midline."""
    voxels = np.stack(np.indices(mask.shape), axis=-1)
    x = np.abs(transform.template_from_subject(mask.world(voxels))[..., 0])
    kinds = np.select([x[..., None] < 32, x[..., None] < 45], [np.array(P), np.array(A)], np.array(S))
    rotated = rotate_elements(kinds.reshape(-1, 6), transform.rotation.T).reshape(*mask.shape, 6)
    return TensorField(image=mask.like(rotated), mask=mask.data, s0=np.ones(mask.shape))


def rigid(euler=(0, 0, 0), shift=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", euler, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return SpatialTransform(affine=matrix, rigid=matrix)


@pytest.mark.parametrize("axes", STORAGES)
def test_storage_order_leaves_the_index(axes):
    transform = rigid()
    mask = grid(axes)
    field = brain(mask, transform)
    found = measure_alps(field, place_preset(read_preset("alps"), transform, mask), transform.rotation, POSE)
    assert found.alps["left"] == pytest.approx(TRUTH, rel=1e-6)
    assert found.alps["right"] == pytest.approx(TRUTH, rel=1e-6)


@given(st.tuples(angles, angles, angles))
def test_rotating_the_head_changes_only_the_uncorrected_index(euler):
    transform = rigid(euler)
    mask = grid(size=4.0)
    field = brain(mask, transform)
    found = measure_alps(field, place_preset(read_preset("alps"), transform, mask), transform.rotation, POSE)
    straight = measure_alps(brain(mask, rigid()), place_preset(read_preset("alps"), rigid(), mask), np.eye(3), POSE)
    assert found.alps["bilateral"] == pytest.approx(straight.alps["bilateral"], rel=0.12)  # other partial volumes
    if abs(euler[0]) > 15:
        assert abs(found.alps_uncorrected["bilateral"] / found.alps["bilateral"] - 1) > 0.01


@given(st.floats(0.1, 10))
def test_scaling_diffusivities_leaves_the_index(factor):
    projection, association = np.array(P), np.array(A)
    assert alps_index(projection * factor, association * factor) == pytest.approx(alps_index(projection, association))


def test_swapping_hemispheres_swaps_the_index():
    elements = {"projection_left": P, "association_left": A, "projection_right": S, "association_right": A}
    tensors = {name: np.array(values) for name, values in elements.items()}
    swapped = {
        name.replace("left", "x").replace("right", "left").replace("x", "right"): t for name, t in tensors.items()
    }
    here, there = alps_by_hemisphere(tensors), alps_by_hemisphere(swapped)
    assert here["left"] == there["right"] != there["left"] == here["right"]
    assert here["bilateral"] == there["bilateral"]


@pytest.mark.parametrize("name", preset_names())
def test_left_is_where_world_x_is_negative(name):
    mask = grid()
    for roi in place_preset(read_preset(name), rigid(), mask):
        x = mask.world(roi.voxels)[:, 0]
        assert (x < 0).all() == (roi.side == "left")


@pytest.mark.parametrize("size", [1.0, 1.7, 2.5, 3.0])
@pytest.mark.parametrize("name", ["alps", "alps-sphere"])
def test_weights_add_up_to_the_volume_of_the_region(name, size):
    preset = read_preset(name)
    for roi in place_preset(preset, rigid(), grid(size=size)):
        volume = roi.weights.sum() * size**3
        assert volume == pytest.approx(4 / 3 * np.pi * np.prod(preset.shape(roi.name).semi_axes_mm), rel=0.06)
        assert roi.coverage == pytest.approx(1.0)


def test_weighted_center_is_the_center_of_the_sphere():
    mask, shift = grid(size=2.0), rigid((5, 10, -8), (3, 1, -2))
    preset = read_preset("alps")
    for roi in place_preset(preset, shift, mask):
        center = mask.world(roi.weights @ roi.voxels / roi.weights.sum())
        np.testing.assert_allclose(shift.template_from_subject(center), preset.centers[roi.name], atol=0.25)


def test_a_region_outside_the_field_of_view_has_no_coverage():
    preset = read_preset("alps")
    mask = grid(extent=60.0)
    rois = {roi.name: roi for roi in place_preset(preset, rigid(), mask)}
    assert rois["subcortical_left"].coverage == 0
    assert rois["projection_left"].coverage == pytest.approx(1)
    found = measure_alps(brain(mask, rigid()), rois.values(), np.eye(3), POSE)
    assert np.isnan(found.alps["left"])


def test_coverage_of_two_half_masks_adds_up():
    mask = grid(size=1.0)
    above = mask.world(np.stack(np.indices(mask.shape), axis=-1))[..., 2] > 27.6
    upper = place_preset(read_preset("alps"), rigid(), mask.like(mask.data & above))
    lower = place_preset(read_preset("alps"), rigid(), mask.like(mask.data & ~above))
    for one, other in zip(upper, lower, strict=True):
        assert one.coverage + other.coverage == pytest.approx(1)
        assert 0.2 < one.coverage < 0.8


def test_angles_are_zero_along_the_expected_axes():
    for tensor, region in ((P, "projection"), (A, "association"), (S, "subcortical")):
        assert angles_to_expected_axis(np.array([tensor]), region, np.eye(3))[0] == pytest.approx(0, abs=1e-4)


def test_tissue_weighting_excludes_fluid_and_keeps_white_matter():
    fluid = (3e-3, 0, 0, 3e-3, 0, 3e-3)
    data = np.array([P, fluid, A]).reshape(3, 1, 1, 6)
    field = TensorField(
        image=SpatialMap(data=data, affine=np.eye(4)), mask=np.ones((3, 1, 1), bool), s0=np.ones((3, 1, 1))
    )
    roi = Roi(name="projection_left", voxels=np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), weights=np.ones(3))
    np.testing.assert_allclose(weight_by_tissue((roi,), field)[0].weights, [1, 0.01, 1])


@pytest.mark.parametrize("name", ["projection_left", "association_right"])
def test_tissue_weights_change_continuously_with_fluid(name):
    """The measurement of a region that fills with fluid voxel by voxel changes continuously."""
    tissue, fluid = np.array(P), np.array((3e-3, 0, 0, 3e-3, 0, 3e-3))
    share = np.linspace(0, 1, 400)[:, None]
    data = np.stack([tissue + share * (fluid - tissue)] * 8, axis=1).reshape(400, 8, 1, 6)
    field = TensorField(
        image=SpatialMap(data=data, affine=np.eye(4)), mask=np.ones((400, 8, 1), bool), s0=np.ones((400, 8, 1))
    )
    means = []
    for row in range(400):
        roi = Roi(name=name, voxels=np.array([[row, n, 0] for n in range(8)]), weights=np.ones(8))
        means.append(mean_tensor(field, weight_by_tissue((roi,), field)[0])[0])
    assert np.abs(np.diff(means)).max() < 0.02 * np.ptp(means)


@pytest.mark.parametrize("name", ["alps.sh", "alps.sh-5mm"])
def test_trilinear_weights_give_the_mean_of_the_map_resampled_at_a_millimeter(name):
    preset, transform, mask = read_preset(name), rigid((5, 10, -8), (3, 1, -2)), grid(size=2.0)
    values = np.random.default_rng(0).normal(size=mask.shape)
    for roi in place_trilinear(preset, transform, mask):
        radius = preset.radius_mm
        steps = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
        ball = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
        ball = ball[(ball**2).sum(1) <= radius**2]
        assert len(ball) == {2.5: 81, 5.0: 515}[radius]
        points = transform.subject_from_template(ball + preset.centers[roi.name])
        assert roi.mean(values) == pytest.approx(sample_linear(mask.like(values), points).mean())


def test_ellipsoids_lean_towards_the_midline_on_both_sides():
    preset, mask = read_preset("alps"), grid(size=1.0)
    for roi in place_preset(preset, rigid(), mask):
        x, _, z = (mask.world(roi.voxels) - preset.centers[roi.name]).T
        outward = x if roi.side == "right" else -x
        slope = np.average(outward * z, weights=roi.weights) / np.average(z**2, weights=roi.weights)
        assert slope == pytest.approx(-preset.shape(roi.name).lean, abs=0.03)


def test_isotropic_tensors_have_index_one():
    isotropic = {
        f"{region}_{side}": np.array([1.0, 0, 0, 1, 0, 1]) for region in ("projection", "association") for side in SIDES
    }
    assert {float(value) for value in alps_by_hemisphere(isotropic).values()} == {1.0}


@pytest.mark.parametrize("axes", STORAGES)
def test_a_label_image_is_placed_like_its_ellipsoids(axes):
    preset = read_preset("alps")
    image = SpatialMap(data=np.zeros((240, 120, 60), np.uint8), affine=np.diag([0.5, 0.5, 0.5, 1.0]))
    image = SpatialMap(data=image.data, affine=image.affine + np.outer([-60, -46, 12, 0], [0, 0, 0, 1]))
    points = image.world(np.stack(np.indices(image.shape), axis=-1))
    values = np.zeros(image.shape, np.uint8)
    for n, (name, center) in enumerate(preset.centers.items(), start=1):
        values[preset.shape(name).contains((points - center) * [1 if center[0] > 0 else -1, 1, 1])] = n
    drawn = replace(preset, label_image=image.like(values))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [8, -5, 10], degrees=True).as_matrix()
    transform, mask = SpatialTransform(affine=turn, rigid=turn), grid(axes)
    shift = {name: np.array([1.0, -2.0, 0.5]) for name in preset.centers}
    for offsets in ({}, shift):
        placed = [prepare_placement(one, transform, mask, margin_mm=3)(offsets) for one in (preset, drawn)]
        for smooth, jagged in zip(*placed, strict=True):
            assert jagged.weights.sum() == pytest.approx(smooth.weights.sum(), rel=0.03)
            centers = [np.average(mask.world(roi.voxels), axis=0, weights=roi.weights) for roi in (smooth, jagged)]
            np.testing.assert_allclose(*centers, atol=0.1)

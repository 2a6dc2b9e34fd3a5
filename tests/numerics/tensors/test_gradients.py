from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_alps.errors import GradientError
from bids_alps.model import Gradients
from bids_alps.numerics.tensors import gradients as gradients_module
from bids_alps.numerics.tensors.gradients import (
    choose_shells,
    count_directions,
    find_shells,
    fsl_from_world,
    world_from_fsl,
)

angles = st.floats(-180, 180)
signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)
orders = st.permutations([0, 1, 2])
sizes = st.tuples(*[st.floats(0.8, 5)] * 3)


def affine_of(euler, flips, order, size):
    linear = Rotation.from_euler("xyz", euler, degrees=True).as_matrix() @ np.diag(flips)[:, list(order)]
    affine = np.eye(4)
    affine[:3, :3] = linear * np.asarray(size)
    return affine


def unit_vectors(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def series(*shells, b0=1):
    bvals = np.concatenate([np.zeros(b0)] + [np.full(n, float(b)) for b, n in shells])
    bvecs = np.concatenate([np.zeros((b0, 3))] + [unit_vectors(n, n) for _, n in shells])
    return Gradients(bvals=bvals, bvecs=bvecs)


@given(st.tuples(angles, angles, angles), signs, orders, sizes)
def test_fsl_to_world_and_back_is_the_identity_on_any_affine(euler, flips, order, size):
    affine = affine_of(euler, flips, order, size)
    vectors = unit_vectors(7)
    np.testing.assert_allclose(fsl_from_world(world_from_fsl(vectors, affine), affine), vectors, atol=1e-12)


@given(st.tuples(angles, angles, angles), signs, orders, sizes)
def test_world_directions_do_not_depend_on_the_sign_of_the_first_storage_axis(euler, flips, order, size):
    # FSL's tables are in "radiological" voxel axes: flipping the stored x axis leaves the table as it is.
    affine = affine_of(euler, flips, order, size)
    flipped = affine @ np.diag([-1.0, 1, 1, 1])
    vectors = unit_vectors(5)
    np.testing.assert_allclose(world_from_fsl(vectors, affine), world_from_fsl(vectors, flipped), atol=1e-12)


def test_a_radiological_image_has_x_reversed():
    las = np.diag([-2.0, 2.0, 2.0, 1.0])
    np.testing.assert_allclose(world_from_fsl(np.eye(3), las), np.diag([-1.0, 1, 1]))


@given(st.tuples(angles, angles, angles), sizes)
def test_oblique_anisotropic_voxels_keep_their_axes(euler, size):
    turn = Rotation.from_euler("xyz", euler, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * np.asarray(size)  # columns: one step along each voxel axis, mm
    np.testing.assert_allclose(world_from_fsl(np.diag([-1.0, 1, 1]), affine), turn.T, atol=1e-12)


def test_shells_are_grouped_with_a_tolerance():
    bvals = np.array([0, 5, 50, 990, 1010, 1085, 2000, 2950, 3020])
    expected = [0, 0, 0, 3085 / 3, 3085 / 3, 3085 / 3, 2000, 2985, 2985]
    np.testing.assert_allclose(find_shells(bvals), expected)


@pytest.mark.parametrize(
    ("shells", "chosen"),
    [
        ([(700, 10), (1000, 10), (2000, 10)], 1000),
        ([(700, 10), (2000, 10)], 700),
        ([(800, 10), (1400, 10)], 800),
        ([(600, 10), (1300, 10)], 1300),
        ([(1500, 10), (1600, 10), (400, 10)], 1500),
        ([(2000, 10), (3000, 10)], 2000),
        ([(300, 10), (1600, 10)], 1600),
        ([(1000, 5), (2000, 10)], 2000),
        ([(1000, 5), (700, 3), (3000, 12), (2500, 6)], 2500),
    ],
)
def test_the_shell_nearest_1000_is_chosen(shells, chosen):
    gradients = series(*shells)
    taken = choose_shells(gradients)
    assert set(gradients.bvals[taken]) == {0.0, float(chosen)}


def test_without_a_suitable_shell_volumes_between_500_and_1500_are_used():
    gradients = series((600, 3), (1000, 4), (1400, 4), (2500, 4))
    assert set(gradients.bvals[choose_shells(gradients)]) == {0.0, 600.0, 1000.0, 1400.0}


def test_scattered_b_values_are_not_a_shell():
    bvals = np.r_[0, np.linspace(200, 4000, 54)]
    gradients = Gradients(bvals=bvals, bvecs=np.vstack([np.zeros(3), unit_vectors(54, seed=1)]))
    taken = gradients.bvals[choose_shells(gradients)][1:]
    assert taken.min() >= 500
    assert taken.max() <= 1500
    assert len(taken) == ((bvals >= 500) & (bvals <= 1500)).sum()


def test_a_cartesian_grid_is_not_a_shell():
    steps = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3), -1).reshape(-1, 3)
    steps = steps[(np.linalg.norm(steps, axis=1) <= 5) & (steps[:, 0] >= 0)]
    length = np.linalg.norm(steps, axis=1)
    gradients = Gradients(
        bvals=4000 * (length / 5) ** 2,
        bvecs=np.divide(steps, length[:, None], where=length[:, None] > 0, out=0.0 * steps),
    )
    taken = gradients.bvals[choose_shells(gradients)]
    assert len(taken) > 50
    assert taken.max() <= 1500


def test_b_values_scaled_by_direction_are_one_shell():
    gradients = Gradients(
        bvals=np.r_[0, np.linspace(2850, 3150, 30)], bvecs=np.vstack([np.zeros(3), unit_vectors(30, seed=1)])
    )
    assert choose_shells(gradients).all()


def test_requested_shells_are_combined():
    gradients = series((1000, 6), (2000, 6), (3000, 6))
    assert set(gradients.bvals[choose_shells(gradients, wanted=(1000, 2000))]) == {0.0, 1000.0, 2000.0}


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        (series((1000, 5)), "5 non-collinear directions"),
        (series((1000, 30), b0=0), "no b=0 volume"),
        (Gradients(bvals=np.zeros(3), bvecs=np.zeros((3, 3))), "no diffusion-weighted volume"),
    ],
)
def test_indeterminate_tables_are_refused_with_numbers(gradients, words):
    with pytest.raises(GradientError, match=words):
        choose_shells(gradients)


def test_a_missing_requested_shell_is_refused():
    with pytest.raises(GradientError, match="no shell at b = 3000"):
        choose_shells(series((1000, 6)), wanted=(3000,))


def test_directions_on_a_cone_do_not_determine_a_tensor():
    turns = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    cone = np.stack([np.cos(turns) * 0.6, np.sin(turns) * 0.6, np.full(8, 0.8)], axis=1)
    gradients = Gradients(bvals=np.r_[0, np.full(8, 1000.0)], bvecs=np.vstack([np.zeros(3), cone]))
    with pytest.raises(GradientError, match="do not determine"):
        choose_shells(gradients)


@given(st.integers(1, 20))
def test_opposite_directions_count_once(n):
    vectors = unit_vectors(n, seed=3)
    assert count_directions(np.vstack([vectors, -vectors])) == count_directions(vectors)


@pytest.mark.parametrize(
    ("b", "width", "narrow"), [(500, 200, True), (500, 210, False), (2000, 400, True), (2000, 410, False)]
)
def test_a_shell_spreads_by_200_or_a_fifth_of_its_b_value(b: float, width: float, narrow: bool) -> None:
    bvals = np.array([0.0, b - width / 2, b, b + width / 2])
    shells = np.array([0.0, b, b, b])
    assert gradients_module._shells_by_preference(bvals, shells) == ([b] if narrow else [])

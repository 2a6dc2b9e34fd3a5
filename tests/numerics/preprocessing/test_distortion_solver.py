"""The solver beside matrices made by differences: its step, its cost and their derivatives, on a few voxels."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_alps.model import Array
from bids_alps.numerics.preprocessing import distortion_solver as solver
from bids_alps.numerics.preprocessing.distortion_solver import EpiImage, Problem

SHAPE = (6, 5, 4)
SIZE = np.array([2.0, 2.5, 3.0])
MARGIN = 6


def problem(axes: tuple[int, int] = (1, 0), *, stride: int = 1, weight: float = 0.01) -> Problem:
    """Two smooth images around the field's grid, whose distortion is along axes of their own."""
    rng = np.random.default_rng(2)
    voxels = np.eye(4)
    voxels[:3, 3] = MARGIN
    sides, images = [], []
    for axis, sign in zip(axes, (1.0, -0.7), strict=True):
        data = 5 * ndimage.gaussian_filter(rng.uniform(0.2, 1.0, [stride * n + 2 * MARGIN for n in SHAPE]), 2.5)
        side = EpiImage(data=data, voxels=voxels, own_axis=axis, axis=axis, shift=sign, slope=sign)
        sides.append(side)
        images.append(side.smoothed(0.5))
    return Problem(sides=(sides[0], sides[1]), images=(images[0], images[1]), size=SIZE, stride=stride, weight=weight)


def residual(one: Problem, flat: Array) -> Array:
    return one.residual(flat.reshape(SHAPE))[2].ravel()


def jacobian_of(function, flat: Array, small: float) -> Array:
    columns = [
        (function(flat + small * unit) - function(flat - small * unit)) / (2 * small) for unit in np.eye(flat.size)
    ]
    return np.stack(columns, axis=-1)


def differences(axis: int, stride: int) -> Array:
    """Central differences as a matrix, zero at both ends."""
    matrix = np.zeros((np.prod(SHAPE), *SHAPE))
    for row, place in enumerate(np.ndindex(*SHAPE)):
        if 0 < place[axis] < SHAPE[axis] - 1:
            for sign in (1, -1):
                beside = list(place)
                beside[axis] += sign
                matrix[(row, *beside)] = sign / (2 * stride)
    return matrix.reshape(len(matrix), -1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_differences_and_their_adjoint_are_one_matrix_and_its_transpose(axis: int, stride: int) -> None:
    field = np.random.default_rng(1).normal(size=SHAPE)
    matrix = differences(axis, stride)
    np.testing.assert_allclose(solver._difference(field, axis, stride).ravel(), matrix @ field.ravel())
    np.testing.assert_allclose(solver._difference_adjoint(field, axis, stride).ravel(), matrix.T @ field.ravel())


def test_roughness_is_the_sum_of_squared_differences_of_neighbors() -> None:
    """Relative to the smallest edge, per voxel of the full grid."""
    field = np.random.default_rng(3).normal(size=SHAPE)
    expected = sum((np.diff(field, axis=axis) ** 2).sum() * (2.0 / SIZE[axis] / 2) ** 2 for axis in range(3))
    assert np.vdot(field, solver._roughness(field, SIZE, 2)) == pytest.approx(expected)


def test_the_image_of_no_field_is_the_image_and_a_constant_one_shifts_it() -> None:
    rng = np.random.default_rng(5)
    data = ndimage.gaussian_filter(rng.uniform(size=(14, 13, 12)), 2)
    side = EpiImage(data=data, voxels=np.eye(4), own_axis=1, axis=1, shift=1.0, slope=1.0)
    images = side.smoothed(1e-6)
    np.testing.assert_allclose(solver.unwarp(side, images, np.zeros(data.shape), 1).corrected, data, atol=1e-6)
    moved = solver.unwarp(side, images, np.full(data.shape, 2.0), 1).corrected
    np.testing.assert_allclose(moved[:, 1:-4], data[:, 3:-2], atol=1e-4)


def test_a_stretched_image_keeps_its_signal() -> None:
    """Where the field grows by .2 a voxel, intensities grow by 1.2: that of a ramp is known at each place."""
    ramp = np.tile(np.arange(30.0)[:, None, None], (1, 4, 4))
    side = EpiImage(data=ramp, voxels=np.eye(4), own_axis=0, axis=0, shift=1.0, slope=1.0)
    field = 0.2 * ramp
    found = solver.unwarp(side, side.smoothed(1e-6), field, 1)
    np.testing.assert_allclose(found.corrected[4:20], (1.2 * ramp * 1.2)[4:20], rtol=1e-3)


@pytest.mark.parametrize("axes", [(1, 1), (1, 0)])
def test_the_step_solves_the_normal_equations_of_differences(axes: tuple[int, int]) -> None:
    one = problem(axes)
    field = 0.05 * np.random.default_rng(4).normal(size=SHAPE)
    flat = field.ravel()
    first, second, left = one.residual(field)
    jacobian = jacobian_of(lambda at: residual(one, at), flat, 1e-3)
    rough = jacobian_of(lambda at: solver._roughness(at.reshape(SHAPE), SIZE, 1).ravel(), flat, 1.0)
    curvature = jacobian.T @ jacobian + one.weight * rough
    gradient = jacobian.T @ left.ravel() + one.weight * rough @ flat
    expected = -np.linalg.solve(curvature + 1e-9 * np.eye(flat.size), gradient)
    found = one.step(field, first, second, left).ravel()
    inside = np.linalg.norm(curvature @ (found - expected)) / np.linalg.norm(gradient)
    assert inside < 0.12  # conjugate gradients stop at .03, slopes are interpolated


def test_the_barrier_is_what_the_cost_has_of_it() -> None:
    """First and second derivatives of the barrier by the slope, against differences of slope^4 / (1 - slope^2)."""
    one = problem((1, 1), weight=0.0)
    ramp = np.broadcast_to(np.arange(SHAPE[1], dtype=float)[:, None], SHAPE)

    def barrier(slope: float) -> float:
        return solver.BARRIER * slope**4 / (1 - slope**2)

    for slope in (0.2, -0.5, 0.7):
        firsts, seconds = one.barrier(slope * ramp)
        for side, (first, second) in zip(one.sides, zip(firsts, seconds, strict=True), strict=True):
            seen, small = side.slope * slope, 1e-4
            slant = (barrier(seen + small) - barrier(seen - small)) / (2 * small) * side.slope
            bend = (barrier(seen + small) - 2 * barrier(seen) + barrier(seen - small)) / small**2 * side.slope**2
            assert first[2, 2, 2] == pytest.approx(slant, rel=1e-4)
            assert second[2, 2, 2] == pytest.approx(bend, rel=1e-3)
        rough = sum(barrier(side.slope * slope) for side in one.sides) * SHAPE[0] * (SHAPE[1] - 2) * SHAPE[2]
        assert one.cost(slope * ramp, np.zeros(SHAPE)) == pytest.approx(rough)
    assert one.cost(0.96 * ramp, np.zeros(SHAPE)) == np.inf
    assert np.isfinite(one.cost(0.94 * ramp, np.zeros(SHAPE)))


def test_steps_lower_the_cost_and_do_not_go_up() -> None:
    one = problem((1, 1))
    field = np.zeros(SHAPE)
    costs = [one.cost(at, one.residual(at)[2]) for at in (field, one.minimize(field, 1), one.minimize(field, 8))]
    assert costs[0] > costs[1] >= costs[2]

"""Linear registration piece by piece: closed forms, numerical derivatives, a known motion of made contrasts."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm, polar
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, SpatialMap
from bids_alps.registration import linear
from bids_alps.registration.linear import AFFINE, RIGID, SIMILARITY, LinearFit, Pair, fit_linear

CENTER = np.array([3.0, -8.0, 11.0])
GRID = np.array([[2.0, 0, 0, -30.0], [0, 2.5, 0, -32.0], [0, 0, 3.0, -34.0], [0, 0, 0, 1]])
SHAPE = (30, 26, 23)
SHEARED = np.array([[0.93, 0.08, 0.02, 4.0], [-0.1, 1.04, 0.05, -6.0], [0.03, -0.07, 0.9, 2.0], [0, 0, 0, 1]])


def random_blobs(seed: int = 1) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-16, 16, (9, 3)), rng.uniform(-1, 1, 9)


def contrast(points: Array, seed: int = 1) -> Array:
    """A smooth function of space: Gaussian blobs of 9 mm."""
    centers, heights = random_blobs(seed)
    squares = ((points[..., None, :] - centers) ** 2).sum(-1)
    return (heights * np.exp(-squares / (2 * 9.0**2))).sum(-1)


def image(matrix: Array | None = None, affine: Array = GRID, shape: tuple[int, ...] = SHAPE) -> SpatialMap:
    """The contrast as a scan shows it whose points are those of the template, moved by a matrix."""
    grid = SpatialMap(data=np.zeros(shape), affine=affine)
    points = grid.world(np.stack(np.indices(shape), axis=-1))
    back = np.linalg.inv(np.eye(4) if matrix is None else matrix)
    return grid.like(contrast(points @ back[:3, :3].T + back[:3, 3]).astype(np.float32))


def inner(template: SpatialMap) -> Array:
    points = template.world(np.stack(np.indices(template.shape), axis=-1))
    return (np.linalg.norm(points, axis=-1) < 18).astype(bool)


def pair_of(matrix: Array | None = None, step: float = 4.0) -> Pair:
    template = image()
    return Pair(template, image(matrix, affine=GRID @ np.diag([1.1, 0.9, 1, 1])), inner(template), step)


def smoothed_scan(pair: Pair) -> Array:
    """The subject's contrast at the voxels of its grid, as the fit sees it."""
    return pair.moving(np.indices(pair.shape).reshape(3, -1).astype(float)).reshape(pair.shape).astype(np.float64)


def test_numbers_of_parameters_are_those_of_the_groups() -> None:
    """Rigid motions of space have 6 dimensions, similarities 7, affine maps 12."""
    assert (RIGID, SIMILARITY, AFFINE) == (3 + 3, 3 + 3 + 1, 3 + 9)
    for free, scales in ((RIGID, 1), (SIMILARITY, 1), (AFFINE, 3)):
        step = np.random.default_rng(free).uniform(-0.1, 0.1, free)
        matrix = LinearFit(parameters=np.r_[step, np.zeros(12 - free)], center=CENTER, target=CENTER)
        singular = np.linalg.svd(matrix.subject_from_template[:3, :3])[1]
        assert len(np.unique(singular.round(9))) == scales
        assert bool(abs(np.prod(singular) - 1) < 1e-9) is (free == RIGID)


def test_the_basis_spans_the_symmetric_matrices() -> None:
    basis = linear._STRETCH_BASIS
    np.testing.assert_array_equal(basis, basis.transpose(0, 2, 1))
    products = np.einsum("aij,bij->ab", basis, basis)
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-12)
    assert np.linalg.matrix_rank(basis.reshape(6, 9)) == 6
    assert np.trace(basis[0]) == 3
    np.testing.assert_allclose(np.trace(basis[1:], axis1=1, axis2=2), 0, atol=1e-12)


def test_a_matrix_is_carried_over_and_its_rotation_is_the_polar_factor() -> None:
    fit = LinearFit.of_matrix(SHEARED, CENTER)
    np.testing.assert_allclose(fit.subject_from_template, SHEARED, atol=1e-9)
    turn, stretch = polar(SHEARED[:3, :3])
    np.testing.assert_allclose(fit.rotation, turn.T, atol=1e-9)
    np.testing.assert_allclose(fit.scales, np.sort(np.linalg.eigvalsh(stretch))[::-1], atol=1e-9)
    np.testing.assert_allclose(fit.target, SHEARED[:3, :3] @ CENTER + SHEARED[:3, 3])
    rigid = fit.rigid.subject_from_template
    np.testing.assert_allclose(rigid[:3, :3], turn, atol=1e-9)
    np.testing.assert_allclose(rigid[:3, :3] @ CENTER + rigid[:3, 3], fit.target, atol=1e-9)


def test_a_mirror_is_refused() -> None:
    with pytest.raises(ValueError, match="left and right"):
        LinearFit.of_matrix(np.diag([-1.0, 1, 1, 1]), CENTER)


def test_parameters_are_shift_rotation_vector_and_log_stretch() -> None:
    parameters = np.array([1.0, 2.0, -3.0, 0.1, -0.2, 0.3, 0.05, 0.02, -0.03, 0.01, 0.04, -0.02])
    fit = LinearFit(parameters=parameters, center=CENTER, target=np.array([5.0, 6.0, 7.0]))
    a, b, c, d, e, f = parameters[6:]
    root = np.sqrt(3)
    log_stretch = np.array([[a + b + c / root, d, e], [d, a - b + c / root, f], [e, f, a - 2 * c / root]])
    expected = Rotation.from_rotvec(parameters[3:6]).as_matrix() @ expm(log_stretch)
    matrix = fit.subject_from_template
    np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-12)
    np.testing.assert_allclose(matrix[:3, :3] @ CENTER + matrix[:3, 3], [6.0, 8.0, 4.0], atol=1e-12)


@pytest.mark.parametrize("free", [RIGID, AFFINE])
def test_derivatives_of_the_matrix_are_those_of_differences(free: int) -> None:
    fit = LinearFit.of_matrix(SHEARED, CENTER)
    for n, change in enumerate(linear._changes(fit, free)):
        step = np.zeros(12)
        step[n] = 1e-4
        ahead, behind = (
            replace(fit, parameters=fit.parameters + sign * step).subject_from_template[:3] for sign in (1, -1)
        )
        np.testing.assert_allclose(change, (ahead - behind) / 2e-4, atol=1e-5)
    assert len(linear._changes(fit, free)) == free


def test_same_images_are_alike_and_opposite_ones_are_not() -> None:
    template = image()
    same = Pair(template, template, inner(template), 2.0)
    similarity, covered = same.similarity(np.eye(4))
    assert similarity == pytest.approx(1, abs=0.01)
    assert covered == 1.0
    opposite = Pair(template, template.like(-template.data), inner(template), 2.0)
    assert opposite.similarity(np.eye(4))[0] == pytest.approx(-1, abs=0.01)


def test_correlation_is_that_of_numpy_and_none_of_a_constant() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 50))
    assert linear._correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert linear._correlation(a, np.full(50, 2.0)) == -1.0


def test_the_share_in_the_field_of_view_is_counted_and_too_little_of_it_is_unlike() -> None:
    template = image()
    everywhere = np.ones(template.shape, dtype=bool)
    pair = Pair(template, template, everywhere, 2.5)
    away = np.eye(4)
    for share in (0.5, 0.3, 0.2):
        away[0, 3] = 2.0 * SHAPE[0] * (1 - share)
        found, covered = pair.similarity(away)
        assert covered == pytest.approx(share, abs=0.06)
        assert (found == -1.0) is (share < 0.25)


def test_contrasts_are_smoothed_to_the_sampling_distance() -> None:
    """A point becomes a Gaussian with an SD of half the distance."""
    shape, edge, step = (31, 31, 31), 2.0, 8.0
    point = np.zeros(shape, np.float32)
    point[15, 15, 15] = 1.0
    grid = SpatialMap(data=point, affine=np.diag([edge, edge, edge, 1]))
    pair = Pair(grid, grid, np.ones(shape, dtype=bool), step)
    places = edge * (np.arange(31) - 15)
    profile = smoothed_scan(pair).sum(axis=(1, 2))
    expected = (step / 2) ** 2 - (edge / 4) ** 2
    assert (profile * places**2).sum() / profile.sum() == pytest.approx(expected, rel=0.05)
    points = pair.points - edge * 15
    spread = (pair.values * points[:, 1] ** 2).sum() / pair.values.sum()
    assert spread == pytest.approx((step / 2) ** 2, rel=0.05)
    assert len(np.unique(points[:, 0])) == np.ceil(31 * edge / step)


def test_samples_are_counted_by_the_volume_within_which_residuals_are_alike() -> None:
    template = image()
    for step in (4.0, 6.0):
        pair = Pair(template, template, inner(template), step)
        ball = 4 / 3 * np.pi * 18**3
        assert pair.effective == pytest.approx(ball / 10**3, rel=0.15)


def log_likelihood(pair: Pair, fit: LinearFit) -> float:
    """Minus half the number of samples times the log of the residual sum of squares, by an ordinary fit."""
    into_voxels = pair.from_world @ fit.subject_from_template
    index = pair.points @ into_voxels[:3, :3].T + into_voxels[:3, 3]
    moving = smoothed_scan(pair)
    values = map_coordinates(moving, index.T, order=3, mode="nearest")
    design = np.column_stack([pair.values, np.ones(len(values))])
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return -0.5 * pair.effective * float(np.log(residual @ residual))


def test_the_gradient_is_that_of_the_likelihood() -> None:
    """By differences over each parameter, with splines in place of linear interpolation."""
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = Rotation.from_rotvec([0.06, -0.04, 0.05]).as_matrix(), [2.0, -1.5, 1.0]
    pair = pair_of(turn)
    fit = LinearFit(parameters=np.zeros(12), center=np.zeros(3), target=np.zeros(3))
    curvature, gradient = pair.normal_equations(fit, AFFINE)
    steps = np.array([0.2] * 3 + [0.01] * 9)
    numeric = np.empty(12)
    for n in range(12):
        step = np.zeros(12)
        step[n] = steps[n]
        ahead, behind = (log_likelihood(pair, replace(fit, parameters=sign * step)) for sign in (1, -1))
        numeric[n] = (ahead - behind) / (2 * steps[n])
    assert np.abs(gradient - numeric).max() < 0.08 * np.abs(numeric[3:]).max()
    np.testing.assert_allclose(gradient[:3], numeric[:3], rtol=0.15, atol=0.1 * np.abs(numeric[:3]).max())
    np.testing.assert_allclose(curvature, curvature.T)
    assert np.linalg.eigvalsh(curvature).min() > 0


@pytest.mark.parametrize("free", [RIGID, SIMILARITY, AFFINE])
def test_a_known_motion_is_found(free: int) -> None:
    motion = np.array([3.0, -2.0, 2.5, 0.08, -0.1, 0.06, 0.04, 0.02, -0.02, 0.01, 0.0, -0.01])
    truth = LinearFit(parameters=np.where(np.arange(12) < free, motion, 0), center=np.zeros(3), target=np.zeros(3))
    pair = pair_of(truth.subject_from_template, step=2.5)
    start = LinearFit(parameters=np.zeros(12), center=np.zeros(3), target=np.zeros(3))
    found = fit_linear(pair, start, free)
    points = np.random.default_rng(2).uniform(-15, 15, (50, 3))
    gaps = [points @ fit.subject_from_template[:3, :3].T + fit.subject_from_template[:3, 3] for fit in (found, truth)]
    assert np.abs(gaps[0] - gaps[1]).max() < 0.4
    assert found.similarity > 0.995
    assert found.covered > 0.9
    assert found.covariance is not None
    assert found.covariance.shape == (free, free)


def test_steps_grow_as_the_fit_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close to the answer the damping falls towards zero, as in Gauss-Newton steps, which converge within a few."""
    motion = np.array([5.0, -4.0, 4.0, 0.14, -0.16, 0.1, *np.zeros(6)])
    truth = LinearFit(parameters=motion, center=np.zeros(3), target=np.zeros(3))
    pair = pair_of(truth.subject_from_template, step=2.5)
    damped: list[float] = []
    solve = np.linalg.solve

    def recorded(matrix: Array, gradient: Array) -> Array:
        damped.append(float(np.trace(matrix)))
        return solve(matrix, gradient)

    monkeypatch.setattr(linear.np.linalg, "solve", recorded)
    found = fit_linear(pair, replace(truth, parameters=np.zeros(12)), RIGID)
    curvature, _ = pair.normal_equations(found, RIGID)
    free_of_damping = np.trace(curvature + np.diag(1 / linear._PRIOR_SD[:RIGID] ** 2))
    assert len(damped) < 12
    assert damped[-1] == pytest.approx(free_of_damping, rel=1e-3)


def test_the_prior_pulls_by_its_standard_deviations() -> None:
    """With head sizes of 10 % SD, a stretch of 10 % costs half a unit of log likelihood; shears of 3 % as well."""
    pair = pair_of()
    still = linear._scored(pair, LinearFit(parameters=np.zeros(12), center=np.zeros(3), target=np.zeros(3)))
    for n, sd in enumerate((0.10, 0.05, 0.05, 0.03, 0.03, 0.03), start=6):
        for share in (1.0, 2.0):
            moved = replace(still, parameters=np.eye(12)[n] * sd * share)
            assert linear._merit(pair, still) - linear._merit(pair, moved) == pytest.approx(0.5 * share**2)
    far = replace(still, parameters=np.r_[[50.0, 50, 50, 1, 1, 1], np.zeros(6)])
    assert linear._merit(pair, far) == pytest.approx(linear._merit(pair, still))


def test_the_merit_is_the_likelihood_of_a_correlation() -> None:
    pair = pair_of()
    fit = LinearFit(parameters=np.zeros(12), center=np.zeros(3), target=np.zeros(3), similarity=0.6, covered=0.5)
    assert linear._merit(pair, fit) == pytest.approx(-0.25 * pair.effective * np.log(1 - 0.36))
    assert linear._merit(pair, replace(fit, similarity=-0.6)) < linear._merit(pair, replace(fit, similarity=0.0))

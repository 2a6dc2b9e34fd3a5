"""Rigid, similarity and affine registration by regularized Gauss-Newton optimization.

The subject's contrast f is sampled at template points x through p = target + t + R S (x - center), with a rotation
R = exp(w) and a symmetric stretch S = exp(E): the rotation is the polar factor by construction, so that shear
cannot bias it. The fit maximizes the correlation of f with the template's contrast, by least squares on f - (a g + b)
with a and b eliminated at each step (variable projection, Golub & Pereyra 2003, doi 10.1088/0266-5611/19/2/201),
with a Gaussian prior on E that reflects the variability of head size and shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import logm, polar
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, SpatialMap
from bids_alps.numerics.filters import apply_matrices, gaussian_matrix
from bids_alps.numerics.interpolation import LinearImage

RIGID, SIMILARITY, AFFINE = 6, 7, 12
"""Numbers of free parameters: 3 translations (mm), 3 rotations (rad), common log-scale, 2 more log-scales, 3 shears."""

_PRIOR_SD = np.array([np.inf] * 6 + [0.10, 0.05, 0.05, 0.03, 0.03, 0.03])
_CORRELATION_LENGTH_MM = 10.0  # of the residuals: edge of the volume per independent sample
_MIN_COVERED = 0.25
_STRETCH_BASIS = np.array(
    [
        np.eye(3),
        np.diag([1.0, -1.0, 0.0]),
        np.diag([1.0, 1.0, -2.0]) / np.sqrt(3),
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
        [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 0]],
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearFit:
    """A linear transform with twelve parameters about a center.

    Parameters
    ----------
    parameters
        Translation (mm), rotation vector (rad), log-stretch, shape (12,).
    center, target
        Template point that is the center of rotation, and its subject point at zero translation, mm.
    similarity
        Correlation of the contrasts, -1 to 1.
    covered
        Fraction of the template's sampled region inside the scan's field of view.
    covariance
        Covariance of the free parameters, shape (n, n).
    """

    parameters: Array
    center: Array
    target: Array
    similarity: float = -1.0
    covered: float = 0.0
    covariance: Array | None = None

    @classmethod
    def of_matrix(cls, matrix: Array, center: Array) -> LinearFit:
        """Return the fit of a RAS+ matrix from template to subject points.

        Examples
        --------
        >>> matrix = np.diag([0.9, 0.95, 0.9, 1.0])
        >>> fit = LinearFit.of_matrix(matrix, np.array([0.0, -18.0, 18.0]))
        >>> bool(np.allclose(fit.subject_from_template, matrix))
        True
        """
        rotation, stretch = polar(matrix[:3, :3])
        if np.linalg.det(rotation) < 0:
            raise ValueError("the matrix swaps left and right (negative determinant)")
        norms = (_STRETCH_BASIS**2).sum((1, 2))
        parameters = np.zeros(12)
        parameters[3:6] = Rotation.from_matrix(rotation).as_rotvec()
        # the basis is orthogonal: coefficients are projections
        parameters[6:] = np.einsum("nij,ij->n", _STRETCH_BASIS, np.real(logm(stretch))) / norms
        return cls(parameters=parameters, center=center, target=matrix[:3, :3] @ center + matrix[:3, 3])

    @property
    def rotation(self) -> Array:
        """Proper rotation from subject to template axes, shape (3, 3)."""
        return _rotation(self.parameters[3:6]).T

    @property
    def subject_from_template(self) -> Array:
        """RAS+ matrix from template to subject points, shape (4, 4)."""
        linear = _rotation(self.parameters[3:6]) @ _stretch(self.parameters[6:])
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        matrix[:3, 3] = self.target + self.parameters[:3] - linear @ self.center
        return matrix

    @property
    def rigid(self) -> LinearFit:
        """The rigid part: the fit without its stretch."""
        return replace(self, parameters=np.concatenate([self.parameters[:6], np.zeros(6)]))

    @property
    def scales(self) -> Array:
        """Principal stretches, template to subject, largest first, shape (3,)."""
        return np.exp(np.sort(np.linalg.eigvalsh(_log_stretch(self.parameters[6:])))[::-1])


class Pair:
    """Contrasts of template and subject at one resolution.

    Parameters
    ----------
    template, subject
        Contrasts, each on its own grid.
    region
        Sampled region of the template, bool, on its grid.
    step_mm
        Sampling distance; both contrasts are smoothed accordingly.
    """

    def __init__(self, template: SpatialMap, subject: SpatialMap, region: Array, step_mm: float) -> None:
        stride = np.maximum(np.round(step_mm / template.voxel_size), 1).astype(int)
        sparse = tuple(slice(None, None, int(n)) for n in stride)
        widths = step_mm / 2 / template.voxel_size
        smooth = apply_matrices(
            template.data,
            [
                gaussian_matrix(size, float(width), stride=int(n), truncate=3)
                for size, width, n in zip(template.shape, widths, stride, strict=True)
            ],
        )
        inside = region[sparse]
        self.points: Array = np.asfortranarray(template.world(np.argwhere(inside) * stride))
        self.values: Array = smooth[inside].astype(np.float64)
        # to an SD of step_mm / 2 in all, of which the voxel itself contributes about a quarter of its size
        width = np.sqrt(np.maximum((step_mm / 2) ** 2 - (subject.voxel_size / 4) ** 2, 0)) / subject.voxel_size
        moving = gaussian_filter(subject.data.astype(np.float32), width, mode="nearest", truncate=3)
        self.shape, self.from_world = subject.shape, np.linalg.inv(subject.affine)
        self.moving, *self.slopes = map(LinearImage.of_image, (moving, *np.gradient(moving)))
        # independent samples: sampled volume over that of correlated residuals
        self.effective = len(self.points) * float(np.prod(stride * template.voxel_size)) / _CORRELATION_LENGTH_MM**3

    def similarity(self, matrix: Array) -> tuple[float, float]:
        """Return correlation and covered fraction under a RAS+ matrix, template to subject."""
        index, inside = self._indices(matrix)
        if inside.mean() < _MIN_COVERED:
            return -1.0, float(inside.mean())
        moving = self.moving(index[:, inside]).astype(np.float64)
        return _correlation(moving, self.values[inside]), float(inside.mean())

    def normal_equations(self, fit: LinearFit, free: int) -> tuple[Array, Array]:
        """Return Hessian and gradient of the log likelihood in the first `free` parameters."""
        index, inside = self._indices(fit.subject_from_template)
        index = index[:, inside]
        rows = np.empty((15, index.shape[1]))
        # change of the value by each entry of the matrix: slope along its row, times point of its column
        slope = self.from_world[:3, :3].T @ np.stack([image(index) for image in self.slopes])
        np.multiply(slope[:, None], self.points.T[:, inside], out=rows[:9].reshape(3, 3, -1))
        rows[9:12] = slope
        rows[12], rows[13], rows[14] = self.moving(index), self.values[inside], 1.0
        products = rows @ rows.T
        # variable projection: gain and offset of the template contrast (the last two) are projected out of the others
        changed, nuisance = products[:13, 13:], products[13:, 13:]
        projected = products[:13, :13] - changed @ np.linalg.pinv(nuisance, hermitian=True) @ changed.T
        # change of the entries by each parameter
        entries = _changes(fit, free)
        by_entry = np.concatenate([entries[:, :, :3].reshape(free, 9), entries[:, :, 3]], axis=1)
        # effective number of samples over the residual sum of squares: inverse variance of an independent sample
        scale = self.effective * float(inside.mean()) / float(projected[12, 12])
        return scale * by_entry @ projected[:12, :12] @ by_entry.T, -scale * by_entry @ projected[:12, 12]

    def _indices(self, matrix: Array) -> tuple[Array, Array]:
        to_voxels = self.from_world @ matrix
        index = to_voxels[:3, :3] @ self.points.T + to_voxels[:3, 3:]
        last = np.array(self.shape)[:, None] - 0.5
        inside: Array = np.all((index > -0.5) & (index < last), axis=0)
        return index, inside


def fit_linear(pair: Pair, start: LinearFit, free: int, *, iterations: int = 40) -> LinearFit:
    """Return the transform of highest correlation near `start` (Levenberg-Marquardt).

    Parameters
    ----------
    pair
        Contrasts to register.
    start
        Starting point.
    free
        `RIGID`, `SIMILARITY` or `AFFINE`: the remaining parameters are fixed.
    iterations
        Maximum number of iterations.
    """
    best, damping = _scored(pair, start), 1e-3
    precision = np.diag(1 / _PRIOR_SD[:free] ** 2)
    for _ in range(iterations):
        if best.covered < _MIN_COVERED:
            return best
        curvature, slope = pair.normal_equations(best, free)
        hessian, gradient = curvature + precision, slope - precision @ best.parameters[:free]
        best = replace(best, covariance=np.linalg.pinv(hessian))
        while damping < 1e4:
            # Marquardt: damping in proportion to the diagonal suits parameters in mm and in rad
            step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            trial = _scored(pair, _stepped(best, step))
            if _merit(pair, trial) > _merit(pair, best):
                break
            damping *= 8
        else:
            return best
        damping, best = max(damping / 8, 1e-6), trial
        if np.abs(step[:3]).max() < 2e-3 and np.abs(step[3:]).max() < 2e-5:
            return best
    return best


def _merit(pair: Pair, fit: LinearFit) -> float:
    """Return log likelihood plus log prior."""
    # -n / 2 log(1 - r^2), the profile log likelihood; r |r| instead of r^2, so that anticorrelation scores lowest
    likelihood = -0.5 * pair.effective * fit.covered * np.log(max(1 - fit.similarity * abs(fit.similarity), 1e-9))
    return float(likelihood - 0.5 * ((fit.parameters / _PRIOR_SD) ** 2).sum())


def _scored(pair: Pair, fit: LinearFit) -> LinearFit:
    similarity, covered = pair.similarity(fit.subject_from_template)
    return replace(fit, similarity=similarity, covered=covered)


def _stepped(fit: LinearFit, step: Array) -> LinearFit:
    parameters = fit.parameters.copy()
    parameters[: step.size] += step
    return replace(fit, parameters=parameters)


def _changes(fit: LinearFit, free: int, *, small: float = 1e-5) -> Array:
    """Return the derivatives of the 3 x 4 matrix with respect to the first `free` parameters, shape (free, 3, 4)."""
    changes = []
    for n in range(free):
        step = np.zeros(free)
        step[n] = small
        forth, back = _stepped(fit, step).subject_from_template, _stepped(fit, -step).subject_from_template
        changes.append((forth - back)[:3] / (2 * small))
    return np.array(changes)


def _rotation(vector: Array) -> Array:
    """Return the rotation matrix of a rotation vector (Rodrigues)."""
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = float(np.sqrt(vector @ vector))
    # I + sin(a) / a K + (1 - cos(a)) / a^2 K^2, with np.sinc(x) = sin(pi x) / (pi x): finite at a = 0
    rotation: Array = np.eye(3) + np.sinc(angle / np.pi) * cross
    return rotation + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)


def _log_stretch(parameters: Array) -> Array:
    return np.tensordot(parameters, _STRETCH_BASIS, axes=1)


def _stretch(parameters: Array) -> Array:
    if not parameters.any():
        return np.eye(3)
    # matrix exponential of a symmetric matrix
    values, vectors = np.linalg.eigh(_log_stretch(parameters))
    return (vectors * np.exp(values)) @ vectors.T


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else -1.0

"""How much stronger the diffusion weighting was along one axis than the gradient table says.

Imaging gradients and miscalibrated amplifiers make the b-value of a volume depend on its direction by several percent
(Nagy 2007, Magn Reson Med 58:763): grey matter then seems anisotropic, and the index moves by as much as groups
differ. A cause in the scanner acts on all tissue alike, hence one symmetric matrix K without trace, b = b_table g' (1
+ K) g, and what separate tissues must agree on. Where they do not, what looks like weighting is tissue, and nothing
is corrected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from bids_alps.model import Array, DwiSeries, Gradients, TensorField
from bids_alps.numerics.tensors.tensor import fractional_anisotropy, matrix_from_elements, mean_diffusivity

CALIBRATED = (
    "b-values were corrected by axis (after [@nagy2007]), as far as gray matter and outer cortex agreed on how strong "
    "the gradients were."
)
KEPT = (
    "Gray matter and outer cortex were compared for errors of the gradients' strength (after [@nagy2007]), and no "
    "b-value needed correction."
)
GREY_MD, PIAL_MD = (0.75e-3, 1.1e-3), (1.0e-3, 1.6e-3)
"""Mean diffusivities of grey matter, and of the outer cortex mixed with CSF, mm^2/s: chosen without a look at
anisotropy."""

EXPECTED_NORM = 0.02
"""Frobenius norm of K that grey matter shows without a fault of the scanner: .011 to .026 in five scans of three
heads."""

LARGEST = 0.05
"""Largest correction along any axis."""

_RIM_MM, _DEEPEST_MM = 5.0, 28.0  # the rim moves with eddy currents; deeper there are ventricles and deep grey matter
_SMOOTHING_MM = 2.0
_WHITE_FA, _WHITE_MD = 0.22, 1.0e-3
_LEAST_VOXELS, _MOST_VOXELS = 800, 40_000
_TRACE_FREE = np.array([1.0, 0, 0, 1, 0, 1])
_FROBENIUS = np.array([1.0, 2, 2, 1, 2, 1])  # off-diagonal elements stand for two


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightingError:
    """What tissue says of the weighting: b = b_table g' (1 + K) g in world axes.

    Parameters
    ----------
    measured
        K as grey matter shows it, symmetric without trace, shape (3, 3); NaN where too little tissue is seen.
    corrected
        The part of it that is corrected, shape (3, 3).
    disagreement
        Largest distance (Frobenius) of one of four estimates of K from their mean.
    """

    measured: Array
    corrected: Array
    disagreement: float

    @property
    def spread(self) -> float:
        """SD of the measured weighting over all directions; NaN where unknown."""
        return float(np.sqrt(2 / 15) * np.linalg.norm(self.measured))


def estimate_weighting_error(field: TensorField) -> WeightingError:
    """Return what tissue without a direction of its own says of the weighting.

    The mean deviation of D / MD from the identity is estimated four times: in grey matter and in the outer cortex mixed
    with CSF, each as it is and extrapolated to where no white matter is near. What is corrected is the mean of the four
    times 1 - (disagreement / norm)^2, for they must agree, times 1 - (expected / norm)^2, for what cortex shows on a
    sound scanner (positive parts, after James & Stein), and at most `LARGEST` along an axis.

    Parameters
    ----------
    field
        Tensors in world axes.
    """
    estimates = []
    deviation, md, white, candidate = _tissue(field)
    for low, high in (GREY_MD, PIAL_MD):
        chosen = np.flatnonzero(candidate & (md > low) & (md < high))
        if chosen.size < _LEAST_VOXELS:
            unknown = np.full((3, 3), np.nan)
            return WeightingError(measured=unknown, corrected=np.zeros((3, 3)), disagreement=float("nan"))
        chosen = chosen[:: 1 + chosen.size // _MOST_VOXELS]
        estimates += [_mean_deviation(deviation[chosen], None), _mean_deviation(deviation[chosen], white[chosen])]
    every = np.stack(estimates)
    mean = every.mean(0)
    norm, disagreement = float(np.linalg.norm(mean)), float(np.linalg.norm(every - mean, axis=(1, 2)).max())
    kept = max(0.0, 1 - (disagreement / norm) ** 2) * max(0.0, 1 - (EXPECTED_NORM / norm) ** 2) if norm else 0.0
    return WeightingError(measured=every[:2].mean(0), corrected=bounded(kept * mean), disagreement=disagreement)


def reweight(series: DwiSeries, weighting: Array) -> DwiSeries:
    """Return a series with the b-values that K, shape (3, 3), says were felt; the same one where K is zero or unknown.

    Examples
    --------
    >>> from bids_alps.model import SpatialMap
    >>> gradients = Gradients(bvals=np.array([0.0, 1000.0]), bvecs=np.array([[0.0, 0, 0], [1, 0, 0]]))
    >>> series = DwiSeries(image=SpatialMap(data=np.ones((1, 1, 1, 2)), affine=np.eye(4)), gradients=gradients)
    >>> reweight(series, np.diag([0.02, -0.01, -0.01])).gradients.bvals.tolist()
    [0.0, 1020.0]
    """
    if not np.nan_to_num(weighting).any():
        return series
    gradients = series.gradients
    factors = 1 + np.einsum("ni,ij,nj->n", gradients.bvecs, weighting, gradients.bvecs)
    return DwiSeries(image=series.image, gradients=Gradients(bvals=gradients.bvals * factors, bvecs=gradients.bvecs))


def bounded(weighting: Array) -> Array:
    """Return K with its principal values held within `LARGEST`, shape (3, 3)."""
    values, axes = np.linalg.eigh(weighting)
    return (axes * np.clip(values, -LARGEST, LARGEST)) @ axes.T


def _tissue(field: TensorField) -> tuple[Array, Array, Array, Array]:
    """Return of n voxels in the mask: D / MD - 1 (n, 6), MD, the share of white matter nearby, and which count."""
    mask, size = np.asarray(field.mask, dtype=bool), field.image.voxel_size
    elements = field.image.data
    weight = np.maximum(gaussian_filter(mask.astype(np.float32), _SMOOTHING_MM / size), 0.05)

    def smooth(values: Array) -> Array:
        return gaussian_filter(np.where(mask, values, 0).astype(np.float32), _SMOOTHING_MM / size) / weight

    held = np.clip(elements, -3e-3, 5e-3)
    steady = np.stack([smooth(held[..., n]) for n in range(6)], axis=-1)  # noise alone gives voxels an FA of .2
    white = smooth((fractional_anisotropy(steady) > _WHITE_FA) & (mean_diffusivity(steady) < _WHITE_MD))
    depth = distance_transform_edt(np.pad(mask, 1), sampling=size)[1:-1, 1:-1, 1:-1][mask]  # the scan's edge is one
    inside = elements[mask].astype(np.float64)
    md = mean_diffusivity(inside)
    deviation = inside / np.where(md > 0, md, 1.0)[:, None] - _TRACE_FREE
    return deviation, md, white[mask].astype(np.float64), (depth > _RIM_MM) & (depth < _DEEPEST_MM)


def _mean_deviation(deviation: Array, white: Array | None) -> Array:
    """Return the mean of deviations (n, 6) without its trace, shape (3, 3); extrapolated to no `white` matter (n,).

    Weighted least squares with Cauchy's squared weights: voxels that hold a tract have no say.
    """
    columns = [np.ones(len(deviation))] + ([] if white is None else [white])
    design, weights = np.stack(columns, axis=1), np.ones(len(deviation))
    for _ in range(8):
        normal = (design * weights[:, None]).T @ design
        normal[np.diag_indices_from(normal)] *= 1 + 1e-9  # no white matter at all leaves an empty column
        normal[np.diag_indices_from(normal)] += 1e-12
        solution = np.linalg.solve(normal, (design * weights[:, None]).T @ deviation)
        distance = np.sqrt(((deviation - design @ solution) ** 2 * _FROBENIUS).sum(1))
        weights = 1 / (1 + (distance / max(float(np.median(distance)), 1e-9)) ** 2) ** 2
    matrix = matrix_from_elements(solution[0])
    return matrix - np.trace(matrix) / 3 * np.eye(3)

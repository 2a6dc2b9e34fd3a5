"""Calibration of b-values by axis: deviations of the gradient amplitudes from the gradient table.

Imaging gradients and miscalibrated amplifiers make the b-value of a volume depend on its direction by several percent
(Nagy 2007, Magn Reson Med 58:763): gray matter then appears anisotropic, and the index changes by as much
as typical group differences. Scanner errors affect all tissue equally and are described by one symmetric traceless
matrix K, b = b_table g' (1 + K) g, on which different tissues must agree. Where they disagree, the apparent deviation
is attributed to tissue, and nothing is corrected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from bids_alps.model import Array, DwiSeries, Gradients, TensorField
from bids_alps.numerics.tensors.tensor import fractional_anisotropy, matrix_from_elements, mean_diffusivity

CALIBRATED = (
    "b-values were corrected by axis (after [@nagy2007]), to the extent that gray matter and outer cortex agreed on "
    "the "
    "gradient amplitudes."
)
KEPT = (
    "Gradient amplitudes were estimated in gray matter and outer cortex (after [@nagy2007]); no correction of "
    "b-values was needed."
)
GRAY_MD, PIAL_MD = (0.75e-3, 1.1e-3), (1.0e-3, 1.6e-3)
"""Mean diffusivities of gray matter, and of the outer cortex mixed with CSF, mm^2/s: chosen independently of
anisotropy."""

EXPECTED_NORM = 0.02
"""Frobenius norm of K in gray matter on well-calibrated scanners: 0.011 to 0.026 in five scans of three
participants."""

MAX_CORRECTION = 0.05
"""Maximum correction along any axis."""

_RIM_MM, _DEEPEST_MM = 5.0, 28.0  # the rim is affected by eddy currents; deeper are ventricles and deep gray matter
_SMOOTHING_MM = 2.0
_WHITE_FA, _WHITE_MD = 0.22, 1.0e-3
_MIN_VOXELS, _MAX_VOXELS = 800, 40_000
_TRACE_FREE = np.array([1.0, 0, 0, 1, 0, 1])
_FROBENIUS = np.array([1.0, 2, 2, 1, 2, 1])  # off-diagonal elements occur twice in the symmetric matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightingError:
    """Estimated deviation of the b-values: b = b_table g' (1 + K) g in world axes.

    Parameters
    ----------
    measured
        K estimated in gray matter, symmetric and traceless, shape (3, 3); NaN with too little tissue.
    corrected
        Corrected part of K, shape (3, 3).
    disagreement
        Largest distance (Frobenius) of one of four estimates of K from their mean.
    """

    measured: Array
    corrected: Array
    disagreement: float

    @property
    def spread(self) -> float:
        """SD of the estimated b-value deviation over all directions; NaN if unknown."""
        # the variance of g' K g over the sphere is 2 |K|^2 / 15 for symmetric traceless K
        return float(np.sqrt(2 / 15) * np.linalg.norm(self.measured))


def estimate_weighting_error(field: TensorField) -> WeightingError:
    """Return the deviation of the b-values estimated in isotropic tissue.

    The mean deviation of D / MD from the identity is estimated four times: in gray matter and in the outer cortex mixed
    with CSF, each directly and extrapolated to zero nearby white matter. What is corrected is the mean of the four
    shrunk by 1 - (disagreement / norm)^2 and by 1 - (expected / norm)^2, where the expected norm is that of
    well-calibrated scanners (positive-part James-Stein shrinkage), and limited to `MAX_CORRECTION` along any axis.

    Parameters
    ----------
    field
        Tensors in world axes.
    """
    estimates = []
    deviation, md, white, candidate = _tissue(field)
    for low, high in (GRAY_MD, PIAL_MD):
        selected = np.flatnonzero(candidate & (md > low) & (md < high))
        if selected.size < _MIN_VOXELS:
            unknown = np.full((3, 3), np.nan)
            return WeightingError(measured=unknown, corrected=np.zeros((3, 3)), disagreement=float("nan"))
        selected = selected[:: 1 + selected.size // _MAX_VOXELS]
        estimates += [_mean_deviation(deviation[selected], None), _mean_deviation(deviation[selected], white[selected])]
    stacked = np.stack(estimates)
    mean = stacked.mean(0)
    norm, disagreement = float(np.linalg.norm(mean)), float(np.linalg.norm(stacked - mean, axis=(1, 2)).max())
    # positive-part shrinkage: no correction where disagreement or expected norm exceed the estimate
    shrinkage = max(0.0, 1 - (disagreement / norm) ** 2) * max(0.0, 1 - (EXPECTED_NORM / norm) ** 2) if norm else 0.0
    return WeightingError(measured=stacked[:2].mean(0), corrected=bounded(shrinkage * mean), disagreement=disagreement)


def reweight(series: DwiSeries, weighting: Array) -> DwiSeries:
    """Return a series with b-values corrected by K, shape (3, 3); unchanged if K is zero or unknown.

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
    # b = b_table g' (1 + K) g for unit vectors g
    factors = 1 + np.einsum("ni,ij,nj->n", gradients.bvecs, weighting, gradients.bvecs)
    return DwiSeries(image=series.image, gradients=Gradients(bvals=gradients.bvals * factors, bvecs=gradients.bvecs))


def bounded(weighting: Array) -> Array:
    """Return K with its eigenvalues clipped to `MAX_CORRECTION`, shape (3, 3)."""
    values, axes = np.linalg.eigh(weighting)
    return (axes * np.clip(values, -MAX_CORRECTION, MAX_CORRECTION)) @ axes.T


def _tissue(field: TensorField) -> tuple[Array, Array, Array, Array]:
    """Return for n voxels in the mask: D / MD - 1 (n, 6), MD, fraction of nearby white matter, and valid voxels."""
    mask, size = np.asarray(field.mask, dtype=bool), field.image.voxel_size
    elements = field.image.data
    # smoothing normalized by the mask: voxels outside count neither as zero nor as tissue
    weight = np.maximum(gaussian_filter(mask.astype(np.float32), _SMOOTHING_MM / size), 0.05)

    def smooth(values: Array) -> Array:
        return gaussian_filter(np.where(mask, values, 0).astype(np.float32), _SMOOTHING_MM / size) / weight

    clipped = np.clip(elements, -3e-3, 5e-3)
    smoothed = np.stack([smooth(clipped[..., n]) for n in range(6)], axis=-1)  # noise alone gives an FA of 0.2
    white = smooth((fractional_anisotropy(smoothed) > _WHITE_FA) & (mean_diffusivity(smoothed) < _WHITE_MD))
    depth = distance_transform_edt(np.pad(mask, 1), sampling=size)[1:-1, 1:-1, 1:-1][
        mask
    ]  # padded: the scan ends at its edge
    inside = elements[mask].astype(np.float64)
    md = mean_diffusivity(inside)
    deviation = inside / np.where(md > 0, md, 1.0)[:, None] - _TRACE_FREE
    return deviation, md, white[mask].astype(np.float64), (depth > _RIM_MM) & (depth < _DEEPEST_MM)


def _mean_deviation(deviation: Array, white: Array | None) -> Array:
    """Return the traceless mean of deviations (n, 6), shape (3, 3), extrapolated to zero `white` matter (n,).

    Iteratively reweighted least squares with squared Cauchy weights, robust to voxels with tracts.
    """
    columns = [np.ones(len(deviation))] + ([] if white is None else [white])
    design, weights = np.stack(columns, axis=1), np.ones(len(deviation))
    for _ in range(8):
        normal = (design * weights[:, None]).T @ design
        normal[np.diag_indices_from(normal)] *= 1 + 1e-9  # without white matter the column is zero
        normal[np.diag_indices_from(normal)] += 1e-12
        solution = np.linalg.solve(normal, (design * weights[:, None]).T @ deviation)
        distance = np.sqrt(((deviation - design @ solution) ** 2 * _FROBENIUS).sum(1))
        weights = 1 / (1 + (distance / max(float(np.median(distance)), 1e-9)) ** 2) ** 2
    matrix = matrix_from_elements(solution[0])
    # a common factor of all b-values changes no anisotropy
    return matrix - np.trace(matrix) / 3 * np.eye(3)

"""Diffusion tensors: fit, rotation and scalar measures.

The last axis of tensor arrays holds the six unique elements xx, xy, xz, yy, yz, zz; diffusivities are in mm^2/s.

Ordinary least squares use DIPY. Weighted least squares are solved here for blocks of voxels: DIPY's ``wls_fit_tensor``
gives the same tensors up to rounding but takes about six times as long, since it inverts the design of each voxel by
SVD (see ``benchmarks/bench_tensor.py``, which also compares MRtrix3's ``dwi2tensor``).
"""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array, DwiSeries, TensorField
from bids_alps.numerics.volumes import voxel_blocks

SENTENCE = (
    "Diffusion tensors were fitted to {directions:g} diffusion-weighted volumes (b = {b_values}) and {b0:g} b=0 "
    "volumes (b up to {b0_threshold:g} s/mm²) by iteratively reweighted linear least squares ([@veraart2013]), in the "
    "axes of the scanner."
)
"""``{b_values}`` is what `describe_shells` says."""
BLOCK = 1500
"""Voxels per block: the arrays of a block stay in the cache of the processor."""


def design_matrix(bvals: Array, bvecs: Array) -> Array:
    """Return the design matrix of the log-linear tensor model, shape (n, 7).

    log S = log S0 - b (gx^2 Dxx + 2 gx gy Dxy + 2 gx gz Dxz + gy^2 Dyy + 2 gy gz Dyz + gz^2 Dzz); the last
    column is for log S0. Basser 1994, doi 10.1006/jmrb.1994.1037.

    Parameters
    ----------
    bvals
        Shape (n,), s/mm^2.
    bvecs
        Unit vectors, shape (n, 3), in the axes of the output tensors.
    """
    x, y, z = np.asarray(bvecs, dtype=np.float64).T
    columns = np.stack([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z], axis=1)
    return np.column_stack([-np.asarray(bvals)[:, None] * columns, np.ones(len(x))])


def fit_tensor(series: DwiSeries, mask: Array, *, reweightings: int = 2) -> TensorField:
    """Fit tensors to a series by iteratively reweighted linear least squares.

    The first pass weights each log-signal by the squared signal, further passes by the squared prediction of
    the previous pass: Veraart 2013, doi 10.1016/j.neuroimage.2013.05.028. Signals are clipped from below at 0.001 of
    the maximum of the voxel, so that zeros have negligible weight.

    Parameters
    ----------
    series
        Signal and gradients in world axes.
    mask
        Voxels to fit, bool, shape (i, j, k).
    reweightings
        Number of passes after the first; 2 agrees with MRtrix3's ``dwi2tensor``, -1 is ordinary least squares.

    Returns
    -------
    TensorField
        Tensors in world ("scanner") axes, float32.
    """
    mask = np.asarray(mask, dtype=bool)
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    elements = np.zeros((*mask.shape, 6), dtype=np.float32)
    s0 = np.zeros(mask.shape, dtype=np.float32)
    for block in voxel_blocks(mask, series.image.data, BLOCK):
        coefficients = fit_coefficients(series.image.data[block], design, reweightings=reweightings)
        elements[block] = coefficients[:, :6]
        # float32 overflows above exp(88)
        s0[block] = np.exp(np.minimum(coefficients[:, 6], 80.0))
    return TensorField(image=series.image.like(elements), mask=mask, s0=s0)


def fit_coefficients(signal: Array, design: Array, *, reweightings: int = 2) -> Array:
    """Return the coefficients of the log-linear model for many voxels.

    Parameters
    ----------
    signal
        Shape (m, n): m voxels, n volumes.
    design
        Shape (n, p).
    reweightings
        See `fit_tensor`.

    Returns
    -------
    Array
        Shape (m, p), float64.
    """
    log_signal = log_of_signal(signal)
    if reweightings < 0:
        from dipy.reconst.dti import ols_fit_tensor  # imported here, since it is rarely needed

        return ols_fit_tensor(design, np.exp(log_signal), return_lower_triangular=True)[0]
    weights = fit_weights(log_signal)
    coefficients = solve_weighted(design, weights, log_signal)
    for _ in range(reweightings):
        weights = fit_weights(coefficients @ design.T)
        coefficients = solve_weighted(design, weights, log_signal)
    return coefficients


def log_of_signal(signal: Array) -> Array:
    """Return log signals, shape (m, n), of voxels; clipped from below at 0.001 of the maximum of the voxel."""
    signal = np.nan_to_num(np.asarray(signal, dtype=np.float64))
    floor = np.maximum(signal.max(axis=1, keepdims=True) * 1e-3, np.finfo(np.float32).tiny)
    return np.log(np.maximum(signal, floor))


def fit_weights(log_prediction: Array) -> Array:
    """Return the weights of log-signals: squared predicted signal, scaled to at most 1 in each voxel."""
    # var(log S) = sigma^2 / S^2: weights are S^2; their scale does not matter
    weights: Array = np.exp(2 * (log_prediction - log_prediction.max(axis=1, keepdims=True)))
    return np.maximum(weights, 1e-12)


def solve_weighted(design: Array, weights: Array, log_signal: Array) -> Array:
    """Solve one weighted least-squares problem per voxel.

    Parameters
    ----------
    design
        Shape (n, p).
    weights, log_signal
        Shape (m, n).

    Returns
    -------
    Array
        Shape (m, p).
    """
    scale = np.abs(design).max(axis=0)  # b-values scale columns by 1000: rescale to condition the normal matrix
    scaled = design / scale
    p = design.shape[1]
    products = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(design), p * p)
    normal = (weights @ products).reshape(-1, p, p)
    normal[:, np.arange(p), np.arange(p)] *= 1 + 1e-10  # voxels with too few usable volumes have a singular matrix
    moment = (weights * log_signal) @ scaled
    return np.linalg.solve(normal, moment[..., None])[..., 0] / scale


def matrix_from_elements(elements: Array) -> Array:
    """Return symmetric matrices, shape (..., 3, 3), of tensor elements, shape (..., 6)."""
    elements = np.asarray(elements)
    # rows xx xy xz, xy yy yz, xz yz zz
    return elements[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*elements.shape[:-1], 3, 3)


def elements_from_matrix(matrix: Array) -> Array:
    """Return tensor elements, shape (..., 6), of symmetric matrices, shape (..., 3, 3)."""
    return np.asarray(matrix)[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]


def rotate_elements(elements: Array, rotation: Array) -> Array:
    """Rotate tensors to other axes, R D R^T.

    Parameters
    ----------
    elements
        Shape (..., 6).
    rotation
        Rotation of vectors from the axes of the tensor to the output axes, shape (3, 3).

    Returns
    -------
    Array
        Shape (..., 6).

    Examples
    --------
    >>> quarter_turn_about_z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> rotate_elements(np.array([3.0, 0, 0, 2, 0, 1]), quarter_turn_about_z) + 0
    array([2., 0., 0., 3., 0., 1.])
    """
    return elements_from_matrix(rotation @ matrix_from_elements(elements) @ np.asarray(rotation).T)


def eigen_system(elements: Array) -> tuple[Array, Array]:
    """Return eigenvalues, shape (..., 3), largest first, and eigenvectors, shape (..., 3, 3), as columns."""
    values, vectors = np.linalg.eigh(matrix_from_elements(np.asarray(elements, dtype=np.float64)))
    return values[..., ::-1], vectors[..., ::-1]


def mean_diffusivity(elements: Array) -> Array:
    """Return the mean diffusivity, shape (...), mm^2/s.

    Examples
    --------
    >>> float(mean_diffusivity(np.array([3.0, 0, 0, 2, 0, 1])))
    2.0
    """
    elements = np.asarray(elements)
    return (elements[..., 0] + elements[..., 3] + elements[..., 5]) / 3


def fractional_anisotropy(elements: Array) -> Array:
    """Return the fractional anisotropy, shape (...), 0 for a zero tensor; at most 1.

    FA = sqrt(3/2) |D - MD I| / |D|, Frobenius norms: Basser 1996, doi 10.1006/jmrb.1996.0086.

    Examples
    --------
    >>> float(round(fractional_anisotropy(np.array([1.0, 0, 0, 0, 0, 0])), 6))
    1.0
    """
    elements = np.asarray(elements, dtype=np.float64)
    diagonal, off = elements[..., [0, 3, 5]], elements[..., [1, 2, 4]]
    # off-diagonal elements occur twice in the matrix
    off_norm = 2 * (off**2).sum(-1)
    norm = (diagonal**2).sum(-1) + off_norm
    deviation = ((diagonal - diagonal.mean(-1, keepdims=True)) ** 2).sum(-1) + off_norm
    anisotropy: Array = np.sqrt(1.5 * np.divide(deviation, norm, out=np.zeros_like(norm), where=norm > 0))
    # above 1 only if an eigenvalue is negative
    return np.minimum(anisotropy, 1.0)


def mode_of_anisotropy(elements: Array) -> Array:
    """Return the mode of anisotropy, shape (...), from -1 (planar) to 1 (linear), 0 for isotropic tensors.

    Ennis & Kindlmann 2006, doi 10.1002/mrm.20741: 3 sqrt(6) det(A / |A|), with A the deviatoric tensor.
    """
    deviatoric = matrix_from_elements(np.asarray(elements, dtype=np.float64))
    deviatoric = deviatoric - mean_diffusivity(elements)[..., None, None] * np.eye(3)
    norm = np.linalg.norm(deviatoric, axis=(-2, -1))
    safe = np.where(norm > 0, norm, 1.0)
    mode: Array = 3 * np.sqrt(6) * np.linalg.det(deviatoric / safe[..., None, None])
    return np.clip(np.where(norm > 0, mode, 0.0), -1, 1)

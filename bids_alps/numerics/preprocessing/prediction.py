"""Prediction of each volume of a diffusion series from the others.

A Gaussian process over gradient directions: the covariance between two volumes depends on their shells and on
the angle between their gradients, through even Legendre polynomials (a positive kernel on the sphere, by the
addition theorem). It is valid for any signal that is symmetric in the gradient direction, without a tensor model, and
reduces to the mean of the shell for few directions. After Andersson & Sotiropoulos 2015,
doi 10.1016/j.neuroimage.2015.07.067, with another kernel, whose coefficients are fitted to the sample covariance.
"""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array

NOISE_FLOOR = 0.01
"""Minimum noise variance, as a fraction of the variance of the shell."""
_MAX_CONDITION = 20.0


def fit_covariance(moments: Array, bvecs: Array, shells: Array) -> Array:
    """Return the covariance between volumes, as a function of the angles between their gradients.

    Parameters
    ----------
    moments
        Second moments of the volumes over voxels, shape (n, n).
    bvecs
        Unit gradient directions, in any common frame, shape (n, 3).
    shells
        Shell of each volume, integers from 0, shape (n,).

    Returns
    -------
    ndarray
        Positive definite, shape (n, n), noise included.
    """
    cosine = np.clip(bvecs @ bvecs.T, -1, 1)
    # Legendre polynomials P0, P2, P4 of the angle
    basis = np.stack([np.ones_like(cosine), (3 * cosine**2 - 1) / 2, (35 * cosine**4 - 30 * cosine**2 + 3) / 8])
    number = int(shells.max()) + 1
    coefficients = np.zeros((len(basis), number, number))
    off_diagonal = ~np.eye(len(shells), dtype=bool)
    for first in range(number):
        for second in range(number):
            pairs = off_diagonal & np.outer(shells == first, shells == second)
            if pairs.any():
                coefficients[:, first, second] = _fit_terms(basis[:, pairs], moments[pairs])
    for order in range(len(basis)):  # clip negative eigenvalues, so that the kernel is positive semi-definite
        values, vectors = np.linalg.eigh((coefficients[order] + coefficients[order].T) / 2)
        coefficients[order] = (vectors * np.maximum(values, 0)) @ vectors.T
    signal = np.einsum("lij,lij->ij", basis, coefficients[:, shells[:, None], shells])
    noise = np.empty(len(shells))
    for shell in range(number):
        in_shell = shells == shell
        # noise adds to the diagonal only: what the off-diagonal fit does not explain of it
        residual = np.median(np.diag(moments - signal)[in_shell])
        noise[in_shell] = max(residual, NOISE_FLOOR * np.median(np.diag(moments)[in_shell]))
    return signal + np.diag(noise)


def _fit_terms(basis: Array, moments: Array) -> Array:
    """Least squares with as many Legendre terms as the pairs determine: three pairs per term, and different angles.

    The pairs of six evenly spread directions all have the same angle, which determines only the constant term.
    """
    terms = int(np.clip(moments.size // 6, 1, len(basis)))
    while terms > 1 and np.linalg.cond(basis[:terms].T) > _MAX_CONDITION:
        terms -= 1
    fitted = np.zeros(len(basis))
    fitted[:terms] = np.linalg.lstsq(basis[:terms].T, moments, rcond=1e-6)[0]
    return fitted


def leave_one_out_weights(covariance: Array) -> Array:
    """Return the weights by which the others predict each volume: row i for volume i, with a zero for i itself.

    Parameters
    ----------
    covariance
        Positive definite, shape (n, n).

    Examples
    --------
    Two volumes that are equal except for noise predict each other, shrunk by the noise.

    >>> np.abs(leave_one_out_weights(np.array([[1.25, 1.0], [1.0, 1.25]]))).round(3).tolist()
    [[0.0, 0.8], [0.8, 0.0]]
    """
    # conditional mean of a Gaussian: E[x_i | others] = -sum_j P_ij x_j / P_ii, with the precision matrix P
    precision = np.linalg.inv(covariance)
    return np.eye(len(covariance)) - precision / np.diag(precision)[:, None]

"""Linear mixed models with one grouping factor, by REML, with Satterthwaite's degrees of freedom.

statsmodels fits such models and tests their terms against the normal distribution, which at 8 participants takes one
null effect in ten for real; nothing else in Python has the degrees of freedom. Model and algorithm are those of lme4
(Bates et al. 2015, doi 10.18637/jss.v067.i01), tests those of lmerTest (Kuznetsova et al. 2017,
doi 10.18637/jss.v082.i13), to which `benchmarks/bench_agreement.py` holds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats
from statsmodels.tools.numdiff import approx_fprime, approx_hess3

from bids_alps.model import Array

_LARGEST = 1e3  # SD of a random term, relative to the residual SD
_GRID = np.concatenate([[0.0], np.geomspace(1e-3, _LARGEST, 13)])
_SINGULAR = 1e-4  # relative to the residual SD, as lme4's isSingular


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedFit:
    """A fitted mixed model.

    Parameters
    ----------
    beta, covariance
        Coefficients, shape (p,), and their covariance, shape (p, p).
    residual_variance
        Variance within groups that the random terms leave.
    random_covariance
        Covariance of the random terms, shape (q, q).
    singular
        Whether a random term has no variance of its own.
    gradients, spread
        Derivatives of `covariance` by the parameters of the variance, shape (k, p, p), and the covariance of these
        parameters, shape (k, k): what Satterthwaite's approximation needs.
    residuals
        Outcome minus fixed part, shape (n,).
    """

    beta: Array
    covariance: Array
    residual_variance: float
    random_covariance: Array
    singular: bool
    gradients: Array
    spread: Array
    residuals: Array

    def freedom(self, contrast: Array) -> float:
        """Return the degrees of freedom of a contrast of the coefficients, shape (p,): 2 v^2 / var(v)."""
        variance = float(contrast @ self.covariance @ contrast)
        slopes = np.array([contrast @ gradient @ contrast for gradient in self.gradients])
        return float(2 * variance**2 / (slopes @ self.spread @ slopes))

    def test(self, contrasts: Array) -> tuple[float, int, float, float]:
        """Return F, its degrees of freedom and p of several contrasts at once, shape (r, p).

        Fai & Cornelius 1996, doi 10.1080/00949659608811740: the F of independent contrasts, whose degrees of freedom
        are those of their mean.
        """
        contrasts = np.atleast_2d(contrasts)
        values, vectors = np.linalg.eigh(contrasts @ self.covariance @ contrasts.T)
        kept = values > 1e-10 * max(values.max(), np.finfo(float).tiny)
        rank = int(kept.sum())
        turned = (vectors.T @ contrasts)[kept]
        f = float(((turned @ self.beta) ** 2 / values[kept]).sum() / rank)
        single = np.array([self.freedom(row) for row in turned])
        if rank == 1:
            freedom = float(single[0])
        else:
            expected = float((single[single > 2] / (single[single > 2] - 2)).sum())
            freedom = 2 * expected / (expected - rank) if expected > rank else 0.0
        p = float(stats.f.sf(f, rank, freedom)) if freedom > 0 else float("nan")
        return f, rank, freedom, p


def fit_mixed(y: Array, X: Array, Z: Array, groups: Array) -> MixedFit:
    """Fit y = X beta + Z b + e, with b independent between groups and of any covariance within one.

    Parameters
    ----------
    y
        Outcome, shape (n,), scaled so that its SD is near 1.
    X
        Design of the fixed part, shape (n, p), of full rank.
    Z
        Design of the random terms, shape (n, q); a column of ones for a random intercept.
    groups
        Group of each row, shape (n,).
    """
    start = np.linalg.lstsq(X, y, rcond=None)[0]  # what is left of y loses no digits in differences of squares
    scaled, back = _scaled(Z)
    blocks = _Blocks(y - X @ start, X, scaled, groups)
    theta = _minimise(blocks)
    factor = blocks.factor(theta)
    rss, moment, shift, _ = blocks.solve(factor)
    sigma = float(np.sqrt(rss / blocks.freedom))
    optimum = np.append(theta, sigma)
    hessian = approx_hess3(optimum, blocks.deviance)
    spread = _positive_inverse(np.asarray(hessian) / 2)
    gradients = np.moveaxis(np.asarray(approx_fprime(optimum, blocks.covariance, centered=True)), -1, 0)
    own = back @ factor
    scales = np.abs(np.diag(factor))
    return MixedFit(
        beta=start + shift,
        covariance=sigma**2 * np.linalg.inv(moment),
        residual_variance=sigma**2,
        random_covariance=sigma**2 * own @ own.T,
        singular=bool(scales.min() < _SINGULAR),
        gradients=gradients,
        spread=spread,
        residuals=y - X @ (start + shift),
    )


class _Blocks:
    """The groups, those of one size stacked, so that each step is a few calls for any number of groups."""

    def __init__(self, y: Array, X: Array, Z: Array, groups: Array) -> None:
        self.terms, self.randoms = X.shape[1], Z.shape[1]
        self.freedom = len(y) - self.terms
        _, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(members, kind="stable")
        starts = np.cumsum(counts) - counts
        self.stacks = []
        for size in np.unique(counts):
            rows = order[starts[counts == size][:, None] + np.arange(size)]
            self.stacks.append((np.concatenate([X[rows], y[rows][..., None]], axis=2), Z[rows]))

    def factor(self, theta: Array) -> Array:
        """Return the lower triangle whose square is the random terms' covariance over the residual variance."""
        factor = np.zeros((self.randoms, self.randoms))
        factor[np.tril_indices(self.randoms)] = theta[: self.randoms * (self.randoms + 1) // 2]
        return factor

    def solve(self, factor: Array) -> tuple[float, Array, Array, float]:
        """Return weighted sum of squares, X'V^-1 X, coefficients, and log-determinant of V, for unit residuals."""
        p, logs, moments = self.terms, 0.0, np.zeros((self.terms + 1, self.terms + 1))
        for both, Z in self.stacks:
            own = Z @ factor
            V = own @ np.swapaxes(own, 1, 2) + np.eye(Z.shape[1])
            root = np.linalg.cholesky(V)
            logs += 2 * float(np.log(np.einsum("gii->gi", root)).sum())
            white = np.linalg.solve(root, both).reshape(-1, p + 1)
            moments += white.T @ white
        beta = np.linalg.solve(moments[:p, :p], moments[:p, p])
        return float(moments[p, p] - moments[:p, p] @ beta), moments[:p, :p], beta, logs

    def profiled(self, theta: Array) -> float:
        """Return the REML deviance at the best residual variance, but for a constant."""
        rss, moment, _, logs = self.solve(self.factor(theta))
        return logs + float(np.linalg.slogdet(moment)[1]) + self.freedom * float(np.log(rss))

    def deviance(self, parameters: Array) -> float:
        """Return the REML deviance of factor and residual SD, but for a constant."""
        rss, moment, _, logs = self.solve(self.factor(parameters[:-1]))
        variance = parameters[-1] ** 2
        return logs + float(np.linalg.slogdet(moment)[1] + self.freedom * np.log(variance) + rss / variance)

    def covariance(self, parameters: Array) -> Array:
        """Return the covariance of the coefficients at factor and residual SD."""
        moment = self.solve(self.factor(parameters[:-1]))[1]
        inverse: Array = parameters[-1] ** 2 * np.linalg.inv(moment)
        return inverse


def _scaled(Z: Array) -> tuple[Array, Array]:
    """Return random terms of mean 0 and SD 1 but for the intercept, and what takes their factor back."""
    back = np.eye(Z.shape[1])
    constant = np.flatnonzero(np.ptp(Z, axis=0) == 0)
    for n in range(Z.shape[1]):
        if n not in constant:
            spread = Z[:, n].std()
            back[n, n] = 1 / spread
            if constant.size:
                back[constant[0], n] = -Z[:, n].mean() / spread / Z[0, constant[0]]
    return Z @ back, back


def _minimise(blocks: _Blocks) -> Array:
    """Return the factor of least deviance; several starts, since there may be more than one valley."""
    if blocks.randoms == 1:
        values = [blocks.profiled(np.array([point])) for point in _GRID]
        best = int(np.argmin(values))
        ends = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
        found: Any = optimize.minimize_scalar(
            lambda point: blocks.profiled(np.array([point])), bounds=ends, method="bounded", options={"xatol": 1e-9}
        )
        return np.array([0.0 if values[0] <= found.fun else found.x])
    bounds = [  # a search that overshoots would leave what can be inverted
        (0.0 if row == column else -_LARGEST, _LARGEST)
        for row, column in zip(*np.tril_indices(blocks.randoms), strict=True)
    ]
    ended = [
        optimize.minimize(
            blocks.profiled,
            start,
            method="L-BFGS-B",
            jac="3-point",
            bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-7},
        )
        for start in _starts(blocks.randoms)
    ]
    best_end: Any = min(ended, key=lambda one: float(one.fun))
    return np.asarray(best_end.x)


def _starts(randoms: int) -> Iterator[Array]:
    corner = np.eye(randoms)[np.tril_indices(randoms)]
    yield from (scale * corner for scale in (0.1, 1.0, 3.0))


def _positive_inverse(matrix: Array) -> Array:
    """Return the inverse over the directions in which a symmetric matrix is positive."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > 1e-8 * values.max()
    inverse: Array = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return inverse

"""Linear mixed models with one grouping factor, by REML, with Satterthwaite's degrees of freedom.

statsmodels fits such models but tests their terms against the normal distribution, which gives 10 % false positives
with 8 participants; no other Python package provides the degrees of freedom. Model and algorithm are those of lme4
(Bates et al. 2015, doi 10.18637/jss.v067.i01), tests those of lmerTest (Kuznetsova et al. 2017,
doi 10.18637/jss.v082.i13), against which `benchmarks/bench_agreement.py` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats
from statsmodels.tools.numdiff import approx_fprime, approx_hess3

from bids_alps.model import Array

_MAX_SD_RATIO = 1e3  # SD of a random term, relative to the residual SD
_GRID = np.concatenate([[0.0], np.geomspace(1e-3, _MAX_SD_RATIO, 13)])
_SINGULAR = 1e-4  # relative to the residual SD, as lme4's isSingular


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedFit:
    """A fitted mixed model.

    Parameters
    ----------
    beta, covariance
        Coefficients, shape (p,), and their covariance, shape (p, p).
    residual_variance
        Residual variance within groups.
    random_covariance
        Covariance of the random terms, shape (q, q).
    singular
        Whether the fit is singular: a random term has zero variance.
    gradients, spread
        Derivatives of `covariance` with respect to the variance parameters, shape (k, p, p), and the covariance of
        these parameters, shape (k, k), for Satterthwaite's approximation.
    residuals
        Outcome minus fixed effects, shape (n,).
    """

    beta: Array
    covariance: Array
    residual_variance: float
    random_covariance: Array
    singular: bool
    gradients: Array
    spread: Array
    residuals: Array

    def dof(self, contrast: Array) -> float:
        """Return the degrees of freedom of a contrast of the coefficients, shape (p,): 2 v^2 / var(v)."""
        variance = float(contrast @ self.covariance @ contrast)
        # delta method: var(v) = s' C s, from the slopes s of v in the variance parameters and their covariance C
        slopes = np.array([contrast @ gradient @ contrast for gradient in self.gradients])
        return float(2 * variance**2 / (slopes @ self.spread @ slopes))

    def test(self, contrasts: Array) -> tuple[float, int, float, float]:
        """Return F, its degrees of freedom and p of several contrasts at once, shape (r, p).

        Fai & Cornelius 1996, doi 10.1080/00949659608811740: the F-test of orthogonal contrasts, whose denominator
        degrees of freedom are combined over the contrasts.
        """
        contrasts = np.atleast_2d(contrasts)
        # rotate to uncorrelated contrasts; those with zero variance are linear combinations of the others
        values, vectors = np.linalg.eigh(contrasts @ self.covariance @ contrasts.T)
        positive = values > 1e-10 * max(values.max(), np.finfo(float).tiny)
        rank = int(positive.sum())
        orthogonal = (vectors.T @ contrasts)[positive]
        f = float(((orthogonal @ self.beta) ** 2 / values[positive]).sum() / rank)
        single = np.array([self.dof(row) for row in orthogonal])
        if rank == 1:
            dof = float(single[0])
        else:
            expected = float((single[single > 2] / (single[single > 2] - 2)).sum())
            # match the expectation of F, nu / (nu - 2), summed over the contrasts
            dof = 2 * expected / (expected - rank) if expected > rank else 0.0
        p = float(stats.f.sf(f, rank, dof)) if dof > 0 else float("nan")
        return f, rank, dof, p


def fit_mixed(y: Array, X: Array, Z: Array, groups: Array) -> MixedFit:
    """Fit y = X beta + Z b + e, with b independent between groups and unstructured covariance within.

    Parameters
    ----------
    y
        Outcome, shape (n,), scaled so that its SD is near 1.
    X
        Design of the fixed effects, shape (n, p), of full rank.
    Z
        Design of the random effects, shape (n, q); a column of ones for a random intercept.
    groups
        Group of each row, shape (n,).
    """
    start = np.linalg.lstsq(X, y, rcond=None)[0]  # residuals avoid cancellation in differences of squares
    scaled, back = _scaled(Z)
    blocks = _Blocks(y - X @ start, X, scaled, groups)
    theta = _minimize(blocks)
    factor = blocks.factor(theta)
    rss, moment, shift, _ = blocks.solve(factor)
    sigma = float(np.sqrt(rss / blocks.dof))
    optimum = np.append(theta, sigma)
    # the deviance is -2 log-likelihood: the covariance of the parameters is the inverse of half its Hessian
    hessian = np.asarray(approx_hess3(optimum, blocks.deviance)) / 2
    # pseudo-inverse over its positive eigenvalues: at a boundary, numerical derivatives can give others
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    positive = values > 1e-8 * values.max()
    spread: Array = (vectors[:, positive] / values[positive]) @ vectors[:, positive].T
    gradients = np.moveaxis(np.asarray(approx_fprime(optimum, blocks.covariance, centered=True)), -1, 0)
    unscaled = back @ factor  # undoes the standardization of the random-effects columns
    scales = np.abs(np.diag(factor))
    return MixedFit(
        beta=start + shift,
        covariance=sigma**2 * np.linalg.inv(moment),
        residual_variance=sigma**2,
        random_covariance=sigma**2 * unscaled @ unscaled.T,
        singular=bool(scales.min() < _SINGULAR),
        gradients=gradients,
        spread=spread,
        residuals=y - X @ (start + shift),
    )


class _Blocks:
    """Groups stacked by size, so that each step is vectorized over groups."""

    def __init__(self, y: Array, X: Array, Z: Array, groups: Array) -> None:
        self.terms, self.randoms = X.shape[1], Z.shape[1]
        self.dof = len(y) - self.terms
        _, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(members, kind="stable")
        starts = np.cumsum(counts) - counts
        self.stacks = []
        for size in np.unique(counts):
            rows = order[starts[counts == size][:, None] + np.arange(size)]
            self.stacks.append((np.concatenate([X[rows], y[rows][..., None]], axis=2), Z[rows]))

    def factor(self, theta: Array) -> Array:
        """Return the Cholesky factor of the random-effects covariance relative to the residual variance."""
        factor = np.zeros((self.randoms, self.randoms))
        factor[np.tril_indices(self.randoms)] = theta[: self.randoms * (self.randoms + 1) // 2]
        return factor

    def solve(self, factor: Array) -> tuple[float, Array, Array, float]:
        """Return weighted sum of squares, X'V^-1 X, coefficients, and log-determinant of V, for unit residuals."""
        p, logs, moments = self.terms, 0.0, np.zeros((self.terms + 1, self.terms + 1))
        for both, Z in self.stacks:
            scaled = Z @ factor
            # whiten [X, y] by the Cholesky factor of V = Z L L' Z' + I
            # covariance of the rows of a group, in units of the residual variance
            V = scaled @ np.swapaxes(scaled, 1, 2) + np.eye(Z.shape[1])
            root = np.linalg.cholesky(V)
            logs += 2 * float(np.log(np.einsum("gii->gi", root)).sum())
            white = np.linalg.solve(root, both).reshape(-1, p + 1)
            moments += white.T @ white
        beta = np.linalg.solve(moments[:p, :p], moments[:p, p])
        # residual sum of squares: (y - X beta)' V^-1 (y - X beta)
        return float(moments[p, p] - moments[:p, p] @ beta), moments[:p, :p], beta, logs

    def profiled(self, theta: Array) -> float:
        """Return the profiled REML deviance, up to a constant."""
        rss, moment, _, logs = self.solve(self.factor(theta))
        # log|V| + log|X'V^-1 X| + (n - p) log RSS: the residual variance is profiled out
        return logs + float(np.linalg.slogdet(moment)[1]) + self.dof * float(np.log(rss))

    def deviance(self, parameters: Array) -> float:
        """Return the REML deviance at a Cholesky factor and residual SD, up to a constant."""
        rss, moment, _, logs = self.solve(self.factor(parameters[:-1]))
        variance = parameters[-1] ** 2
        # log|V| + log|X'V^-1 X| + (n - p) log(sigma^2) + RSS / sigma^2
        return logs + float(np.linalg.slogdet(moment)[1] + self.dof * np.log(variance) + rss / variance)

    def covariance(self, parameters: Array) -> Array:
        """Return the covariance of the coefficients at a Cholesky factor and residual SD."""
        moment = self.solve(self.factor(parameters[:-1]))[1]
        inverse: Array = parameters[-1] ** 2 * np.linalg.inv(moment)
        return inverse


def _scaled(Z: Array) -> tuple[Array, Array]:
    """Return standardized random-effects columns (except the intercept), and the back-transform of their factor."""
    back = np.eye(Z.shape[1])
    constant = np.flatnonzero(np.ptp(Z, axis=0) == 0)
    for n in range(Z.shape[1]):
        if n not in constant:
            spread = Z[:, n].std()
            back[n, n] = 1 / spread
            if constant.size:
                # centering a slope is undone by the random intercept
                back[constant[0], n] = -Z[:, n].mean() / spread / Z[0, constant[0]]
    return Z @ back, back


def _minimize(blocks: _Blocks) -> Array:
    """Return the Cholesky factor of minimum deviance, from several starts against local minima."""
    if blocks.randoms == 1:
        values = [blocks.profiled(np.array([point])) for point in _GRID]
        best = int(np.argmin(values))
        ends = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
        found: Any = optimize.minimize_scalar(
            lambda point: blocks.profiled(np.array([point])), bounds=ends, method="bounded", options={"xatol": 1e-9}
        )
        return np.array([0.0 if values[0] <= found.fun else found.x])
    bounds = [  # bounds keep the matrices invertible if the search overshoots
        (0.0 if row == column else -_MAX_SD_RATIO, _MAX_SD_RATIO)
        for row, column in zip(*np.tril_indices(blocks.randoms), strict=True)
    ]
    # start from uncorrelated random effects of three sizes
    corner = np.eye(blocks.randoms)[np.tril_indices(blocks.randoms)]
    ended = [
        optimize.minimize(
            blocks.profiled,
            start,
            method="L-BFGS-B",
            jac="3-point",
            bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-7},
        )
        for start in (scale * corner for scale in (0.1, 1.0, 3.0))
    ]
    best_end: Any = min(ended, key=lambda one: float(one.fun))
    return np.asarray(best_end.x)

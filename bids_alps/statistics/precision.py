"""Use of the standard errors of individual values: precision weights, and the fraction of measurement error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.samples import to_floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEffects:
    """A random-effects regression of values with known standard errors.

    Parameters
    ----------
    beta, covariance
        Coefficients, shape (p,), and their covariance by Knapp & Hartung 2003, doi 10.1002/sim.1482.
    dof
        Degrees of freedom of the t-tests.
    between
        Variance between participants, tau^2.
    """

    beta: Array
    covariance: Array
    dof: float
    between: float


def fit_random_effects(y: Array, X: Array, se: Array) -> RandomEffects:
    """Fit y = X beta + u + e by REML, with var(u) = tau^2 and var(e) = se^2: weights 1 / (tau^2 + se^2).

    Equivalent to ``metafor::rma(yi, sei = se, mods = X, method = "REML", test = "knha")`` (Viechtbauer 2010,
    doi 10.18637/jss.v036.i03).

    Parameters
    ----------
    y, se
        Values and their standard errors, shape (n,), scaled so that the SD of `y` is near 1.
    X
        Design, shape (n, p), of full rank.

    Raises
    ------
    BadDataError
        If a standard error is not positive.
    """
    if not (np.isfinite(se).all() and (se > 0).all()):
        raise BadDataError("weights by precision", "a standard error is not positive", "exclude such values")
    variances = se**2

    def deviance(between: float) -> float:
        _, moment, rss = _solve(y, X, 1 / (between + variances))
        # REML deviance: log|V| + log|X'V^-1 X| + residual sum of squares, V = tau^2 + se^2
        return float(np.log(between + variances).sum() + np.linalg.slogdet(moment)[1] + rss)

    top = float(10 * y.var() + 1e-12)
    # a coarse grid first: the minimum may lie at the boundary tau^2 = 0
    grid = np.concatenate([[0.0], np.geomspace(1e-6 * top, top, 40)])
    best = int(np.argmin([deviance(value) for value in grid]))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found: Any = optimize.minimize_scalar(deviance, bounds=ends, method="bounded", options={"xatol": 1e-12})
    between = 0.0 if deviance(0.0) <= found.fun else float(found.x)
    beta, moment, rss = _solve(y, X, 1 / (between + variances))
    dof = len(y) - X.shape[1]
    # Knapp-Hartung: scaled by the weighted residual variance, and tested by t instead of z
    return RandomEffects(beta=beta, covariance=rss / dof * np.linalg.inv(moment), dof=float(dof), between=between)


def _solve(y: Array, X: Array, weights: Array) -> tuple[Array, Array, float]:
    # normal equations X' W X beta = X' W y
    moment = X.T @ (weights[:, None] * X)
    beta = np.linalg.solve(moment, X.T @ (weights * y))
    return beta, moment, float((weights * (y - X @ beta) ** 2).sum())


def measure_precision(table: pd.DataFrame, outcomes: Sequence[str], group: str | None = None) -> pd.DataFrame:
    """Return the fraction of variance between participants that is due to measurement error.

    Parameters
    ----------
    table
        One row per participant, with ``<outcome>_se`` for each outcome.
    group
        Group column, for additional estimates within groups.

    Returns
    -------
    DataFrame
        Rows ``outcome, group, n, sd, sd_measurement, sd_between, measurement_error_fraction, reliability``: SD of the
        values, root mean square of their standard errors, SD between participants by REML, error variance over total
        variance, and the remaining fraction (at least 0).
    """
    rows = []
    parts = {"all": table}
    if group is not None:
        parts |= {str(name): part for name, part in table.groupby(group, sort=True, observed=True)}
    for outcome in outcomes:
        if f"{outcome}_se" not in table:
            continue
        for name, part in parts.items():
            y, se = to_floats(part[outcome]), to_floats(part[f"{outcome}_se"])
            known = np.isfinite(y) & (se > 0)
            y, se = y[known], se[known]
            if y.size < 3 or np.ptp(y) == 0:
                continue
            unit = float(y.std(ddof=1))
            between = fit_random_effects(y / unit, np.ones((y.size, 1)), se / unit).between
            error = float(np.sqrt((se**2).mean()))
            # variance of the values = variance between participants + mean squared standard error
            share = (error / unit) ** 2
            rows.append(
                {
                    "outcome": outcome,
                    "group": name,
                    "n": y.size,
                    "sd": unit,
                    "sd_measurement": error,
                    "sd_between": unit * float(np.sqrt(between)),
                    "measurement_error_fraction": share,
                    "reliability": max(1 - share, 0.0),
                }
            )
    return pd.DataFrame(rows)

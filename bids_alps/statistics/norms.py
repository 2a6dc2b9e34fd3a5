"""Where a participant stands in the cohort, given age and sex: leave-one-out z-scores."""

from __future__ import annotations

import numpy as np
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.model import Array


def measure_norms(values: Array, covariates: Array) -> Array:
    """Return the z-score of each value against the prediction of a linear model of all others.

    It is the externally studentised residual, which equals fitting without the value and dividing its error by the
    standard error of prediction (Cook & Weisberg 1982, ISBN 0-412-24280-0); its t-distribution is turned normal.

    Parameters
    ----------
    values
        Shape (n,); where one or its covariates are missing, so is its score.
    covariates
        Shape (n, k), without an intercept.

    Raises
    ------
    BadDataError
        If fewer than k + 5 values are complete, or covariates determine each other.
    """
    complete = np.isfinite(values) & np.isfinite(covariates).all(axis=1)
    y, X = values[complete], np.column_stack([np.ones(complete.sum()), covariates[complete]])
    n, terms = X.shape
    if n < terms + 4 or np.linalg.matrix_rank(X) < terms:
        what = f"{n} complete values for {terms} terms, or terms that determine each other"
        raise BadDataError("norms", what, "add participants or leave out a covariate")
    basis = np.linalg.qr(X)[0]
    leverage = (basis**2).sum(axis=1)
    residual = y - basis @ (basis.T @ y)
    freedom = n - terms - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = ((residual**2).sum() - residual**2 / (1 - leverage)) / freedom
        studentised = residual / np.sqrt(variance * (1 - leverage))
    scores = np.full(len(values), np.nan)
    tail = np.sign(studentised) * stats.norm.isf(stats.t.sf(np.abs(studentised), freedom))
    scores[complete] = tail
    return scores

"""Reliability where participants have repeats: intraclass correlation, within-subject variation, agreement."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.model import Array


def measure_icc(scores: Array) -> pd.DataFrame:
    """Return ICC(2,1), absolute agreement, and ICC(3,1), consistency, of single measurements.

    Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420; intervals of McGraw & Wong 1996,
    doi 10.1037/1082-989X.1.1.30.

    Parameters
    ----------
    scores
        Shape (participants, repeats), complete.

    Returns
    -------
    DataFrame
        Rows ``kind, icc, ci_low, ci_high``.

    Raises
    ------
    BadDataError
        If there are fewer than two participants or repeats, or a value is missing.
    """
    n, k = scores.shape
    if n < 2 or k < 2 or not np.isfinite(scores).all():
        raise BadDataError("reliability", f"{n} complete participants with {k} repeats", "give two or more of both")
    grand = scores.mean()
    rows = k * ((scores.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((scores.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    if error == 0:
        raise BadDataError("reliability", "repeats do not vary", "check that they are different scans")
    return pd.DataFrame([_agreement(n, k, rows, columns, error), _consistency(n, k, rows, error)])


def _agreement(n: int, k: int, rows: float, columns: float, error: float) -> dict[str, object]:
    icc = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    a, b = k * icc / (n * (1 - icc)), 1 + k * icc * (n - 1) / (n * (1 - icc))
    parts = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * columns + b * error) ** 2 / parts
    upper, lower = stats.f.ppf(0.975, n - 1, freedom), stats.f.ppf(0.975, freedom, n - 1)
    spread = k * columns + (k * n - k - n) * error
    low = n * (rows - upper * error) / (upper * spread + n * rows)
    high = n * (lower * rows - error) / (spread + n * lower * rows)
    return {"kind": "ICC(2,1)", "icc": icc, "ci_low": low, "ci_high": high}


def _consistency(n: int, k: int, rows: float, error: float) -> dict[str, object]:
    ratio, freedom = rows / error, (n - 1) * (k - 1)
    low = ratio / stats.f.ppf(0.975, n - 1, freedom)
    high = ratio * stats.f.ppf(0.975, freedom, n - 1)
    icc = (ratio - 1) / (ratio + k - 1)
    return {"kind": "ICC(3,1)", "icc": icc, "ci_low": (low - 1) / (low + k - 1), "ci_high": (high - 1) / (high + k - 1)}


def measure_agreement(scores: Array) -> dict[str, float]:
    """Return within-subject variation, and bias and limits of agreement of the first two repeats.

    The coefficient of variation is the root mean square over participants of SD / mean; limits by
    Bland & Altman 1986, doi 10.1016/S0140-6736(86)90837-8.

    Parameters
    ----------
    scores
        Shape (participants, repeats), complete.

    Examples
    --------
    >>> found = measure_agreement(np.array([[1.0, 1.2], [2.0, 2.2], [3.0, 3.2]]))
    >>> round(found["bias"], 6), round(found["limit_high"] - found["limit_low"], 6)
    (0.2, 0.0)
    """
    difference = scores[:, 1] - scores[:, 0]
    bias, reach = float(difference.mean()), float(1.96 * difference.std(ddof=1))
    variation = scores.std(axis=1, ddof=1) / scores.mean(axis=1)
    return {
        "within_subject_cv": float(np.sqrt((variation**2).mean())),
        "bias": bias,
        "limit_low": bias - reach,
        "limit_high": bias + reach,
    }

"""Correlations of outcomes with variables: Pearson, Spearman, partial, and within groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bids_alps.model import Array
from bids_alps.statistics.comparison import group_names
from bids_alps.statistics.multiplicity import add_corrected_p_values
from bids_alps.statistics.samples import to_floats

POOLED = "all"
_MIN_PAIRS = 4  # pairs required for a confidence interval


def correlate(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    variables: Sequence[str],
    covariates: Sequence[str] = (),
    *,
    group: str | None = None,
) -> pd.DataFrame:
    """Correlate all outcomes with all variables, over all participants and within each group.

    Parameters
    ----------
    table
        One row per participant.
    outcomes, variables
        Numeric columns; a variable that is also a covariate is omitted from the partial correlation.
    covariates
        Numeric columns controlled for in the partial correlation.
    group
        Group column. A difference between groups can induce a correlation over all participants; the kind ``within``
        removes the group means first.

    Returns
    -------
    DataFrame
        One row per group (``all`` pools them), outcome, variable and kind (``pearson``, ``spearman``, ``partial``,
        ``within``): n, r with its 95 % interval, p, and p corrected over all rows of a group and kind. NaN with fewer
        than four complete pairs or without variance.
    """
    rows = _correlations(table, POOLED, outcomes, variables, covariates)
    if group is not None:
        membership = table[group].astype(str).where(table[group].notna())
        names = group_names(table[group])
        if len(names) > 1:
            rows += _within(table, outcomes, variables, pd.get_dummies(membership, dtype=float).to_numpy())
            for name in names:
                rows += _correlations(table[(membership == name).to_numpy()], name, outcomes, variables, covariates)
    columns = ["group", "outcome", "variable", "kind", "n", "r", "ci_low", "ci_high", "p"]
    results = pd.DataFrame(rows, columns=columns)
    blocks = [add_corrected_p_values(block.copy()) for _, block in results.groupby(["group", "kind"], sort=False)]
    return pd.concat(blocks, ignore_index=True) if blocks else results


def _correlations(
    table: pd.DataFrame, name: str, outcomes: Sequence[str], variables: Sequence[str], covariates: Sequence[str]
) -> list[dict[str, Any]]:
    columns = {column: to_floats(table[column]) for column in {*outcomes, *variables, *covariates}}
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        for variable in variables:
            y, x = columns[outcome], columns[variable]
            controls = [columns[name] for name in covariates if name not in (variable, outcome)]
            shared = {"group": name, "outcome": outcome, "variable": variable}
            rows += [{**shared, "kind": kind, **correlation(y, x, kind=kind)} for kind in ("pearson", "spearman")]
            if controls:
                rows.append({**shared, "kind": "partial", **correlation(y, x, covariates=np.column_stack(controls))})
    return rows


def _within(
    table: pd.DataFrame, outcomes: Sequence[str], variables: Sequence[str], indicators: Array
) -> list[dict[str, Any]]:
    # indicators of all groups but the first; missing where the group is
    controls = np.where(indicators.sum(axis=1, keepdims=True) > 0, indicators[:, 1:], np.nan)
    return [
        {"group": POOLED, "outcome": outcome, "variable": variable, "kind": "within"}
        | correlation(to_floats(table[outcome]), to_floats(table[variable]), covariates=controls)
        for outcome in outcomes
        for variable in variables
    ]


def correlation(y: Array, x: Array, *, covariates: Array | None = None, kind: str = "pearson") -> dict[str, Any]:
    """Return n, r, its 95 % interval (Fisher's z) and p for the complete pairs of two samples.

    Parameters
    ----------
    y, x
        Shape (n,).
    covariates
        Shape (n, k); both samples are replaced by their residuals of a regression on these, which costs as many
        degrees of freedom as they have independent columns in the complete pairs.
    kind
        ``pearson`` or ``spearman``.

    Examples
    --------
    >>> found = correlation(np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.0, 2.0, 3.0, 5.0]))
    >>> found["n"], round(found["r"], 6)
    (4, 1.0)
    """
    controls = np.empty((len(y), 0)) if covariates is None else covariates
    complete = np.isfinite(y) & np.isfinite(x) & np.isfinite(controls).all(axis=1)
    y, x, controls = y[complete], x[complete], controls[complete]
    basis = np.column_stack([np.ones(y.size), controls])
    n_controls = int(np.linalg.matrix_rank(basis)) - 1 if y.size and controls.shape[1] else 0
    result: dict[str, Any] = {"n": y.size, "r": np.nan, "ci_low": np.nan, "ci_high": np.nan, "p": np.nan}
    if y.size < _MIN_PAIRS + n_controls or np.ptp(y) == 0 or np.ptp(x) == 0:
        return result
    if kind == "spearman":
        y, x = stats.rankdata(y), stats.rankdata(x)
    if n_controls:
        y, x = (values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0] for values in (y, x))
        if min(np.ptp(y), np.ptp(x)) < 1e-12:  # variable determined by the covariates
            return result
    dof = y.size - 2 - n_controls
    r = float(np.clip(np.corrcoef(y, x)[0, 1], -1, 1))
    # t = r sqrt(dof / (1 - r^2)), with a degree of freedom less for each control
    statistic = r * np.sqrt(dof / max(1 - r**2, np.finfo(float).tiny))
    spread = (1.03 if kind == "spearman" else 1.0) / np.sqrt(dof - 1)  # Fieller 1957 for ranks
    # Fisher's z has a variance of 1 / (n - 3 - controls), whatever r; finite at |r| = 1
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    reach = stats.norm.ppf(0.975) * spread
    return result | {
        "r": r,
        "ci_low": float(np.tanh(z - reach)),
        "ci_high": float(np.tanh(z + reach)),
        "p": float(2 * stats.t.sf(abs(statistic), dof)),
    }

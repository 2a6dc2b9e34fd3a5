"""ComBat: removal of site effects on mean and variance, preserving the effects of covariates.

Johnson, Li & Rabinovic 2007, doi 10.1093/biostatistics/kxj037; for diffusion measures Fortin et al. 2017,
doi 10.1016/j.neuroimage.2017.08.047.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats.contingency import association

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.repeats import participant_key
from bids_alps.statistics.samples import code_covariate

MIN_SITE_SIZE = 5
IMBALANCED = 0.1
"""Cramer's V of site and group above which tests of harmonized values are unreliable."""
_TOLERANCE = 1e-8
_STEPS = 1000


def harmonize(values: Array, sites: Array, covariates: Array) -> Array:
    """Return values with site effects removed.

    Parameters
    ----------
    values
        Shape (participants, outcomes), complete; empirical Bayes pools over outcomes, so at least two are required.
    sites
        Site of each participant, shape (participants,).
    covariates
        Covariates to protect, shape (participants, k), without an intercept.

    Raises
    ------
    BadDataError
        If there are fewer than two sites or outcomes, a site has fewer than five participants, an outcome does not
        vary, or sites and covariates are collinear.
    """
    names, members = np.unique(sites, return_inverse=True)
    indicator = np.eye(len(names))[members]
    design = np.column_stack([indicator, covariates - covariates.mean(axis=0)])
    _refuse(values, names, indicator, design)
    counts = indicator.sum(axis=0)
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    # mean over sites weighted by their size
    grand_mean = counts / counts.sum() @ coefficients[: len(names)]
    pooled_sd = np.sqrt(((values - design @ coefficients) ** 2).mean(axis=0))
    if (pooled_sd <= 1e-12 * np.abs(grand_mean)).any():
        raise BadDataError("ComBat", "an outcome does not vary within sites", "exclude it")
    # what is protected is taken out here and added again at the end
    expected = grand_mean + design[:, len(names) :] @ coefficients[len(names) :]
    standard = (values - expected) / pooled_sd
    adjusted = np.empty_like(standard)
    for n in range(len(names)):
        # per site: z-values minus the shift (gamma*), over the root of the scale (delta*^2)
        site_values = standard[members == n]
        shift, scale = _posterior(site_values)
        adjusted[members == n] = (site_values - shift) / np.sqrt(scale)
    return adjusted * pooled_sd + expected


def _refuse(values: Array, names: Array, indicator: Array, design: Array) -> None:
    counts = indicator.sum(axis=0)
    if len(names) < 2 or values.shape[1] < 2:
        what = f"{len(names)} site and {values.shape[1]} outcomes"
        raise BadDataError("ComBat", what, "provide two or more of both, or skip harmonization")
    if counts.min() < MIN_SITE_SIZE:
        small = f"site {names[counts.argmin()]} has {counts.min():.0f} participants"
        raise BadDataError("ComBat", small, f"exclude sites with fewer than {MIN_SITE_SIZE}")
    rank = int(np.linalg.matrix_rank(design))
    if rank < design.shape[1]:
        what = f"sites and covariates are collinear (rank {rank} of {design.shape[1]})"
        raise BadDataError("ComBat", what, "each site needs more than one group; remove the covariate or the site")


def _posterior(site_values: Array) -> tuple[Array, Array]:
    """Return the empirical Bayes shift and scale of each outcome in one site (Johnson 2007)."""
    count, means, variances = len(site_values), site_values.mean(axis=0), site_values.var(axis=0, ddof=1)
    prior_mean, prior_variance = means.mean(), means.var(ddof=1)
    middle, width = variances.mean(), max(float(variances.var(ddof=1)), np.finfo(float).tiny)
    # inverse gamma prior of the variances with their mean and variance over outcomes (method of moments)
    shape, rate = (2 * width + middle**2) / width, (middle * width + middle**3) / width
    shift, scale = means, variances
    for _ in range(_STEPS):
        # posterior mean: site mean and prior mean weighted by their precisions
        new_shift = (prior_variance * count * means + scale * prior_mean) / (prior_variance * count + scale)
        squares = ((site_values - new_shift) ** 2).sum(axis=0)
        # posterior mean of the inverse gamma distribution
        new_scale = (squares / 2 + rate) / (count / 2 + shape - 1)
        change = max(_change(shift, new_shift), _change(scale, new_scale))
        shift, scale = new_shift, new_scale
        if change < _TOLERANCE:
            break
    return shift, scale


def _change(before: Array, after: Array) -> float:
    return float(np.abs(after - before).max() / max(float(np.abs(before).max()), np.finfo(float).tiny))


def harmonize_table(
    table: pd.DataFrame, outcomes: Sequence[str], site: str, protected: Sequence[str]
) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Return a table of harmonized outcomes, and the complete rows that it contains.

    If the left and right index are among the outcomes, the bilateral index is recomputed as their mean.

    Parameters
    ----------
    table
        One row per run.
    outcomes
        Numeric columns.
    site
        Column of the site.
    protected
        Columns to protect; all columns but floats are dummy-coded.

    Raises
    ------
    BadDataError
        If there is no such column, or see `harmonize`.
    """
    if site not in table:
        raise BadDataError("--harmonize", f"no column {site!r}", "name a column of participants.tsv")
    usable = table[[*outcomes, site, *protected]].notna().all(axis=1)
    complete = table[usable].reset_index(drop=True)
    if "participant_id" in complete and len(complete):  # participants count once, however often they were scanned
        people = participant_key(complete).groupby(complete[site].astype(str).to_numpy()).nunique()
        if people.min() < MIN_SITE_SIZE:
            small = f"site {people.idxmin()} has {people.min()} participants"
            raise BadDataError("ComBat", small, f"exclude sites with fewer than {MIN_SITE_SIZE}")
    columns = [code_covariate(complete[name]) for name in protected]
    kept = list[Array]()  # without columns that previous ones determine, such as a treatment given by the session
    stacked = np.column_stack([np.empty((len(complete), 0)), *columns])
    for column in (stacked - stacked.mean(axis=0)).T:
        scaled = column / (column.std() or 1.0)
        if np.linalg.matrix_rank(np.column_stack([*kept, scaled])) > len(kept):
            kept.append(scaled)
    covariates = np.column_stack(kept) if kept else np.empty((len(complete), 0))
    values = complete[list(outcomes)].to_numpy(dtype=float)
    adjusted = harmonize(values, complete[site].astype(str).to_numpy(), covariates)
    harmonized = complete.assign(**{name: adjusted[:, n] for n, name in enumerate(outcomes)})
    if {"alps_left", "alps_right", "alps_bilateral"} <= set(outcomes):
        harmonized["alps_bilateral"] = (harmonized["alps_left"] + harmonized["alps_right"]) / 2
    return harmonized, usable


def describe_imbalance(table: pd.DataFrame, site: str, group: str) -> tuple[float, str]:
    """Return Cramer's V of group and site, and the group counts by site as text.

    Cramer's V is 0 if all sites have the same proportions of the groups, and 1 if each site has only one group
    (Cramer 1946, ISBN 0-691-08004-6).
    """
    counts = pd.crosstab(table[site].astype(str), table[group].astype(str))
    if min(counts.shape, default=0) < 2:
        return float("nan"), ""
    v = float(association(counts.to_numpy(), method="cramer"))
    shares = [
        f"{name}: " + ", ".join(f"{count} {level}" for level, count in row.items()) for name, row in counts.iterrows()
    ]
    return v, "; ".join(shares)

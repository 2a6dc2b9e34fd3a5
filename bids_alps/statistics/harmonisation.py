"""ComBat: the effect of a site on mean and spread, taken out with covariates protected.

Johnson, Li & Rabinovic 2007, doi 10.1093/biostatistics/kxj037; for diffusion measures Fortin et al. 2017,
doi 10.1016/j.neuroimage.2017.08.047.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bids_alps.errors import BadDataError
from bids_alps.model import Array

SMALLEST_SITE = 5
_TOLERANCE = 1e-8
_STEPS = 1000


def harmonise(values: Array, sites: Array, covariates: Array) -> Array:
    """Return values without the effect of the site.

    Parameters
    ----------
    values
        Shape (participants, outcomes), complete; outcomes lend each other strength, so give two or more.
    sites
        Site of each participant, shape (participants,).
    covariates
        What to protect, shape (participants, k), without an intercept.

    Raises
    ------
    BadDataError
        If there are fewer than two sites or outcomes, a site has fewer than five participants, an outcome does not
        vary, or sites and covariates determine each other.
    """
    names, members = np.unique(sites, return_inverse=True)
    indicator = np.eye(len(names))[members]
    design = np.column_stack([indicator, covariates - covariates.mean(axis=0)])
    _refuse(values, names, indicator, design)
    counts = indicator.sum(axis=0)
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    grand = counts / counts.sum() @ coefficients[: len(names)]
    spread = np.sqrt(((values - design @ coefficients) ** 2).mean(axis=0))
    if (spread <= 1e-12 * np.abs(grand)).any():
        raise BadDataError("ComBat", "an outcome does not vary within sites", "leave it out")
    expected = grand + design[:, len(names) :] @ coefficients[len(names) :]
    standard = (values - expected) / spread
    adjusted = np.empty_like(standard)
    for n in range(len(names)):
        own = standard[members == n]
        shift, scale = _posterior(own)
        adjusted[members == n] = (own - shift) / np.sqrt(scale)
    return adjusted * spread + expected


def _refuse(values: Array, names: Array, indicator: Array, design: Array) -> None:
    counts = indicator.sum(axis=0)
    if len(names) < 2 or values.shape[1] < 2:
        what = f"{len(names)} site and {values.shape[1]} outcomes"
        raise BadDataError("ComBat", what, "give two or more of both, or leave harmonisation out")
    if counts.min() < SMALLEST_SITE:
        small = f"site {names[counts.argmin()]} has {counts.min():.0f} participants"
        raise BadDataError("ComBat", small, f"leave out sites with fewer than {SMALLEST_SITE}")
    rank = int(np.linalg.matrix_rank(design))
    if rank < design.shape[1]:
        what = f"sites and covariates determine each other (rank {rank} of {design.shape[1]})"
        raise BadDataError("ComBat", what, "a site must have more than one group; leave out the covariate or the site")


def _posterior(own: Array) -> tuple[Array, Array]:
    """Return shift and scale of each outcome in one site by the paper's empirical Bayes iteration."""
    count, means, variances = len(own), own.mean(axis=0), own.var(axis=0, ddof=1)
    prior_mean, prior_variance = means.mean(), means.var(ddof=1)
    middle, width = variances.mean(), max(float(variances.var(ddof=1)), np.finfo(float).tiny)
    shape, rate = (2 * width + middle**2) / width, (middle * width + middle**3) / width
    shift, scale = means, variances
    for _ in range(_STEPS):
        new_shift = (prior_variance * count * means + scale * prior_mean) / (prior_variance * count + scale)
        squares = ((own - new_shift) ** 2).sum(axis=0)
        new_scale = (squares / 2 + rate) / (count / 2 + shape - 1)
        change = max(_change(shift, new_shift), _change(scale, new_scale))
        shift, scale = new_shift, new_scale
        if change < _TOLERANCE:
            break
    return shift, scale


def _change(before: Array, after: Array) -> float:
    return float(np.abs(after - before).max() / max(float(np.abs(before).max()), np.finfo(float).tiny))


def harmonise_table(table: pd.DataFrame, outcomes: list[str], site: str, protected: list[str]) -> pd.DataFrame:
    """Return a table whose outcomes are harmonised; rows with a missing site, outcome or covariate are left out.

    Parameters
    ----------
    table
        One row a run.
    outcomes
        Numeric columns.
    site
        Column of the site.
    protected
        Columns to protect; categories become indicators.
    """
    if site not in table:
        raise BadDataError("--harmonise", f"no column {site!r}", "name a column of participants.tsv")
    complete = table.dropna(subset=[*outcomes, site, *protected]).reset_index(drop=True)
    covariates = pd.get_dummies(complete[protected], drop_first=True, dtype=float).to_numpy(dtype=float)
    values = complete[outcomes].to_numpy(dtype=float)
    adjusted = harmonise(values, complete[site].astype(str).to_numpy(), covariates.reshape(len(complete), -1))
    return complete.assign(**{name: adjusted[:, n] for n, name in enumerate(outcomes)})

"""Sample size for a new study."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import optimize
from statsmodels.stats.power import TTestIndPower


def required_group_size(effect: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest group size for a two-sided t-test of given power; NaN for effects below 0.01.

    Examples
    --------
    >>> required_group_size(0.5), required_group_size(-0.8)
    (64.0, 26.0)
    """
    if not math.isfinite(effect) or abs(effect) < 0.01:
        return math.nan
    power_of = TTestIndPower().power
    top = 2.0
    while power_of(abs(effect), top, alpha) < power:
        top *= 2
    if top == 2:
        return top
    # bisection: the solver of statsmodels does not converge below an effect of about 0.02
    exact = optimize.brentq(lambda n: power_of(abs(effect), n, alpha) - power, top / 2, top, xtol=1e-6)
    return float(math.ceil(float(exact) - 1e-6))


def required_group_sizes(comparison: pd.DataFrame, *, alpha: float = 0.05, power: float = 0.8) -> pd.DataFrame:
    """Return n per group by outcome, for the observed effect and for its lower confidence limit."""
    table = comparison.reindex(columns=["outcome", "group_a", "group_b", "hedges_g"]).copy()
    ends = comparison.reindex(columns=["hedges_g_ci_low", "hedges_g_ci_high"]).to_numpy(dtype=float)
    weak = np.where(np.sign(ends[:, 0]) == np.sign(ends[:, 1]), np.abs(ends).min(axis=1), np.nan)
    table["n_per_group"] = [required_group_size(g, alpha=alpha, power=power) for g in table["hedges_g"]]
    table["n_per_group_conservative"] = [required_group_size(g, alpha=alpha, power=power) for g in weak]
    return table.assign(alpha=alpha, power=power)

"""How many participants a study asks for."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import optimize, stats


def power_of(effect: float, n: float, *, alpha: float = 0.05) -> float:
    """Return the power of a two-sided t-test of two groups of `n` each for a standardised effect.

    Examples
    --------
    >>> round(power_of(0.5, 64), 3)
    0.801
    """
    freedom, shift = 2 * n - 2, abs(effect) * math.sqrt(n / 2)
    edge = stats.t.ppf(1 - alpha / 2, freedom)
    return float(stats.nct.sf(edge, freedom, shift) + stats.nct.cdf(-edge, freedom, shift))


def find_group_size(effect: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest group size with that power; NaN where the effect is below .01 or unknown.

    Examples
    --------
    >>> find_group_size(0.5), find_group_size(-0.8)
    (64.0, 26.0)
    """
    if not math.isfinite(effect) or abs(effect) < 0.01:
        return math.nan
    if power_of(effect, 2, alpha=alpha) >= power:
        return 2.0
    top = 2.0
    while power_of(effect, top, alpha=alpha) < power:
        top *= 2
    exact = optimize.brentq(lambda n: power_of(effect, n, alpha=alpha) - power, top / 2, top, xtol=1e-6)
    return float(math.ceil(float(exact) - 1e-6))


def find_group_sizes(comparison: pd.DataFrame, *, alpha: float = 0.05, power: float = 0.8) -> pd.DataFrame:
    """Return, per compared outcome, n per group for the observed effect and for the weak end of its interval."""
    table = comparison.reindex(columns=["outcome", "group_a", "group_b", "hedges_g"]).copy()
    ends = comparison.reindex(columns=["hedges_g_ci_low", "hedges_g_ci_high"]).to_numpy(dtype=float)
    weak = np.where(np.sign(ends[:, 0]) == np.sign(ends[:, 1]), np.abs(ends).min(axis=1), np.nan)
    table["n_per_group"] = [find_group_size(g, alpha=alpha, power=power) for g in table["hedges_g"]]
    table["n_per_group_weak"] = [find_group_size(g, alpha=alpha, power=power) for g in weak]
    return table.assign(alpha=alpha, power=power)

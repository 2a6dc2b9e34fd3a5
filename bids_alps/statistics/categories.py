"""Comparison of categorical variables: counts, chi-square tests, Fisher's exact test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

_EXPECTED = 5
_DRAWS = 9_999


def compare_categories(
    variable: pd.Series[Any], group: pd.Series[Any], *, test: str = "rule", seed: int = 0
) -> dict[str, Any]:
    """Test whether the distribution of a category differs between groups.

    Pearson's chi-square; with any expected count below 5, Fisher's exact test for two by two and a Monte Carlo
    chi-square with fixed margins for more (Hope 1968, doi 10.1111/j.2517-6161.1968.tb00759.x). With `test`
    ``student`` the N-1 chi-square test that accompanies Student's t (Campbell 2007, doi 10.1002/sim.2832).

    Parameters
    ----------
    variable, group
        Values by participant; missing values are omitted.
    test
        ``rule``, or another of the tests of numbers.
    seed
        Seed of the Monte Carlo draws.

    Returns
    -------
    dict
        ``test, statistic, df, p``; NaN if there is nothing to compare.
    """
    counts = pd.crosstab(
        variable.astype(str).where(variable.notna()), group.astype(str).where(group.notna())
    ).to_numpy()
    result: dict[str, Any] = {"test": "none", "statistic": np.nan, "df": np.nan, "p": np.nan}
    if min(counts.shape, default=0) < 2:
        return result
    chi2: Any = stats.chi2_contingency(counts, correction=False)
    statistic, df = float(chi2.statistic), float(chi2.dof)
    if test == "student":
        total = counts.sum()
        statistic *= (total - 1) / total
        return {"test": "N-1 chi-square", "statistic": statistic, "df": df, "p": float(stats.chi2.sf(statistic, df))}
    if chi2.expected_freq.min() >= _EXPECTED:
        return {"test": "chi-square", "statistic": statistic, "df": df, "p": float(chi2.pvalue)}
    if counts.shape == (2, 2):
        fisher: Any = stats.fisher_exact(counts)
        return {"test": "Fisher", "statistic": float(fisher.statistic), "df": np.nan, "p": float(fisher.pvalue)}
    expected = chi2.expected_freq
    tables = stats.random_table(counts.sum(axis=1), counts.sum(axis=0)).rvs(_DRAWS, random_state=seed)
    simulated = ((tables - expected) ** 2 / expected).sum(axis=(1, 2))
    # the observed table is one of the draws (p is never 0); tables with an equal statistic count despite rounding
    p = float((1 + (simulated >= statistic * (1 - 1e-9)).sum()) / (1 + _DRAWS))
    return {"test": "Monte Carlo chi-square", "statistic": statistic, "df": df, "p": p}

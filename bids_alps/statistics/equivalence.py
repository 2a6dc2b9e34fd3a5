"""Equivalence of two groups within a margin: two one-sided tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats


def assess_equivalence(compared: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Return the two one-sided tests of adjusted differences (Schuirmann 1987, doi 10.1007/BF01068419).

    Parameters
    ----------
    compared
        Rows of `compare_adjusted`: ``difference``, ``statistic``, ``df``.
    margin
        Equivalence margin, in units of the outcome.

    Returns
    -------
    DataFrame
        Rows ``outcome, group_a, group_b, difference, margin, p_equivalence, ci_low, ci_high``; the interval is a
        90 % interval, which lies within the margin if p < 0.05.

    Examples
    --------
    >>> row = {"outcome": "y", "group_a": "a", "group_b": "b", "difference": 0.0, "statistic": 0.0, "df": 1e9}
    >>> compared = pd.DataFrame([row | {"difference": 1.0, "statistic": 1.0}])
    >>> float(assess_equivalence(compared, 1 + 1.6448536)["p_equivalence"].round(4).iloc[0])
    0.05
    """
    table = compared[["outcome", "group_a", "group_b", "difference"]].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        # t = difference / se
        se = (compared["difference"] / compared["statistic"]).abs()
    dof = compared["df"]
    # both one-sided hypotheses must be rejected: p is the larger of the two; 5 % each gives the 90 % interval
    lower = stats.t.sf((table["difference"] + margin) / se, dof)
    upper = stats.t.cdf((table["difference"] - margin) / se, dof)
    reach = stats.t.ppf(0.95, dof) * se
    return table.assign(
        margin=margin,
        p_equivalence=np.maximum(lower, upper),
        ci_low=table["difference"] - reach,
        ci_high=table["difference"] + reach,
    )

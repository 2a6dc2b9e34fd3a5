"""Groups beside each other: a paper's first table (description) and second (comparison)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from bids_alps.model import Array

LARGE = 30
RULE = (
    f"Welch's t-test where each group has {LARGE} values or more or passes Shapiro-Wilk (p >= .05), "
    "otherwise the Mann-Whitney test"
)
_SMALLEST = 3  # values that the test of normality asks for


def to_floats(column: pd.Series[Any]) -> Array:
    """Return a column as floats; what is no number becomes NaN."""
    values: Array = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def describe_groups(table: pd.DataFrame, variables: Sequence[str], group: str | None = None) -> pd.DataFrame:
    """Describe numeric and categorical variables of all rows and of each group.

    Returns
    -------
    DataFrame
        Rows ``variable, level, group, n, mean, sd, median, q1, q3``; categories give a row a level, `n` its count.
    """
    parts = {"all": table}
    if group is not None:
        parts |= {str(name): part for name, part in table.groupby(group, sort=True)}
    rows = []
    for variable in variables:
        for name, part in parts.items():
            rows += _described(part[variable], variable, name, numeric=is_numeric(table[variable]))
    columns = ["variable", "level", "group", "n", "mean", "sd", "median", "q1", "q3"]
    return pd.DataFrame(rows, columns=columns)


def is_numeric(column: pd.Series[Any]) -> bool:
    """Tell whether most of what a column has are numbers."""
    present = column.dropna()
    return bool(len(present)) and bool(np.isfinite(to_floats(present)).mean() > 0.5)


def _described(column: pd.Series[Any], variable: str, group: str, *, numeric: bool) -> list[dict[str, Any]]:
    shared = {"variable": variable, "group": group}
    if not numeric:
        counts = column.dropna().astype(str).value_counts().sort_index()
        return [{**shared, "level": level, "n": int(count)} for level, count in counts.items()]
    values = to_floats(column)
    values = values[np.isfinite(values)]
    if not values.size:
        return [{**shared, "n": 0}]
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    sd = values.std(ddof=1) if values.size > 1 else np.nan
    return [{**shared, "n": values.size, "mean": values.mean(), "sd": sd, "median": median, "q1": q1, "q3": q3}]


def compare_groups(
    table: pd.DataFrame, families: Mapping[str, Sequence[str]], group: str, *, test: str = "rule"
) -> pd.DataFrame:
    """Compare outcomes between every pair of groups.

    Parameters
    ----------
    table
        One row an observation; observations are taken to be independent.
    families
        Outcomes by family; p-values are corrected within a family and a pair of groups.
    group
        Column of the groups.
    test
        ``welch``, ``student``, ``mann-whitney``, or ``rule``: see `RULE`.

    Returns
    -------
    DataFrame
        One row per outcome and pair: n, mean and SD of both, test, statistic, p, p by Bonferroni and by
        Benjamini-Hochberg, difference (b - a) and Hedges' g with 95 % intervals. NaN where a group has fewer than
        two values or nothing varies.
    """
    names = sorted(str(name) for name in table[group].dropna().unique())
    membership = table[group].astype(str).where(table[group].notna())
    blocks = []
    for first, second in combinations(names, 2):
        for family, outcomes in families.items():
            rows = [
                {
                    "family": family,
                    "outcome": outcome,
                    "group_a": first,
                    "group_b": second,
                    **compare(
                        to_floats(table.loc[membership == first, outcome]),
                        to_floats(table.loc[membership == second, outcome]),
                        test=test,
                    ),
                }
                for outcome in outcomes
            ]
            if rows:
                blocks.append(with_corrected(pd.DataFrame(rows)))
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()


def compare(a: Array, b: Array, *, test: str = "rule") -> dict[str, Any]:
    """Compare two samples; see `compare_groups`.

    Examples
    --------
    >>> found = compare(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]), test="student")
    >>> found["difference"], round(found["hedges_g"], 3), round(found["p"], 4)
    (1.0, 0.798, 0.2879)
    """
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    found: dict[str, Any] = {"n_a": a.size, "n_b": b.size}
    for name, values in (("a", a), ("b", b)):
        found[f"mean_{name}"] = values.mean() if values.size else np.nan
        found[f"sd_{name}"] = values.std(ddof=1) if values.size > 1 else np.nan
    spread = float(np.nan_to_num(found["sd_a"]) + np.nan_to_num(found["sd_b"]))
    if min(a.size, b.size) < 2 or spread == 0:
        return {**found, "test": "none", "statistic": np.nan, "p": np.nan}
    chosen = _chosen_test(a, b) if test == "rule" else test
    if chosen == "mann-whitney":
        result: Any = stats.mannwhitneyu(b, a)
    else:
        result = stats.ttest_ind(b, a, equal_var=chosen == "student")
    interval = stats.ttest_ind(b, a, equal_var=chosen == "student").confidence_interval()
    g, low, high = hedges_g(a, b)
    return {
        **found,
        "test": chosen,
        "statistic": float(result.statistic),
        "p": float(result.pvalue),
        "difference": float(b.mean() - a.mean()),
        "difference_ci_low": float(interval.low),
        "difference_ci_high": float(interval.high),
        "hedges_g": g,
        "hedges_g_ci_low": low,
        "hedges_g_ci_high": high,
    }


def _chosen_test(a: Array, b: Array) -> str:
    return "welch" if all(_nearly_normal(values) for values in (a, b)) else "mann-whitney"


def _nearly_normal(values: Array) -> bool:
    if values.size >= LARGE:
        return True
    if values.size < _SMALLEST or np.ptp(values) == 0:
        return False
    return bool(stats.shapiro(values).pvalue >= 0.05)


def hedges_g(a: Array, b: Array) -> tuple[float, float, float]:
    """Return Hedges' g of b against a with its 95 % interval (Hedges & Olkin 1985, doi 10.1016/C2009-0-03396-0)."""
    freedom = a.size + b.size - 2
    pooled = np.sqrt(((a.size - 1) * a.var(ddof=1) + (b.size - 1) * b.var(ddof=1)) / freedom)
    exact = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)
    g = float((b.mean() - a.mean()) / pooled * np.exp(exact) / np.sqrt(freedom / 2))
    se = np.sqrt((a.size + b.size) / (a.size * b.size) + g**2 / (2 * (a.size + b.size)))
    reach = float(stats.norm.ppf(0.975) * se)
    return g, g - reach, g + reach


def with_corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add p-values by Bonferroni and by Benjamini-Hochberg over the rows that have one."""
    found = table["p"].notna().to_numpy()
    for name, method in (("p_bonferroni", "bonferroni"), ("p_fdr", "fdr_bh")):
        corrected = np.full(len(table), np.nan)
        if found.any():
            corrected[found] = multipletests(table["p"].to_numpy(dtype=float)[found], method=method)[1]
        table[name] = corrected
    return table


def compare_categories(table: pd.DataFrame, variables: Sequence[str], group: str) -> pd.DataFrame:
    """Compare categorical variables between groups: Fisher where two by two and a count below 5 is expected, else chi2.

    Returns
    -------
    DataFrame
        Rows ``variable, test, statistic, p``; NaN where there is nothing to compare.
    """
    rows = []
    for variable in variables:
        counts = pd.crosstab(table[variable], table[group])
        row: dict[str, Any] = {"variable": variable, "test": "none", "statistic": np.nan, "p": np.nan}
        if min(counts.shape) > 1:
            chi2 = stats.chi2_contingency(counts.to_numpy(), correction=False)
            row |= {"test": "chi-square", "statistic": float(chi2.statistic), "p": float(chi2.pvalue)}
            if counts.shape == (2, 2) and chi2.expected_freq.min() < 5:
                fisher: Any = stats.fisher_exact(counts.to_numpy())
                row |= {"test": "Fisher", "statistic": float(fisher.statistic), "p": float(fisher.pvalue)}
        rows.append(row)
    return pd.DataFrame(rows, columns=["variable", "test", "statistic", "p"])

"""Demographics of the participants ("Table 1"), with the balance between groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.statistics.categories import compare_categories
from bids_alps.statistics.comparison import compare_all, group_names
from bids_alps.statistics.multiplicity import add_corrected_p_values
from bids_alps.statistics.samples import choose_test, compare, to_floats
from bids_alps.statistics.variables import Variable

UNBALANCED = 0.25
"""Standardized difference above which regression adjustment becomes unreliable: Rubin 2001,
doi 10.1023/A:1020363010465."""


def describe_groups(table: pd.DataFrame, variables: Sequence[Variable], group: str | None = None) -> pd.DataFrame:
    """Describe variables of all participants and of each group.

    Returns
    -------
    DataFrame
        Rows ``variable, type, type_source, level, group, n, missing, percent, mean, sd, median, q1, q3``. Categories
        have one row per level, with its count `n` and its `percent` of non-missing values. Text and constant variables
        have a single row.
    """
    parts = {"all": table}
    if group is not None:
        parts |= {name: table[table[group].astype(str) == name] for name in group_names(table[group])}
    rows = []
    for variable in variables:
        for name, part in parts.items():
            shared = {
                "variable": variable.name,
                "type": variable.kind,
                "type_source": variable.decided_by,
                "group": name,
            }
            rows += [shared | row for row in _described(part[variable.name], variable.kind)]
    columns = ["variable", "type", "type_source", "level", "group", "n", "missing", "percent"]
    return pd.DataFrame(rows, columns=[*columns, "mean", "sd", "median", "q1", "q3"])


def _described(column: pd.Series[Any], kind: str) -> list[dict[str, Any]]:
    missing = int(column.isna().sum())
    if kind == "category":
        counts = column.dropna().astype(str).value_counts().sort_index()
        total = int(counts.sum())
        return [
            {"level": level, "n": int(count), "missing": missing, "percent": 100 * count / total}
            for level, count in counts.items()
        ]
    counted: dict[str, Any] = {"n": len(column) - missing, "missing": missing}
    if kind != "number":
        return [counted]
    values = to_floats(column)
    values = values[np.isfinite(values)]
    if not values.size:
        return [counted]
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    sd = values.std(ddof=1) if values.size > 1 else np.nan
    return [counted | {"mean": values.mean(), "sd": sd, "median": median, "q1": q1, "q3": q3}]


def compare_participants(
    table: pd.DataFrame, variables: Sequence[Variable], group: str, *, test: str = "rule", seed: int = 0
) -> pd.DataFrame:
    """Compare the variables of the participants between groups: one test and standardized difference per variable.

    Returns
    -------
    DataFrame
        Rows ``variable, type, groups, n, test, statistic, df, df_error, p``, p corrected over the variables, and
        ``standardized_difference``: the largest between two groups (Austin 2009, doi 10.1002/sim.3697), unsigned
        for categories of more than two levels (Yang & Dalton 2012, SAS Global Forum 335).
    """
    names = group_names(table[group])
    membership = table[group].astype(str).where(table[group].notna())
    rows = []
    for variable in variables:
        if variable.kind not in ("number", "category") or variable.name == group:
            continue
        column = table[variable.name]
        parts = [column[membership == name] for name in names]
        if variable.kind == "category":
            tested = compare_categories(column, membership, test=test, seed=seed)
        else:
            samples = {name: to_floats(part) for name, part in zip(names, parts, strict=True)}
            chosen = choose_test(list(samples.values()), test)
            tested = compare(*samples.values(), test=chosen) if len(names) == 2 else compare_all(samples, chosen)
        n_known = int((column.notna() & membership.notna()).sum())
        differences = [standardized_difference(a, b, variable.kind) for a, b in combinations(parts, 2)]
        largest = max((d for d in differences if np.isfinite(d)), key=abs, default=np.nan)
        shared: dict[str, Any] = {"variable": variable.name, "type": variable.kind, "groups": len(names), "n": n_known}
        rows.append(tested | shared | {"standardized_difference": largest})
    columns = ["variable", "type", "groups", "n", "test", "statistic", "df", "df_error", "p", "standardized_difference"]
    compared = pd.DataFrame(rows, columns=columns)
    return add_corrected_p_values(compared) if len(compared) else compared


def standardized_difference(a: pd.Series[Any], b: pd.Series[Any], kind: str) -> float:
    """Return the standardized difference of a variable between two groups; see `compare_participants`.

    Examples
    --------
    >>> a, b = pd.Series(["F"] * 6 + ["M"] * 4), pd.Series(["F"] * 4 + ["M"] * 6)
    >>> round(standardized_difference(a, b, "category"), 4)
    0.4082
    """
    a, b = a.dropna(), b.dropna()
    if not len(a) or not len(b):
        return float("nan")
    if kind == "number":
        x, y = to_floats(a), to_floats(b)
        if x.size < 2 or y.size < 2:
            return float("nan")
        # root of the mean variance, whatever the sizes of the groups
        spread = np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
        return float((y.mean() - x.mean()) / spread) if spread > 0 else float("nan")
    levels = sorted({*a.astype(str), *b.astype(str)})[1:]
    if not levels:
        return float("nan")
    p, q = (np.array([(part.astype(str) == level).mean() for level in levels]) for part in (a, b))
    # Mahalanobis distance of the proportions without the first level; their multinomial covariance is averaged over
    # the groups
    covariance = np.add(*(np.diag(share) - np.outer(share, share) for share in (p, q))) / 2
    difference = q - p
    distance = float(difference @ np.linalg.pinv(covariance) @ difference)
    return float(np.sqrt(max(distance, 0.0))) if distance or not difference.any() else float("nan")

"""Comparison of groups: an omnibus test for more than two groups, then all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from bids_alps.model import Array
from bids_alps.statistics.multiplicity import add_corrected_p_values
from bids_alps.statistics.samples import choose_test, compare, to_floats

OMNIBUS = {"welch": "Welch's ANOVA", "student": "one-way ANOVA", "mann-whitney": "Kruskal-Wallis"}


def group_names(column: pd.Series[Any], reference: str | None = None) -> list[str]:
    """Return the groups of a column in order: the reference first, so that differences are other minus reference."""
    names = {str(name) for name in column.dropna().unique()}
    return sorted(names, key=lambda name: (name != reference, name.lower(), name))


def compare_groups(
    table: pd.DataFrame,
    families: Mapping[str, Sequence[str]],
    group: str,
    *,
    test: str = "rule",
    reference: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare outcomes between groups: omnibus test and all pairs.

    Parameters
    ----------
    table
        One row per participant.
    families
        Outcomes by family; p-values are corrected over all outcomes and pairs of a family.
    group
        Column of the groups.
    test
        ``welch``, ``student``, ``mann-whitney``, or ``rule``: see `samples.RULE`. It is chosen once per outcome for
        all groups, so that the omnibus and pairwise tests are consistent.
    reference
        Reference group.

    Returns
    -------
    tuple of DataFrame
        Omnibus tests, one row per outcome (empty for two groups); and pairs, one row per outcome and pair: see
        `compare`, with corrected p-values and the number of participants who lack the outcome.
    """
    names = group_names(table[group], reference)
    membership = table[group].astype(str).where(table[group].notna()).to_numpy()
    every, pairs = list[pd.DataFrame](), list[pd.DataFrame]()
    for family, outcomes in families.items():
        overall, rows = [], []
        for outcome in outcomes:
            values = to_floats(table[outcome])
            samples = {name: values[membership == name] for name in names}
            test_name = choose_test(list(samples.values()), test)
            shared = {"family": family, "outcome": outcome}
            missing = int(np.isnan(np.concatenate(list(samples.values()))).sum()) if samples else 0
            overall.append({**shared, **compare_all(samples, test_name), "n_missing": missing})
            rows += [
                {**shared, "group_a": a, "group_b": b, **compare(samples[a], samples[b], test=test_name)}
                for a, b in combinations(names, 2)
            ]
        if rows:
            every.append(add_corrected_p_values(pd.DataFrame(overall)))
            counts = {row["outcome"]: row["n_missing"] for row in overall}
            pairs.append(
                add_corrected_p_values(pd.DataFrame(rows).assign(n_missing=[counts[r["outcome"]] for r in rows]))
            )
    omnibus = pd.concat(every, ignore_index=True) if every and len(names) > 2 else pd.DataFrame()
    return omnibus, pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame()


def compare_all(samples: Mapping[str, Array], test: str) -> dict[str, Any]:
    """Test whether any of several groups differ.

    Welch 1951, doi 10.1093/biomet/38.3-4.330; Kruskal & Wallis 1952, doi 10.1080/01621459.1952.10483441. The effect is
    omega squared, the fraction of variance explained by the groups, with the degrees of freedom of the statistic
    (epsilon squared for Kruskal-Wallis), not below 0.

    Parameters
    ----------
    samples
        Values by group; NaN and groups with fewer than two values are omitted.
    test
        ``welch``, ``student`` or ``mann-whitney`` (Kruskal-Wallis).

    Examples
    --------
    >>> samples = {"a": np.array([1.0, 2, 3]), "b": np.array([2.0, 3, 4]), "c": np.array([6.0, 7, 8])}
    >>> row = compare_all(samples, "student")
    >>> row["test"], round(row["statistic"], 3), row["df"], row["df_error"]
    ('one-way ANOVA', 21.0, 2.0, 6.0)
    """
    kept = {name: values[np.isfinite(values)] for name, values in samples.items()}
    kept = {name: values for name, values in kept.items() if values.size > 1}
    n, k = sum(values.size for values in kept.values()), len(kept)
    result: dict[str, Any] = {"groups": k, "n": n}
    empty = {
        "test": "none",
        "statistic": np.nan,
        "df": np.nan,
        "df_error": np.nan,
        "p": np.nan,
        "variance_explained": np.nan,
    }
    if k < 2 or not any(np.ptp(values) > 0 for values in kept.values()):
        return result | empty
    if test == "welch" and any(np.ptp(values) == 0 for values in kept.values()):
        return result | empty  # Welch weights are undefined without variance
    if test == "mann-whitney":
        ranked: Any = stats.kruskal(*kept.values())
        # epsilon squared of the ranks: H minus its expectation k - 1, over n - k
        share = (float(ranked.statistic) - k + 1) / (n - k)
        return result | {
            "test": OMNIBUS[test],
            "statistic": float(ranked.statistic),
            "df": float(k - 1),
            "df_error": np.nan,
            "p": float(ranked.pvalue),
            "variance_explained": max(share, 0.0),
        }
    fitted = anova_oneway(
        list(kept.values()), use_var="equal" if test == "student" else "unequal", welch_correction=True
    )
    f = float(fitted.statistic)
    return result | {
        "test": OMNIBUS[test],
        "statistic": f,
        "df": float(fitted.df_num),
        "df_error": float(fitted.df_denom),
        "p": float(fitted.pvalue),
        # omega squared: F - 1, since F is about 1 without an effect
        "variance_explained": max((k - 1) * (f - 1) / ((k - 1) * (f - 1) + n), 0.0),
    }

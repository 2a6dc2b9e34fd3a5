"""Changes within participants (paired comparisons)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bids_alps.model import Array
from bids_alps.statistics.comparison import compare_groups, group_names
from bids_alps.statistics.multiplicity import add_corrected_p_values
from bids_alps.statistics.repeats import PARTICIPANT_KEY
from bids_alps.statistics.samples import choose_test, compare_pairs, to_floats


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinFactor:
    """Specification of a within-participant comparison.

    Parameters
    ----------
    factor, levels
        Within-participant factor, and its levels in order.
    test
        See `compare_pairs`.
    group, reference
        Between-participant groups, for which the change is also reported separately, and the reference group;
        None for none.
    first
        Level from which changes are compared between groups; None for the first of `levels`.
    """

    factor: str
    levels: tuple[str, ...]
    test: str = "rule"
    group: str | None = None
    reference: str | None = None
    first: str | None = None


def compare_within(
    table: pd.DataFrame, families: Mapping[str, Sequence[str]], comparison: WithinFactor
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare outcomes between the levels of a factor that varies within participants.

    Parameters
    ----------
    table
        One row per participant and level, with the participant in ``_person``; duplicate rows are averaged. Groups are
        constant within participants.
    families
        Outcomes by family; p-values are corrected over all rows of a family.
    comparison
        Factor, levels and groups.

    Returns
    -------
    tuple of DataFrame
        Omnibus tests for more than two levels, over participants with all levels; and pairs, one row per
        outcome, pair of levels and group: see `compare_pairs`.
    """
    factor, levels, group, test = comparison.factor, comparison.levels, comparison.group, comparison.test
    wide = {name: _wide(table, name, factor, levels) for outcomes in families.values() for name in outcomes}
    groups = {"all": None} | {name: name for name in (group_names(table[group], comparison.reference) if group else [])}
    group_of = table.drop_duplicates(PARTICIPANT_KEY).set_index(PARTICIPANT_KEY)[group].astype(str) if group else None
    omnibus_tables, pairs = list[pd.DataFrame](), list[pd.DataFrame]()
    for family, outcomes in families.items():
        overall, rows = [], []
        for outcome in outcomes:
            values = wide[outcome]
            labels = {"family": family, "outcome": outcome, "factor": factor}
            overall.append(labels | compare_levels(values.to_numpy(), test=test))
            for name, selected in groups.items():
                group_values = (
                    values
                    if selected is None or group_of is None
                    else values[group_of.reindex(values.index) == selected]
                )
                rows += [
                    {**labels, "level_a": a, "level_b": b, "group": name}
                    | compare_pairs(group_values[a].to_numpy(), group_values[b].to_numpy(), test=test)
                    for a, b in combinations(levels, 2)
                ]
        if rows:
            omnibus_tables.append(add_corrected_p_values(pd.DataFrame(overall)))
            pairs.append(add_corrected_p_values(pd.DataFrame(rows)))
    omnibus = pd.concat(omnibus_tables, ignore_index=True) if omnibus_tables and len(levels) > 2 else pd.DataFrame()
    return omnibus, pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame()


def _wide(table: pd.DataFrame, outcome: str, factor: str, levels: Sequence[str]) -> pd.DataFrame:
    values = table.assign(_value=to_floats(table[outcome]), _level=table[factor].astype(str))
    return values.pivot_table("_value", PARTICIPANT_KEY, "_level", observed=True).reindex(columns=list(levels))


def compare_levels(values: Array, *, test: str = "rule") -> dict[str, Any]:
    """Test whether any of several levels differ within participants: Hotelling's T^2 of the changes, or Friedman's.

    Hotelling 1931, doi 10.1214/aoms/1177732979, which does not assume sphericity, unlike repeated-measures
    ANOVA; Friedman 1937, doi 10.1080/01621459.1937.10503522.

    Parameters
    ----------
    values
        Shape (participants, levels); participants with missing levels are excluded.
    test
        ``mann-whitney`` for Friedman's, ``rule`` by the changes between levels: see `samples.RULE`.
    """
    complete = values[np.isfinite(values).all(axis=1)]
    n, k = complete.shape
    counts: dict[str, Any] = {"groups": k, "n": n}
    empty = {"test": "none", "statistic": np.nan, "df": np.nan, "df_error": np.nan, "p": np.nan}
    if n < k + 1 or k < 2:
        return counts | empty
    # successive changes span all contrasts of the levels: T^2 is the same for any such basis
    changes = np.diff(complete, axis=1)
    if choose_test(list(changes.T), test) == "mann-whitney":
        if k < 3:
            return counts | empty
        ranked: Any = stats.friedmanchisquare(*complete.T)
        result = {"statistic": float(ranked.statistic), "df": k - 1.0, "df_error": np.nan, "p": float(ranked.pvalue)}
        return counts | {"test": "Friedman"} | result
    spread = np.atleast_2d(np.cov(changes, rowvar=False))
    if np.linalg.matrix_rank(spread) < k - 1:
        return counts | empty
    mean = changes.mean(axis=0)
    # Hotelling's T^2 of the k - 1 successive changes, scaled to F(k - 1, n - k + 1)
    f = float(n * mean @ np.linalg.solve(spread, mean)) * (n - k + 1) / ((n - 1) * (k - 1))
    p = float(stats.f.sf(f, k - 1, n - k + 1))
    return counts | {"test": "Hotelling's T-squared", "statistic": f, "df": k - 1.0, "df_error": n - k + 1.0, "p": p}


def compare_changes(
    table: pd.DataFrame, families: Mapping[str, Sequence[str]], comparison: WithinFactor
) -> pd.DataFrame:
    """Compare the change from the first to every other level between groups; see `compare_within`.

    Returns
    -------
    DataFrame
        As the pairs of `compare_groups`, with ``factor``, ``level_a`` and ``level_b``; means, difference and effect are
        those of the change.
    """
    factor, levels, group = comparison.factor, comparison.levels, str(comparison.group)
    group_of = table.drop_duplicates(PARTICIPANT_KEY).set_index(PARTICIPANT_KEY)[group]
    first = comparison.first if comparison.first in levels else levels[0]
    blocks = []
    for other in (level for level in levels if level != first):
        # always from the earlier to the later level, wherever groups are compared
        a, b = sorted((first, other), key=levels.index)
        changes = {}
        for outcomes in families.values():
            for outcome in outcomes:
                wide = _wide(table, outcome, factor, levels)
                changes[outcome] = wide[b] - wide[a]
        people = pd.DataFrame(changes)
        people[group] = group_of.reindex(people.index)
        complete = people[people[list(changes)].notna().any(axis=1)]
        _, pairs = compare_groups(complete, families, group, test=comparison.test, reference=comparison.reference)
        blocks.append(pairs.assign(factor=factor, level_a=a, level_b=b))
    comparisons = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()
    if comparisons.empty:
        return comparisons
    return pd.concat(
        [add_corrected_p_values(part.copy()) for _, part in comparisons.groupby("family", sort=False)],
        ignore_index=True,
    )

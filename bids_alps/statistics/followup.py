"""Within-participant comparisons: groups that vary within participants, and repeated sessions."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from bids_alps.statistics.comparison import group_names
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.paired import WithinFactor, compare_changes, compare_within
from bids_alps.statistics.plan import PRIMARY_OUTCOME, Plan
from bids_alps.statistics.repeats import MATCHED, PARTICIPANT_KEY, VISIT, Visits, average_visits
from bids_alps.statistics.sites import warn_of_sites


def compare_repeats(visits: Visits, plan: Plan, findings: Findings, *, within: bool) -> None:
    """Compare groups that vary within participants, and repeated sessions."""
    if MATCHED in visits.runs and visits.runs[MATCHED].any():  # phantoms and others who are not in participants.tsv
        visits = replace(visits, runs=visits.runs[visits.runs[MATCHED].astype(bool)])
    factor = str(plan.group) if within else "session"
    levels = list(visits.order)
    if within:  # the reference first, unless the levels are the visits
        names = group_names(visits.runs[factor], plan.reference)
        levels = [name for name in levels if name in names]
        levels = levels if len(levels) == len(names) else names
    runs = visits.runs[visits.runs[factor].notna()] if within else average_visits(visits.runs)
    table = runs.assign(**{factor: runs[factor if within else VISIT].astype(str)})
    attended = table.groupby(factor)[PARTICIPANT_KEY].nunique()
    levels = [level for level in levels if attended.get(level, 0) > 1]  # a single participant has no pair to compare
    if len(levels) < 2:
        return
    findings.facts |= {"factor": factor, "levels": levels}
    usable = not within and plan.group is not None and table[plan.group].notna().any()
    comparison = WithinFactor(
        factor=factor,
        levels=tuple(levels),
        test=plan.test,
        group=plan.group if usable else None,
        reference=plan.reference,
        first=None if within else visits.first,
    )
    warn_of_sites(table[table[factor].isin(levels)], plan, findings, factor)
    findings.facts["trajectories"] = _trajectories(table, comparison)

    def paired() -> dict[str, pd.DataFrame]:
        omnibus, pairs = compare_within(table, plan.families(table), comparison)
        return {"within": pairs, "within_omnibus": omnibus}

    findings.attempt("Paired comparison", paired)
    if usable:
        families = plan.families(table)
        findings.attempt("Difference of change", lambda: {"interaction": compare_changes(table, families, comparison)})


def _trajectories(table: pd.DataFrame, comparison: WithinFactor) -> pd.DataFrame:
    """Return the primary outcome of each participant by level, with the group, for the figure."""
    named = table.assign(_level=table[comparison.factor].astype(str))
    wide = named.pivot_table(PRIMARY_OUTCOME, PARTICIPANT_KEY, "_level", observed=True).reindex(
        columns=list(comparison.levels)
    )
    groups = (
        table.drop_duplicates(PARTICIPANT_KEY).set_index(PARTICIPANT_KEY)[str(comparison.group)].astype(str)
        if comparison.group
        else ""
    )
    if comparison.group is None:
        return wide.assign(group="")
    known = wide.assign(group=groups)
    names = group_names(table[comparison.group], comparison.reference)
    return known[known["group"].isin(names)].sort_values("group", key=lambda own: own.map(names.index), kind="stable")

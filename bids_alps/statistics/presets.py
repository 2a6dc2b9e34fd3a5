"""Separate analyses of the ROI presets; the first preset is the primary one."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from bids_alps.statistics.analysis import analyze, select_people
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan, resolve_covariates
from bids_alps.statistics.repeats import find_visits
from bids_alps.statistics.selection import select_runs
from bids_alps.statistics.sensitivity import INDEX, STATUSES, find_specifications
from bids_alps.statistics.sites import harmonize_runs


def order_presets(runs: pd.DataFrame) -> list[str]:
    """Return the presets, starting with the one listed first by most runs."""
    ids = list(runs.columns[: list(runs.columns).index("alps_left")])
    leading = runs.drop_duplicates(ids)["roi_preset"].value_counts(sort=False)
    names = list(dict.fromkeys(runs["roi_preset"]))
    return sorted(names, key=lambda name: -int(leading.get(name, 0)))


def analyze_presets(runs: pd.DataFrame, plan: Plan) -> dict[str, Findings]:
    """Analyze the runs of each preset; the specification curve over all presets is part of the first.

    Parameters
    ----------
    runs
        One row per run and preset: see `analyze`.
    plan
        Plan of the analysis.
    """
    presets = order_presets(runs)
    findings = {preset: analyze(runs[runs["roi_preset"] == preset], plan) for preset in presets}
    first = findings[presets[0]]
    if "adjusted" in first.tables and plan.group is not None:
        first.attempt("Sensitivity", lambda: {"sensitivity": _sensitivity(runs, plan, presets, first)})
    return findings


def _sensitivity(runs: pd.DataFrame, plan: Plan, presets: list[str], first: Findings) -> pd.DataFrame:
    tables = {}
    default = "failed included" if "fail" in plan.included else next(iter(STATUSES))
    for preset in presets:
        for name, statuses in sorted(STATUSES.items(), key=lambda item: item[0] != default):
            selected = runs[(runs["roi_preset"] == preset) & runs["status"].isin(statuses)]
            if len(selected):
                tables[(preset, name)] = _people(selected, replace(plan, included=statuses))
    covariates = resolve_covariates(first.people, plan)
    return find_specifications(
        {key: table for key, table in tables.items() if len(table)},
        str(plan.group),
        covariates,
        reference=plan.reference,
        precision=plan.precision,
    )


def _people(runs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return the participants of one specification, harmonized if requested; none if that is not possible."""
    selected, _, _ = select_runs(runs, plan)
    if not len(selected):
        return selected
    findings = Findings()
    visits = find_visits(selected, plan.sessions)
    if plan.site is not None:
        visits = replace(visits, runs=harmonize_runs(visits.runs, plan, findings))
        if "harmonized" not in findings.facts:
            return selected.iloc[:0]
    people = select_people(visits, plan, Findings(), within=False)
    return people if plan.site is None else people.drop(columns=INDEX["scanner axes"], errors="ignore")

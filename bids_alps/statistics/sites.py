"""Harmonization of sites: ComBat on the runs of a cohort, with warnings."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.statistics.design import variables_of
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.harmonization import IMBALANCED, describe_imbalance, harmonize_table
from bids_alps.statistics.plan import DIFFUSIVITIES, INDICES, PRIMARY_OUTCOME, Plan, find_site, resolve_covariates
from bids_alps.statistics.repeats import PARTICIPANT_KEY, VISIT

WARNING = (
    "Not recommended: tests of harmonized values ignore that site effects were estimated from the same participants, "
    "and give false positives if the proportions of groups differ between sites. Use the comparison adjusted for "
    "site, or omit --harmonize and keep the site as a factor of the model"
)


def harmonize_runs(runs: pd.DataFrame, plan: Plan, findings: Findings) -> pd.DataFrame:
    """Return the harmonized runs, or the unchanged runs with a note if harmonization is not possible.

    Group, visit, covariates and all variables in formulas are protected. Runs without one of them are excluded.

    Parameters
    ----------
    runs
        Runs to analyze.
    plan
        Plan with the site column.
    findings
        Findings to which the harmonized table, banner and notes are added.
    """
    site = str(plan.site)
    outcomes = [*INDICES, *DIFFUSIVITIES, *plan.outcomes]
    complete_outcomes = [name for name in outcomes if name in runs and runs[name].notna().all()]
    incomplete_outcomes = [name for name in outcomes if name in runs and name not in complete_outcomes]
    protected = _protected(runs, plan, [site, *outcomes])
    try:
        harmonized, usable = harmonize_table(runs, complete_outcomes, site, protected)
    except AlpsError as error:
        findings.notes.append(f"Not harmonized. {error}")
        return runs
    reason = f"lacks {site} or a variable that ComBat protects"
    usable_runs = findings.flow.take(runs, ~usable, "incomplete for ComBat", reason)
    harmonized.index = usable_runs.index
    findings.before = usable_runs
    named = ["session" if name == VISIT else name for name in protected]
    findings.notes.append(f"Harmonized over {site} by ComBat, protecting {', '.join(named) or 'nothing'}.")
    findings.notes += [f"Not harmonized because of missing values: {', '.join(incomplete_outcomes)}."] * bool(
        incomplete_outcomes
    )
    ids = list(runs.columns)[: list(runs.columns).index("alps_left")]
    findings.tables["harmonized"] = harmonized[list(dict.fromkeys((*ids, site, *complete_outcomes)))].reset_index(
        drop=True
    )
    findings.facts["harmonized"] = site
    findings.facts["protected"] = tuple(named)
    if plan.group is not None:
        v, shares = describe_imbalance(usable_runs, site, plan.group)
        if v >= IMBALANCED:
            findings.banners.append(
                f"{site} and {plan.group} are associated (Cramer's V {v:.2f}; {shares}). {WARNING}."
            )
    return harmonized


def _protected(runs: pd.DataFrame, plan: Plan, others: list[str]) -> list[str]:
    """Return the columns whose effects harmonization must preserve: all columns used by a test or model."""
    names = [plan.group] if plan.group is not None else []
    names += [VISIT] if VISIT in runs else []
    with suppress(AlpsError):
        names += resolve_covariates(runs, plan)
    for formula in plan.formulas:
        with suppress(AlpsError):  # reported when the formula is fitted
            names += variables_of(formula)
    ids = {"participant", "participant_id", "session_id", "run", "dataset"}  # sessions are protected as visits
    wanted = [name for name in dict.fromkeys(names) if name in runs and name not in others and name not in ids]
    return [name for name in wanted if len(runs[name].dropna().unique()) > 1]


def warn_of_sites(table: pd.DataFrame, plan: Plan, findings: Findings, factor: str) -> None:
    """Add a banner if participants changed site between the levels of a factor, whose difference is tested."""
    site = plan.site or find_site(table, plan)
    if site is None or site not in table:
        return
    sites = table.groupby(PARTICIPANT_KEY)[site].nunique()
    repeated = table.groupby(PARTICIPANT_KEY).size() > 1
    changed = int((sites > 1).sum())
    if changed:
        findings.banners.append(
            f"{site} changes within {changed} of {int(repeated.sum())} participants with several runs: their change "
            "includes the difference between sites, which harmonization removes only in part. Use --model "
            f"'{PRIMARY_OUTCOME} ~ {'session_id' if factor == 'session' else factor} + {site} + (1 | participant_id)'."
        )

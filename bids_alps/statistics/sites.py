"""Sites: ComBat on the runs of a cohort, and what must be said of it."""

from __future__ import annotations

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.statistics.design import variables_of
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.harmonisation import IMBALANCED, describe_imbalance, harmonise_table
from bids_alps.statistics.plan import DIFFUSIVITIES, INDICES, Plan, settle_covariates

WARNING = (
    "Not recommended: tests of harmonised values do not know that the effect of the site was estimated from the same "
    "participants, and where sites differ in their groups they find differences that are not there. Read the "
    "comparison that is adjusted for the site, or leave --harmonise out and keep the site as a factor of the model"
)


def harmonise_runs(runs: pd.DataFrame, plan: Plan, findings: Findings) -> pd.DataFrame:
    """Return the runs without the effect of the site, or as they are, saying why, where that cannot be had.

    Group, covariates and every variable of a formula are protected. Runs that lack one of them are left out.

    Parameters
    ----------
    runs
        Runs that are analysed.
    plan
        With the column of the site.
    findings
        Takes the harmonised table, the banner and the notes.
    """
    site = str(plan.site)
    outcomes = [*INDICES, *DIFFUSIVITIES, *plan.outcomes]
    whole = [name for name in outcomes if name in runs and runs[name].notna().all()]
    gaps = [name for name in outcomes if name in runs and name not in whole]
    protected = _protected(runs, plan, [site, *outcomes])
    try:
        harmonised, kept = harmonise_table(runs, whole, site, protected)
    except AlpsError as error:
        findings.notes.append(f"Not harmonised. {error}")
        return runs
    reason = f"lacks {site} or a variable that ComBat protects"
    left = findings.flow.take(runs, ~kept, "incomplete for ComBat", reason)
    harmonised.index = left.index
    findings.before = left
    findings.notes.append(f"Harmonised over {site} by ComBat, protecting {', '.join(protected) or 'nothing'}.")
    findings.notes += [f"Not harmonised, since runs lack them: {', '.join(gaps)}."] * bool(gaps)
    ids = list(runs.columns)[: list(runs.columns).index("alps_left")]
    findings.tables["harmonised"] = harmonised[[*ids, site, *whole]].reset_index(drop=True)
    findings.facts["harmonised"] = site
    findings.facts["protected"] = tuple(protected)
    if plan.group is not None:
        v, shares = describe_imbalance(left, site, plan.group)
        if v >= IMBALANCED:
            findings.banners.append(f"{site} and {plan.group} go together (Cramer's V {v:.2f}; {shares}). {WARNING}.")
    return harmonised


def _protected(runs: pd.DataFrame, plan: Plan, others: list[str]) -> list[str]:
    """Return the columns that harmonisation must leave their effect: all that a test or a model names."""
    names = [plan.group] if plan.group is not None else []
    try:
        names += settle_covariates(runs, plan)
        names += [name for formula in plan.formulas for name in variables_of(formula)]
    except AlpsError:
        pass  # told where the formula is fitted
    ids = {"participant", "participant_id", "session_id", "run", "dataset"}
    wanted = [name for name in dict.fromkeys(names) if name in runs and name not in others and name not in ids]
    return [name for name in wanted if len(runs[name].dropna().unique()) > 1]

"""All statistical analyses of a cohort: one table in, tables of results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from pandas.api.types import is_numeric_dtype

from bids_alps.errors import AlpsError
from bids_alps.statistics.adjusted import compare_adjusted
from bids_alps.statistics.comparison import compare_groups, group_names
from bids_alps.statistics.correlation import correlate
from bids_alps.statistics.descriptives import compare_participants, describe_groups
from bids_alps.statistics.discrimination import discriminate
from bids_alps.statistics.equivalence import assess_equivalence
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.followup import compare_repeats
from bids_alps.statistics.formulas import fit_models
from bids_alps.statistics.group_design import design_groups
from bids_alps.statistics.norms import find_norms
from bids_alps.statistics.permutation import permute_differences
from bids_alps.statistics.plan import INDICES, PRIMARY_OUTCOME, Plan, choose_reference, resolve_covariates
from bids_alps.statistics.power import required_group_sizes
from bids_alps.statistics.precision import measure_precision
from bids_alps.statistics.reliability import measure_repeats
from bids_alps.statistics.repeats import (
    MATCHED,
    PARTICIPANT_KEY,
    VISIT,
    Visits,
    average_visits,
    find_visits,
    is_within,
    settle_groups,
)
from bids_alps.statistics.samples import to_floats
from bids_alps.statistics.selection import COMPARISON, select_runs
from bids_alps.statistics.sites import harmonize_runs
from bids_alps.statistics.variables import Variable

_MEASURES = ("alps_bilateral", "alps_left", "alps_right")


def analyze(runs: pd.DataFrame, plan: Plan) -> Findings:
    """Run all analyses that the data allow; those that fail are reported in the notes, and the others continue.

    Parameters
    ----------
    runs
        One row per run of one ROI preset: identifiers, then ``alps_left`` and the other measurements, then the
        variables of the participants with their types resolved.
    plan
        Plan of the analysis.

    Raises
    ------
    UsageError
        If the plan names a column or level that does not exist.
    """
    findings = Findings()
    selected, findings.flow, findings.banners = select_runs(runs, plan)
    if not len(selected):
        findings.banners.append("No runs remain for analysis.")
        return findings
    if plan.group is not None:  # as a categorical whose first level is the reference
        names = group_names(selected[plan.group], plan.reference)
        texts = selected[plan.group].astype(str).where(selected[plan.group].notna())
        selected = selected.assign(**{plan.group: pd.Categorical(texts, categories=names)})
    visits = find_visits(selected, plan.sessions)
    findings.notes += visits.notes
    findings.facts["sessions"] = visits.order
    if plan.site is not None:
        visits = replace(visits, runs=harmonize_runs(visits.runs, plan, findings))
    selected = visits.runs
    visits, within = _settle_factor(visits, plan, findings)
    people = select_people(visits, plan, findings, within=within)
    findings.people = people
    findings.flow.compared = not within and plan.group in people and len(people[plan.group].dropna().unique()) > 1
    _describe(people, visits, plan, findings, within=within)
    if plan.group is not None and not within:
        _compare_between(people, plan, findings)
    elif plan.group is None:
        findings.notes.append("Groups are not compared: no group column was found. Use --group-column to name one.")
    findings.attempt("Change within participants", lambda: compare_repeats(visits, plan, findings, within=within))
    _relate(people, plan, findings, within=within)
    findings.attempt("Models", lambda: fit_models(selected, plan, findings))
    findings.attempt("Reliability", lambda: {"reliability": measure_repeats(visits, INDICES)})
    # groups that vary within participants do not divide them
    measured = None if within else plan.group
    findings.attempt("Precision", lambda: {"precision": measure_precision(people, _MEASURES, measured)})
    findings.attempt("Norms", lambda: _norms(people, plan, findings, within=within))
    return findings


def _settle_factor(visits: Visits, plan: Plan, findings: Findings) -> tuple[Visits, bool]:
    """Return the visits, and whether the groups vary within participants; if not, each participant has one group."""
    group = plan.group
    if group is None:
        return visits, False
    within, varying = is_within(visits.runs, group)
    findings.facts["within"] = within
    if within:
        return visits, True
    if varying:
        shown = ", ".join(varying[:5]) + (" and others" if len(varying) > 5 else "")
        findings.notes.append(
            f"{group} changes within {len(varying)} participants ({shown}): the {group} at the session "
            "compared is used."
        )
    visits, filled = settle_groups(visits, group)
    if filled:
        findings.notes.append(
            f"{group} is missing in some runs of {len(filled)} participants ({', '.join(filled[:5])}): their value in "
            "another run is used."
        )
    return visits, False


def select_people(visits: Visits, plan: Plan, findings: Findings, *, within: bool) -> pd.DataFrame:
    """Return one row per participant with a group: the mean of the runs of the first visit.

    If the groups vary within participants, it is the mean of all their runs, without a group.
    """
    if plan.group is not None and not within:
        visits, _ = settle_groups(visits, plan.group)
    runs, flow = visits.runs, findings.flow
    if MATCHED in runs:
        unmatched = ~runs[MATCHED].astype(bool)
        runs = flow.take(runs, unmatched, "not in participants.tsv", "not in participants.tsv", of=COMPARISON)
    if plan.group is not None:
        missing = runs[plan.group].isna()
        runs = flow.take(runs, missing, f"without a value of {plan.group}", f"no value of {plan.group}", of=COMPARISON)
    if not len(runs):
        return runs
    if within:
        return average_visits(runs.assign(**{VISIT: ""})).drop(columns=str(plan.group))
    left = replace(visits, runs=runs)
    if len(visits.order) > 1:
        first = left.first
        # everyone at the same visit: a mixture of visits would confound time and group
        here = set(runs.loc[runs[VISIT] == first, PARTICIPANT_KEY])
        absent = ~runs[PARTICIPANT_KEY].isin(here)
        runs = flow.take(
            runs, absent, f"without {first}", f"no run of {first}, at which groups are compared", of=COMPARISON
        )
        findings.facts["compared_at"] = first
        runs = runs[runs[VISIT] == first]
    return average_visits(runs)


def _describe(people: pd.DataFrame, visits: Visits, plan: Plan, findings: Findings, *, within: bool) -> None:
    """Describe the variables of the participants; a group that varies within them counts once for each value."""
    measured = [Variable(name=name, kind="number", decided_by="measured") for name in INDICES if name in people]
    group = None if within else plan.group
    if not len(people):
        return
    by_value = visits.runs.drop_duplicates([PARTICIPANT_KEY, str(plan.group)]) if within else people
    findings.attempt(
        "Description",
        lambda: {
            "description": pd.concat(
                [
                    describe_groups(people if variable.name in people else by_value, [variable], group)
                    for variable in (*plan.variables, *measured)
                ],
                ignore_index=True,
            )
        },
    )


def _compare_between(people: pd.DataFrame, plan: Plan, findings: Findings) -> None:
    """Compare groups between participants: adjusted and unadjusted differences."""
    group = str(plan.group)
    names = group_names(people[group], plan.reference) if len(people) else []
    if len(names) < 2:
        found = ", ".join(names) or "none"
        findings.notes.append(f"Groups are not compared: fewer than two groups of {group} have an index ({found}).")
        return
    reference = choose_reference(names, plan.reference if plan.reference in names else None, group)
    families = plan.families(people)
    covariates = resolve_covariates(people, plan, findings.notes)
    findings.facts |= {"covariates": covariates, "reference": reference, "groups": names}
    _note_incomplete(people, covariates, plan, findings)
    described = [variable for variable in plan.variables if variable.analyzed]
    indices = [name for name in INDICES if name in people]

    def participants() -> dict[str, pd.DataFrame]:
        return {"participants": compare_participants(people, described, group, test=plan.test, seed=plan.seed)}

    def unadjusted() -> dict[str, pd.DataFrame]:
        omnibus, pairs = compare_groups(people, families, group, test=plan.test, reference=reference)
        tables = {"omnibus": omnibus.assign(covariates="unadjusted"), "comparison": pairs}
        return tables | {"power": required_group_sizes(pairs)}

    def adjusted() -> dict[str, pd.DataFrame]:
        overall, pairs, means, notes = compare_adjusted(
            people, families, group, covariates, reference=reference, precision=plan.precision
        )
        findings.notes += notes
        tests = [table for table in (findings.tables.get("omnibus"), overall) if table is not None]
        return {"omnibus": pd.concat(tests, ignore_index=True), "adjusted": pairs, "means": means}

    def permuted() -> dict[str, pd.DataFrame]:
        options = {"draws": plan.permutations, "seed": plan.seed, "reference": reference}
        table = permute_differences(people, indices, group, covariates, options)
        keys = ["outcome", "group_a", "group_b"]
        return {"adjusted": findings.tables["adjusted"].merge(table, on=keys, how="left")}

    findings.attempt("Comparison of participants", participants)
    findings.attempt("Comparison of groups", unadjusted)
    findings.attempt("Adjusted comparison of groups", adjusted)
    if plan.permutations and "adjusted" in findings.tables:
        findings.attempt("Permutation", permuted)
    if plan.margin is not None and "adjusted" in findings.tables:
        margin, table = plan.margin, findings.tables["adjusted"]
        rows = table[table["family"] == "index"].reset_index(drop=True)
        findings.attempt("Equivalence", lambda: {"equivalence": assess_equivalence(rows, margin)})
    findings.attempt(
        "Discrimination",
        lambda: {"discrimination": discriminate(people, indices, group, covariates, reference=reference)},
    )


def _note_incomplete(people: pd.DataFrame, covariates: Sequence[str], plan: Plan, findings: Findings) -> None:
    """Note who is missing from the adjusted comparison but part of the unadjusted one, and why."""
    error = f"{PRIMARY_OUTCOME}_se"
    needed = [*covariates, *([error] if plan.precision and error in people else [])]
    missing = people[needed].isna()
    reasons = {
        row: f"no value of {', '.join(missing.columns[missing.loc[row]])}" for row in people.index[missing.any(axis=1)]
    }
    try:
        design = design_groups(people, str(plan.group), covariates, outcome=to_floats(people[PRIMARY_OUTCOME]))
        alone = people.index[design.singletons]
    except AlpsError:
        alone = people.index[:0]  # reported by the comparison itself
    reasons |= dict.fromkeys(alone, f"the only participant with their value of {plan.group} or of a covariate")
    if reasons:
        participants = people.loc[list(reasons), PARTICIPANT_KEY]
        findings.notes.append(
            f"{len(reasons)} of {len(people)} participants lack a covariate or are the only member of a level: they "
            "are excluded from the adjusted comparison."
        )
        findings.facts["lacking"] = dict(zip(participants, reasons.values(), strict=True))


def _relate(people: pd.DataFrame, plan: Plan, findings: Findings, *, within: bool) -> None:
    """Correlate the outcomes with all numeric variables."""
    numeric = [name for name in plan.named("number") if name in people]
    if not numeric or not len(people):
        return
    covariates = [name for name in numeric if name.lower() == "age"]
    outcomes = [outcome for family in plan.families(people).values() for outcome in family]
    group = None if within else plan.group
    findings.attempt(
        "Correlations", lambda: {"correlations": correlate(people, outcomes, numeric, covariates, group=group)}
    )


def _norms(people: pd.DataFrame, plan: Plan, findings: Findings, *, within: bool) -> dict[str, pd.DataFrame]:
    age = next((str(name) for name in people if str(name).lower() == "age"), None)
    if age is None or not len(people) or not is_numeric_dtype(people[age]):
        return {}
    sex = next((str(name) for name in people if str(name).lower() in ("sex", "gender")), None)
    table = people.rename(columns={age: "age", **({sex: "sex"} if sex else {})})
    group = None if within else plan.group
    if group is not None:
        group = {age: "age", sex: "sex"}.get(group, group)
    reference = findings.facts.get("reference")
    scores, sentence = find_norms(table, [name for name in INDICES if name in table], group, reference)
    findings.facts["norms"] = sentence
    owners = [name for name in ("dataset", "participant_id") if name in people]
    groups = people[[group]].astype(str).rename(columns={group: "group"}) if group in people else people[[]]
    return {"norms": pd.concat([people[owners], groups, scores], axis=1)}

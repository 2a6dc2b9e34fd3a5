"""Everything that is tested of a cohort: one table in, tables of results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.model import REGIONS, SIDES
from bids_alps.statistics.comparison import (
    RULE,
    compare_categories,
    compare_groups,
    describe_groups,
    is_numeric,
    to_floats,
)
from bids_alps.statistics.correlation import correlate
from bids_alps.statistics.models import fit_model
from bids_alps.statistics.norms import measure_norms
from bids_alps.statistics.power import find_group_sizes
from bids_alps.statistics.reliability import measure_agreement, measure_icc

INDICES = tuple(f"alps_{side}" for side in (*SIDES, "bilateral"))
DIFFUSIVITIES = tuple(f"{element}_{region}" for region in REGIONS for element in ("dxx", "dyy", "dzz"))
_OWNER = ("dataset", "participant_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to test.

    Parameters
    ----------
    group
        Column of the groups, None where there is none.
    variables
        Columns that describe participants.
    outcomes
        More outcomes than the index and the nine diffusivities, such as an atlas' values.
    formulas
        Models to fit.
    """

    group: str | None = None
    variables: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    formulas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Tables of results by name, and sentences that say what was tested and what could not be."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def analyse(runs: pd.DataFrame, plan: Plan) -> Findings:
    """Test what can be tested of a cohort; what cannot is told in the notes and takes nothing along.

    Parameters
    ----------
    runs
        One row a run of one ROI preset.
    plan
        What to test.
    """
    owners = [name for name in _OWNER if name in runs]
    people = mean_of_repeats(runs, owners)
    families = {"index": [*INDICES], "diffusivity": [*DIFFUSIVITIES]}
    if plan.outcomes:
        families["atlas"] = [*plan.outcomes]
    families = {name: [one for one in family if one in people] for name, family in families.items()}
    methods, notes = _methods(runs, people, plan), list[str]()
    tables = {"description": describe_groups(people, [*plan.variables, *families["index"]], plan.group)}
    if plan.group is not None and len(people[plan.group].dropna().unique()) > 1:
        tables["comparison"] = compare_groups(people, families, plan.group)
        named = [name for name in plan.variables if name != plan.group]
        numeric = [name for name in named if is_numeric(people[name])]
        categories = [name for name in named if name not in numeric]
        tables["participants"] = pd.concat(
            [
                compare_groups(people, {"participants": numeric}, plan.group),
                compare_categories(people, categories, plan.group),
            ],
            ignore_index=True,
        )
        tables["power"] = find_group_sizes(tables["comparison"])
    else:
        notes.append("Groups are not compared: there is one group or none.")
    numeric = [name for name in plan.variables if is_numeric(people[name])]
    if numeric:
        covariates = [name for name in numeric if name.lower() == "age"]
        outcomes = [one for family in families.values() for one in family]
        tables["correlations"] = correlate(people, outcomes, numeric, covariates)
    tables |= _attempt(notes, lambda: fit_models(runs, plan.formulas, notes))
    tables |= _attempt(notes, lambda: measure_repeats(runs, owners))
    tables |= _attempt(notes, lambda: find_norms(people, owners))
    return Findings(tables={name: t for name, t in tables.items() if len(t)}, methods=methods, notes=tuple(notes))


def _attempt(notes: list[str], work: Callable[[], dict[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    try:
        return work()
    except AlpsError as error:
        notes.append(str(error))
        return {}


def mean_of_repeats(runs: pd.DataFrame, owners: Sequence[str]) -> pd.DataFrame:
    """Return one row a participant: means of numbers, the first of what is not."""
    if not runs.duplicated(list(owners)).any():
        return runs
    rules = {
        name: "mean" if pd.api.types.is_numeric_dtype(runs[name]) else "first" for name in runs if name not in owners
    }
    return runs.groupby(list(owners), sort=False, as_index=False).agg(rules)


def fit_models(runs: pd.DataFrame, formulas: Sequence[str], notes: list[str]) -> dict[str, pd.DataFrame]:
    """Fit every formula that can be fitted; the others are told in `notes`."""
    coefficients, checks = [], []
    runs = with_numeric_columns(runs)
    owner = [name for name in _OWNER if name in runs]
    person = runs[owner].astype(str).agg(" ".join, axis=1)
    for formula in formulas:
        try:
            fitted = fit_model(runs.assign(person=person), formula, participant="person")
        except AlpsError as error:
            notes.append(str(error))
            continue
        told: dict[str, Any] = {"model": formula, "kind": fitted.kind, "n": fitted.n, "left_out": fitted.left_out}
        coefficients.append(fitted.coefficients.assign(**told))
        checks.append(fitted.checks.assign(model=formula))
    if not coefficients:
        return {}
    return {"models": pd.concat(coefficients, ignore_index=True), "checks": pd.concat(checks, ignore_index=True)}


def with_numeric_columns(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose mostly numeric columns are numbers; what is no number there, an age of n/k, is missing."""
    texts = [name for name in runs if not pd.api.types.is_numeric_dtype(runs[name]) and is_numeric(runs[name])]
    return runs.assign(**{str(name): to_floats(runs[name]) for name in texts})


def find_norms(people: pd.DataFrame, owners: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return each participant's z-scores of the index given age and sex, where age is known."""
    if "age" not in people:
        return {}
    covariates = [to_floats(people["age"])]
    if "sex" in people and people["sex"].nunique() == 2:
        sex = people["sex"]
        covariates.append(np.where(sex.isna(), np.nan, sex == sorted(sex.dropna().unique())[0]))
    held = np.column_stack(covariates)
    scores = {f"{name}_z": measure_norms(to_floats(people[name]), held) for name in INDICES}
    return {"norms": people[list(owners)].assign(**scores)}


def measure_repeats(runs: pd.DataFrame, owners: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Measure the reliability of the index over participants with as many repeats as most of those who repeat."""
    rank = runs.groupby(list(owners)).cumcount()
    counts = runs.groupby(list(owners)).size()
    if not (counts > 1).any():
        return {}
    repeats = int(counts[counts > 1].mode().min())
    rows = []
    for outcome in INDICES:
        wide = runs.assign(repeat=rank).pivot_table(outcome, list(owners), "repeat").reindex(columns=range(repeats))
        scores = wide.to_numpy(dtype=float)
        scores = scores[np.isfinite(scores).all(axis=1)]
        found = measure_icc(scores)
        shared: dict[str, Any] = {
            "outcome": outcome,
            "participants": len(scores),
            "repeats": repeats,
            **measure_agreement(scores),
        }
        rows.append(found.assign(**shared))
    return {"reliability": pd.concat(rows, ignore_index=True)}


def _methods(runs: pd.DataFrame, people: pd.DataFrame, plan: Plan) -> tuple[str, ...]:
    said = [f"{len(runs)} runs of {len(people)} participants were analysed."]
    if len(people) < len(runs):
        said.append("Repeats of a participant were averaged before comparison and correlation.")
    if plan.group is not None:
        said.append(
            f"Groups ({plan.group}) were compared by {RULE}; p-values were corrected within the index and within the "
            "nine diffusivities, by Bonferroni and by Benjamini-Hochberg; effects are Hedges' g."
        )
    if plan.variables:
        said.append("Numeric variables were correlated by Pearson and Spearman, and holding age constant where known.")
    said += [f"The model {formula} was fitted." for formula in plan.formulas]
    return (" ".join(said),)

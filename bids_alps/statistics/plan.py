"""Plan of the statistical analysis, fixed before any test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_alps.errors import UsageError
from bids_alps.model import REGIONS, SIDES
from bids_alps.statistics.norms import find_reference
from bids_alps.statistics.samples import Test, code_covariate
from bids_alps.statistics.variables import Variable

INDICES = tuple(f"alps_{side}" for side in (*SIDES, "bilateral"))
PRIMARY_OUTCOME = "alps_bilateral"
DIFFUSIVITIES = tuple(f"{element}_{region}" for region in REGIONS for element in ("dxx", "dyy", "dzz"))
SITES = ("site", "scanner", "center", "centre")
ALIASES = {
    "pose": ("pitch", "roll", "yaw"),
    "fa": ("fa_projection", "fa_association"),
    "md": ("md_projection", "md_association"),
    "framewise_displacement": ("check_framewise_displacement",),
    "motion": ("check_framewise_displacement",),
}
"""Aliases of covariates."""
_KNOWN = 0.8  # fraction of participants required for a default covariate


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to test.

    Parameters
    ----------
    group, reference
        Group column, and the reference group; None if there is none.
    variables
        Variables of the participants.
    outcomes
        Outcomes in addition to the index and the nine diffusivities, such as atlas regions.
    formulas
        Models to fit.
    covariates
        Covariates of the group comparison; None for age, sex and site (or dataset) where available.
    test
        See `samples.compare`.
    precision
        Whether to weight participants by the precision of their value.
    margin
        Equivalence margin of the index; None for no equivalence test.
    permutations, seed
        Number of permutations for the primary outcomes (0 for none), and the seed of all random draws.
    sessions
        Order of the sessions, used if acquisition times are unknown.
    included
        Statuses to include although excluded by default.
    subset
        Condition on runs, in the syntax of pandas' ``query``.
    pooled
        Columns of the method in which runs may differ.
    site
        Site column for harmonization with ComBat; None for none.
    """

    group: str | None = None
    reference: str | None = None
    variables: tuple[Variable, ...] = ()
    outcomes: tuple[str, ...] = ()
    formulas: tuple[str, ...] = ()
    covariates: tuple[str, ...] | None = None
    test: Test = "rule"
    precision: bool = False
    margin: float | None = None
    permutations: int = 0
    seed: int = 0
    sessions: tuple[str, ...] = ()
    included: tuple[str, ...] = ()
    subset: str | None = None
    pooled: tuple[str, ...] = ()
    site: str | None = None

    def named(self, kind: str) -> list[str]:
        """Return the variables of a kind, without the group column."""
        return [variable.name for variable in self.variables if variable.kind == kind and variable.name != self.group]

    def families(self, table: pd.DataFrame) -> dict[str, list[str]]:
        """Return the outcomes by family; p-values are corrected within each."""
        families = {"index": [*INDICES], "diffusivity": [*DIFFUSIVITIES], "atlas": [*self.outcomes]}
        present = {name: [outcome for outcome in family if outcome in table] for name, family in families.items()}
        return {name: family for name, family in present.items() if family}


def choose_reference(groups: Sequence[str], chosen: str | None, column: str | None) -> str | None:
    """Return the reference group.

    Raises
    ------
    UsageError
        If the chosen group does not exist.
    """
    reference = find_reference(groups, chosen)
    if chosen is not None and reference is None:
        listed = ", ".join(groups) or "none"
        raise UsageError("--reference-group", f"{chosen!r} is not a group of {column}", f"choose from {listed}")
    return reference


def resolve_covariates(people: pd.DataFrame, plan: Plan, notes: list[str] | None = None) -> tuple[str, ...]:
    """Return the covariates of the primary analysis.

    Parameters
    ----------
    people
        One row per compared participant.
    plan
        Plan with the requested covariates.
    notes
        List to which notes on unused covariates are appended.

    Raises
    ------
    UsageError
        If a requested covariate is not a column.
    """
    notes = [] if notes is None else notes
    if plan.covariates is not None:
        return find_columns(plan.covariates, people)
    selected = []
    for name in (
        *(_find_variable(aliases, plan) for aliases in (("age",), ("sex", "gender"))),
        find_site(people, plan),
    ):
        if name is None:
            continue
        known = people[name].notna()
        # the comparison would lose all participants without it
        if known.mean() < _KNOWN:
            notes.append(f"Not adjusted for {name}: {int(known.sum())} of {len(people)} participants have it.")
        elif len(people[name].dropna().unique()) > 1:
            selected.append(name)
    return _separable(people, plan, selected, notes)


def find_site(table: pd.DataFrame, plan: Plan) -> str | None:
    """Return the column of the site: that of the participants, otherwise the dataset if several are pooled."""
    pooled = "dataset" in table and plan.group != "dataset" and len(table["dataset"].unique()) > 1
    return _find_variable(SITES, plan) or ("dataset" if pooled else None)


def _find_variable(aliases: Sequence[str], plan: Plan) -> str | None:
    names = [variable.name for variable in plan.variables if variable.analyzed and variable.name != plan.group]
    return next((name for name in names if name.lower() in aliases), None)


def _separable(people: pd.DataFrame, plan: Plan, chosen: list[str], notes: list[str]) -> tuple[str, ...]:
    """Return the covariates that overlap between groups; others are confounded with the group."""
    separable = list[str]()
    if plan.group is None:
        return tuple(chosen)
    for name in chosen:
        columns = [plan.group, *separable, name]
        complete = people[columns].dropna()
        parts = [pd.get_dummies(complete[plan.group].astype(str), dtype=float).to_numpy()]
        for column in (*separable, name):
            values = code_covariate(complete[column])
            if pd.api.types.is_float_dtype(complete[column]):
                # standardized, so that the rank of the design does not depend on units
                values = (values - values.mean()) / (values.std() or 1.0)
            parts.append(values)
        matrix = np.column_stack(parts)
        if len(complete) and np.linalg.matrix_rank(matrix) < matrix.shape[1]:
            notes.append(
                f"Not adjusted for {name}: {plan.group} and {name} are completely confounded, so that a difference "
                f"between groups may be due to {name}."
            )
        else:
            separable.append(name)
    return tuple(separable)


def find_columns(names: Sequence[str], table: pd.DataFrame) -> tuple[str, ...]:
    """Return the covariate columns named by the user (case-insensitive), with aliases such as ``pose`` expanded.

    Raises
    ------
    UsageError
        If a name is neither a column nor an alias.
    """
    if [name.lower() for name in names] == ["none"]:
        return ()
    by_case = {str(name).lower(): str(name) for name in reversed(list(table.columns))}
    columns = list[str]()
    for name in names:
        expanded = (name,) if name in table else ALIASES.get(name.lower(), (by_case.get(name.lower(), name),))
        missing = [column for column in expanded if column not in table]
        if missing:
            available = ", ".join(str(column) for column in table.columns if not str(column).startswith("_"))
            raise UsageError("--covariates", f"{name!r} is not a column", f"choose from {available}")
        columns += [column for column in expanded if column not in columns]
    return tuple(columns)

"""What is to be tested, settled before anything is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.errors import UsageError
from bids_alps.model import REGIONS, SIDES, Array
from bids_alps.statistics.norms import find_reference
from bids_alps.statistics.samples import Test
from bids_alps.statistics.variables import Variable

INDICES = tuple(f"alps_{side}" for side in (*SIDES, "bilateral"))
HEADLINE = "alps_bilateral"
DIFFUSIVITIES = tuple(f"{element}_{region}" for region in REGIONS for element in ("dxx", "dyy", "dzz"))
SITES = ("site", "scanner", "center", "centre")
ALIASES = {
    "pose": ("pitch", "roll", "yaw"),
    "fa": ("fa_projection", "fa_association"),
    "md": ("md_projection", "md_association"),
    "framewise_displacement": ("check_framewise_displacement",),
    "motion": ("check_framewise_displacement",),
}
"""Covariates that stand ready by another name."""
_KNOWN = 0.8  # share of the participants who must have a covariate that nobody asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to test.

    Parameters
    ----------
    group, reference
        Column of the groups, and the group that the others are compared with; None where there is none.
    variables
        What describes the participants.
    outcomes
        More outcomes than the index and the nine diffusivities, such as an atlas' values.
    formulas
        Models to fit.
    covariates
        What to hold alike between groups; None for age, sex and site where they are known.
    test
        See `samples.compare`.
    precision
        Whether to weigh participants by the precision of their own value.
    margin
        Largest difference of the index that counts as none; None for no test of equivalence.
    permutations, seed
        Permutations for the headline (0 for none), and the seed of all random draws.
    sessions
        Order of the sessions where no time of acquisition tells it.
    included
        Statuses that are taken though they are left out by default.
    subset
        Condition that runs must meet, in the grammar of pandas' ``query``.
    pooled
        Differences of method that are accepted.
    site
        Column of the site whose effect ComBat takes out; None for none.
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
        """Return the variables of a kind, the groups left out."""
        return [one.name for one in self.variables if one.kind == kind and one.name != self.group]

    def families(self, table: pd.DataFrame) -> dict[str, list[str]]:
        """Return the outcomes by family; p-values are corrected within each."""
        families = {"index": [*INDICES], "diffusivity": [*DIFFUSIVITIES], "atlas": [*self.outcomes]}
        present = {name: [one for one in family if one in table] for name, family in families.items()}
        return {name: family for name, family in present.items() if family}


def settle_reference(groups: Sequence[str], chosen: str | None, column: str | None) -> str | None:
    """Return the group that the others are compared with.

    Raises
    ------
    UsageError
        If the chosen one is none of the groups.
    """
    found = find_reference(groups, chosen)
    if chosen is not None and found is None:
        listed = ", ".join(groups) or "none"
        raise UsageError("--reference-group", f"{chosen!r} is no group of {column}", f"choose of {listed}")
    return found


def settle_covariates(people: pd.DataFrame, plan: Plan, notes: list[str] | None = None) -> tuple[str, ...]:
    """Return the covariates of the headline.

    Parameters
    ----------
    people
        One row a participant, of those who are compared.
    plan
        With the covariates that were asked for.
    notes
        Takes what is to be said of those that were not used.

    Raises
    ------
    UsageError
        If a covariate that was asked for is no column.
    """
    notes = [] if notes is None else notes
    if plan.covariates is not None:
        return find_columns(plan.covariates, people)
    kinds = {one.name: one for one in plan.variables if one.analysed}
    chosen = []
    for wanted in (("age",), ("sex", "gender"), SITES):
        name = next((one for one in kinds if one.lower() in wanted and one != plan.group), None)
        if name is None:
            continue
        known = people[name].notna()
        if known.mean() < _KNOWN:
            notes.append(f"Not adjusted for {name}: {int(known.sum())} of {len(people)} participants have it.")
        elif len(people[name].dropna().unique()) > 1:
            chosen.append(name)
    return _separable(people, plan, chosen, notes)


def _separable(people: pd.DataFrame, plan: Plan, chosen: list[str], notes: list[str]) -> tuple[str, ...]:
    """Return the covariates that groups share; one that determines the group cannot be told from it."""
    kept = list[str]()
    if plan.group is None:
        return tuple(chosen)
    for name in chosen:
        columns = [plan.group, *kept, name]
        complete = people[columns].dropna()
        parts = [pd.get_dummies(complete[plan.group].astype(str), dtype=float).to_numpy()]
        parts += [_columns(complete[one]) for one in (*kept, name)]
        matrix = np.column_stack(parts)
        if len(complete) and np.linalg.matrix_rank(matrix) < matrix.shape[1]:
            notes.append(
                f"Not adjusted for {name}: {plan.group} and {name} determine each other, so a difference between "
                f"groups may be one of {name}."
            )
        else:
            kept.append(name)
    return tuple(kept)


def _columns(column: pd.Series[Any]) -> Array:
    if pd.api.types.is_float_dtype(column):
        values = column.to_numpy(dtype=float)
        centred: Array = ((values - values.mean()) / (values.std() or 1.0))[:, None]
        return centred
    return pd.get_dummies(column.astype(str), drop_first=True, dtype=float).to_numpy()


def find_columns(names: Sequence[str], table: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns of covariates that the user named, whatever their case, and those of a word such as ``pose``.

    Raises
    ------
    UsageError
        If a name is none of either.
    """
    if [name.lower() for name in names] == ["none"]:
        return ()
    by_case = {str(name).lower(): str(name) for name in reversed(list(table.columns))}
    found = list[str]()
    for name in names:
        whole = (name,) if name in table else ALIASES.get(name.lower(), (by_case.get(name.lower(), name),))
        missing = [one for one in whole if one not in table]
        if missing:
            columns = ", ".join(str(one) for one in table.columns if not str(one).startswith("_"))
            raise UsageError("--covariates", f"{name!r} is no column", f"choose of {columns}")
        found += [one for one in whole if one not in found]
    return tuple(found)

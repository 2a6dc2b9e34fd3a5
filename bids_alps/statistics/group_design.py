"""Designs of comparisons of groups with covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.comparison import group_names
from bids_alps.statistics.samples import to_floats

_SPARE = 2  # minimum residual degrees of freedom


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDesign:
    """Design of a comparison of groups with covariates.

    Parameters
    ----------
    names
        Group names, reference first; the first columns of `matrix` are their indicators.
    matrix
        Shape (n, groups + k): an indicator per group, then numbers centered at their mean and indicators of categories
        centered at the mean of the levels, so that the coefficient of a group is its estimated marginal mean
        (Searle et al. 1980, doi 10.1080/00031305.1980.10483031).
    rows
        Complete participants, bool, shape (participants,).
    singletons
        Participants excluded as the only member of a level, bool, shape (participants,): they carry no information on
        group differences.
    """

    names: tuple[str, ...]
    matrix: Array
    rows: Array
    singletons: Array

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Column indices of every pair of groups."""
        return list(combinations(range(len(self.names)), 2))

    def contrast(self, a: int, b: int) -> Array:
        """Return the contrast of the coefficients for the difference b - a."""
        eye = np.eye(self.matrix.shape[1])
        difference: Array = eye[b] - eye[a]
        return difference


def design_groups(
    table: pd.DataFrame, group: str, covariates: Sequence[str], *, outcome: Array, reference: str | None = None
) -> GroupDesign:
    """Return the design of a comparison for participants with outcome, group and all covariates.

    Parameters
    ----------
    table
        One row per participant; covariates of type float are numbers, all others categories.
    group, covariates
        Columns.
    outcome
        Shape (participants,); NaN if missing.

    Raises
    ------
    BadDataError
        If fewer than two groups have participants, too few are complete, or groups and covariates determine each other.
    """
    what = f"groups of {group}" + (f" with {', '.join(covariates)}" if covariates else "")
    complete = np.isfinite(outcome) & table[group].notna().to_numpy()
    for name in covariates:
        complete &= table[name].notna().to_numpy()
    if not complete.any():
        raise BadDataError(what, "no participant has values of all of them", "remove covariates")
    rows, singletons = complete.copy(), np.zeros_like(complete)
    # without one participant another level may have a single member: repeated until none has
    while True:
        part = table[rows]
        names = tuple(group_names(part[group], reference))
        if not rows.any():
            matrix = np.empty((0, len(covariates)))
            break
        matrix = np.column_stack(
            [_indicators(part[group], list(names)), *(_centered(part[name]) for name in covariates)]
        )
        single = _find_single(part, [group, *covariates])
        if not single.any():
            break
        singletons[np.flatnonzero(rows)[single]] = True
        rows = rows & ~singletons
    if len(names) < 2 or len(matrix) < matrix.shape[1] + _SPARE:
        problem = f"{len(matrix)} complete participants in {len(names)} groups for {matrix.shape[1]} terms"
        raise BadDataError(what, problem, "remove covariates or add participants")
    rank = int(np.linalg.matrix_rank(matrix))
    if rank < matrix.shape[1]:
        problem = f"they are collinear (rank {rank} of {matrix.shape[1]})"
        raise BadDataError(what, problem, "remove the covariate that does not overlap between groups")
    return GroupDesign(names=names, matrix=matrix, rows=rows, singletons=singletons)


def _find_single(part: pd.DataFrame, columns: Sequence[str]) -> Array:
    """Return participants who are the only member of a level: their residual is zero and their error unknown."""
    single = np.zeros(len(part), dtype=bool)
    for name in columns:
        if not pd.api.types.is_numeric_dtype(part[name]):
            counts = part[name].map(part[name].value_counts())
            single |= (counts == 1).to_numpy(dtype=bool)
    return single


def _indicators(column: pd.Series[Any], levels: Sequence[str]) -> Array:
    indicators: Array = (column.astype(str).to_numpy(dtype=str)[:, None] == np.array(levels, dtype=str)).astype(float)
    return indicators


def _centered(column: pd.Series[Any]) -> Array:
    if pd.api.types.is_numeric_dtype(column):
        values = to_floats(column)
        spread = float(values.std()) or 1.0
        return ((values - values.mean()) / spread)[:, None]
    levels = sorted(column.astype(str).unique())
    # minus 1 / levels: group means are at equal weights of the levels, as estimated marginal means are
    return _indicators(column, levels[1:]) - 1 / len(levels) if len(levels) > 1 else np.empty((len(column), 0))

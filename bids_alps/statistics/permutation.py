"""Permutation p-values of differences between groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from bids_alps.model import Array
from bids_alps.statistics.group_design import GroupDesign, design_groups
from bids_alps.statistics.samples import to_floats

_BLOCK = 2_000_000  # block size, to bound memory


def permute_groups(values: Array, design: GroupDesign, *, draws: int, seed: int) -> tuple[Array, Array]:
    """Return t of every pair of groups, and its absolute value under permutation of the residuals.

    Freedman & Lane 1983, doi 10.1080/07350015.1983.10509354; Winkler et al. 2014, doi 10.1016/j.neuroimage.2014.01.060:
    residuals of the model without the groups are permuted, put back on its fit, and the whole model is fitted. The t
    has HC3 errors, so that the test is robust to groups of unequal size and variance (DiCiccio & Romano 2017,
    doi 10.1080/01621459.2016.1202117).

    Parameters
    ----------
    values
        Outcomes, shape (n, outcomes), of the participants of the design, complete.
    design
        Groups and covariates.
    draws, seed
        Number of permutations, and the seed of their order.

    Returns
    -------
    tuple
        Shape (outcomes, pairs) and (draws, outcomes, pairs).
    """
    X = design.matrix
    contrasts = np.array([design.contrast(*pair) for pair in design.pairs])
    # a contrast c of the coefficients is a fixed weighting of the observations: c' beta = c' X^+ y
    weights = contrasts @ np.linalg.pinv(X)
    leverage = (np.linalg.qr(X)[0] ** 2).sum(axis=1)
    # HC3: squared residuals are inflated by 1 / (1 - leverage)^2
    squares = weights**2 / (1 - np.clip(leverage, 0, 1 - 1e-8)) ** 2
    projection = np.linalg.pinv(X)

    def t_of(y: Array) -> Array:  # shape (n, many) to (many, pairs)
        residuals = y - X @ (projection @ y)
        t: Array = ((weights @ y) / np.sqrt(squares @ residuals**2)).T
        return t

    # Freedman & Lane: residuals of the model without groups are permuted and added to its fit
    nuisance = np.column_stack([np.ones(len(X)), X[:, len(design.names) :]])
    fitted = nuisance @ (np.linalg.pinv(nuisance) @ values)
    residuals = values - fitted
    rng = np.random.default_rng(seed)
    n, outcomes = values.shape
    block = max(_BLOCK // (n * outcomes), 1)
    permuted_t = []
    for start in range(0, draws, block):
        count = min(block, draws - start)
        # one order for all outcomes keeps their correlation, on which the largest t depends
        order = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
        # (draws, n, outcomes) to (n, draws x outcomes): all fits are one matrix product
        y = (residuals[order] + fitted).transpose(1, 0, 2).reshape(n, -1)
        permuted_t.append(np.abs(t_of(y)).reshape(count, outcomes, -1))
    return t_of(values), np.concatenate(permuted_t)


def permute_differences(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    group: str,
    covariates: Sequence[str],
    options: Mapping[str, int | str | None],
) -> pd.DataFrame:
    """Return permutation p-values of every outcome and pair of groups.

    Parameters
    ----------
    table
        One row per participant; those with all outcomes, group and covariates are used.
    outcomes, group, covariates
        Columns.
    options
        ``draws``, ``seed`` and ``reference`` (the reference group).

    Returns
    -------
    DataFrame
        Rows ``outcome, group_a, group_b, p_permutation, p_permutation_max, permutations``; the second corrected over
        outcomes and pairs by the distribution of the largest t (Westfall & Young 1993, ISBN 0-471-55761-7).
    """
    values = np.column_stack([to_floats(table[name]) for name in outcomes])
    complete = np.where(np.isfinite(values).all(axis=1), 1.0, np.nan)
    reference = options.get("reference")
    design = design_groups(table, group, covariates, outcome=complete, reference=str(reference) if reference else None)
    draws, seed = int(options["draws"] or 0), int(options["seed"] or 0)
    observed, permuted = permute_groups(values[design.rows], design, draws=draws, seed=seed)
    largest = permuted.max(axis=(1, 2))
    rows = []
    for i, outcome in enumerate(outcomes):
        for j, (a, b) in enumerate(combinations(design.names, 2)):
            # tolerance: equal values must count as reached despite rounding
            reached = abs(observed[i, j]) * (1 - 1e-9)
            rows.append(
                {
                    "outcome": outcome,
                    "group_a": a,
                    "group_b": b,
                    # the observed order is one of the permutations: p is never 0
                    "p_permutation": (1 + (permuted[:, i, j] >= reached).sum()) / (1 + draws),
                    "p_permutation_max": (1 + (largest >= reached).sum()) / (1 + draws),
                    "permutations": draws,
                }
            )
    return pd.DataFrame(rows)

"""Adjusted differences between groups: linear model, estimated marginal means, HC3 standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.linear_model import OLS

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.group_design import GroupDesign, design_groups
from bids_alps.statistics.models import count_full_leverage
from bids_alps.statistics.multiplicity import add_corrected_p_values
from bids_alps.statistics.precision import fit_random_effects
from bids_alps.statistics.samples import compare, to_floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFit:
    """Coefficients of a `GroupDesign`, their covariance, degrees of freedom, and the residual SD."""

    beta: Array
    covariance: Array
    dof: float
    spread: float
    method: str

    def difference(self, contrast: Array) -> dict[str, float]:
        """Return a difference with its standard error, 95 % interval, t and p."""
        value, se = float(contrast @ self.beta), float(np.sqrt(contrast @ self.covariance @ contrast))
        reach = float(stats.t.ppf(0.975, self.dof)) * se
        t = value / se
        p = float(2 * stats.t.sf(abs(t), self.dof))
        return {"value": value, "se": se, "ci_low": value - reach, "ci_high": value + reach, "statistic": t, "p": p}

    def equal_means(self, groups: int) -> dict[str, float]:
        """Return the Wald F-test of equal group means."""
        contrasts = np.eye(len(self.beta))[1:groups] - np.eye(len(self.beta))[0]
        differences = contrasts @ self.beta
        # Wald statistic: d' (C V C')^-1 d over the rank of the contrasts
        f = float(differences @ np.linalg.solve(contrasts @ self.covariance @ contrasts.T, differences)) / (groups - 1)
        p = float(stats.f.sf(f, groups - 1, self.dof))
        return {"statistic": f, "df": groups - 1.0, "df_error": self.dof, "p": p}


def fit_groups(outcome: Array, design: GroupDesign, se: Array | None = None) -> GroupFit:
    """Fit the complete participants: least squares with HC3 errors, or precision-weighted if standard errors are given.

    HC3: MacKinnon & White 1985, doi 10.1016/0304-4076(85)90158-7; small samples: Long & Ervin 2000,
    doi 10.1080/00031305.2000.10474549.
    """
    y = outcome[design.rows]
    unit = float(y.std(ddof=1))
    if not unit > 0:
        raise BadDataError("comparison of groups", "the outcome does not vary", "exclude it")
    if se is not None:
        fitted = fit_random_effects(y / unit, design.matrix, se[design.rows] / unit)
        # SD of a typical participant: between participants, and of the measurement
        spread = unit * float(np.sqrt(fitted.between + np.median(se[design.rows] / unit) ** 2))
        return GroupFit(
            beta=fitted.beta * unit,
            covariance=fitted.covariance * unit**2,
            dof=fitted.dof,
            spread=spread,
            method="random effects, weights by precision",
        )
    # HC3 divides by 1 - leverage
    robust = not count_full_leverage(pd.DataFrame(design.matrix))
    model = OLS(y / unit, design.matrix)
    least: Any = model.fit(cov_type="HC3", use_t=True) if robust else model.fit()
    return GroupFit(
        beta=np.asarray(least.params) * unit,
        covariance=np.asarray(least.cov_params()) * unit**2,
        dof=float(least.df_resid),
        spread=float(np.sqrt(least.mse_resid)) * unit,
        method="least squares, HC3 errors" if robust else "least squares, equal variances",
    )


def compare_adjusted(
    table: pd.DataFrame,
    families: Mapping[str, Sequence[str]],
    group: str,
    covariates: Sequence[str],
    *,
    reference: str | None = None,
    precision: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """Compare outcomes between groups, adjusted for covariates.

    Parameters
    ----------
    table
        One row per participant.
    families
        Outcomes by family; p-values are corrected over all outcomes and pairs of a family.
    group, covariates
        Columns.
    reference
        Reference group.
    precision
        Weight participants by the precision of their value, from ``<outcome>_se`` where available.

    Returns
    -------
    tuple
        Omnibus tests of the adjusted means (empty for two groups); differences of every pair, with the unadjusted ones
        of the same participants (Welch); the estimated marginal mean of every group; and notes on outcomes that
        cannot be compared.

    Raises
    ------
    BadDataError
        If no outcome can be compared: see `design_groups`.
    """
    omnibus_tables, pairs, means = list[pd.DataFrame](), list[pd.DataFrame](), list[dict[str, Any]]()
    errors: dict[str, BadDataError] = {}
    for family, outcomes in families.items():
        overall, rows = list[dict[str, Any]](), list[dict[str, Any]]()
        for outcome in outcomes:
            values, se = values_of(table, outcome, precision=precision)
            usable = values if se is None else np.where(se > 0, values, np.nan)
            if not np.isfinite(usable).any() or np.nanstd(usable) == 0:
                continue
            try:
                design = design_groups(table, group, covariates, outcome=usable, reference=reference)
                fitted = fit_groups(values, design, se)
            except BadDataError as error:
                errors[outcome] = error
                continue
            labels = {"family": family, "outcome": outcome}
            shared = labels | {"covariates": ", ".join(covariates) or "none", "method": fitted.method}
            overall.append(
                {**shared, "test": "Wald F", "groups": len(design.names), "n": len(design.matrix)}
                | fitted.equal_means(len(design.names))
            )
            rows += [shared | _pair(values, table[group], design, fitted, pair) for pair in design.pairs]
            means += [labels | _mean(design, fitted, n) for n in range(len(design.names))]
        if rows:
            omnibus_tables.append(add_corrected_p_values(pd.DataFrame(overall)))
            pairs.append(add_corrected_p_values(pd.DataFrame(rows)))
    if errors and not pairs:
        raise next(iter(errors.values()))
    omnibus = pd.concat(omnibus_tables, ignore_index=True) if omnibus_tables else pd.DataFrame()
    # with two groups it repeats the only difference
    if len(omnibus) and omnibus["groups"].max() < 3:
        omnibus = pd.DataFrame()
    notes = [f"{outcome} is not in the adjusted comparison. {error}" for outcome, error in errors.items()]
    return omnibus, pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame(), pd.DataFrame(means), notes


def values_of(table: pd.DataFrame, outcome: str, *, precision: bool) -> tuple[Array, Array | None]:
    """Return the values of an outcome, and their standard errors if participants are to be weighted by them."""
    se_name = f"{outcome}_se"
    return to_floats(table[outcome]), to_floats(table[se_name]) if precision and se_name in table else None


def _pair(
    values: Array, groups: pd.Series[Any], design: GroupDesign, fitted: GroupFit, pair: tuple[int, int]
) -> dict[str, Any]:
    a, b = pair
    adjusted = fitted.difference(design.contrast(a, b))
    y, membership = values[design.rows], groups.astype(str).to_numpy()[design.rows]
    unadjusted = compare(y[membership == design.names[a]], y[membership == design.names[b]], test="welch")
    effect = {
        "standardized": adjusted["value"] / fitted.spread,
        "standardized_ci_low": adjusted["ci_low"] / fitted.spread,
        "standardized_ci_high": adjusted["ci_high"] / fitted.spread,
    }
    return {
        "group_a": design.names[a],
        "group_b": design.names[b],
        "n_a": unadjusted["n_a"],
        "n_b": unadjusted["n_b"],
        "adjusted_a": float(fitted.beta[a]),
        "adjusted_b": float(fitted.beta[b]),
        "difference": adjusted["value"],
        "difference_ci_low": adjusted["ci_low"],
        "difference_ci_high": adjusted["ci_high"],
        "statistic": adjusted["statistic"],
        "df": fitted.dof,
        "p": adjusted["p"],
        **effect,
        **{
            f"unadjusted_{name}": unadjusted.get(name, np.nan)
            for name in ("difference", "difference_ci_low", "difference_ci_high", "p")
        },
    }


def _mean(design: GroupDesign, fitted: GroupFit, n: int) -> dict[str, Any]:
    mean = fitted.difference(np.eye(len(fitted.beta))[n])
    estimate = {"adjusted_mean": mean["value"], "ci_low": mean["ci_low"], "ci_high": mean["ci_high"]}
    return {"group": design.names[n], "n": int(design.matrix[:, n].sum()), **estimate}

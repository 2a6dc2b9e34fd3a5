"""Linear models by formula: least squares with robust errors, mixed models for repeated measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.diagnostic import het_breuschpagan

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.design import Design, make_design
from bids_alps.statistics.mixed import fit_mixed

_EXACT = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A fitted model.

    Parameters
    ----------
    formula, kind
        Formula, and method of the fit.
    n, people
        Number of rows and of participants used.
    excluded
        Index of the rows excluded because of missing values.
    coefficients
        Rows ``term, estimate, se, ci_low, ci_high, statistic, df, p, standardized, standardized_ci_low,
        standardized_ci_high``.
    tests
        Rows ``term, statistic, df, df_error, p``, one per term that no interaction contains, and for least squares
        ``all terms`` for the whole model, with ``r2`` and ``r2_adjusted``.
    checks
        Rows ``check, value, p, method``.
    """

    formula: str
    kind: str
    n: int
    people: int
    excluded: pd.Index[Any]
    coefficients: pd.DataFrame
    tests: pd.DataFrame
    checks: pd.DataFrame


def fit_model(table: pd.DataFrame, formula: str, *, participant: str = "participant_id") -> FittedModel:
    """Fit a formula: a mixed model if participants repeat or the formula has random effects, otherwise least squares.

    Mixed models are fitted by REML with Satterthwaite's degrees of freedom, with a random intercept per participant
    unless the formula says otherwise. Least squares have HC3 errors (MacKinnon & White 1985,
    doi 10.1016/0304-4076(85)90158-7); if a single row determines a coefficient (leverage 1, such as the only member of
    a group), HC3 errors are undefined and classical errors are given, with a row in the checks.

    Parameters
    ----------
    table
        One row per run.
    formula
        Formula such as ``alps_bilateral ~ group + age + (1 | participant_id)``; see `make_design`.
    participant
        Column that identifies participants.

    Raises
    ------
    UsageError
        If the formula cannot be read or names no column.
    BadDataError
        If too few rows are complete, the outcome is constant, terms are collinear, or participants repeat
        although the random effects are grouped by another column.
    """
    design = make_design(table, formula)
    owners = table.loc[design.rows, participant].rename("participant") if participant in table else None
    repeats = owners is not None and bool(owners.duplicated().any())
    unit = float(design.outcome.std(ddof=1))  # optimizers fail at the scale of mm^2/s
    if design.grouping is not None or (repeats and owners is not None):
        fitted = _fit_mixed(design, formula, owners, unit)
    else:
        fitted = _fit_least_squares(design, unit)
    kind, coefficients, tests, checks = fitted
    return FittedModel(
        formula=formula,
        kind=kind,
        n=len(design.outcome),
        people=len(design.outcome) if owners is None else owners.nunique(),
        excluded=table.index.difference(design.rows),
        coefficients=coefficients,
        tests=tests,
        checks=checks,
    )


_Fitted = tuple[str, pd.DataFrame, pd.DataFrame, pd.DataFrame]


def _fit_least_squares(design: Design, unit: float) -> _Fitted:
    X, messages = design.fixed, list[str]()
    n_alone = count_full_leverage(X)
    model = OLS(design.outcome / unit, X)
    if n_alone:
        fitted, kind = model.fit(), "least squares, equal variances"
        messages.append(f"{n_alone} runs determine a coefficient alone (leverage 1): HC3 errors are undefined")
    else:
        fitted, kind = model.fit(cov_type="HC3", use_t=True), "least squares, HC3 errors"
    beta, covariance = np.asarray(fitted.params), np.asarray(fitted.cov_params())
    dof = np.full(X.shape[1], float(fitted.df_resid))
    rows = list[dict[str, Any]]()
    for name, indices in ((name, list(columns)) for name, columns in _top(design)):
        # Wald statistic b' V^-1 b over the number of coefficients
        f = float(beta[indices] @ np.linalg.solve(covariance[np.ix_(indices, indices)], beta[indices])) / len(indices)
        p = float(stats.f.sf(f, len(indices), fitted.df_resid))
        rows.append({"term": name, "statistic": f, "df": len(indices), "df_error": fitted.df_resid, "p": p})
    k, classical = X.shape[1] - 1, model.fit()
    if k and "Intercept" in X:
        overall = {"statistic": classical.fvalue, "df": k, "df_error": classical.df_resid, "p": classical.f_pvalue}
        r2 = {"r2": classical.rsquared, "r2_adjusted": classical.rsquared_adj}
        rows.append({"term": "all terms", **overall, **r2})
    residuals = np.asarray(fitted.resid)
    return kind, _coefficients(beta, covariance, dof, unit, X), _tests(rows), check_model(residuals, X, messages)


def _fit_mixed(design: Design, formula: str, owners: pd.Series[Any] | None, unit: float) -> _Fitted:
    X, groups, Z = design.fixed, design.grouping, design.random
    if groups is None or Z is None:
        groups, Z = owners, pd.DataFrame({"Intercept": np.ones(len(X))}, index=X.index)
    elif owners is not None and owners.duplicated().any():
        pairs = pd.DataFrame({"a": groups.astype(str), "b": owners.astype(str)}).drop_duplicates()
        if not len(pairs) == pairs["a"].nunique() == pairs["b"].nunique():  # groups are not the participants, renamed
            what = f"participants repeat, but the random effects are grouped by {groups.name}"
            raise BadDataError(formula, what, "group by participant_id and add the other column as a term")
    assert groups is not None  # noqa: S101 - one of the two is given
    count = groups.nunique()
    if count < 3:
        raise BadDataError(formula, f"{count} groups for random effects", "add participants, or use a factor instead")
    fitted = fit_mixed(design.outcome / unit, X.to_numpy(), Z.to_numpy(), groups.to_numpy())
    dof = np.array([fitted.dof(contrast) for contrast in np.eye(X.shape[1])])
    rows = []
    for name, columns in _top(design):
        f, df, df_error, p = fitted.test(np.eye(X.shape[1])[list(columns)])
        rows.append({"term": name, "statistic": f, "df": df, "df_error": df_error, "p": p})
    names = ", ".join("intercept" if name == "Intercept" else str(name) for name in Z)
    kind = f"mixed, random {names} by {groups.name}, Satterthwaite"
    warnings = ["A random effect has zero variance (singular fit)"] if fitted.singular else []
    sds = np.sqrt(np.diag(fitted.random_covariance)) * unit
    spreads = [{"check": f"SD of random {name}", "value": sd} for name, sd in zip(Z, sds, strict=True)]
    spreads.append({"check": "SD of residuals", "value": float(np.sqrt(fitted.residual_variance)) * unit})
    variances = pd.DataFrame(spreads).assign(p=np.nan, method="REML")
    checks = pd.concat([variances, check_model(fitted.residuals, X, warnings)])
    coefficients = _coefficients(fitted.beta, fitted.covariance, dof, unit, X)
    return kind, coefficients, _tests(rows), checks.reset_index(drop=True)


def _top(design: Design) -> list[tuple[str, tuple[int, ...]]]:
    """Return the terms that no interaction contains: tests of other terms depend on the coding of factors."""
    parts: Mapping[str, set[str]] = {name: set(name.split(":")) for name in design.terms}
    return [
        (name, columns)
        for name, columns in design.terms.items()
        if not any(parts[name] < other for other in parts.values())
    ]


def _tests(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["term", "statistic", "df", "df_error", "p", "r2", "r2_adjusted"])


def count_full_leverage(X: pd.DataFrame) -> int:
    """Count rows with leverage 1, such as the only member of a group; their residual is always zero."""
    # diagonal of the hat matrix X (X'X)^-1 X' = Q Q'
    leverage = (np.linalg.qr(X.to_numpy())[0] ** 2).sum(axis=1)
    return int((leverage > 1 - _EXACT).sum())


def _coefficients(beta: Array, covariance: Array, dof: Array, unit: float, X: pd.DataFrame) -> pd.DataFrame:
    scale = X.to_numpy().std(axis=0, ddof=1)
    scale[scale == 0] = np.nan  # the intercept
    # the outcome was divided by its SD (unit): beta * unit is in its units, beta * scale in SDs of y per SD of x
    se = np.sqrt(np.diag(covariance))
    # one number of degrees of freedom per coefficient (Satterthwaite), or the same for all
    reach = stats.t.ppf(0.975, dof) * se
    statistic = beta / se
    return pd.DataFrame(
        {
            "term": [str(name) for name in X.columns],
            "estimate": beta * unit,
            "se": se * unit,
            "ci_low": (beta - reach) * unit,
            "ci_high": (beta + reach) * unit,
            "statistic": statistic,
            "df": dof,
            "p": 2 * stats.t.sf(np.abs(statistic), dof),
            "standardized": beta * scale,
            "standardized_ci_low": (beta - reach) * scale,
            "standardized_ci_high": (beta + reach) * scale,
        }
    )


def check_model(residuals: Array, X: pd.DataFrame, messages: Sequence[str] = ()) -> pd.DataFrame:
    """Check the assumptions of a linear model: normal residuals of equal variance, no collinearity.

    Parameters
    ----------
    residuals
        Shape (n,).
    X
        Design, shape (n, terms).
    messages
        Warnings of the fit, one row each.
    """
    rows: list[dict[str, Any]] = []
    if len(residuals) >= 3 and np.ptp(residuals) > 0:
        shapiro = stats.shapiro(residuals[:5000])  # above this, the Shapiro-Wilk p-value is approximate
        rows.append({"check": "normality", "value": shapiro.statistic, "p": shapiro.pvalue, "method": "Shapiro-Wilk"})
        if X.shape[1] > 1 and "Intercept" in X:
            value, p, _, _ = het_breuschpagan(residuals, X.to_numpy())
            rows.append({"check": "equal variance", "value": value, "p": p, "method": "Breusch-Pagan"})
    # columns scaled to unit length (Belsley, Kuh & Welsch 1980), so that units do not matter
    condition = float(np.linalg.cond(X.to_numpy() / np.linalg.norm(X.to_numpy(), axis=0)))
    rows.append(
        {"check": "collinearity", "value": condition, "p": np.nan, "method": "condition number; doubtful above 30"}
    )
    rows += [{"check": "fit", "value": np.nan, "p": np.nan, "method": message} for message in dict.fromkeys(messages)]
    return pd.DataFrame(rows, columns=["check", "value", "p", "method"])

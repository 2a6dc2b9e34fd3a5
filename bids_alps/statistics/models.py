"""Linear models by formula: ordinary least squares with robust errors, mixed models for repeats."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from formulaic import Formula, model_matrix
from formulaic.errors import FormulaicError
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan

from bids_alps.errors import BadDataError, UsageError
from bids_alps.model import Array

_EXACT = 1e-8
_SPARE = 2  # degrees of freedom that a model must leave


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A fitted model.

    Parameters
    ----------
    formula, kind
        What was fitted and how.
    n, left_out
        Rows used, and rows left out since a value is missing.
    coefficients
        Rows ``term, estimate, se, ci_low, ci_high, statistic, p, standardised, standardised_ci_low,
        standardised_ci_high``.
    checks
        Rows ``check, value, p, method``.
    """

    formula: str
    kind: str
    n: int
    left_out: int
    coefficients: pd.DataFrame
    checks: pd.DataFrame


def fit_model(table: pd.DataFrame, formula: str, *, participant: str = "participant_id") -> FittedModel:
    """Fit a formula: a mixed model where participants repeat, else least squares with HC3 errors.

    Where a row determines a coefficient alone, as the only one in its group does, HC3 errors do not exist and those of
    equal variances are given, with a row in the checks.

    Parameters
    ----------
    table
        One row a run.
    formula
        Such as ``alps_bilateral ~ group + age + sex + pitch``, in the grammar of formulaic.
    participant
        Column that tells repeats.

    Raises
    ------
    UsageError
        If the formula cannot be read or names no column.
    BadDataError
        If too few rows are complete, the outcome is constant, or terms determine each other.
    """
    y, X, kept = _design(table, formula)
    owners = table.loc[kept, participant] if participant in table else None
    unit = float(y.std(ddof=1))  # the mixed model's optimiser cannot work at the scale of mm^2/s
    repeats = owners is not None and bool(owners.duplicated().any())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if repeats and owners is not None and owners.nunique() > X.shape[1]:
            fitted, kind = sm.MixedLM(y / unit, X, groups=owners.to_numpy()).fit(reml=True), "mixed, random intercept"
        elif alone := _count_alone(X):
            fitted, kind = sm.OLS(y / unit, X).fit(), "least squares, equal variances"
            warnings.warn(f"Of all runs, {alone} determine a coefficient alone: HC3 errors do not exist", stacklevel=1)
        else:
            fitted, kind = sm.OLS(y / unit, X).fit(cov_type="HC3", use_t=True), "least squares, HC3 errors"
    return FittedModel(
        formula=formula,
        kind=kind,
        n=len(y),
        left_out=len(table) - len(y),
        coefficients=_coefficients(fitted, unit, X),
        checks=check_model(y / unit - np.asarray(fitted.fittedvalues), X, [str(one.message) for one in told]),
    )


def _count_alone(X: pd.DataFrame) -> int:
    """Count the rows that the fit must pass through, such as the only one in its group; their error is unknown."""
    leverage = (np.linalg.qr(X.to_numpy())[0] ** 2).sum(axis=1)
    return int((leverage > 1 - _EXACT).sum())


def _design(table: pd.DataFrame, formula: str) -> tuple[Array, pd.DataFrame, pd.Index[Any]]:
    try:
        asked = sorted({str(name) for name in Formula(formula).required_variables} | _named(formula, table))
        missing = [name for name in asked if name not in table]
        if missing:
            raise UsageError(
                "--model", f"{formula!r} names no column: {', '.join(missing)}", f"choose of {', '.join(table.columns)}"
            )
        complete = table[asked].dropna()
        matrices = model_matrix(formula, complete, context={})
    except (FormulaicError, ValueError, SyntaxError, NameError, TypeError) as error:
        raise UsageError("--model", f"{formula!r} cannot be used ({error})", "write outcome ~ term + term") from error
    if not hasattr(matrices, "lhs"):
        raise UsageError("--model", f"{formula!r} has no outcome", "write outcome ~ term + term")
    X, outcome = pd.DataFrame(matrices.rhs).astype(float), pd.DataFrame(matrices.lhs)
    if outcome.shape[1] != 1:
        raise UsageError("--model", f"the outcome of {formula!r} is no single number", "choose a numeric column")
    y = outcome.to_numpy(dtype=float)[:, 0]
    _refuse(formula, y, X)
    return y, X, X.index


def _named(formula: str, table: pd.DataFrame) -> set[str]:
    """Columns that stand in a formula as words: formulaic does not tell those inside bs(), cs(), poly() and scale()."""
    return set(re.findall(r"[^\W\d]\w*", formula)) & {str(name) for name in table}


def _refuse(formula: str, y: Array, X: pd.DataFrame) -> None:
    if len(y) < X.shape[1] + _SPARE:
        raise BadDataError(formula, f"{len(y)} complete rows for {X.shape[1]} terms", "leave out terms or add runs")
    if np.ptp(y) == 0:
        raise BadDataError(formula, "the outcome is constant", "choose another outcome")
    rank = int(np.linalg.matrix_rank(X.to_numpy()))
    if rank < X.shape[1]:
        what = f"terms determine each other (rank {rank} of {X.shape[1]}: {', '.join(map(str, X.columns))})"
        raise BadDataError(formula, what, "leave out one of them")


def _coefficients(fitted: Any, unit: float, X: pd.DataFrame) -> pd.DataFrame:
    count = X.shape[1]
    interval = np.asarray(fitted.conf_int())[:count]
    scale = X.to_numpy().std(axis=0, ddof=1)
    scale[scale == 0] = np.nan  # the intercept
    estimate = np.asarray(fitted.params)[:count]
    return pd.DataFrame(
        {
            "term": [str(name) for name in X.columns],
            "estimate": estimate * unit,
            "se": np.asarray(fitted.bse)[:count] * unit,
            "ci_low": interval[:, 0] * unit,
            "ci_high": interval[:, 1] * unit,
            "statistic": np.asarray(fitted.tvalues)[:count],
            "p": np.asarray(fitted.pvalues)[:count],
            "standardised": estimate * scale,
            "standardised_ci_low": interval[:, 0] * scale,
            "standardised_ci_high": interval[:, 1] * scale,
        }
    )


def check_model(residuals: Array, X: pd.DataFrame, messages: Sequence[str] = ()) -> pd.DataFrame:
    """Check the assumptions of a linear model: normal residuals of equal variance, terms that can be told apart.

    Parameters
    ----------
    residuals
        Shape (n,).
    X
        Design, shape (n, terms).
    messages
        What the fit complained about, a row each.
    """
    rows: list[dict[str, Any]] = []
    if len(residuals) >= 3 and np.ptp(residuals) > 0:
        shapiro = stats.shapiro(residuals[:5000])  # beyond which its p-value is not exact
        rows.append({"check": "normality", "value": shapiro.statistic, "p": shapiro.pvalue, "method": "Shapiro-Wilk"})
        if X.shape[1] > 1 and "Intercept" in X:
            value, p, _, _ = het_breuschpagan(residuals, X.to_numpy())
            rows.append({"check": "equal variance", "value": value, "p": p, "method": "Breusch-Pagan"})
    condition = float(np.linalg.cond(X.to_numpy() / np.linalg.norm(X.to_numpy(), axis=0)))
    rows.append(
        {"check": "collinearity", "value": condition, "p": np.nan, "method": "condition number; doubtful above 30"}
    )
    rows += [{"check": "fit", "value": np.nan, "p": np.nan, "method": message} for message in dict.fromkeys(messages)]
    return pd.DataFrame(rows, columns=["check", "value", "p", "method"])

"""Discrimination between two groups by an outcome: area under the ROC curve, logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from bids_alps.errors import AlpsError, BadDataError
from bids_alps.model import Array
from bids_alps.statistics.comparison import group_names
from bids_alps.statistics.group_design import design_groups
from bids_alps.statistics.samples import to_floats

_MIN_PARTICIPANTS = 5
_COLUMNS = [
    *("outcome", "group_a", "group_b", "n_a", "n_b", "direction", "auc", "auc_se", "auc_ci_low", "auc_ci_high"),
    *("odds_ratio", "odds_ratio_ci_low", "odds_ratio_ci_high", "p", "note"),
]
_Z = float(stats.norm.ppf(0.975))


def measure_auc(a: Array, b: Array) -> tuple[float, float, float, float]:
    """Return the area under the ROC curve of two samples, its standard error and its 95 % interval.

    The area is the probability that a value of `b` exceeds a value of `a`; standard error of DeLong et al. 1988,
    doi 10.2307/2531595, as in ``pROC::ci.auc``.

    Examples
    --------
    >>> measure_auc(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))[0]
    1.0
    """
    # rank among all minus rank among its own: how many values of the other sample lie below, ties counted by half;
    # the means of both are the area, their variances its variance (placement values of DeLong)
    below = (stats.rankdata(np.concatenate([a, b]))[a.size :] - stats.rankdata(b)) / a.size
    above = 1 - (stats.rankdata(np.concatenate([a, b]))[: a.size] - stats.rankdata(a)) / b.size
    area = float(below.mean())
    se = float(np.sqrt(below.var(ddof=1) / b.size + above.var(ddof=1) / a.size))
    if se == 0:  # without overlap of the samples DeLong's interval has zero width
        return area, float("nan"), float("nan"), float("nan")
    return area, se, max(area - _Z * se, 0.0), min(area + _Z * se, 1.0)


def discriminate(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    group: str,
    covariates: Sequence[str] = (),
    *,
    reference: str | None = None,
) -> pd.DataFrame:
    """Measure in-sample discrimination between each pair of groups by each outcome.

    Returns
    -------
    DataFrame
        Rows ``outcome, group_a, group_b, n_a, n_b, direction, auc, auc_se, auc_ci_low, auc_ci_high`` and, of logistic
        regression with the covariates, ``odds_ratio`` of `group_b` per standard deviation of the outcome with its
        interval, ``p`` and ``note``. The area is at least 0.5; `direction` is that of `group_b`.
    """
    names = group_names(table[group], reference)
    membership = table[group].astype(str).where(table[group].notna())
    rows = []
    for outcome in outcomes:
        values = to_floats(table[outcome])
        for a, b in combinations(names, 2):
            x, y = (values[(membership == name).to_numpy() & np.isfinite(values)] for name in (a, b))
            if min(x.size, y.size) < _MIN_PARTICIPANTS or np.ptp(np.concatenate([x, y])) == 0:
                continue
            area, se, low, high = measure_auc(x, y)
            lower = area < 0.5
            row: dict[str, Any] = {"outcome": outcome, "group_a": a, "group_b": b, "n_a": x.size, "n_b": y.size}
            row |= {"direction": "lower" if lower else "higher", "auc": 1 - area if lower else area, "auc_se": se}
            row |= {"auc_ci_low": 1 - high if lower else low, "auc_ci_high": 1 - low if lower else high}
            pair = table[membership.isin([a, b])]
            try:
                row |= fit_odds(pair, outcome, group, covariates, reference=a)
            except AlpsError as error:
                row |= {"note": str(error)}
            rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


def fit_odds(
    table: pd.DataFrame, outcome: str, group: str, covariates: Sequence[str] = (), *, reference: str | None = None
) -> dict[str, Any]:
    """Return the odds ratio of the second group per standard deviation of an outcome, by logistic regression.

    Raises
    ------
    BadDataError
        If the groups are perfectly separated (no finite odds ratio), or too few participants are complete.
    """
    values = to_floats(table[outcome])
    design = design_groups(table, group, covariates, outcome=values, reference=reference)
    y = design.matrix[:, 1]
    x = values[design.rows]
    # in SDs, so that odds ratios of different outcomes compare
    X = np.column_stack([np.ones(len(y)), (x - x.mean()) / x.std(ddof=1), design.matrix[:, 2:]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            fitted: Any = Logit(y, X).fit(disp=0)
        except (PerfectSeparationError, np.linalg.LinAlgError, RuntimeWarning, UserWarning) as error:
            raise BadDataError(f"odds of {outcome}", "the fit does not converge", "remove covariates") from error
    low, high = fitted.conf_int()[1]
    return {
        "odds_ratio": float(np.exp(fitted.params[1])),
        "odds_ratio_ci_low": float(np.exp(low)),
        "odds_ratio_ci_high": float(np.exp(high)),
        "p": float(fitted.pvalues[1]),
        "note": "",
    }

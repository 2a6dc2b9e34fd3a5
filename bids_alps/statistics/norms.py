"""Where a participant stands among those of a reference group, given age and sex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.samples import to_floats

REFERENCES = ("control", "controls", "hc", "healthy", "healthy control", "healthy controls", "nc", "cn", "con", "ctrl")
"""Names of a group of healthy people, in lower case, tried in this order."""
_SPARE = 4
_SMOOTH = 30
"""Participants of the reference from whom on age bends."""


def find_reference(groups: Sequence[str], chosen: str | None = None) -> str | None:
    """Return the reference group: the one that was chosen, or one whose name says that its members are healthy.

    Examples
    --------
    >>> find_reference(["Healthy_Control", "RLS"]), find_reference(["A", "B"]) is None
    ('Healthy_Control', True)
    """
    if chosen is not None:
        return chosen if chosen in groups else None
    plain = {" ".join(name.lower().replace("_", " ").replace("-", " ").split()): name for name in groups}
    return next((plain[name] for name in REFERENCES if name in plain), None)


def spline(values: Array, knots: Array) -> Array:
    """Return the columns of a natural cubic spline, linear beyond its outer knots, shape (n, knots - 1).

    Harrell 2015, doi 10.1007/978-3-319-19425-7, section 2.4.5, without the intercept, as ``rms::rcspline.eval`` with
    ``norm = 2`` has it.
    """
    last, before, first = knots[-1], knots[-2], knots[0]
    columns = [values]
    for knot in knots[:-2]:
        bend = _cube(values - knot)
        bend = bend - _cube(values - before) * (last - knot) / (last - before)
        bend = bend + _cube(values - last) * (before - knot) / (last - before)
        columns.append(bend / (last - first) ** 2)
    return np.column_stack(columns)


def _cube(values: Array) -> Array:
    return np.maximum(values, 0.0) ** 3


def measure_norms(values: Array, covariates: Array, member: Array | None = None) -> Array:
    """Return the z-score of each value against what a linear model of the reference predicts.

    A member of the reference is predicted from all other members: its score is the externally studentised residual
    (Cook & Weisberg 1982, ISBN 0-412-24280-0). Anybody else is predicted from all members. The error of the prediction
    counts, and the t-distribution is turned normal.

    Parameters
    ----------
    values
        Shape (n,); where one or its covariates are missing, so is its score.
    covariates
        Shape (n, k), without an intercept.
    member
        Who belongs to the reference, shape (n,); None for everyone.

    Raises
    ------
    BadDataError
        If fewer than k + 5 members are complete, or covariates determine each other.
    """
    complete = np.isfinite(values) & np.isfinite(covariates).all(axis=1)
    inside = complete if member is None else complete & member
    X = np.column_stack([np.ones(len(values)), covariates])
    own, y = X[inside], values[inside]
    n, terms = own.shape
    if n < terms + _SPARE or np.linalg.matrix_rank(own) < terms:
        what = f"{n} complete values for {terms} terms, or terms that determine each other"
        raise BadDataError("norms", what, "add participants or leave out a covariate")
    root = np.linalg.inv(np.linalg.qr(own, mode="r"))
    beta = np.linalg.lstsq(own, y, rcond=None)[0]
    scores = np.full(len(values), np.nan)
    outside = complete & ~inside
    residual, leverage = y - own @ beta, ((own @ root) ** 2).sum(axis=1)
    total, freedom = float((residual**2).sum()), n - terms
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (total - residual**2 / (1 - leverage)) / (freedom - 1)
        scores[inside] = _normal(residual / np.sqrt(variance * (1 - leverage)), freedom - 1)
        error = np.sqrt(total / freedom * (1 + ((X[outside] @ root) ** 2).sum(axis=1)))
        scores[outside] = _normal((values[outside] - X[outside] @ beta) / error, freedom)
    return scores


def _normal(t: Array, freedom: int) -> Array:
    z: Array = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), freedom))
    return z


def find_norms(
    people: pd.DataFrame, outcomes: Sequence[str], group: str | None = None, reference: str | None = None
) -> tuple[pd.DataFrame, str]:
    """Return each participant's z-scores given age and sex, and what the norm was made of.

    Age enters as a straight line, from 30 members of the reference on as a natural spline with three knots at the 10th,
    50th and 90th percentile.

    Parameters
    ----------
    people
        One row a participant, with ``age`` and, where known, ``sex``.
    outcomes
        What to score.
    group, reference
        Column of the groups, and the one whose members are the norm; everyone where either is None.

    Returns
    -------
    tuple
        Columns ``in_reference`` (whether the participant is part of the norm), ``age_outside`` (whether nobody of the
        norm is as young or as old), and a z-score an outcome; and a sentence.
    """
    age = to_floats(people["age"])
    inside = np.isfinite(age)
    whose = "all participants, since no group of healthy controls is known"
    if group is not None and reference is not None:
        inside = inside & (people[group].astype(str) == reference).to_numpy()
        whose = f"the participants of {group} {reference}"
    covariates, how = [age[:, None]], "age as a straight line"
    if inside.sum() >= _SMOOTH and np.unique(age[inside]).size > 4:
        knots = np.percentile(age[inside], [10, 50, 90])
        if np.unique(knots).size == 3:
            covariates, how = [spline(age, knots)], "age as a natural spline with three knots"
    if "sex" in people and people.loc[inside, "sex"].nunique() == 2:
        sex = people["sex"]
        first = sorted(sex[inside].dropna().unique())[0]
        covariates.append(np.where(sex.isna(), np.nan, sex == first)[:, None])
        how += " and sex"
    held = np.column_stack(covariates)
    oldest, youngest = (np.nanmax(age[inside]), np.nanmin(age[inside])) if inside.any() else (np.nan, np.nan)
    columns: dict[str, Any] = {"in_reference": inside, "age_outside": (age > oldest) | (age < youngest)}
    columns |= {f"{name}_z": measure_norms(to_floats(people[name]), held, inside) for name in outcomes}
    said = f"Norms come from {whose} ({int(inside.sum())}), with {how}; each of them is predicted from the others."
    return pd.DataFrame(columns, index=people.index), said

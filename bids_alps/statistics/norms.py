"""Normative scores: z-scores relative to a reference group, given age and sex."""

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
"""Names of healthy control groups, in lower case, in order of priority."""
_SPARE = 4
_SMOOTH = 30
"""Minimum reference participants for a spline in age."""


def find_reference(groups: Sequence[str], chosen: str | None = None) -> str | None:
    """Return the reference group: the chosen one, or one whose name denotes healthy controls.

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
    """Return the basis of a natural (restricted) cubic spline, linear beyond the outer knots, shape (n, knots - 1).

    Harrell 2015, doi 10.1007/978-3-319-19425-7, section 2.4.5, without the intercept, as in ``rms::rcspline.eval`` with
    ``norm = 2``.
    """
    last, before, first = knots[-1], knots[-2], knots[0]
    columns = [values]
    for knot in knots[:-2]:
        # a truncated cube, from which two others take away its cubic and square terms beyond the last knot
        bend = _cube(values - knot)
        bend = bend - _cube(values - before) * (last - knot) / (last - before)
        bend = bend + _cube(values - last) * (before - knot) / (last - before)
        columns.append(bend / (last - first) ** 2)
    return np.column_stack(columns)


def _cube(values: Array) -> Array:
    return np.maximum(values, 0.0) ** 3


def measure_norms(values: Array, covariates: Array, member: Array | None = None) -> Array:
    """Return the z-score of each value relative to the prediction of a linear model of the reference group.

    A member of the reference is predicted from all other members: its score is the externally studentized residual
    (Cook & Weisberg 1982, ISBN 0-412-24280-0). Others are predicted from all members. Scores account for
    the prediction error, and t-values are converted to z.

    Parameters
    ----------
    values
        Shape (n,); the score is missing if a value or covariate is.
    covariates
        Shape (n, k), without an intercept.
    member
        Members of the reference group, bool, shape (n,); None for all.

    Raises
    ------
    BadDataError
        If fewer than k + 5 members are complete, or covariates are collinear.
    """
    complete = np.isfinite(values) & np.isfinite(covariates).all(axis=1)
    inside = complete if member is None else complete & member
    X = np.column_stack([np.ones(len(values)), covariates])
    design, y = X[inside], values[inside]
    n, terms = design.shape
    if n < terms + _SPARE or np.linalg.matrix_rank(design) < terms:
        what = f"{n} complete values for {terms} terms, or collinear terms"
        raise BadDataError("norms", what, "add participants or remove a covariate")
    # X R^-1 has orthonormal columns, so that row sums of squares are leverages
    root = np.linalg.inv(np.linalg.qr(design, mode="r"))
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    scores = np.full(len(values), np.nan)
    outside = complete & ~inside
    residual, leverage = y - design @ beta, ((design @ root) ** 2).sum(axis=1)
    total, dof = float((residual**2).sum()), n - terms
    with np.errstate(divide="ignore", invalid="ignore"):
        # variance without the participant itself: external studentization
        variance = (total - residual**2 / (1 - leverage)) / (dof - 1)
        scores[inside] = _normal(residual / np.sqrt(variance * (1 - leverage)), dof - 1)
        # standard error of a prediction: residual variance times 1 + x' (X'X)^-1 x
        error = np.sqrt(total / dof * (1 + ((X[outside] @ root) ** 2).sum(axis=1)))
        scores[outside] = _normal((values[outside] - X[outside] @ beta) / error, dof)
    return scores


def _normal(t: Array, dof: int) -> Array:
    # the z of equal tail probability; sf and isf are accurate far out, where 1 - cdf is 0
    z: Array = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), dof))
    return z


def find_norms(
    people: pd.DataFrame, outcomes: Sequence[str], group: str | None = None, reference: str | None = None
) -> tuple[pd.DataFrame, str]:
    """Return z-scores given age and sex, and a description of the reference.

    Age enters linearly; with 30 or more reference members, as a natural spline with three knots at the 10th,
    50th and 90th percentile.

    Parameters
    ----------
    people
        One row per participant, with ``age`` and, where known, ``sex``.
    outcomes
        Outcomes to score.
    group, reference
        Group column, and the reference group; all participants if either is None.

    Returns
    -------
    tuple
        Columns ``in_reference`` (whether the participant belongs to the reference), ``age_extrapolated`` (whether the
        age is outside the range of the reference), and one z-score per outcome; and a sentence for the methods text.
    """
    age = to_floats(people["age"])
    inside = np.isfinite(age)
    source = "all participants, since no healthy control group was identified"
    if group is not None and reference is not None:
        inside = inside & (people[group].astype(str) == reference).to_numpy()
        source = f"the participants of {group} {reference}"
    covariates, model = [age[:, None]], "age as a linear term"
    if inside.sum() >= _SMOOTH and np.unique(age[inside]).size > 4:
        knots = np.percentile(age[inside], [10, 50, 90])
        if np.unique(knots).size == 3:
            covariates, model = [spline(age, knots)], "age as a natural spline with three knots"
    if "sex" in people and people.loc[inside, "sex"].nunique() == 2:
        sex = people["sex"]
        first = sorted(sex[inside].dropna().unique())[0]
        covariates.append(np.where(sex.isna(), np.nan, sex == first)[:, None])
        model += " and sex"
    design = np.column_stack(covariates)
    oldest, youngest = (np.nanmax(age[inside]), np.nanmin(age[inside])) if inside.any() else (np.nan, np.nan)
    columns: dict[str, Any] = {"in_reference": inside, "age_extrapolated": (age > oldest) | (age < youngest)}
    columns |= {f"{name}_z": measure_norms(to_floats(people[name]), design, inside) for name in outcomes}
    used = int((inside & np.isfinite(design).all(axis=1)).sum())
    sentence = (
        f"Normative scores are based on {source} (n = {used}), with {model}; reference members are "
        "predicted from the others."
    )
    return pd.DataFrame(columns, index=people.index), sentence

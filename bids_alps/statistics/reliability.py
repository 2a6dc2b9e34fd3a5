"""Reliability of repeated measurements: intraclass correlation, within-subject variation, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bids_alps.errors import BadDataError
from bids_alps.model import Array
from bids_alps.statistics.repeats import PARTICIPANT_KEY, VISIT, Visits, average_visits

_MIN_PARTICIPANTS = 3


def measure_repeats(visits: Visits, outcomes: Sequence[str]) -> pd.DataFrame:
    """Measure the reliability of outcomes between runs of one session and between sessions.

    Repeats are matched by label, never by rank: a participant with a missing repeat is excluded. The repeats used are
    those shared by most participants.

    Returns
    -------
    DataFrame
        Rows ``between, repeats, outcome, participants, kind, icc, ci_low, ci_high`` and those of `measure_agreement`.
    """
    runs = visits.runs
    tables = {"sessions": (average_visits(runs), VISIT, list(visits.order))} if len(visits.order) > 1 else {}
    # the runs of the first visit with repeats of each participant, labeled by the entities that differ
    ends = list(runs.columns).index("alps_left") if "alps_left" in runs else 0
    ids = [name for name in runs.columns[:ends] if name not in ("dataset", "participant_id", "session_id")]
    several = runs[runs.duplicated([PARTICIPANT_KEY, VISIT], keep=False)]
    first = several.drop_duplicates(PARTICIPANT_KEY).set_index(PARTICIPANT_KEY)[VISIT]
    repeated = several[several[VISIT] == several[PARTICIPANT_KEY].map(first)]
    names = repeated[ids].fillna("").astype(str).agg(" ".join, axis=1) if ids and len(repeated) else ""
    within = repeated.assign(_run=names)
    if len(within["_run"].unique()) > 1:
        tables["runs of a session"] = (within, "_run", sorted(within["_run"].unique()))
    rows = []
    for name, (table, column, order) in tables.items():
        for outcome in outcomes:
            wide = table.pivot_table(outcome, PARTICIPANT_KEY, column, observed=True).reindex(columns=order)
            repeats = _most_complete(wide)
            scores = wide[repeats].dropna().to_numpy(dtype=float)
            if len(repeats) < 2 or len(scores) < _MIN_PARTICIPANTS:
                continue
            shared: dict[str, Any] = {
                "between": name,
                "repeats": ", ".join(str(repeat).replace("ses-", "") for repeat in repeats),
                "outcome": outcome,
                "participants": len(scores),
            }
            icc = measure_icc(scores)
            rows += [shared | row | measure_agreement(scores) for row in icc.to_dict("records")]
    return pd.DataFrame(rows)


def _most_complete(wide: pd.DataFrame) -> list[Any]:
    """Return the repeats available in at least half as many participants as the most common pair."""
    present = wide.notna().to_numpy(dtype=float)
    # participants with both of two repeats
    pair_counts = present.T @ present
    np.fill_diagonal(pair_counts, 0)
    if not pair_counts.size or pair_counts.max() < 1:
        return []
    a, b = np.unravel_index(int(pair_counts.argmax()), pair_counts.shape)
    selected = [int(a), int(b)]
    for n in range(len(wide.columns)):
        if n not in selected and 2 * present[:, [*selected, n]].all(axis=1).sum() >= pair_counts.max():
            selected.append(n)
    return [wide.columns[n] for n in sorted(selected)]


def measure_icc(scores: Array) -> pd.DataFrame:
    """Return ICC(2,1), absolute agreement, and ICC(3,1), consistency, of single measurements.

    Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420; intervals of McGraw & Wong 1996,
    doi 10.1037/1082-989X.1.1.30.

    Parameters
    ----------
    scores
        Shape (participants, repeats), complete.

    Returns
    -------
    DataFrame
        Rows ``kind, icc, ci_low, ci_high``.

    Raises
    ------
    BadDataError
        If there are fewer than two participants or repeats, or a value is missing.
    """
    n, k = scores.shape
    if n < 2 or k < 2 or not np.isfinite(scores).all():
        raise BadDataError("reliability", f"{n} complete participants with {k} repeats", "provide two or more of both")
    grand = scores.mean()
    # mean squares of the two-way analysis of variance: participants, repeats, residual
    rows = k * ((scores.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((scores.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    if error == 0:
        raise BadDataError("reliability", "repeats do not vary", "check that they are different scans")
    # ICC(3,1): a function of F that rises with it, so that limits of F give those of the ICC
    ratio, df_error = rows / error, (n - 1) * (k - 1)
    limits = {
        "icc": ratio,
        "ci_low": ratio / stats.f.ppf(0.975, n - 1, df_error),
        "ci_high": ratio * stats.f.ppf(0.975, df_error, n - 1),
    }
    consistency = {name: (f - 1) / (f + k - 1) for name, f in limits.items()}
    # ICC(2,1): differences between repeats count as error too
    icc = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    a, b = k * icc / (n * (1 - icc)), 1 + k * icc * (n - 1) / (n * (1 - icc))
    parts = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    # Satterthwaite: degrees of freedom of the combination of two mean squares
    dof = (a * columns + b * error) ** 2 / parts
    upper, lower = stats.f.ppf(0.975, n - 1, dof), stats.f.ppf(0.975, dof, n - 1)
    spread = k * columns + (k * n - k - n) * error
    low = n * (rows - upper * error) / (upper * spread + n * rows)
    high = n * (lower * rows - error) / (spread + n * lower * rows)
    agreement = {"kind": "ICC(2,1)", "icc": icc, "ci_low": low, "ci_high": high}
    return pd.DataFrame([agreement, {"kind": "ICC(3,1)", **consistency}])


def measure_agreement(scores: Array) -> dict[str, float]:
    """Return within-subject variation, smallest detectable change, and bias and limits of agreement.

    The coefficient of variation is the root mean square over participants of SD / mean; the smallest detectable change
    is 1.96 sqrt(2) times the standard error of measurement, which is the root mean square of the SDs (Bland & Altman
    1996, doi 10.1136/bmj.313.7059.744). Bias and limits are those of the last repeat minus the first (Bland & Altman
    1986, doi 10.1016/S0140-6736(86)90837-8).

    Parameters
    ----------
    scores
        Shape (participants, repeats), complete.

    Examples
    --------
    >>> found = measure_agreement(np.array([[1.0, 1.2], [2.0, 2.2], [3.0, 3.2]]))
    >>> round(found["bias"], 6), round(found["limit_high"] - found["limit_low"], 6)
    (0.2, 0.0)
    """
    difference = scores[:, -1] - scores[:, 0]
    bias, reach = float(difference.mean()), float(1.96 * difference.std(ddof=1))
    spread = scores.std(axis=1, ddof=1)
    # variances are averaged over participants, not SDs
    error = float(np.sqrt((spread**2).mean()))
    return {
        "within_subject_cv": float(np.sqrt(((spread / scores.mean(axis=1)) ** 2).mean())),
        "standard_error_of_measurement": error,
        "smallest_detectable_change": 1.96 * float(np.sqrt(2)) * error,
        "bias": bias,
        "limit_low": bias - reach,
        "limit_high": bias + reach,
    }

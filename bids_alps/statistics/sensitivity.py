"""Sensitivity of the primary analysis to analysis choices: a specification curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.statistics.adjusted import fit_groups, values_of
from bids_alps.statistics.group_design import design_groups
from bids_alps.statistics.samples import to_floats

STATUSES: Mapping[str, tuple[str, ...]] = {
    "passed and flagged": ("pass", "warn"),
    "passed only": ("pass",),
    "failed included": ("pass", "warn", "fail"),
}
INDEX: Mapping[str, str] = {"corrected": "alps_bilateral", "scanner axes": "alps_bilateral_uncorrected"}
_POSE = ("pitch", "roll", "yaw")
_TISSUE = ("fa_projection", "fa_association", "md_projection", "md_association")
_MOTION = ("check_framewise_displacement",)


def covariate_sets(table: pd.DataFrame, chosen: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the sets of covariates by name: none, the chosen ones, and these with pose, tissue and motion."""
    measured = {name: to_floats(table[name]) for name in (*_POSE, *_TISSUE, *_MOTION) if name in table}
    finite = {name: values[np.isfinite(values)] for name, values in measured.items()}
    varying = {name for name, values in finite.items() if values.size > 0.5 * len(table) and np.ptp(values) > 0}
    sets: dict[str, tuple[str, ...]] = {"none": ()}
    if chosen:
        sets[", ".join(chosen)] = tuple(chosen)
    for name, candidates in (("pose", _POSE), ("FA and MD", _TISSUE), ("motion", _MOTION)):
        added = tuple(name for name in candidates if name in varying and name not in chosen)
        if added:
            sets[f"{', '.join(chosen)} and {name}" if chosen else name] = (*chosen, *added)
    return sets


def find_specifications(
    tables: Mapping[tuple[str, str], pd.DataFrame],
    group: str,
    covariates: Sequence[str],
    *,
    reference: str | None = None,
    precision: bool = False,
) -> pd.DataFrame:
    """Compare the bilateral index between groups for all combinations of runs, preset, covariates and pose correction.

    Simonsohn, Simmons & Nelson 2020, doi 10.1038/s41562-020-0912-z.

    Parameters
    ----------
    tables
        One row per participant, by preset and set of statuses (a key of `STATUSES`), those of the primary analysis
        first.
    group, covariates
        Columns of the primary analysis.
    reference
        Reference group.
    precision
        Weight participants by precision, as the primary analysis does; the index in scanner axes, whose standard error
        is unknown, is then not compared.

    Returns
    -------
    DataFrame
        Rows ``roi_preset, statuses, covariates, pose, group_a, group_b, n, difference, difference_ci_low,
        difference_ci_high, p``, in percent of the reference's adjusted mean as ``percent``; and ``primary`` for the
        row of the primary analysis.
    """
    first = next(iter(tables), ("", ""))
    rows = list[dict[str, Any]]()
    for (preset, statuses), table in tables.items():
        for named, chosen in covariate_sets(table, covariates).items():
            for pose, outcome in INDEX.items():
                if outcome not in table or (precision and f"{outcome}_se" not in table):
                    continue
                labels: dict[str, Any] = {"roi_preset": preset, "statuses": statuses, "covariates": named, "pose": pose}
                is_primary = tuple(chosen) == tuple(covariates) and outcome == INDEX["corrected"]
                labels["primary"] = is_primary and (preset, statuses) == first
                rows += [labels | row for row in _compared(table, outcome, (group, chosen, reference), precision)]
    return pd.DataFrame(rows)


def _compared(
    table: pd.DataFrame, outcome: str, chosen: tuple[str, Sequence[str], str | None], precision: bool
) -> Iterator[dict[str, Any]]:
    group, covariates, reference = chosen
    values, se = values_of(table, outcome, precision=precision)
    usable = values if se is None else np.where(se > 0, values, np.nan)
    try:
        design = design_groups(table, group, covariates, outcome=usable, reference=reference)
        fitted = fit_groups(values, design, se)
    except AlpsError:
        return  # specification not estimable with these participants
    for n in range(1, len(design.names)):
        difference = fitted.difference(design.contrast(0, n))
        yield {
            "group_a": design.names[0],
            "group_b": design.names[n],
            "n": len(design.matrix),
            "difference": difference["value"],
            "difference_ci_low": difference["ci_low"],
            "difference_ci_high": difference["ci_high"],
            "percent": 100 * difference["value"] / float(fitted.beta[0]),
            "p": difference["p"],
        }

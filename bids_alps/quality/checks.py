"""Quality checks: a value with thresholds, a status, and one sentence on why it matters."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from bids_alps.errors import UsageError
from bids_alps.model import SIDES, AlpsResult, Check, Status, worst_status
from bids_alps.numerics.index.orientation import shared_rotation
from bids_alps.quality.thresholds import THRESHOLDS, Threshold


def evaluate(name: str, value: float, thresholds: Mapping[str, Threshold] = THRESHOLDS) -> Check:
    """Return the check of a value; a missing value has the status `Threshold.unknown`.

    Examples
    --------
    >>> [evaluate("fa", value).status for value in (0.45, 0.2, 0.1)]
    ['pass', 'warn', 'fail']
    """
    limit = thresholds[name]
    distance = abs(value - limit.middle) if limit.direction == "outside" else value
    is_beyond = operator.lt if limit.direction == "below" else operator.gt  # False for NaN: no threshold
    status: Status = "pass"
    if math.isnan(value):
        status = limit.unknown
    elif is_beyond(distance, limit.fail):
        status = "fail"
    elif is_beyond(distance, limit.warn):
        status = "warn"
    return Check(
        name=name,
        value=value,
        unit=limit.unit,
        warn=limit.warn,
        fail=limit.fail,
        status=status,
        direction=limit.direction,
        reason=limit.reason,
    )


def apply_thresholds(checks: Iterable[Check], limits: Mapping[str, tuple[float, float]]) -> tuple[Check, ...]:
    """Return checks re-evaluated with user-defined thresholds (warn, fail).

    For two-sided checks (``outside``) the thresholds are distances from `Threshold.middle`.

    Raises
    ------
    KeyError
        If a check is not one of `THRESHOLDS`.
    """
    overrides = {
        name: replace(THRESHOLDS[name], warn=warn, fail=fail, source="settings")
        for name, (warn, fail) in limits.items()
    }
    return tuple(evaluate(check.name, check.value, overrides) if check.name in overrides else check for check in checks)


def overall_status(checks: Iterable[Check]) -> Status:
    """Return the overall status of an index: fail only if a check that withholds the index failed.

    Examples
    --------
    >>> overall_status([evaluate("fa", 0.1)]), overall_status([evaluate("lesion_t1w_shift", 9.0)])
    ('fail', 'warn')
    """
    return worst_status(
        "warn" if check.status == "fail" and not THRESHOLDS[check.name].withholds_index else check.status
        for check in checks
    )


def parse_thresholds(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return thresholds by check name from ``NAME=WARN,FAIL``; ``n/a`` means never.

    Raises
    ------
    UsageError
        If a text cannot be parsed, the check is unknown, or a check would fail before it warns.

    Examples
    --------
    >>> parse_thresholds(["pitch=15,n/a", "fa=.25,.1"])
    {'pitch': (15.0, nan), 'fa': (0.25, 0.1)}
    """
    limits = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)=([^,]+),([^,]+)", text.strip())
        try:
            name, *pair = match.groups() if match else ("", "", "")
            warn, fail = map(_limit, pair)
        except ValueError:
            raise UsageError(
                "--threshold", f"{text!r} is not a threshold", "write NAME=WARN,FAIL, such as pitch=15,n/a"
            ) from None
        if name not in THRESHOLDS:
            raise UsageError("--threshold", f"there is no check {name}", f"choose from {', '.join(sorted(THRESHOLDS))}")
        if (fail < warn) if THRESHOLDS[name].direction != "below" else (fail > warn):
            raise UsageError(
                f"--threshold {name}={warn:g},{fail:g}", "the check would fail before it warns", "swap the two values"
            )
        limits[name] = warn, fail
    return limits


def _limit(text: str) -> float:
    """Return a threshold: a finite number, or NaN for ``n/a``."""
    if text.strip() == "n/a":
        return math.nan
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def check_index(result: AlpsResult) -> tuple[Check, ...]:
    """Return the checks of the regions and of the index; each uses the worst value over regions."""
    used = [roi for roi in result.rois if roi.name.startswith(("projection", "association"))]

    def worst(scalar: str, reduction: str, prefix: str = "") -> float:
        values = [roi.scalars.get(scalar, math.nan) for roi in used if roi.name.startswith(prefix)]
        return float(getattr(np, reduction)(values))

    directions = {roi.name: np.array([roi.scalars.get(f"v1_{axis}", math.nan) for axis in "xyz"]) for roi in used}
    middle = THRESHOLDS["alps"].middle
    sides = [result.alps[side] for side in SIDES]
    values = {
        "angle_projection": worst("v1_angle", "max", "projection"),
        "angle_association": worst("v1_angle", "max", "association"),
        "tract_rotation": shared_rotation(directions),
        "dispersion": worst("v1_dispersion", "max"),
        "fa": worst("fa", "min"),
        "lambda2_lambda3": worst("lambda2_lambda3", "max"),
        "off_tract_fraction": worst("off_tract_fraction", "max"),
        "other_tissue": worst("other_tissue", "max"),
        "effective_voxels": worst("n_voxels", "min"),
        "coverage": worst("coverage", "min"),
        "pitch": result.pose.pitch,
        "alps": max(sides, key=lambda value: math.inf if math.isnan(value) else abs(value - middle)),
    }
    return tuple(evaluate(name, value) for name, value in values.items())

"""Quality checks: each a value with thresholds, a status, and one sentence why it matters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bids_alps.errors import UsageError
from bids_alps.model import SIDES, AlpsResult, Check, Status

Bad = Literal["above", "below", "outside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Where a check warns and fails (NaN for never), and on which side trouble lies.

    For ``outside`` the thresholds are distances from `middle`.
    """

    unit: str
    warn: float
    fail: float
    bad: Bad
    reason: str
    middle: float = 0.0


NEVER = math.nan
THRESHOLDS: Mapping[str, Threshold] = {
    "angle_projection": Threshold(
        unit="degrees",
        warn=25,
        fail=45,
        bad="above",
        reason="Fibres of the projection regions should run along z, else Dxx and Dyy are not across them.",
    ),
    "angle_association": Threshold(
        unit="degrees",
        warn=25,
        fail=45,
        bad="above",
        reason="Fibres of the association regions should run along y, else Dxx and Dzz are not across them.",
    ),
    "dispersion": Threshold(
        unit="degrees",
        warn=25,
        fail=NEVER,
        bad="above",
        reason="Directions that scatter inside a region mix tracts.",
    ),
    "fa": Threshold(
        unit="",
        warn=0.3,
        fail=0.15,
        bad="below",
        reason="A region of low anisotropy lies outside white matter or in a crossing.",
    ),
    "lambda2_lambda3": Threshold(
        unit="",
        warn=1.8,
        fail=NEVER,
        bad="above",
        reason="A flat tensor hints at crossing fibres, which change the index whatever happens along vessels.",
    ),
    "off_tract_fraction": Threshold(
        unit="",
        warn=0.3,
        fail=0.7,
        bad="above",
        reason="Voxels of other tissue or tracts do not belong here.",
    ),
    "effective_voxels": Threshold(
        unit="voxels", warn=4, fail=1.5, bad="below", reason="A region of few voxels averages little noise away."
    ),
    "coverage": Threshold(
        unit="",
        warn=0.95,
        fail=0.5,
        bad="below",
        reason="A region at the edge of the brain mask or the field of view is measured in part.",
    ),
    "pitch": Threshold(
        unit="degrees",
        warn=8,
        fail=NEVER,
        bad="outside",
        reason="Pitch changes the index where tensors are not turned, and strains the alignment.",
    ),
    "alps": Threshold(
        unit="",
        warn=0.55,
        fail=NEVER,
        bad="outside",
        middle=1.45,
        reason="An index outside .9 to 2.0 is rare in the literature: look at the figures.",
    ),
    "snr_b0": Threshold(
        unit="",
        warn=10,
        fail=3,
        bad="below",
        reason="At low signal the noise floor bends diffusivities, along the fibres most of all.",
    ),
    "b_value": Threshold(
        unit="s/mm^2",
        warn=500,
        fail=NEVER,
        bad="outside",
        middle=1000,
        reason="Far from b = 1000 the tensor model measures something else: compare within a protocol only.",
    ),
    "directions": Threshold(unit="", warn=12, fail=6, bad="below", reason="Few directions leave the tensor to chance."),
    "gradient_spread": Threshold(
        unit="%",
        warn=2,
        fail=15,
        bad="above",
        reason="Weighting that differs between volumes from what the table says makes isotropic tissue anisotropic.",
    ),
    "gradient_axes": Threshold(
        unit="",
        warn=0.96,
        fail=0.95,
        bad="below",
        reason="Fibres that continue better with flipped or exchanged axes point to a wrong gradient table.",
    ),
    "framewise_displacement": Threshold(
        unit="mm", warn=1.0, fail=3.0, bad="above", reason="Head motion blurs tracts and loses signal."
    ),
    "outlier_slices": Threshold(
        unit="", warn=0.02, fail=0.1, bad="above", reason="Slices whose signal was lost to motion bias the tensor."
    ),
}
"""Every check; sources and derivations are in the documentation."""


def judge(name: str, value: float, thresholds: Mapping[str, Threshold] = THRESHOLDS) -> Check:
    """Return what comes of a value; one that could not be measured is a warning.

    Examples
    --------
    >>> judge("fa", 0.45).status, judge("fa", 0.2).status, judge("fa", 0.1).status
    ('pass', 'warn', 'fail')
    """
    limit = thresholds[name]
    return Check(
        name=name,
        value=value,
        unit=limit.unit,
        warn=limit.warn,
        fail=limit.fail,
        status=_status(value, limit),
        bad=limit.bad,
        reason=limit.reason,
    )


def with_limits(checks: Iterable[Check], limits: Mapping[str, tuple[float, float]]) -> tuple[Check, ...]:
    """Return checks judged by other thresholds, warn and fail, where there are such for their name.

    For checks that watch both sides of a middle the thresholds are distances from it.

    Raises
    ------
    UsageError
        If no check has one of the names, or a threshold of a failure lies before that of a warning.
    """
    given = tuple(checks)
    unknown = sorted(set(limits) - {check.name for check in given})
    if unknown:
        names = ", ".join(sorted(check.name for check in given))
        raise UsageError("--threshold", f"no check is called {', '.join(unknown)}", f"choose of {names}")
    return tuple(_limited(check, *limits[check.name]) if check.name in limits else check for check in given)


def _limited(check: Check, warn: float, fail: float) -> Check:
    if (fail < warn) if check.bad != "below" else (fail > warn):
        raise UsageError(
            f"--threshold {check.name}={warn:g},{fail:g}", "the failure comes before the warning", "exchange the two"
        )
    middle = THRESHOLDS[check.name].middle if check.name in THRESHOLDS else 0.0
    limit = Threshold(unit=check.unit, warn=warn, fail=fail, bad=check.bad, reason=check.reason, middle=middle)
    return replace(check, warn=warn, fail=fail, status=_status(check.value, limit))


def parse_limits(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return thresholds by the name of their check from ``NAME=WARN,FAIL``; ``n/a`` stands for never.

    Examples
    --------
    >>> parse_limits(["pitch=15,n/a", "fa=.25,.1"])
    {'pitch': (15.0, nan), 'fa': (0.25, 0.1)}
    """
    limits = {}
    for text in texts:
        found = re.fullmatch(r"(\w+)=([^,]+),([^,]+)", text.strip())
        try:
            name, warn, fail = found.groups() if found else ("", "", "")
            limits[name] = (float(warn.replace("n/a", "nan")), float(fail.replace("n/a", "nan")))
        except ValueError:
            raise UsageError(
                "--threshold", f"{text!r} is no threshold", "write NAME=WARN,FAIL, such as pitch=15,n/a"
            ) from None
    return limits


def _status(value: float, limit: Threshold) -> Status:
    if math.isnan(value):
        return "warn"
    if limit.bad == "outside":
        value = abs(value - limit.middle)
    beyond = value.__lt__ if limit.bad == "below" else value.__gt__
    if not math.isnan(limit.fail) and beyond(limit.fail):
        return "fail"
    return "warn" if not math.isnan(limit.warn) and beyond(limit.warn) else "pass"


def check_index(result: AlpsResult) -> tuple[Check, ...]:
    """Return the checks of the regions and of the index; each takes the worst of its regions."""
    used = [roi for roi in result.rois if roi.name.startswith(("projection", "association"))]

    def worst(scalar: str, choose: str, prefix: str = "") -> float:
        values = [roi.scalars.get(scalar, math.nan) for roi in used if roi.name.startswith(prefix)]
        return float(getattr(np, choose)(values))

    found = {
        "angle_projection": worst("v1_angle", "max", "projection"),
        "angle_association": worst("v1_angle", "max", "association"),
        "dispersion": worst("v1_dispersion", "max"),
        "fa": worst("fa", "min"),
        "lambda2_lambda3": worst("lambda2_lambda3", "max"),
        "off_tract_fraction": worst("off_tract_fraction", "max"),
        "effective_voxels": worst("n_voxels", "min"),
        "coverage": worst("coverage", "min"),
        "pitch": result.pose.pitch,
        "alps": _farthest([result.alps[side] for side in SIDES]),
    }
    return tuple(judge(name, value) for name, value in found.items())


def _farthest(values: Iterable[float]) -> float:
    listed = list(values)
    return max(listed, key=lambda value: math.inf if math.isnan(value) else abs(value - THRESHOLDS["alps"].middle))


def estimate_snr(signal: np.ndarray, prediction: np.ndarray, parameters: int) -> float:
    """Return the median over voxels of unweighted signal over the noise that the fit leaves.

    Parameters
    ----------
    signal, prediction
        Measured and fitted signal, shape (m, n); the largest prediction of a voxel stands for its unweighted signal.
    parameters
        Parameters of the fit, which take that many degrees of freedom.
    """
    volumes = signal.shape[1]
    if volumes <= parameters:
        return math.nan
    noise = np.sqrt(((signal - prediction) ** 2).sum(1) / (volumes - parameters))
    usable = noise > 0
    return float(np.median(prediction.max(1)[usable] / noise[usable])) if usable.any() else math.nan

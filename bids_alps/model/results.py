"""What was found: diffusivities, the index with its uncertainty, the pose and the checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bids_alps.model.arrays import Array, frozen, read_only

Status = Literal["pass", "warn", "fail"]
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail")
"""From the best to the worst."""


def worst_status(statuses: Iterable[Status]) -> Status:
    """Return the worst of some statuses; pass where there is none.

    Examples
    --------
    >>> worst_status(["pass", "fail", "warn"])
    'fail'
    """
    return max(statuses, key=STATUSES.index, default="pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How the head lay in the scanner, against the template's axes.

    Parameters
    ----------
    pitch, roll, yaw
        Angles in degrees about x, y and z: rotation = Rz(yaw) @ Ry(roll) @ Rx(pitch), subject to template.
    se_degrees
        Standard error of the rotation, degrees (spread over starts, channels and halves of the data).
    """

    pitch: float
    roll: float
    yaw: float
    se_degrees: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One quality check: a value, its thresholds and what came of it.

    Parameters
    ----------
    name, unit, reason
        Name in snake case, unit (``""`` for none), one sentence why it matters.
    value
        What was measured; NaN where it could not be.
    warn, fail
        Thresholds; NaN where there is none. `bad` tells on which side of them trouble lies.
    status
        What came of it.
    """

    name: str
    value: float
    unit: str
    warn: float
    fail: float
    status: Status
    direction: Literal["above", "below", "outside"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoiDiffusivity:
    """What was measured in one region of interest; diffusivities in mm^2/s, template axes.

    Parameters
    ----------
    name
        ``projection_left`` and so on.
    tensor
        Weighted mean tensor in template axes, elements xx, xy, xz, yy, yz, zz, shape (6,).
    tensor_uncorrected
        The same in scanner axes.
    scalars
        Other weighted means and measures: ``n_voxels``, ``x``, ``y``, ``z`` (native centre, mm), ``fa``, ``md``,
        ``ad``, ``rd``, ``v1_angle`` (degrees), ``lambda2_lambda3``, ``off_tract_fraction``, ``coverage`` ...
    """

    name: str
    tensor: Array
    tensor_uncorrected: Array
    scalars: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensor", read_only(self.tensor, np.float64))
        object.__setattr__(self, "tensor_uncorrected", read_only(self.tensor_uncorrected, np.float64))
        object.__setattr__(self, "scalars", frozen(self.scalars))

    @property
    def diagonal(self) -> tuple[float, float, float]:
        """Dxx, Dyy, Dzz, mm^2/s, template axes."""
        return float(self.tensor[0]), float(self.tensor[3]), float(self.tensor[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An index with its uncertainty: 95 % interval and standard errors, apart and together."""

    low: float
    high: float
    se: float
    se_noise: float
    se_placement: float
    se_pose: float
    se_resolution: float = 0.0
    se_calibration: float = 0.0
    se_noise_floor: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionEffect:
    """What lesions do to the index.

    Parameters
    ----------
    space
        Whose world coordinates the mask has: ``dwi``, ``T1w``, or a template's name.
    volume_ml
        Their volume inside the brain mask, mL.
    alps_with, alps_without
        The index by hemisphere with every voxel, and without those that a lesion touches.
    """

    space: str
    volume_ml: float
    alps_with: Mapping[str, float]
    alps_without: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "alps_with", frozen(self.alps_with))
        object.__setattr__(self, "alps_without", frozen(self.alps_without))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpsResult:
    """The index of one run.

    Parameters
    ----------
    alps, alps_uncorrected
        ``{"left": ..., "right": ..., "bilateral": ...}``; the second in scanner axes. NaN where not computable.
    rois
        One measurement per region and side.
    pose
        Pose of the head.
    interval
        Uncertainty per hemisphere, empty where it was not asked for.
    alps_water_corrected
        The index of the tissue alone, free water taken out; empty where a single shell cannot tell.
    alternatives
        The index as it would be otherwise, by what is done otherwise and hemisphere: ``calibrated``, ``uncalibrated``,
        ``tissue_weighted``, ``crossing``. What cannot be told is left out.
    alps_unreliable
        The index where a quality check failed: it is kept here, and `alps` is NaN. Empty where none failed.
    lesions
        What lesions do to the index, where there is a mask of them.
    """

    alps: Mapping[str, float]
    alps_uncorrected: Mapping[str, float]
    rois: tuple[RoiDiffusivity, ...]
    pose: Pose
    interval: Mapping[str, Interval] = field(default_factory=dict)
    alps_water_corrected: Mapping[str, float] = field(default_factory=dict)
    alternatives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    alps_unreliable: Mapping[str, float] = field(default_factory=dict)
    lesions: LesionEffect | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alps", frozen(self.alps))
        object.__setattr__(self, "alps_uncorrected", frozen(self.alps_uncorrected))
        object.__setattr__(self, "interval", frozen(self.interval))
        object.__setattr__(self, "alps_water_corrected", frozen(self.alps_water_corrected))
        object.__setattr__(self, "alternatives", frozen(self.alternatives))
        object.__setattr__(self, "alps_unreliable", frozen(self.alps_unreliable))

    def roi(self, name: str) -> RoiDiffusivity:
        """Return the measurement of one region."""
        return next(roi for roi in self.rois if roi.name == name)

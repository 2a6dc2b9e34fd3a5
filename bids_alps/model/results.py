"""Results: diffusivities, the index with its uncertainty, the head pose and the quality checks."""

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
    """Return the worst of several statuses; pass if there are none.

    Examples
    --------
    >>> worst_status(["pass", "fail", "warn"])
    'fail'
    """
    return max(statuses, key=STATUSES.index, default="pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Pose of the head in the scanner, relative to the template axes.

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
    """A quality check: a value, its thresholds and its status.

    Parameters
    ----------
    name, unit, reason
        Name in snake case, unit (``""`` for none), one sentence on why it matters.
    value
        Measured value; NaN if it could not be measured.
    warn, fail
        Thresholds; NaN if there is none.
    status
        Result of the check.
    direction
        On which side of the thresholds a value fails.
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
    """Measurements in one region of interest; diffusivities in mm^2/s, template axes.

    Parameters
    ----------
    name
        ``projection_left`` and so on.
    tensor
        Weighted mean tensor in the axes of the index, elements xx, xy, xz, yy, yz, zz, shape (6,).
    tensor_uncorrected
        The same in scanner axes.
    scalars
        Other weighted means and measures: ``n_voxels``, ``x``, ``y``, ``z`` (native center, mm), ``fa``, ``md``,
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
        """Dxx, Dyy, Dzz, mm^2/s, axes of the index."""
        return float(self.tensor[0]), float(self.tensor[3]), float(self.tensor[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An index with its uncertainty: 95 % interval, total standard error and its components."""

    low: float
    high: float
    se: float
    se_noise: float
    se_placement: float
    se_pose: float
    se_resolution: float = 0.0
    se_calibration: float = 0.0
    se_noise_floor: float = 0.0
    se_regions: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionEffect:
    """Effect of lesions on the index.

    Parameters
    ----------
    space
        Space of the mask: ``dwi``, ``T1w``, or the name of a template.
    volume_ml
        Volume of lesions inside the brain mask, mL.
    alps_with, alps_without
        The index by hemisphere with all voxels, and without voxels that overlap a lesion.
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
        Uncertainty per hemisphere; empty if it was not computed.
    alps_water_corrected
        Free-water-corrected index; empty for single-shell data.
    alternatives
        Alternative indices by name and hemisphere: ``calibrated``, ``uncalibrated``, ``tissue_weighted``, ``crossing``.
        Those that cannot be computed are missing.
    alps_unreliable
        The index if a quality check failed; `alps` is then NaN. Empty if none failed.
    lesions
        Effect of lesions, if there is a lesion mask.
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

"""Change of the index of one participant between scans, with its uncertainty; shared errors cancel.

Regions are transferred to all scans from one common position, so that an error of this position displaces them equally
in all scans and changes their indices in the same proportion. The same holds for the pose, and for partial volume at
equal voxel size. The remaining uncertainty is the noise of each scan, the registration between the scans, and the part
of the shared errors to which the scans respond differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bids_alps.model import Array, Interval
from bids_alps.numerics.index.alps import alps_by_hemisphere
from bids_alps.numerics.index.uncertainty import (
    NORMAL_95,
    OTHER_TISSUE,
    Means,
    draw_placement,
    draw_pose,
    spread_of,
)

_SHARED, _OWN = 1, 2  # streams of random numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Sensitivity of the index of one scan to errors: log departures, by hemisphere.

    Parameters
    ----------
    alps
        The index.
    noise
        Standard error from noise.
    placement, pose
        Departures under errors shared by all scans, in the same order for all scans, shape (draws,).
    alignment
        Standard error from the registration of the scan to the others.
    resolution
        Departure when tensors are blurred by one additional voxel.
    """

    alps: Mapping[str, float]
    noise: Mapping[str, float]
    placement: Mapping[str, Array]
    pose: Mapping[str, Array]
    alignment: Mapping[str, float]
    resolution: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change of the index from an earlier to a later scan, with its 95 % interval and standard errors."""

    first: float
    second: float
    low: float
    high: float
    se: float
    se_noise: float
    se_placement: float
    se_pose: float
    se_alignment: float
    se_resolution: float

    @property
    def difference(self) -> float:
        """Second index minus the first."""
        return self.second - self.first


def measure_sensitivity(
    intervals: Mapping[str, Interval],
    placed: Callable[[Mapping[str, Array]], Means],
    errors: tuple[tuple[float, float], tuple[float, float]],
    blurred: Means,
    *,
    seed: int,
) -> Sensitivity:
    """Return the sensitivity of the index of a scan to errors.

    Parameters
    ----------
    intervals
        Intervals of the index by hemisphere, with the standard error from noise.
    placed
        Function that returns mean tensors (template axes) of regions displaced in the template: name -> (3,), mm.
    errors
        Standard errors of position (mm per axis) and pose (degrees per axis): shared by all scans, and of the
        registration of this scan to the others.
    blurred
        Mean tensors of the regions in data blurred by one voxel.
    seed
        Seed, equal for all scans so that shared errors have the same draws.
    """
    shared, individual = errors
    means = placed({})
    names = [name for name in means if not name.startswith("subcortical")]
    departures = []
    for stream, (error_mm, error_degrees) in ((_SHARED, shared), (_OWN, individual)):
        rng = np.random.default_rng([seed, stream])
        departures.append((draw_placement(placed, names, error_mm, rng), draw_pose(means, error_degrees, rng)))
    (placement, pose), (own_placement, own_pose) = departures
    values, blurred_values = alps_by_hemisphere(means), alps_by_hemisphere(blurred)
    return Sensitivity(
        alps={side: float(value) for side, value in values.items()},
        noise={side: interval.se_noise / float(values[side]) for side, interval in intervals.items()},
        placement=placement,
        pose=pose,
        alignment={side: float(np.hypot(spread_of(own_placement[side]), spread_of(own_pose[side]))) for side in values},
        resolution={side: float(np.log(blurred_values[side] / values[side])) for side in values},
    )


def measure_change(first: Sensitivity, second: Sensitivity, side: str) -> Change:
    """Return the change of the index of a hemisphere (or ``bilateral``) from one scan to another."""
    earlier, later = first.alps[side], second.alps[side]
    # errors of log(alps) times alps, first order; shared errors enter by their difference
    resolution = later * second.resolution[side] - earlier * first.resolution[side]
    parts = {
        "se_noise": float(np.hypot(earlier * first.noise[side], later * second.noise[side])),
        "se_placement": spread_of(later * second.placement[side] - earlier * first.placement[side]),
        "se_pose": spread_of(later * second.pose[side] - earlier * first.pose[side]),
        "se_alignment": float(np.hypot(earlier * first.alignment[side], later * second.alignment[side])),
        # other tissue biases both scans by the same fraction of (alps - 1): only the difference remains
        "se_resolution": float(np.hypot(resolution, OTHER_TISSUE * (later - earlier))),
    }
    total = float(np.sqrt(sum(part**2 for part in parts.values())))
    margin = NORMAL_95 * total
    return Change(
        first=earlier, second=later, low=later - earlier - margin, high=later - earlier + margin, se=total, **parts
    )


def differing(
    first: Mapping[str, float], second: Mapping[str, float], tolerances: Mapping[str, float]
) -> Sequence[str]:
    """Return the names of parameters that differ between two protocols by more than a relative tolerance.

    Examples
    --------
    >>> differing({"b_value": 1000, "voxel": 2.0}, {"b_value": 1005, "voxel": 2.5}, {"b_value": 0.05, "voxel": 0.05})
    ['voxel']
    """
    return [
        name
        for name, tolerance in tolerances.items()
        if not abs(first[name] - second[name]) <= tolerance * max(abs(first[name]), abs(second[name]))
    ]

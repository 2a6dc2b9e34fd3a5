"""How the index of one head changed from scan to scan, and how sure that is: what both scans share cancels.

Regions are carried to the scans from one place, so an error of that place displaces them in both scans alike, and the
index of both departs in like proportion. The same holds for the one pose, and for what voxels of one size mix into a
region. Left are the noise of each scan, how well the scans were aligned with each other, and the part of the shared
errors to which the two scans answer differently.
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
    """How the index of one scan answers to errors: logarithms of departures, by hemisphere.

    Parameters
    ----------
    alps
        The index.
    noise
        Standard error from noise.
    placement, pose
        Departures under errors that all scans of the head share, in the same order for all of them, shape (draws,).
    alignment
        Standard error from the scan's own alignment with the others.
    resolution
        Departure when tensors are blurred by one voxel more.
    """

    alps: Mapping[str, float]
    noise: Mapping[str, float]
    placement: Mapping[str, Array]
    pose: Mapping[str, Array]
    alignment: Mapping[str, float]
    resolution: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a scan's index has more than an earlier one's, with its 95 % interval and standard errors."""

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
        """The second index less the first."""
        return self.second - self.first


def measure_sensitivity(
    intervals: Mapping[str, Interval],
    placed: Callable[[Mapping[str, Array]], Means],
    errors: tuple[tuple[float, float], tuple[float, float]],
    blurred: Means,
    *,
    seed: int,
) -> Sensitivity:
    """Return how the index of a scan answers to errors.

    Parameters
    ----------
    intervals
        Of the index, by hemisphere: its standard error from noise.
    placed
        Returns mean tensors, template axes, of the regions displaced by offsets in the template: name -> (3,), mm.
    errors
        Standard errors, each of place (mm per axis) and pose (degrees per axis): those that all scans share, and those
        of this scan's alignment with the others.
    blurred
        Mean tensors of the regions in data blurred by one voxel.
    seed
        The same for all scans, so that shared errors are drawn alike.
    """
    shared, own = errors
    means = placed({})
    names = [name for name in means if not name.startswith("subcortical")]
    drawn = []
    for stream, (error_mm, error_degrees) in ((_SHARED, shared), (_OWN, own)):
        rng = np.random.default_rng([seed, stream])
        drawn.append((draw_placement(placed, names, error_mm, rng), draw_pose(means, error_degrees, rng)))
    (placement, pose), (own_place, own_turn) = drawn
    values, rough = alps_by_hemisphere(means), alps_by_hemisphere(blurred)
    return Sensitivity(
        alps={side: float(value) for side, value in values.items()},
        noise={side: found.se_noise / float(values[side]) for side, found in intervals.items()},
        placement=placement,
        pose=pose,
        alignment={side: float(np.hypot(spread_of(own_place[side]), spread_of(own_turn[side]))) for side in values},
        resolution={side: float(np.log(rough[side] / values[side])) for side in values},
    )


def measure_change(first: Sensitivity, second: Sensitivity, side: str) -> Change:
    """Return the change of the index of a hemisphere (or ``bilateral``) from one scan to another."""
    one, other = first.alps[side], second.alps[side]
    resolution = other * second.resolution[side] - one * first.resolution[side]
    parts = {
        "se_noise": float(np.hypot(one * first.noise[side], other * second.noise[side])),
        "se_placement": spread_of(other * second.placement[side] - one * first.placement[side]),
        "se_pose": spread_of(other * second.pose[side] - one * first.pose[side]),
        "se_alignment": float(np.hypot(one * first.alignment[side], other * second.alignment[side])),
        "se_resolution": float(np.hypot(resolution, OTHER_TISSUE * (other - one))),
    }
    total = float(np.sqrt(sum(part**2 for part in parts.values())))
    margin = NORMAL_95 * total
    return Change(first=one, second=other, low=other - one - margin, high=other - one + margin, se=total, **parts)


def differing(
    first: Mapping[str, float], second: Mapping[str, float], tolerances: Mapping[str, float]
) -> Sequence[str]:
    """Return the names of what differs between two protocols by more than a tolerance, relative to the larger value.

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

"""Search of starting poses, and similarities of random poses for comparison."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, SpatialMap
from bids_alps.registration.linear import RIGID, SIMILARITY, LinearFit, Pair, fit_linear

_PITCHES, _ROLLS, _YAWS = (-20.0, 0.0, 20.0), (-14.0, 0.0, 14.0), (-18.0, 0.0, 18.0)  # degrees
_SLAB_SHIFTS_MM = (-35.0, 0.0, 35.0)
_FULL_HEIGHT_MM = 125.0  # fraction of the brain covered; below this it is a slab with an uninformative center of mass


def find_starting_poses(
    coarse: Pair, template_mask: SpatialMap, subject_mask: SpatialMap, *, keep: int = 3
) -> list[LinearFit]:
    """Return the coarsely fitted poses of highest correlation, best first.

    Starting poses are a grid of pitch, roll and yaw about aligned centers of mass, and of heights for slabs.
    """
    center, target = center_of_mass(template_mask), center_of_mass(subject_mask)
    height = np.ptp(subject_mask.outermost_points()[:, 2])
    shifts = (0.0,) if height > _FULL_HEIGHT_MM else _SLAB_SHIFTS_MM
    starts = [
        LinearFit(parameters=_parameters(angles, shift), center=center, target=target)
        for *angles, shift in itertools.product(_PITCHES, _ROLLS, _YAWS, shifts)
    ]
    fits = [fit_linear(coarse, start, RIGID, iterations=8) for start in starts]
    # a few coarse steps rank the starts; only the best are fitted to the end
    ranked = sorted(fits, key=lambda fit: -fit.similarity)[: 3 * keep]
    return sorted(
        (fit_linear(coarse, fit, SIMILARITY, iterations=20) for fit in ranked), key=lambda fit: -fit.similarity
    )[:keep]


def random_similarities(coarse: Pair, fit: LinearFit, *, draws: int, seed: int) -> Array:
    """Return the correlations of random poses around `fit`, shape (draws,): any rotation, shifts of up to 20 mm."""
    random = np.random.default_rng(seed)
    turns = Rotation.random(draws, rng=random).as_rotvec()
    shifts = random.uniform(-20, 20, size=(draws, 3))
    similarities = []
    for rotation, shift in zip(turns, shifts, strict=True):
        moved = LinearFit(
            parameters=np.concatenate([fit.parameters[:3] + shift, rotation, np.zeros(6)]),
            center=fit.center,
            target=fit.target,
        )
        similarities.append(coarse.similarity(moved.subject_from_template)[0])
    return np.array(similarities)


def best_rotated_similarity(coarse: Pair, fit: LinearFit) -> float:
    """Return the best correlation after rotating `fit` by multiples of 90 degrees about the axes and refitting.

    This detects headers with flipped or permuted axes: a flip along y or z equals a 180 degree rotation of a mirrored
    head, and heads are nearly mirror-symmetric. A left-right flip alone cannot be detected from anatomy.
    """
    # the 23 rotations of a cube other than the identity
    rotations = [rotation for rotation in Rotation.create_group("O") if rotation.magnitude() > 1e-6]
    fits = []
    for rotation in rotations:
        rotation_vector = (Rotation.from_rotvec(fit.parameters[3:6]) * rotation).as_rotvec()
        parameters = np.concatenate([fit.parameters[:3], rotation_vector, np.zeros(6)])
        start = LinearFit(parameters=parameters, center=fit.center, target=fit.target)
        fits.append(fit_linear(coarse, start, RIGID, iterations=5).similarity)
    return max(fits)


def center_of_mass(mask: SpatialMap) -> Array:
    """Return the center of mass of a mask, RAS+ mm, shape (3,)."""
    counts = (mask.data.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3))
    return mask.world(np.array([count @ np.arange(count.size) / count.sum() for count in counts]))


def _parameters(angles: list[float], shift: float) -> Array:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_rotvec()
    # translation (mm), rotation vector (rad), log-stretch
    return np.concatenate([[0.0, 0.0, shift], turn, np.zeros(6)])

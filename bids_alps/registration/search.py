"""Which pose to start from: many tried coarsely, the best refined, random ones as a yardstick."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.model import Array, SpatialMap
from bids_alps.registration.linear import RIGID, SIMILARITY, LinearFit, Pair, fit_linear

_PITCHES, _ROLLS, _YAWS = (-20.0, 0.0, 20.0), (-14.0, 0.0, 14.0), (-18.0, 0.0, 18.0)  # degrees
_SLAB_SHIFTS_MM = (-35.0, 0.0, 35.0)
_FULL_HEIGHT_MM = 125.0  # of the brain inside the scan: less is a slab, whose centre of mass tells little


def find_starting_poses(
    coarse: Pair, template_mask: SpatialMap, subject_mask: SpatialMap, *, keep: int = 3
) -> list[LinearFit]:
    """Return the coarsely fitted poses of highest correlation, best first.

    Starts lie on a grid of pitches, rolls and yaws about aligned centres of mass, and of heights for a slab.
    """
    centre, target = centre_of_mass(template_mask), centre_of_mass(subject_mask)
    height = np.ptp(subject_mask.world(np.argwhere(subject_mask.data))[:, 2])
    shifts = (0.0,) if height > _FULL_HEIGHT_MM else _SLAB_SHIFTS_MM
    starts = [
        LinearFit(parameters=_parameters(angles, shift), centre=centre, target=target)
        for *angles, shift in itertools.product(_PITCHES, _ROLLS, _YAWS, shifts)
    ]
    fits = [fit_linear(coarse, start, RIGID, iterations=8) for start in starts]
    ranked = sorted(fits, key=lambda fit: -fit.similarity)[: 3 * keep]
    return sorted(
        (fit_linear(coarse, fit, SIMILARITY, iterations=20) for fit in ranked), key=lambda fit: -fit.similarity
    )[:keep]


def random_similarities(coarse: Pair, fit: LinearFit, *, draws: int, seed: int) -> Array:
    """Return the correlations of random poses about `fit`, shape (draws,): any rotation, shifts of up to 20 mm."""
    random = np.random.default_rng(seed)
    turns = Rotation.random(draws, rng=random).as_rotvec()
    shifts = random.uniform(-20, 20, size=(draws, 3))
    found = []
    for turn, shift in zip(turns, shifts, strict=True):
        moved = LinearFit(
            parameters=np.concatenate([fit.parameters[:3] + shift, turn, np.zeros(6)]),
            centre=fit.centre,
            target=fit.target,
        )
        found.append(coarse.similarity(moved.subject_from_template)[0])
    return np.array(found)


def best_rotated_similarity(coarse: Pair, fit: LinearFit) -> float:
    """Return the best correlation of `fit` turned by quarter and half turns about the axes, each fitted anew.

    A header whose axes are flipped or permuted shows here: a flip along y or z is a half turn of a mirrored head,
    and template and head are nearly their own mirror images. A left-right flip alone cannot be told from anatomy.
    """
    others = [turn for turn in Rotation.create_group("O") if turn.magnitude() > 1e-6]
    fits = []
    for turn in others:
        turned = (Rotation.from_rotvec(fit.parameters[3:6]) * turn).as_rotvec()
        parameters = np.concatenate([fit.parameters[:3], turned, np.zeros(6)])
        start = LinearFit(parameters=parameters, centre=fit.centre, target=fit.target)
        fits.append(fit_linear(coarse, start, RIGID, iterations=5).similarity)
    return max(fits)


def centre_of_mass(mask: SpatialMap) -> Array:
    """Return the centre of mass of a mask, RAS+ mm, shape (3,)."""
    return mask.world(np.argwhere(mask.data)).mean(axis=0)


def _parameters(angles: list[float], shift: float) -> Array:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_rotvec()
    return np.concatenate([[0.0, 0.0, shift], turn, np.zeros(6)])

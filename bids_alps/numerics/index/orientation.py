"""Rotation shared by all tracts: a gradient table in wrong axes rotates the fibers of both hemispheres alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bids_alps.model import SIDES, Array

_TRACTS = ("projection", "association")


def shared_rotation(directions: Mapping[str, Array]) -> float:
    """Return the angle by which the fibers of both hemispheres are rotated alike, degrees.

    Projection fibers run along z and association fibers along y, each with an anatomical tilt. In one hemisphere the
    rotation about x is the mean of both tracts, that about y is seen in the projection and that about z in the
    association region. About each axis the smaller of the angles left and right counts, and nothing if they differ in
    sign: the tilts of anatomy mirror, and those of a lesion or a large ventricle on one side have no counterpart.

    Parameters
    ----------
    directions
        Mean fiber directions in template axes by the name of the region, such as ``projection_left``, each of shape
        (3,); signs are arbitrary.

    Returns
    -------
    float
        NaN if a region has no direction.

    Examples
    --------
    >>> rotated = {"projection": np.array([0, -0.5, 0.866]), "association": np.array([0, 0.866, 0.5])}  # 30 about x
    >>> round(shared_rotation({f"{name}_{side}": v for name, v in rotated.items() for side in ("left", "right")}))
    30
    """
    unknown = np.full(3, np.nan)
    by_side = np.array([_rotation(*(directions.get(f"{name}_{side}", unknown) for name in _TRACTS)) for side in SIDES])
    if not np.isfinite(by_side).all():
        return float("nan")
    smaller = np.abs(by_side).min(axis=0)
    shared = np.where(by_side[0] * by_side[1] > 0, smaller, 0.0)
    return float(np.linalg.norm(shared))


def _rotation(projection: Array, association: Array) -> tuple[float, float, float]:
    """Return the angles about x, y and z that turn z to the first and y to the second direction, degrees."""
    up, front = projection * np.copysign(1.0, projection[2]), association * np.copysign(1.0, association[1])
    about_x = (np.arctan2(-up[1], up[2]) + np.arctan2(front[2], front[1])) / 2
    about_y, about_z = np.arctan2(up[0], up[2]), np.arctan2(-front[0], front[1])
    x, y, z = np.degrees([about_x, about_y, about_z])
    return float(x), float(y), float(z)

"""Gradient tables: conversion between FSL convention and world axes, shells, and requirements of a fit."""

from __future__ import annotations

import numpy as np

from bids_alps.errors import GradientError
from bids_alps.model import Array, Gradients

SHELL_TOLERANCE = 100.0
"""b-values closer than this belong to one shell, s/mm² (scanners scale b by up to 5 % per direction)."""

PREFERRED_B = 1000.0
"""Optimal b-value of the tensor model for white matter in vivo, s/mm²."""

PREFERRED_RANGE = (500.0, 1500.0)
"""Range of b-values in which a shell is used without a flag, s/mm²."""

MAX_SHELLS = 8
"""With more groups of b-values than this, a table has no shells: Cartesian grid (DSI) or random b-values."""

MAX_SHELL_WIDTH = 0.2
"""Maximum spread of the b-values of a shell, relative to their mean; at least twice `SHELL_TOLERANCE`."""

MIN_DIRECTIONS = 6
"""A symmetric tensor has six elements."""


def world_from_fsl(bvecs: Array, affine: Array) -> Array:
    """Convert b-vectors from FSL convention to RAS+ world axes.

    FSL gives b-vectors along the voxel axes, with the first one negated where the affine has a positive
    determinant (a "neurological" storage order).

    Parameters
    ----------
    bvecs
        Shape (n, 3), FSL convention.
    affine
        Voxel indices to RAS+ world mm, shape (4, 4).

    Returns
    -------
    Array
        Shape (n, 3), world axes, with unchanged lengths.

    Examples
    --------
    >>> las = np.diag([-2.0, 2, 2, 1])  # stored from right to left, as FSL likes it
    >>> world_from_fsl(np.array([[1.0, 0, 0]]), las) + 0
    array([[-1.,  0.,  0.]])
    """
    return np.asarray(bvecs, dtype=np.float64) @ _world_from_fsl_matrix(affine).T


def fsl_from_world(bvecs: Array, affine: Array) -> Array:
    """Convert b-vectors from RAS+ world axes to FSL convention, both of shape (n, 3)."""
    return np.asarray(bvecs, dtype=np.float64) @ _world_from_fsl_matrix(affine)


def _world_from_fsl_matrix(affine: Array) -> Array:
    """Return the orthogonal matrix from FSL to world axes: the polar factor of the affine, with FSL's x flip."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    # u vt is the rotation nearest to the voxel axes, also of an affine with shear
    u, _, vt = np.linalg.svd(linear / np.linalg.norm(linear, axis=0))
    flip = np.diag([-1.0 if np.linalg.det(linear) > 0 else 1.0, 1.0, 1.0])
    return u @ vt @ flip


def find_shells(bvals: Array, *, b0_threshold: float = 50.0, tolerance: float = SHELL_TOLERANCE) -> Array:
    """Group b-values into shells.

    Sorted b-values belong together while neighbors differ by less than `tolerance`.

    Parameters
    ----------
    bvals
        Shape (n,), s/mm².
    b0_threshold
        b-values up to this are treated as b=0.
    tolerance
        Maximum step within a shell, s/mm².

    Returns
    -------
    Array
        Mean b-value of each volume's shell, shape (n,); 0 for b=0 volumes.

    Examples
    --------
    >>> find_shells(np.array([5, 995, 1005, 2000]))
    array([   0., 1000., 1000., 2000.])
    """
    bvals = np.asarray(bvals, dtype=np.float64)
    shells = np.zeros_like(bvals)
    weighted = np.flatnonzero(bvals > b0_threshold)
    order = weighted[np.argsort(bvals[weighted], kind="stable")]
    # a gap of `tolerance` or more between sorted b-values starts a new shell
    for group in np.split(order, np.flatnonzero(np.diff(bvals[order]) >= tolerance) + 1):
        if group.size:
            shells[group] = bvals[group].mean()
    return shells


def choose_shells(
    gradients: Gradients, *, wanted: tuple[float, ...] | None = None, b0_threshold: float = 50.0
) -> Array:
    """Choose the volumes for the tensor fit: b=0 volumes and one shell.

    By default this is the shell closest to 1000 s/mm² that determines a tensor, with priority for those between 500
    and 1500 s/mm². If there is no such shell, or there are no shells, all volumes in this range are used.

    Parameters
    ----------
    gradients
        Gradients of n volumes.
    wanted
        b-values to use instead, each within 10 % (at least 100 s/mm²) of a shell.
    b0_threshold
        b-values up to this are treated as b=0, s/mm².

    Returns
    -------
    Array
        Volumes to fit, bool, shape (n,).

    Raises
    ------
    GradientError
        If a requested shell is missing, there is no b=0 volume, or there are fewer than 6 non-collinear
        directions.
    """
    shells = find_shells(gradients.bvals, b0_threshold=b0_threshold)
    if not (shells == 0).any():
        raise GradientError(
            "gradients",
            f"no b=0 volume: the smallest b-value is {gradients.bvals.min():g} s/mm², the threshold {b0_threshold:g}",
            "provide at least one b=0 volume, or raise --b0-threshold to include this one",
        )
    if not (shells > 0).any():
        raise GradientError("gradients", "no diffusion-weighted volume", "provide a series with b-values above 0")
    if wanted is None:
        return (shells == 0) | _preferred_volumes(gradients, shells)
    selected = _wanted_shells(np.unique(shells[shells > 0]), wanted)
    weighted: Array = np.isin(shells, selected)
    problem = _indeterminate(gradients.bvecs[weighted], f"b = {', '.join(f'{value:.0f}' for value in selected)} s/mm²")
    if problem is not None:
        raise problem
    return weighted | (shells == 0)


def _preferred_volumes(gradients: Gradients, shells: Array) -> Array:
    """Return the diffusion-weighted volumes for the tensor fit, bool, shape (n,)."""
    candidates = [shells == b for b in _shells_by_preference(gradients.bvals, shells)]
    between = (shells > 0) & (gradients.bvals >= PREFERRED_RANGE[0]) & (gradients.bvals <= PREFERRED_RANGE[1])
    first = None
    for volumes in (*candidates, between):
        b = gradients.bvals[volumes]
        where = f"b = {b.mean():.0f} s/mm²" if b.size and np.ptp(b) < SHELL_TOLERANCE else _span(PREFERRED_RANGE)
        problem = _indeterminate(gradients.bvecs[volumes], where)
        if problem is None:
            return np.asarray(volumes)
        first = first or problem
    assert first is not None  # noqa: S101 -- at least `between` was tried
    raise first


def _shells_by_preference(bvals: Array, shells: Array) -> list[float]:
    """Return the b-values of shells, best first; empty if the b-values form no shells."""
    present = np.unique(shells[shells > 0])
    if len(present) > MAX_SHELLS:
        return []
    widths = [np.ptp(bvals[shells == b]) for b in present]
    narrow = [
        float(b)
        for b, width in zip(present, widths, strict=True)
        if width <= max(2 * SHELL_TOLERANCE, MAX_SHELL_WIDTH * b)
    ]
    return sorted(narrow, key=lambda b: (not PREFERRED_RANGE[0] <= b <= PREFERRED_RANGE[1], abs(b - PREFERRED_B)))


def _span(limits: tuple[float, float]) -> str:
    return f"b = {limits[0]:.0f} to {limits[1]:.0f} s/mm²"


def _wanted_shells(present: Array, wanted: tuple[float, ...]) -> Array:
    selected = []
    for b in wanted:
        nearest = present[np.argmin(np.abs(present - b))]
        if abs(nearest - b) > max(SHELL_TOLERANCE, 0.1 * b):
            available = ", ".join(f"{value:.0f}" for value in present)
            raise GradientError(
                "gradients", f"no shell at b = {b:g} s/mm²; available: {available}", "choose one of these"
            )
        selected.append(nearest)
    return np.array(selected)


def count_directions(bvecs: Array, *, tolerance_degrees: float = 5.0) -> int:
    """Count the non-collinear directions among unit vectors of shape (n, 3); opposite directions count once.

    Examples
    --------
    >>> count_directions(np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]]))
    2
    """
    distinct: list[Array] = []
    limit = np.cos(np.radians(tolerance_degrees))
    for vector in np.asarray(bvecs, dtype=np.float64):
        # |cosine|: g and -g are one direction; zero vectors are those of b=0 volumes
        if np.linalg.norm(vector) > 0.5 and all(abs(vector @ other) < limit for other in distinct):
            distinct.append(vector)
    return len(distinct)


def _indeterminate(bvecs: Array, where: str) -> GradientError | None:
    """Return an error if directions of shape (n, 3) do not determine a tensor; otherwise None."""
    n = count_directions(bvecs)
    if n < MIN_DIRECTIONS:
        return GradientError(
            "gradients",
            f"{n} non-collinear directions at {where}, where a tensor needs {MIN_DIRECTIONS}",
            "provide a series with more directions, or choose other shells with --shells",
        )
    x, y, z = bvecs.T
    # columns of the tensor model: directions on a cone, however many, leave a combination of elements unknown;
    # singular values grow with the root of the number of rows, and so does the tolerance
    design = np.stack([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z], axis=1)
    if np.linalg.matrix_rank(design, tol=1e-3 * np.sqrt(len(design))) < MIN_DIRECTIONS:
        return GradientError(
            "gradients",
            f"the {n} directions at {where} do not determine a tensor (they lie on a cone or a plane)",
            "check the b-vectors",
        )
    return None

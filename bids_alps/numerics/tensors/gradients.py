"""Gradient tables: from FSL's convention to world axes and back, shells, and what a fit needs."""

from __future__ import annotations

import numpy as np

from bids_alps.errors import GradientError
from bids_alps.model import Array, Gradients

SHELL_TOLERANCE = 100.0
"""b-values closer than this belong to one shell, s/mm^2 (scanners scale b by up to 5 % per direction)."""

PREFERRED_B = 1000.0
"""b-value at which the tensor model is at its best in white matter in vivo, s/mm^2."""

PREFERRED_RANGE = (500.0, 1500.0)
"""Range of b-values in which a shell is taken without a flag, s/mm^2."""

MINIMUM_DIRECTIONS = 6
"""A symmetric tensor has six elements."""


def world_from_fsl(bvecs: Array, affine: Array) -> Array:
    """Turn b-vectors of FSL's convention into RAS+ world axes.

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
        Shape (n, 3), world axes, lengths kept.

    Examples
    --------
    >>> las = np.diag([-2.0, 2, 2, 1])  # stored from right to left, as FSL likes it
    >>> world_from_fsl(np.array([[1.0, 0, 0]]), las) + 0
    array([[-1.,  0.,  0.]])
    """
    return np.asarray(bvecs, dtype=np.float64) @ _world_from_fsl_matrix(affine).T


def fsl_from_world(bvecs: Array, affine: Array) -> Array:
    """Turn b-vectors from RAS+ world axes into FSL's convention, both of shape (n, 3)."""
    return np.asarray(bvecs, dtype=np.float64) @ _world_from_fsl_matrix(affine)


def _world_from_fsl_matrix(affine: Array) -> Array:
    """Return the orthogonal matrix from FSL's axes to world axes: the affine's polar factor, flipped."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    u, _, vt = np.linalg.svd(linear / np.linalg.norm(linear, axis=0))
    flip = np.diag([-1.0 if np.linalg.det(linear) > 0 else 1.0, 1.0, 1.0])
    return u @ vt @ flip


def find_shells(bvals: Array, *, b0_threshold: float = 50.0, tolerance: float = SHELL_TOLERANCE) -> Array:
    """Group b-values into shells.

    Sorted b-values belong together while neighbours differ by less than `tolerance`.

    Parameters
    ----------
    bvals
        Shape (n,), s/mm^2.
    b0_threshold
        b-values up to this count as no weighting.
    tolerance
        Largest step inside a shell, s/mm^2.

    Returns
    -------
    Array
        Mean b-value of each volume's shell, shape (n,); 0 where there is no weighting.

    Examples
    --------
    >>> find_shells(np.array([5, 995, 1005, 2000]))
    array([   0., 1000., 1000., 2000.])
    """
    bvals = np.asarray(bvals, dtype=np.float64)
    shells = np.zeros_like(bvals)
    weighted = np.flatnonzero(bvals > b0_threshold)
    order = weighted[np.argsort(bvals[weighted], kind="stable")]
    for group in np.split(order, np.flatnonzero(np.diff(bvals[order]) >= tolerance) + 1):
        if group.size:
            shells[group] = bvals[group].mean()
    return shells


def choose_shells(
    gradients: Gradients, *, wanted: tuple[float, ...] | None = None, b0_threshold: float = 50.0
) -> Array:
    """Choose the volumes that the tensor is fitted to: those without weighting, and one shell.

    Without a wish, the shell nearest 1000 s/mm^2 among those between 500 and 1500, else the nearest of all.

    Parameters
    ----------
    gradients
        Weighting of n volumes.
    wanted
        b-values to take instead, each within 10 % (at least 100 s/mm^2) of a shell.
    b0_threshold
        b-values up to this count as no weighting, s/mm^2.

    Returns
    -------
    Array
        Which volumes to fit, shape (n,), bool.

    Raises
    ------
    GradientError
        If a wanted shell is not there, no volume is free of weighting, or fewer than 6 non-collinear directions
        are left.
    """
    shells = find_shells(gradients.bvals, b0_threshold=b0_threshold)
    present = np.unique(shells[shells > 0])
    if not (shells == 0).any():
        raise GradientError(
            "gradients",
            f"no b0 volume: the smallest b-value is {gradients.bvals.min():g} s/mm^2, the limit {b0_threshold:g}",
            "a tensor needs at least one volume without weighting; raise --b0-threshold if this one counts",
        )
    if not present.size:
        raise GradientError("gradients", "no diffusion-weighted volume", "give a series with b-values above 0")
    if wanted is None:
        inside = present[(present >= PREFERRED_RANGE[0]) & (present <= PREFERRED_RANGE[1])]
        candidates = inside if inside.size else present
        chosen = candidates[[np.argmin(np.abs(candidates - PREFERRED_B))]]
    else:
        chosen = _wanted_shells(present, wanted)
    taken: Array = np.isin(shells, chosen) | (shells == 0)
    _check_directions(gradients.bvecs[taken & (shells > 0)], chosen)
    return taken


def _wanted_shells(present: Array, wanted: tuple[float, ...]) -> Array:
    chosen = []
    for b in wanted:
        nearest = present[np.argmin(np.abs(present - b))]
        if abs(nearest - b) > max(SHELL_TOLERANCE, 0.1 * b):
            there = ", ".join(f"{value:.0f}" for value in present)
            raise GradientError("gradients", f"no shell at b = {b:g} s/mm^2; there are {there}", "choose one of these")
        chosen.append(nearest)
    return np.array(chosen)


def count_directions(bvecs: Array, *, tolerance_degrees: float = 5.0) -> int:
    """Count the non-collinear directions among unit vectors of shape (n, 3); opposite ones count once.

    Examples
    --------
    >>> count_directions(np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]]))
    2
    """
    distinct: list[Array] = []
    limit = np.cos(np.radians(tolerance_degrees))
    for vector in np.asarray(bvecs, dtype=np.float64):
        if np.linalg.norm(vector) > 0.5 and all(abs(vector @ other) < limit for other in distinct):
            distinct.append(vector)
    return len(distinct)


def _check_directions(bvecs: Array, chosen: Array) -> None:
    n = count_directions(bvecs)
    b = ", ".join(f"{value:.0f}" for value in chosen)
    if n < MINIMUM_DIRECTIONS:
        raise GradientError(
            "gradients",
            f"{n} non-collinear directions at b = {b} s/mm^2, where a tensor needs {MINIMUM_DIRECTIONS}",
            "give a series with more directions, or choose other shells with --shells",
        )
    x, y, z = bvecs.T
    design = np.stack([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z], axis=1)
    if np.linalg.matrix_rank(design, tol=1e-3 * np.sqrt(len(design))) < MINIMUM_DIRECTIONS:
        raise GradientError(
            "gradients",
            f"the {n} directions at b = {b} s/mm^2 do not determine a tensor (they lie on a cone or a plane)",
            "check the b-vectors",
        )

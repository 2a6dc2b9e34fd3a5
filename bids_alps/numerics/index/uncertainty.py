"""How sure an index is: noise, placement of the regions, pose of the head, size of a voxel; apart and together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import convolve1d
from scipy.spatial.transform import Rotation

from bids_alps.model import SIDES, Array, DwiSeries, Interval, Roi, TensorField
from bids_alps.numerics.index.alps import alps_by_hemisphere
from bids_alps.numerics.tensors.tensor import (
    design_matrix,
    fit_coefficients,
    fit_weights,
    log_of_signal,
    rotate_elements,
)

SENTENCE = (
    "Standard errors and 95 % intervals combine noise (wild bootstrap of the tensor fit; [@whitcher2008]), the "
    "error of placing the regions, {pose}the effect of the voxel size, and other tissue inside the regions (seed "
    "{seed:.0f})."
)
"""``{pose}`` is `POSE_ERROR` where tensors are rotated, else nothing."""
POSE_ERROR = "the error of the pose of the head, "
DRAWS = 2000
"""Bootstrap draws: the standard error is known to 2 %."""

PLACEMENT_DRAWS = 48
"""Placements that are tried: each places every region anew."""

SHARED_PLACEMENT = 0.5
"""Share of a placement's variance that both regions of a side have in common: errors of alignment are smooth."""

OTHER_TISSUE = 0.04
"""Standard error from other tissue inside the regions, as a share of the index's distance from 1.

Made heads: the index of 128 hemispheres comes out lower by .035 to .041 of that distance on average.
"""

_NO_RESIDUAL = 0.98  # a volume of higher leverage is fitted exactly: its residual says nothing
NORMAL_95 = 1.959964
_ONE_VOXEL = np.array([1, 22, 1], dtype=np.float32) / 24  # its variance is that of a voxel

Means = Mapping[str, Array]
"""Mean tensors in template axes by region, each of shape (..., 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Draws of the logarithm of the index about its value, by hemisphere, each of shape (draws,)."""

    noise: Mapping[str, Array]
    placement: Mapping[str, Array]
    pose: Mapping[str, Array]


def estimate_intervals(
    series: DwiSeries,
    rois: Sequence[Roi],
    rotation: Array,
    placed: Callable[[Mapping[str, Array]], Means],
    errors: tuple[float, float],
    *,
    seed: int,
) -> dict[str, Interval]:
    """Return the uncertainty of the index, left, right and bilateral.

    Parameters
    ----------
    series
        Volumes that the tensor was fitted to.
    rois
        Regions with their weights.
    rotation
        Scanner axes to template axes, shape (3, 3); the identity for an index without pose correction.
    placed
        Returns mean tensors, template axes, of the regions displaced by offsets in the template: name -> (3,), mm.
    errors
        Standard error of a placement, mm per axis, and of the pose, degrees per axis.
    seed
        Seed of every draw.

    Returns
    -------
    dict
        Empty where a region has no voxel.
    """
    used = [roi for roi in rois if roi.region in ("projection", "association")]
    if not all(roi.weights.size for roi in used):
        return {}
    rng = np.random.default_rng(seed)
    means, noise = draw_noise(series, used, rotation, rng)
    placement_mm, pose_degrees = errors
    spread = Spread(
        noise=_log_departure({name: means[name] + noise[name] for name in means}, means),
        placement=draw_placement(placed, [roi.name for roi in used], placement_mm, rng),
        pose=draw_pose(means, pose_degrees, rng),
    )
    values = alps_by_hemisphere(means)
    return {side: _interval(float(values[side]), side, spread) for side in values}


def add_resolution(intervals: Mapping[str, Interval], sharp: Means, blurred: Means) -> dict[str, Interval]:
    """Return intervals widened by what one voxel more of blur changes, and by the other tissue that regions hold.

    Neither is corrected: both are doubt about where the index of the tract alone lies.

    Parameters
    ----------
    intervals
        By hemisphere.
    sharp, blurred
        Mean tensors of the regions, template axes, each of shape (6,), in the data and in data blurred by one voxel.
    """
    values, rough = alps_by_hemisphere(sharp), alps_by_hemisphere(blurred)
    return {side: _widened(found, float(values[side]), float(rough[side])) for side, found in intervals.items()}


def _widened(found: Interval, alps: float, rough: float) -> Interval:
    change = float(np.hypot(np.log(rough / alps), OTHER_TISSUE * (alps - 1) / alps))
    total = float(np.hypot(found.se / alps, change))
    return replace(
        found,
        low=float(alps * np.exp(-NORMAL_95 * total)),
        high=float(alps * np.exp(NORMAL_95 * total)),
        se=alps * total,
        se_resolution=alps * change,
    )


def blur_by_a_voxel(field: TensorField) -> TensorField:
    """Return tensors blurred as much again as their own voxels blur them: a variance of 1/12 voxel^2 along each axis.

    Means are taken inside the mask. What a finite voxel mixes into a region changes the index by about what this
    second blur changes it.
    """
    share = np.asarray(field.mask, dtype=np.float32)
    elements = field.image.data * share[..., None]
    for axis in range(3):
        elements = convolve1d(elements, _ONE_VOXEL, axis=axis, mode="constant")
        share = convolve1d(share, _ONE_VOXEL, axis=axis, mode="constant")
    elements = np.where(field.mask[..., None], elements / np.maximum(share, 1e-3)[..., None], 0)
    return replace(field, image=field.image.like(elements.astype(np.float32)))


def draw_noise(
    series: DwiSeries, rois: Sequence[Roi], rotation: Array, rng: np.random.Generator, *, draws: int = DRAWS
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return each region's mean tensor, shape (6,), and draws of its error, shape (draws, 6), template axes.

    Wild bootstrap of the weighted fit: Whitcher 2008, doi 10.1002/hbm.20395; residuals scaled by their leverage
    (HC2). One sign per volume is drawn for all voxels together, so that noise shared by neighbours (interpolation,
    multi-coil reconstruction) is not averaged away. The mean tensor is linear in the log-signal, hence a draw is one
    product of a matrix with the signs. A volume that the fit meets exactly (a single b0) has no residual: its error
    is drawn from the variance of the others, independently in each voxel.
    """
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    n, p = design.shape
    signs = rng.choice([-1.0, 1.0], size=(n, draws))
    means, errors = {}, {}
    for roi in rois:
        share = roi.weights / roi.weights.sum()
        log_signal = log_of_signal(series.image.data[tuple(roi.voxels.T)])
        coefficients = fit_coefficients(np.exp(log_signal), design)
        weights = fit_weights(coefficients @ design.T)
        inverse = np.linalg.pinv(np.einsum("vn,ni,nj->vij", weights, design, design))
        solve = np.einsum("vij,nj,vn->vin", inverse, design, weights)  # coefficients = solve @ log-signal
        leverage = np.einsum("ni,vin->vn", design, solve)
        residual = log_signal - coefficients @ design.T
        known = leverage < _NO_RESIDUAL
        scaled = np.where(known, residual / np.sqrt(np.where(known, 1 - leverage, 1.0)), 0.0)
        variance = (weights * residual**2).sum(1) / max(n - p, 1)
        lost = np.where(known, 0.0, np.sqrt(variance[:, None] / weights))
        shared = np.einsum("v,vin,vn->in", share, solve[:, :6], scaled) @ signs
        own = np.sqrt(np.einsum("v,vin,vn->in", share**2, solve[:, :6] ** 2, lost**2))
        direction = np.sign(solve[:, :6].mean(0))  # one volume shifts all elements together
        extra = (own * direction) @ rng.standard_normal((n, draws))
        means[roi.name] = rotate_elements(share @ coefficients[:, :6], rotation)
        errors[roi.name] = rotate_elements((shared + extra).T, rotation)
    return means, errors


def draw_placement(
    placed: Callable[[Mapping[str, Array]], Means], names: Sequence[str], error_mm: float, rng: np.random.Generator
) -> dict[str, Array]:
    """Return log departures of the index, by hemisphere, when regions are displaced by an error of `error_mm` per axis.

    The offsets depend on names, error and generator alone: two scans that are given the same ones are displaced alike.
    """
    still = {name: np.zeros(3) for name in names}
    base = placed(still)
    if error_mm <= 0:
        return _log_departure({name: base[name][None] for name in names}, base)
    drawn = []
    for _ in range(PLACEMENT_DRAWS):
        common = {side: rng.standard_normal(3) for side in SIDES}
        offsets = {
            name: error_mm
            * (
                np.sqrt(SHARED_PLACEMENT) * common["left" if name.endswith("left") else "right"]
                + np.sqrt(1 - SHARED_PLACEMENT) * rng.standard_normal(3)
            )
            for name in names
        }
        drawn.append(placed(offsets))
    return _log_departure({name: np.stack([means[name] for means in drawn]) for name in names}, base)


def draw_pose(means: Means, error_degrees: float, rng: np.random.Generator) -> dict[str, Array]:
    """Return log departures of the index, by hemisphere, when tensors are turned by `error_degrees` per axis."""
    vectors = np.radians(error_degrees) * rng.standard_normal((200, 3))
    turns = Rotation.from_rotvec(vectors).as_matrix()
    turned = {name: np.stack([rotate_elements(mean, turn) for turn in turns]) for name, mean in means.items()}
    return _log_departure(turned, means)


def _log_departure(drawn: Means, centre: Means) -> dict[str, Array]:
    """Return log(index of each draw / index of the centre), shape (draws,); NaN for draws without an index."""
    values, middle = alps_by_hemisphere(drawn), alps_by_hemisphere(centre)
    departures = {}
    for side, value in values.items():
        ratio = value / middle[side]
        departures[side] = np.log(np.where(ratio > 0, ratio, np.nan))
    return departures


def _interval(alps: float, side: str, spread: Spread) -> Interval:
    """Return the interval of one hemisphere: normal on the logarithm, variances of the sources added."""
    parts = [spread_of(draws[side]) for draws in (spread.noise, spread.placement, spread.pose)]
    total = float(np.sqrt(sum(part**2 for part in parts)))
    noise, placement, pose = (alps * part for part in parts)
    return Interval(
        low=float(alps * np.exp(-NORMAL_95 * total)),
        high=float(alps * np.exp(NORMAL_95 * total)),
        se=alps * total,
        se_noise=noise,
        se_placement=placement,
        se_pose=pose,
    )


def spread_of(draws: Array) -> float:
    """Return the root mean square about zero: a source that only ever lowers the index is uncertainty as well."""
    known = draws[np.isfinite(draws)]
    return float(np.sqrt((known**2).mean())) if known.size else float("nan")

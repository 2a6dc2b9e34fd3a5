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
    "error of placing the regions, {pose}the effect of the voxel size, other tissue inside the regions, errors of the "
    "gradients' strength and the noise floor (seed {seed:.0f})."
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

SHARED_ERROR = 0.03
"""SD of the logarithm of a signal that a whole volume shares within a region: pulsation, motion, eddy currents,
interpolation.

In six scans of one head with 12 directions, .034 to .041 of what no common tissue explains, voxels' own noise (.01)
included.
"""

ENOUGH_FREEDOM = 4
"""Degrees of freedom from which residuals tell of such errors by themselves."""

_NO_RESIDUAL = 0.98  # a volume of higher leverage is fitted exactly: its residual says nothing
NORMAL_95 = 1.959964
_ONE_VOXEL = np.array([1, 22, 1], dtype=np.float32) / 24  # its variance is that of a voxel

Means = Mapping[str, Array]
"""Mean tensors in template axes by region, each of shape (..., 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Standard errors: of a placement (mm per axis), of the pose (degrees per axis), of the signal (in its unit)."""

    placement_mm: float
    pose_degrees: float
    noise_sd: float = float("nan")


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
    errors: Errors,
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
        How large the errors are that the draws take.
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
    means, noise = draw_noise(series, used, rotation, rng, noise_sd=errors.noise_sd)
    spread = Spread(
        noise=_log_departure({name: means[name] + noise[name] for name in means}, means),
        placement=draw_placement(placed, [roi.name for roi in used], errors.placement_mm, rng),
        pose=draw_pose(means, errors.pose_degrees, rng),
    )
    values = alps_by_hemisphere(means)
    return {side: _interval(float(values[side]), side, spread) for side in values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Systematic:
    """What may be wrong with the index of one hemisphere beside chance, each as a change of its logarithm.

    Parameters
    ----------
    resolution
        What one more voxel of blur changes.
    calibration
        What the measured error of the weighting changes, corrected or not: half of it is in doubt.
    noise_floor
        What the noise floor changes.
    """

    resolution: float = 0.0
    calibration: float = 0.0
    noise_floor: float = 0.0


def add_systematic(found: Interval, alps: float, changes: Systematic) -> Interval:
    """Return an interval widened by what is known to be in doubt and is not corrected.

    Parameters
    ----------
    found
        Interval of chance alone.
    alps
        The index.
    changes
        What may be wrong; NaN counts as nothing.
    """
    resolution = np.hypot(changes.resolution, OTHER_TISSUE * (alps - 1) / alps)
    parts = np.abs(np.nan_to_num([resolution, changes.calibration / 2, changes.noise_floor]))
    total = float(np.linalg.norm([found.se / alps, *parts]))
    resolution, calibration, noise_floor = (float(alps * part) for part in parts)
    return replace(
        found,
        low=float(alps * np.exp(-NORMAL_95 * total)),
        high=float(alps * np.exp(NORMAL_95 * total)),
        se=alps * total,
        se_resolution=resolution,
        se_calibration=calibration,
        se_noise_floor=noise_floor,
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
    series: DwiSeries,
    rois: Sequence[Roi],
    rotation: Array,
    rng: np.random.Generator,
    *,
    noise_sd: float = float("nan"),
    draws: int = DRAWS,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return each region's mean tensor, shape (6,), and draws of its error, shape (draws, 6), template axes.

    Wild bootstrap of the weighted fit: Whitcher 2008, doi 10.1002/hbm.20395; residuals scaled by their leverage
    (HC2). One sign per volume is drawn for all voxels together, so that noise shared by neighbours (interpolation,
    multi-coil reconstruction, pulsation) is not averaged away. The mean tensor is linear in the log-signal, hence a
    draw is one product of a matrix with the signs.

    A volume that the fit meets exactly (a single b0) has no residual: its error is drawn from the variance of the
    others, independently in each voxel. Where the fit has no freedom at all (six directions and one b0) it is drawn
    from `noise_sd`. The fewer degrees of freedom, the less residuals tell of errors that a whole volume shares: those
    of other scans stand in (`SHARED_ERROR`).
    """
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    n, p = design.shape
    signs = rng.choice([-1.0, 1.0], size=(n, draws))
    volumes = SHARED_ERROR * np.sqrt(max(0.0, 1 - (n - p) / ENOUGH_FREEDOM)) * rng.standard_normal((n, draws))
    means, errors = {}, {}
    for roi in rois:
        share = roi.weights / roi.weights.sum()
        log_signal = log_of_signal(series.image.data[tuple(roi.voxels.T)])
        fitted = _fit_linear(log_signal, design)
        unseen = _unseen_noise(fitted, log_signal, noise_sd, n - p)
        solve = fitted.solve[:, :6]
        shared = np.einsum("v,vin,vn->in", share, solve, fitted.scaled_residual) @ signs
        shared += np.einsum("v,vin->in", share, solve) @ volumes
        own = np.sqrt(np.einsum("v,vin,vn->in", share**2, solve**2, unseen**2))
        direction = np.sign(solve.mean(0))  # one volume shifts all elements together
        extra = (own * direction) @ rng.standard_normal((n, draws))
        means[roi.name] = rotate_elements(share @ fitted.coefficients[:, :6], rotation)
        errors[roi.name] = rotate_elements((shared + extra).T, rotation)
    return means, errors


@dataclass(frozen=True, slots=True, kw_only=True)
class _LinearFit:
    """A weighted fit of v voxels and n volumes: coefficients (v, p) = solve (v, p, n) @ log-signal (v, n)."""

    coefficients: Array
    weights: Array
    solve: Array
    residual: Array
    leverage: Array

    @property
    def has_residual(self) -> Array:
        """Which volumes the fit does not meet exactly, shape (v, n)."""
        return self.leverage < _NO_RESIDUAL

    @property
    def scaled_residual(self) -> Array:
        """Residuals over the root of what leverage leaves of them (HC2), shape (v, n); zero where there is none."""
        left = np.where(self.has_residual, 1 - self.leverage, 1.0)
        return np.where(self.has_residual, self.residual / np.sqrt(left), 0.0)


def _fit_linear(log_signal: Array, design: Array) -> _LinearFit:
    coefficients = fit_coefficients(np.exp(log_signal), design)
    weights = fit_weights(coefficients @ design.T)
    inverse = np.linalg.pinv(np.einsum("vn,ni,nj->vij", weights, design, design))
    solve = np.einsum("vij,nj,vn->vin", inverse, design, weights)
    return _LinearFit(
        coefficients=coefficients,
        weights=weights,
        solve=solve,
        residual=log_signal - coefficients @ design.T,
        leverage=np.einsum("ni,vin->vn", design, solve),
    )


def _unseen_noise(fitted: _LinearFit, log_signal: Array, noise_sd: float, freedom: int) -> Array:
    """Return the SD of log-signals whose residual says nothing, shape (v, n); zero for the others."""
    if freedom <= 0:
        return np.nan_to_num(noise_sd) / np.exp(log_signal)
    variance = (fitted.weights * fitted.residual**2).sum(1) / freedom
    return np.where(fitted.has_residual, 0.0, np.sqrt(variance[:, None] / fitted.weights))


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

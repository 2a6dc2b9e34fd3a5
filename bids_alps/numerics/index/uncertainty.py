"""Uncertainty of the index: noise, placement of the regions, head pose and voxel size, separate and combined."""

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
    "error of region placement, {pose}the effect of voxel size, other tissue inside the regions, errors of gradient "
    "amplitude, the noise floor and the choice of the regions (seed {seed:.0f})."
)
"""``{pose}`` is `POSE_ERROR` if tensors are rotated, otherwise empty."""
POSE_ERROR = "the error of head pose, "
DRAWS = 2000
"""Bootstrap draws: the standard error is accurate to 2 %."""

PLACEMENT_DRAWS = 48
"""Number of random placements of the regions."""

SHARED_PLACEMENT = 0.5
"""Fraction of the placement variance shared by both regions of a side: registration errors are smooth."""

OTHER_TISSUE = 0.04
"""Standard error from other tissue inside the regions, as a fraction of the distance of the index from 1.

In simulated heads (128 hemispheres) the index is lower by 0.035 to 0.041 of that distance on average.
"""

SHARED_ERROR = 0.03
"""SD of log-signal errors shared by a whole volume within a region: pulsation, motion, eddy currents,
interpolation.

0.034 to 0.041 in six scans of one participant with 12 directions, including voxel noise (0.01).
"""

RELIABLE_DOF = 4
"""Degrees of freedom above which residuals reflect such errors by themselves."""

_NO_RESIDUAL = 0.98  # volumes of higher leverage are fitted exactly: their residuals carry no information
NORMAL_95 = 1.959964
_ONE_VOXEL = np.array([1, 22, 1], dtype=np.float32) / 24  # variance of a uniform distribution over one voxel

Means = Mapping[str, Array]
"""Mean tensors in template axes by region, each of shape (..., 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Standard errors of placement (mm per axis), pose (degrees per axis) and signal (signal units)."""

    placement_mm: float
    pose_degrees: float
    noise_sd: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Draws of the log index relative to its value, by hemisphere, each of shape (draws,)."""

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
        Volumes of the tensor fit.
    rois
        Regions with their weights.
    rotation
        Rotation from scanner to template axes, shape (3, 3); the identity for an index without pose correction.
    placed
        Function that returns mean tensors (template axes) of regions displaced in the template: name -> (3,), mm.
    errors
        Standard errors of the random draws.
    seed
        Seed of all random draws.

    Returns
    -------
    dict
        Empty if a region has no voxels.
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
    """Systematic errors of the index of one hemisphere, as changes of its logarithm.

    Parameters
    ----------
    resolution
        Effect of blurring by one additional voxel.
    calibration
        Effect of the measured error of the b-values, corrected or not; half of it is treated as uncertain.
    uncorrected
        Effect of the part of this error on which tissues agree, if it is not corrected: all of it counts.
    noise_floor
        Effect of the noise floor.
    regions
        Difference from the index of the spheres of most studies in the same scan. Random errors explain a part of it;
        the rest shows that the tissue differs along the tract.
    """

    resolution: float = 0.0
    calibration: float = 0.0
    uncorrected: float = 0.0
    noise_floor: float = 0.0
    regions: float = 0.0


def add_systematic(interval: Interval, alps: float, changes: Systematic) -> Interval:
    """Return an interval widened by uncorrected systematic errors.

    Parameters
    ----------
    interval
        Interval from random errors.
    alps
        The index.
    changes
        Systematic errors; NaN counts as zero.
    """
    # all as changes of log(alps): an error e of the index is e / alps
    resolution = np.hypot(changes.resolution, OTHER_TISSUE * (alps - 1) / alps)
    calibration = np.hypot(*np.nan_to_num([changes.calibration / 2, changes.uncorrected]))
    random = interval.se / alps
    # moment estimate of a variance between regions: squared difference minus the random variance, not below zero
    regions = np.sqrt(max(np.nan_to_num(changes.regions) ** 2 - random**2, 0.0))
    parts = np.abs(np.nan_to_num([resolution, calibration, changes.noise_floor, regions]))
    total = float(np.linalg.norm([random, *parts]))
    resolution, calibration, noise_floor, regions = (float(alps * part) for part in parts)
    return replace(
        interval,
        low=float(alps * np.exp(-NORMAL_95 * total)),
        high=float(alps * np.exp(NORMAL_95 * total)),
        se=alps * total,
        se_resolution=resolution,
        se_calibration=calibration,
        se_noise_floor=noise_floor,
        se_regions=regions,
    )


def blur_by_a_voxel(field: TensorField, voxels: Array | None = None) -> TensorField:
    """Return tensors blurred by one more voxel: a variance of 1/12 voxel^2 along each axis.

    The blur is normalized inside the mask. The effect of this second blur estimates the partial volume effect of the
    acquired voxel size.

    Parameters
    ----------
    field
        The tensors.
    voxels
        Voxels to blur, shape (n, 3), others become zero; all if None.
    """
    if voxels is None:
        voxels = np.argwhere(field.mask)
    first = np.maximum(voxels.min(axis=0, initial=max(field.mask.shape)) - 1, 0)
    box = tuple(slice(low, high + 2) for low, high in zip(first, voxels.max(axis=0, initial=0), strict=True))
    inside = np.asarray(field.mask[box], dtype=np.float32)
    elements = field.image.data[box] * inside[..., None]
    for axis in range(3):
        elements = convolve1d(elements, _ONE_VOXEL, axis=axis, mode="constant")
        inside = convolve1d(inside, _ONE_VOXEL, axis=axis, mode="constant")
    blurred = np.zeros_like(field.image.data)
    blurred[tuple(voxels.T)] = (elements / np.maximum(inside, 1e-3)[..., None])[tuple((voxels - first).T)]
    blurred[~field.mask] = 0
    return replace(field, image=field.image.like(blurred))


def draw_noise(
    series: DwiSeries,
    rois: Sequence[Roi],
    rotation: Array,
    rng: np.random.Generator,
    *,
    noise_sd: float = float("nan"),
    draws: int = DRAWS,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the mean tensor of each region, shape (6,), and draws of its error, shape (draws, 6), template axes.

    Wild bootstrap of the weighted fit: Whitcher 2008, doi 10.1002/hbm.20395; residuals scaled by their leverage
    (HC2). One sign per volume is drawn for all voxels together, so that noise shared by neighbors (interpolation,
    multi-coil reconstruction, pulsation) is not averaged away. The mean tensor is linear in the log-signal, so that
    a draw is one product of a matrix with the signs.

    A volume that is fitted exactly (a single b=0 volume) has no residual: its error is drawn from the variance of the
    others, independently in each voxel. Without residual degrees of freedom (six directions and one b=0 volume) errors
    are drawn from `noise_sd`. With few degrees of freedom, residuals underestimate errors shared by a whole volume;
    the value of other scans is used instead (`SHARED_ERROR`).
    """
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    n, p = design.shape
    signs = rng.choice([-1.0, 1.0], size=(n, draws))
    # none from RELIABLE_DOF on: the residuals then show these errors
    volumes = SHARED_ERROR * np.sqrt(max(0.0, 1 - (n - p) / RELIABLE_DOF)) * rng.standard_normal((n, draws))
    means, errors = {}, {}
    for roi in rois:
        weights = roi.weights / roi.weights.sum()
        log_signal = log_of_signal(series.image.data[tuple(roi.voxels.T)])
        fitted = _fit_linear(log_signal, design)
        exact_noise = _noise_of_exact_fits(fitted, log_signal, noise_sd, n - p)
        solve = fitted.solve[:, :6]
        # v voxels, i tensor elements, n volumes: error of the weighted mean by volume, with common signs over voxels
        shared = np.einsum("v,vin,vn->in", weights, solve, fitted.scaled_residual) @ signs
        shared += np.einsum("v,vin->in", weights, solve) @ volumes
        independent = np.sqrt(np.einsum("v,vin,vn->in", weights**2, solve**2, exact_noise**2))
        direction = np.sign(solve.mean(0))  # an error of one volume changes all elements together
        independent_error = (independent * direction) @ rng.standard_normal((n, draws))
        means[roi.name] = rotate_elements(weights @ fitted.coefficients[:, :6], rotation)
        errors[roi.name] = rotate_elements((shared + independent_error).T, rotation)
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
        """Volumes that are not fitted exactly, bool, shape (v, n)."""
        return self.leverage < _NO_RESIDUAL

    @property
    def scaled_residual(self) -> Array:
        """Residuals divided by sqrt(1 - leverage) (HC2), shape (v, n); zero for exactly fitted volumes."""
        remaining = np.where(self.has_residual, 1 - self.leverage, 1.0)
        return np.where(self.has_residual, self.residual / np.sqrt(remaining), 0.0)


def _fit_linear(log_signal: Array, design: Array) -> _LinearFit:
    coefficients = fit_coefficients(np.exp(log_signal), design)
    weights = fit_weights(coefficients @ design.T)
    # (X' W X)^-1 X' W, voxel by voxel
    inverse = np.linalg.pinv(np.einsum("vn,ni,nj->vij", weights, design, design))
    solve = np.einsum("vij,nj,vn->vin", inverse, design, weights)
    return _LinearFit(
        coefficients=coefficients,
        weights=weights,
        solve=solve,
        residual=log_signal - coefficients @ design.T,
        # diagonal of the hat matrix X (X' W X)^-1 X' W
        leverage=np.einsum("ni,vin->vn", design, solve),
    )


def _noise_of_exact_fits(fitted: _LinearFit, log_signal: Array, noise_sd: float, dof: int) -> Array:
    """Return the SD of log-signals without residual, shape (v, n); zero for the others."""
    if dof <= 0:
        # error propagation: SD(log S) = sigma / S
        return np.nan_to_num(noise_sd) / np.exp(log_signal)
    # weights are inverse variances up to this factor
    variance = (fitted.weights * fitted.residual**2).sum(1) / dof
    return np.where(fitted.has_residual, 0.0, np.sqrt(variance[:, None] / fitted.weights))


def draw_placement(
    placed: Callable[[Mapping[str, Array]], Means], names: Sequence[str], error_mm: float, rng: np.random.Generator
) -> dict[str, Array]:
    """Return log departures of the index, by hemisphere, for random displacements (`error_mm` per axis).

    The offsets depend only on names, error and generator, so that scans with equal ones are displaced equally.
    """
    centered = {name: np.zeros(3) for name in names}
    base = placed(centered)
    if error_mm <= 0:
        return _log_departure({name: base[name][None] for name in names}, base)
    placements = []
    for _ in range(PLACEMENT_DRAWS):
        common = {side: rng.standard_normal(3) for side in SIDES}
        # variance error_mm^2 per axis, with correlation SHARED_PLACEMENT between the regions of a side
        offsets = {
            name: error_mm
            * (
                np.sqrt(SHARED_PLACEMENT) * common["left" if name.endswith("left") else "right"]
                + np.sqrt(1 - SHARED_PLACEMENT) * rng.standard_normal(3)
            )
            for name in names
        }
        placements.append(placed(offsets))
    return _log_departure({name: np.stack([means[name] for means in placements]) for name in names}, base)


def draw_pose(means: Means, error_degrees: float, rng: np.random.Generator) -> dict[str, Array]:
    """Return log departures of the index, by hemisphere, for random rotations (`error_degrees` per axis)."""
    # small rotations add up as vectors: independent errors about x, y and z
    vectors = np.radians(error_degrees) * rng.standard_normal((200, 3))
    rotations = Rotation.from_rotvec(vectors).as_matrix()
    rotated = {
        name: np.stack([rotate_elements(mean, rotation) for rotation in rotations]) for name, mean in means.items()
    }
    return _log_departure(rotated, means)


def _log_departure(draws: Means, center: Means) -> dict[str, Array]:
    """Return log(index of each draw / index of the center), shape (draws,); NaN if undefined."""
    values, central = alps_by_hemisphere(draws), alps_by_hemisphere(center)
    departures = {}
    for side, value in values.items():
        ratio = value / central[side]
        departures[side] = np.log(np.where(ratio > 0, ratio, np.nan))
    return departures


def _interval(alps: float, side: str, spread: Spread) -> Interval:
    """Return the interval of one hemisphere: normal on the log scale, with the variances of the sources added."""
    # errors of log(alps) are independent: variances add
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
    """Return the root mean square about zero, so that one-sided effects count as uncertainty too."""
    finite = draws[np.isfinite(draws)]
    return float(np.sqrt((finite**2).mean())) if finite.size else float("nan")

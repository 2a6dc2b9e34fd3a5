"""Head motion and eddy currents of a diffusion series, and slices that lost their signal.

Every volume is registered to its prediction from the others. All poses are relative to the first b=0 volume, so the
corrected series lies where that volume lies. The estimate is a sequence of steps, each of which takes the coarse series
and a `MotionState` and returns the next one::

    initial -> aligned with shell means (twice) -> aligned with predictions (until the volumes hardly move)
            -> eddy terms linear in the gradient -> common drift removed -> shells aligned -> anchored at the first b=0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_alps.errors import ImageError
from bids_alps.model import Array
from bids_alps.numerics.interpolation import CubicSpline, is_on_grid
from bids_alps.numerics.preprocessing.motion import HEAD_RADIUS_MM, SeriesMotion, acquired_slices, rotate_bvecs
from bids_alps.numerics.preprocessing.mutual_information import align_by_mutual_information
from bids_alps.numerics.preprocessing.outliers import find_outlier_slices
from bids_alps.numerics.preprocessing.prediction import fit_covariance, leave_one_out_weights
from bids_alps.numerics.preprocessing.volume_motion import (
    LINEAR_TERMS,
    Fit,
    ReferencePoints,
    VolumeMotion,
    fit_motion,
    no_motion,
    sample_reference,
    world_points,
)
from bids_alps.numerics.tensors.gradients import find_shells

SENTENCE = (
    "Head motion and eddy-current distortion that is linear in space were corrected by aligning each volume with "
    "its prediction from the other volumes by a Gaussian process (after [@andersson2015]); shells were aligned "
    "with the b=0 images by mutual information (SimpleITK; [@lowekamp2013]), and the b-vectors were rotated "
    "accordingly ([@leemans2009])."
)
WORK_SPACING_MM = 3.0
UNUSABLE_CORRELATION = 0.3
"""A volume that correlates less than this with what the others predict is not used."""
CONTRAST_ERROR_MM = 0.5
"""Standard error of an alignment of diffusion-weighted with b=0 images."""
MIN_FOR_TERMS, MIN_FOR_SHIFT = 6, 10
"""Directions needed to determine which eddy currents are linear in the gradient, and which shift is not head motion."""
_FIT_POINTS = 25_000
_FIRST_SHARE = 4
"""Of these points, one in so many serves for the first alignment."""
_CONVERGED_MM, _MAX_ROUNDS = 0.03, 4
"""Predictions are repeated until the volumes move by less (root mean square), or that often."""
_CHANGE_POINTS = 1000
_BLOCK = 16
"""Volumes whose predictions are in memory at a time."""
_RIM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarseSeries:
    """The series on a coarser grid, ready to be sampled.

    Parameters
    ----------
    volumes
        Each volume.
    affine
        Coarse voxels to RAS+ world mm.
    inside
        Brain mask with a rim, shape (i, j, k), bool.
    points
        World mm of the voxels in `inside`, shape (m, 3), float32.
    compared
        Voxels at which volumes are aligned, indices of shape (p, 3).
    shells
        Mean b-value of each volume's shell, 0 for b=0, shape (n,).
    bvals, bvecs
        Shape (n,), s/mm^2, and (n, 3), unit vectors, RAS+ world.
    not_empty
        Volumes with contrast inside the mask, shape (n,), bool.
    direction
        World direction of phase encoding, unit vector, shape (3,).
    slice_axis, slices
        Voxel axis of the slices, and their number.
    """

    volumes: tuple[CubicSpline, ...]
    affine: Array
    inside: Array
    points: Array
    compared: Array
    shells: Array
    bvals: Array
    bvecs: Array
    not_empty: Array
    direction: Array
    slice_axis: int
    slices: int

    @property
    def weighted(self) -> Array:
        """Which volumes are diffusion-weighted, shape (n,), bool."""
        return self.shells > 0

    @property
    def center(self) -> Array:
        """Center of rotation, world mm, shape (3,)."""
        return self.points.mean(0, dtype=np.float64)

    def image(self, values: Array) -> Array:
        """Return values at `points` as an image, zero elsewhere; shape (i, j, k), float32."""
        image = np.zeros(self.inside.shape, dtype=np.float32)
        image[self.inside] = values
        return image

    def resampled(self, volume: int, motion: VolumeMotion) -> Array:
        """Return a volume at the points of the head at rest, its eddy-current stretch undone; shape (m,)."""
        image, places = self.volumes[volume], motion.places(self.points, np.linalg.inv(self.affine))
        return image(places) * is_on_grid(places, image.shape) * motion.stretch(self.points)

    def mean(self, volumes: Sequence[int], motion: Sequence[VolumeMotion] | None) -> Array:
        """Return the mean of volumes at the points of the head at rest, as acquired if without motion; shape (m,)."""
        if motion is None:
            return CubicSpline.mean([self.volumes[volume] for volume in volumes])(np.argwhere(self.inside).T)
        total = np.zeros(len(self.points), dtype=np.float32)
        for volume in volumes:
            total += self.resampled(volume, motion[volume])
        return total / len(volumes)

    def reference(self, values: Array, *, smooth: bool = False) -> ReferencePoints:
        """Return points with values and gradients of an image given at `points`; smoothed, it attracts from further."""
        image = self.image(values)
        return sample_reference(ndimage.gaussian_filter(image, 1.0) if smooth else image, self.affine, self.compared)


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionState:
    """Estimated motion after a step.

    Parameters
    ----------
    motion
        Of each volume.
    usable
        Volumes that could be aligned, shape (n,), bool.
    outliers
        Slices that lost their signal, shape (n, slices), bool.
    correlation
        Of each volume with its reference, shape (n,).
    """

    motion: tuple[VolumeMotion, ...]
    usable: Array
    outliers: Array
    correlation: Array

    def members(self, group: Array) -> list[int]:
        """Return the usable volumes of a group, given as a boolean array of shape (n,)."""
        return np.flatnonzero(group & self.usable).tolist()

    def moved(self, changes: Mapping[int, VolumeMotion]) -> MotionState:
        """Return the state with the motion of some volumes replaced."""
        return replace(self, motion=tuple(changes.get(n, motion) for n, motion in enumerate(self.motion)))

    def fitted(self, fits: Mapping[int, Fit]) -> MotionState:
        """Return the state with new fits of some volumes."""
        correlation = self.correlation.copy()
        for volume, fit in fits.items():
            correlation[volume] = fit.correlation
        return replace(self.moved({volume: fit.motion for volume, fit in fits.items()}), correlation=correlation)


def estimate_motion(
    data: Array,
    affine: Array,
    gradients: tuple[Array, Array],
    mask: Array,
    *,
    phase_axis: int = 1,
    slice_axis: int = 2,
) -> SeriesMotion:
    """Return the motion of every volume, with eddy currents linear in space for the weighted ones.

    Parameters
    ----------
    data
        Series, shape (i, j, k, n).
    affine
        Voxels to RAS+ world mm.
    gradients
        b-values (n,), s/mm^2, and b-vectors (n, 3), unit, RAS+ world.
    mask
        Brain, shape (i, j, k), bool.
    phase_axis, slice_axis
        Voxel axes of phase encoding and of slices.

    Raises
    ------
    ImageError
        If the mask or all b=0 volumes are empty, or fewer than three volumes can be used.
    """
    series = coarsen(data, affine, gradients, mask, (phase_axis, slice_axis))
    state = initial_state(series)
    state = align_to_means(replace(series, compared=series.compared[::_FIRST_SHARE]), state, None)
    state = align_to_means(series, state, state.motion)
    for _ in range(_MAX_ROUNDS):
        before, state = state, align_to_predictions(series, state)
        if change_mm(series, before, state) < _CONVERGED_MM:
            break
    state, shift = keep_linear_eddy_terms(series, state)
    state = remove_common_drift(series, state, shift)
    state = align_shells(series, state, shift)
    state = anchor(state, int(np.flatnonzero(~series.weighted & series.not_empty)[0]))
    return SeriesMotion(
        volumes=state.motion,
        bvecs=rotate_bvecs(series.bvecs, state.motion),
        outlier_slices=state.outliers,
        usable=state.usable,
        correlation=state.correlation,
        slice_axis=slice_axis,
        eddy_shift=shift,
    )


def coarsen(
    data: Array, affine: Array, gradients: tuple[Array, Array], mask: Array, axes: tuple[int, int]
) -> CoarseSeries:
    """Return the series on a grid of `WORK_SPACING_MM`, slices kept apart so that a lost one can be recognized.

    `axes` are the voxel axes of phase encoding and of slices; see `estimate_motion` for the rest.
    """
    if not mask.any():
        raise ImageError("motion", "the brain mask is empty", "give a mask")
    (phase_axis, slice_axis), (bvals, bvecs) = axes, gradients
    size = np.linalg.norm(affine[:3, :3], axis=0)
    factor = np.maximum(WORK_SPACING_MM / size, 1.0)
    factor[slice_axis] = 1.0
    shape = tuple(int(np.floor((n - 1) / f)) + 1 for n, f in zip(mask.shape, factor, strict=True))
    coarsening = [coarsening_matrix(*sizes) for sizes in zip(mask.shape, factor, shape, strict=True)]
    volumes, not_empty = [], np.zeros(len(bvals), dtype=bool)
    for volume in range(data.shape[3]):
        image = np.nan_to_num(np.asarray(data[..., volume], dtype=np.float32))
        brain = image[mask]
        not_empty[volume] = brain.std() > 1e-3 * abs(brain.mean()) > 0
        volumes.append(CubicSpline.of_coefficients(_coarsened(image, coarsening)))
    inside = ndimage.binary_dilation(_coarse_mask(mask, factor, shape), iterations=_RIM)
    eroded = np.argwhere(ndimage.binary_erosion(inside))
    work_affine = affine @ np.diag([*factor, 1.0])
    return CoarseSeries(
        volumes=tuple(volumes),
        affine=work_affine,
        inside=inside,
        points=world_points(np.argwhere(inside), work_affine),
        compared=eroded[:: max(1, len(eroded) // _FIT_POINTS)],
        shells=find_shells(bvals),
        bvals=bvals,
        bvecs=bvecs,
        not_empty=not_empty,
        direction=affine[:3, phase_axis] / size[phase_axis],
        slice_axis=slice_axis,
        slices=mask.shape[slice_axis],
    )


def coarsening_matrix(size: int, factor: float, coarse_size: int) -> Array:
    """Return the matrix from values along an axis to cubic B-spline coefficients of the smoothed, coarser values.

    Smoothing, interpolation and the spline's prefilter are linear and act on one axis after the other: as matrices they
    take a tenth of the time of the filters.

    Parameters
    ----------
    size, coarse_size
        Number of values, and of coefficients.
    factor
        Coarse over fine voxel edge.

    Returns
    -------
    Array
        Shape (coarse_size, size), float32.
    """
    matrix = np.eye(size)
    if factor > 1:
        matrix = ndimage.gaussian_filter1d(matrix, float(_smoothing(factor)), axis=0)
        matrix = ndimage.affine_transform(matrix, [factor, 1.0], output_shape=(coarse_size, size), order=3)
    return ndimage.spline_filter1d(matrix, order=3, axis=0, mode="mirror").astype(np.float32)


def _smoothing(factor: Array | float) -> Array:
    """Return the Gaussian standard deviation against aliasing, in fine voxels."""
    return 0.5 * np.sqrt(np.maximum(np.square(factor) - 1, 0))


def _coarsened(image: Array, matrices: list[Array]) -> Array:
    for axis, matrix in enumerate(matrices):
        image = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
    return image


def _coarse_mask(mask: Array, factor: Array, shape: tuple[int, ...]) -> Array:
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), _smoothing(factor))
    inside: Array = ndimage.affine_transform(smooth, factor, output_shape=shape, order=1, output=np.float32) > 0.5
    return inside


def initial_state(series: CoarseSeries) -> MotionState:
    """Return no motion, with room for linear eddy-current terms in weighted volumes.

    Raises
    ------
    ImageError
        If all b=0 volumes are empty, or fewer than three volumes are not.
    """
    b0s, usable = int((~series.weighted & series.not_empty).sum()), series.not_empty
    if not b0s or usable.sum() < 3:
        raise ImageError("motion", f"{b0s} b=0 volumes, {usable.sum()} volumes not empty", "check the series")
    center = series.center
    return MotionState(
        motion=tuple(no_motion(center, series.direction, LINEAR_TERMS if b else 0) for b in series.shells),
        usable=usable.copy(),
        outliers=np.zeros((len(usable), series.slices), dtype=bool),
        correlation=np.zeros(len(usable)),
    )


def align_to_means(series: CoarseSeries, state: MotionState, motion: Sequence[VolumeMotion] | None) -> MotionState:
    """Align each volume with the mean of its shell, for a given motion; of the volumes as acquired if that is None."""
    fits: dict[int, Fit] = {}
    for shell in np.unique(series.shells):
        members = state.members(series.shells == shell)
        if len(members) > 1:
            # a smooth reference for the first round: volumes may be turned by 15 degrees
            reference = series.reference(series.mean(members, motion), smooth=motion is None)
            fits |= {volume: _fit(series, state, volume, reference) for volume in members}
    return state.fitted(fits)


def align_to_predictions(series: CoarseSeries, state: MotionState) -> MotionState:
    """Register each volume to its prediction from the others; find lost slices and unusable volumes."""
    for group in (series.weighted, ~series.weighted):
        members = state.members(group)
        if len(members) < 2:
            continue
        stack = np.empty((len(members), len(series.points)), dtype=np.float32)
        for row, volume in enumerate(members):
            stack[row] = series.resampled(volume, state.motion[volume])
        shells = np.unique(series.shells[members], return_inverse=True)[1]
        bvecs = rotate_bvecs(series.bvecs[members], [state.motion[volume] for volume in members])
        covariance = fit_covariance((stack @ stack.T) / stack.shape[1], bvecs, shells)
        weights = leave_one_out_weights(covariance).astype(np.float32)
        state = _with_outliers(series, state, members, (stack, weights))
        _replace_lost_slices(series, state, members, (stack, weights))
        fits = {
            volume: _fit(series, state, volume, series.reference(predicted))
            for volume, predicted in zip(members, _predictions(stack, weights), strict=True)
        }
        state = state.fitted(fits)
        usable = state.usable.copy()
        usable[members] = state.correlation[members] > UNUSABLE_CORRELATION
        state = replace(state, usable=usable)
    return state


def _predictions(stack: Array, weights: Array) -> Iterator[Array]:
    """Yield the prediction of each volume, some computed at a time."""
    for start in range(0, len(stack), _BLOCK):
        yield from weights[start : start + _BLOCK] @ stack


def _with_outliers(
    series: CoarseSeries, state: MotionState, members: list[int], stack_and_weights: tuple[Array, Array]
) -> MotionState:
    slices = (acquired_slices(state.motion[v], series.affine, series.slice_axis, series.points) for v in members)
    volumes = zip(stack_and_weights[0], _predictions(*stack_and_weights), slices, strict=True)
    outliers = state.outliers.copy()
    outliers[members] = find_outlier_slices(volumes, series.slices)
    return replace(state, outliers=outliers)


def _replace_lost_slices(
    series: CoarseSeries, state: MotionState, members: list[int], stack_and_weights: tuple[Array, Array]
) -> None:
    """Replace lost slices of the stack by their prediction, so that they do not predict other volumes."""
    stack, weights = stack_and_weights
    replaced = []
    for row in np.flatnonzero(state.outliers[members].any(1)).tolist():
        lost = _in_outlier(series, state, members[row], series.points)
        replaced.append((row, lost, weights[row] @ stack[:, lost]))
    for row, lost, predicted in replaced:  # all at once: each is predicted from what was measured
        stack[row, lost] = predicted


def change_mm(series: CoarseSeries, before: MotionState, after: MotionState) -> float:
    """Return by how much the usable volumes have moved, mm: root mean square over volumes and the brain."""
    points = series.points[:: max(1, len(series.points) // _CHANGE_POINTS)]
    moved = [after.motion[n].acquired(points) - before.motion[n].acquired(points) for n in after.members(after.usable)]
    return float(np.sqrt(3 * np.mean(np.square(moved))))


def _fit(series: CoarseSeries, state: MotionState, volume: int, reference: ReferencePoints) -> Fit:
    kept = ~_in_outlier(series, state, volume, reference.points)
    if not kept.all():
        reference = ReferencePoints(
            points=reference.points[kept], values=reference.values[kept], gradients=reference.gradients[kept]
        )
    return fit_motion(series.volumes[volume], series.affine, reference, state.motion[volume])


def _in_outlier(series: CoarseSeries, state: MotionState, volume: int, points: Array) -> Array:
    """Return which points of the head at rest are read from slices that lost their signal (or their neighbors)."""
    if not state.outliers[volume].any():
        return np.zeros(len(points), dtype=bool)
    slices = acquired_slices(state.motion[volume], series.affine, series.slice_axis, points)
    lost = ndimage.binary_dilation(state.outliers[volume])
    return lost[np.clip(np.rint(slices), 0, lost.size - 1).astype(int)]


def keep_linear_eddy_terms(series: CoarseSeries, state: MotionState) -> tuple[MotionState, Array]:
    """Keep the part of the eddy terms that is linear in the gradient: the rest follows image contrast.

    Returns
    -------
    tuple
        The state, and the part of each volume's shift along phase encoding that is proportional to its gradient (not
        head motion), mm, shape (n,).
    """
    shift = np.zeros(len(series.bvals))
    members = state.members(series.weighted)
    weighting = series.bvecs[members] * (series.bvals[members, None] / 1000)
    design = np.c_[np.ones(len(members)), weighting]
    if len(members) < MIN_FOR_TERMS or np.linalg.cond(design) > 10:
        return state, shift
    eddy = np.array([state.motion[volume].eddy for volume in members])
    linear = weighting @ np.linalg.lstsq(design, eddy, rcond=None)[0][1:]
    state = state.moved(
        {
            volume: state.motion[volume].step(np.r_[np.zeros(6), change])
            for volume, change in zip(members, linear - eddy, strict=True)
        }
    )
    if len(members) >= MIN_FOR_SHIFT:
        along = np.array([state.motion[volume].translation @ series.direction for volume in members])
        shift[members] = weighting @ np.linalg.lstsq(design, along, rcond=None)[0][1:]
    return state, shift


def remove_common_drift(series: CoarseSeries, state: MotionState, shift: Array) -> MotionState:
    """Remove the common drift of volumes of one contrast, which are registered only to each other."""
    origin = no_motion(series.center, series.direction)
    for group in (series.weighted, ~series.weighted):
        members = state.members(group)
        if members:
            rotation = np.mean([state.motion[v].rotation for v in members], axis=0)
            translations = [state.motion[v].translation - shift[v] * series.direction for v in members]
            back = np.linalg.inv(origin.step(np.r_[rotation, np.mean(translations, axis=0)]).matrix)
            state = state.moved({volume: state.motion[volume].after(back) for volume in members})
    return state


def align_shells(series: CoarseSeries, state: MotionState, shift: Array) -> MotionState:
    """Register the mean of each shell to the mean b=0 image, across contrasts.

    This registration is less accurate than the motion of a still head, so it is weighted by its probability given the
    motion between successive volumes.
    """
    b0 = series.mean(state.members(series.shells == 0), state.motion)
    for shell in np.unique(series.shells[series.weighted]):
        members = state.members(series.shells == shell)
        if members:
            images = series.image(b0), series.image(series.mean(members, state.motion))
            matrix = align_by_mutual_information(*images, series.inside, series.affine)
            likely = _motion_spread(series, state, members, shift)
            # posterior mean of a motion of prior variance likely^2, measured with variance CONTRAST_ERROR_MM^2
            matrix = _fraction_of(matrix, likely**2 / (likely**2 + CONTRAST_ERROR_MM**2), series.center)
            state = state.moved({volume: state.motion[volume].after(matrix) for volume in members})
    return state


def _motion_spread(series: CoarseSeries, state: MotionState, members: list[int], shift: Array) -> float:
    """Return 0.1 mm and twice the standard deviation of the head's position over volumes, mm."""
    positions = [
        [*(HEAD_RADIUS_MM * state.motion[v].rotation), *(state.motion[v].translation - shift[v] * series.direction)]
        for v in members
    ]
    return 0.1 + 2 * float(np.sqrt(np.var(positions, axis=0).sum() / 3))


def _fraction_of(matrix: Array, fraction: float, center: Array) -> Array:
    """Return a fraction of a rigid motion about a center."""
    part = np.eye(4)
    rotation = Rotation.from_matrix(matrix[:3, :3])
    translation = matrix[:3, :3] @ center + matrix[:3, 3] - center
    part[:3, :3] = Rotation.from_rotvec(fraction * rotation.as_rotvec()).as_matrix()
    part[:3, 3] = center + fraction * translation - part[:3, :3] @ center
    return part


def anchor(state: MotionState, first: int) -> MotionState:
    """Make the first b=0 volume the reference."""
    back = np.linalg.inv(state.motion[first].matrix)
    return replace(state, motion=tuple(motion.after(back) for motion in state.motion))

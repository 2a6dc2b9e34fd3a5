"""Head motion and eddy currents of a diffusion series, and slices that lost their signal.

Every volume is aligned with what the others predict for it. All poses are relative to the first volume without
diffusion weighting, so the corrected series lies where that volume lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_alps.errors import ImageError
from bids_alps.model import Array
from bids_alps.numerics.preprocessing.motion import (
    HEAD_RADIUS_MM,
    SeriesMotion,
    acquired_slices,
    group_shells,
    rotate_bvecs,
)
from bids_alps.numerics.preprocessing.mutual_information import align_by_mutual_information
from bids_alps.numerics.preprocessing.outliers import find_outlier_slices
from bids_alps.numerics.preprocessing.prediction import fit_covariance, leave_one_out_weights
from bids_alps.numerics.preprocessing.volume_motion import (
    LINEAR_TERMS,
    ReferencePoints,
    VolumeMotion,
    at_rest,
    fit_motion,
    sample_reference,
    sample_volume,
)

WORK_SPACING_MM = 3.0
UNUSABLE_CORRELATION = 0.3
"""A volume that correlates less than this with what the others predict is not used."""
CONTRAST_ERROR_MM = 0.5
"""Standard error of an alignment of weighted with unweighted images."""
FEWEST_FOR_TERMS, FEWEST_FOR_SHIFT = 6, 10
"""Directions that tell which eddy currents are linear in the gradient, and which shift is no motion of the head."""
_FIT_POINTS = 25_000
_RIM = 2


@dataclass(slots=True, kw_only=True)
class _Work:
    """The series on a coarser grid as spline coefficients, and the state of the fit."""

    coefficients: list[Array]
    affine: Array
    inside: Array
    points: Array
    weighted: Array
    shells: Array
    bvals: Array
    bvecs: Array
    motion: list[VolumeMotion]
    usable: Array
    outliers: Array
    correlation: Array
    slice_axis: int


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
        If the mask or all volumes without weighting are empty, or fewer than three volumes can be used.
    """
    work = _prepare(data, affine, gradients, mask, phase_axis, slice_axis)
    base = np.flatnonzero(~work.weighted & work.usable)
    if not base.size or work.usable.sum() < 3:
        raise ImageError(
            "motion", f"{base.size} volumes without weighting, {work.usable.sum()} not empty", "check the series"
        )
    for sweep in range(2):
        _align_to_means(work, smooth=sweep == 0)
    for _ in range(3):
        _align_to_predictions(work)
    shift = _settle_eddy(work)
    _centre(work, shift)
    _align_shells(work, shift)
    _anchor(work, int(base[0]))
    return SeriesMotion(
        volumes=tuple(work.motion),
        bvecs=rotate_bvecs(work.bvecs, work.motion),
        outlier_slices=work.outliers,
        usable=work.usable,
        correlation=work.correlation,
        slice_axis=slice_axis,
        eddy_shift=shift,
    )


def _prepare(
    data: Array, affine: Array, gradients: tuple[Array, Array], mask: Array, phase_axis: int, slice_axis: int
) -> _Work:
    if not mask.any():
        raise ImageError("motion", "the brain mask is empty", "give a mask")
    size = np.linalg.norm(affine[:3, :3], axis=0)
    factor = np.maximum(WORK_SPACING_MM / size, 1.0)
    factor[slice_axis] = 1.0  # slices stay apart, so that a lost one can be told
    shape = tuple(int(np.floor((n - 1) / f)) + 1 for n, f in zip(mask.shape, factor, strict=True))
    bvals, bvecs = gradients
    coefficients, usable = [], np.zeros(len(bvals), dtype=bool)
    for volume in range(data.shape[3]):
        image = np.nan_to_num(np.asarray(data[..., volume], dtype=np.float32))
        usable[volume] = image[mask].std() > 1e-3 * abs(image[mask].mean()) > 0
        coefficients.append(_coarse(image, factor, shape))
    inside = _coarse(mask.astype(np.float32), factor, shape, order=1) > 0.5
    inside = ndimage.binary_dilation(inside, iterations=_RIM)
    work_affine = affine @ np.diag([*factor, 1.0])
    voxels = np.argwhere(inside)
    points = voxels @ work_affine[:3, :3].T + work_affine[:3, 3]
    direction = affine[:3, phase_axis] / size[phase_axis]
    shells = group_shells(bvals)
    centre = points.mean(0)
    return _Work(
        coefficients=coefficients,
        affine=work_affine,
        inside=inside,
        points=points,
        weighted=shells > 0,
        shells=shells,
        bvals=bvals,
        bvecs=bvecs,
        motion=[at_rest(centre, direction, LINEAR_TERMS if shell else 0) for shell in shells],
        usable=usable,
        outliers=np.zeros((len(bvals), mask.shape[slice_axis]), dtype=bool),
        correlation=np.zeros(len(bvals)),
        slice_axis=slice_axis,
    )


def _coarse(image: Array, factor: Array, shape: tuple[int, ...], *, order: Literal[1, 3] = 3) -> Array:
    """Return spline coefficients (order 3) or values (order 1) of an image on a coarser grid."""
    sigma = 0.5 * np.sqrt(np.maximum(factor**2 - 1, 0))
    coarse = ndimage.gaussian_filter(image, sigma) if sigma.any() else image
    if (factor > 1).any():
        coarse = ndimage.affine_transform(coarse, factor, output_shape=shape, order=order, output=np.float32)
    if order == 3:
        coarse = ndimage.spline_filter(coarse, order=3, output=np.float32)
    return coarse


def _members(work: _Work, group: Array) -> list[int]:
    """Return the usable volumes of a group."""
    members: list[int] = np.flatnonzero(group & work.usable).tolist()
    return members


def _resampled(work: _Work, volume: int) -> Array:
    """Return a volume at the points, without the gain of stretching."""
    motion = work.motion[volume]
    values, inside = sample_volume(work.coefficients[volume], np.linalg.inv(work.affine), motion.acquired(work.points))
    stretched: Array = np.where(inside, values, 0) * motion.stretch(work.points)
    return stretched


def _reference(work: _Work, values: Array, *, smooth: bool = False) -> ReferencePoints:
    """Return points with values and gradients of an image given inside the mask."""
    image = _image(work, values)
    sure = ndimage.binary_erosion(work.inside)
    if smooth:
        image = ndimage.gaussian_filter(image, 1.0)
    return sample_reference(image, work.affine, sure, stride=max(1, int(sure.sum()) // _FIT_POINTS))


def _fit(work: _Work, volume: int, reference: ReferencePoints) -> None:
    kept = ~_in_outlier(work, volume, reference.points)
    reference = ReferencePoints(
        points=reference.points[kept], values=reference.values[kept], gradients=reference.gradients[kept]
    )
    fit = fit_motion(work.coefficients[volume], work.affine, reference, work.motion[volume])
    work.motion[volume], work.correlation[volume] = fit.motion, fit.correlation


def _in_outlier(work: _Work, volume: int, points: Array) -> Array:
    """Return which points of the resting head are read from slices that lost their signal (or their neighbours)."""
    if not work.outliers[volume].any():
        return np.zeros(len(points), dtype=bool)
    slices = acquired_slices(work.motion[volume], work.affine, work.slice_axis, points)
    lost = ndimage.binary_dilation(work.outliers[volume])
    inside: Array = lost[np.clip(np.rint(slices), 0, lost.size - 1).astype(int)]
    return inside


def _align_to_means(work: _Work, *, smooth: bool) -> None:
    """Align each volume with the mean of its shell."""
    for shell in np.unique(work.shells):
        members = _members(work, work.shells == shell)
        if len(members) < 2:
            continue
        mean = np.mean([_resampled(work, volume) for volume in members], axis=0)
        reference = _reference(work, mean, smooth=smooth)
        for volume in members:
            _fit(work, volume, reference)


def _align_to_predictions(work: _Work) -> None:
    """Align each weighted volume with what the others predict, and note lost slices and lost volumes."""
    for group in (work.weighted, ~work.weighted):
        members = _members(work, group)
        if len(members) < 2:
            continue
        stack = np.stack([_resampled(work, volume) for volume in members]).astype(np.float32)
        shells = np.unique(work.shells[members], return_inverse=True)[1]
        bvecs = rotate_bvecs(work.bvecs[members], [work.motion[volume] for volume in members])
        weights = leave_one_out_weights(fit_covariance((stack @ stack.T) / stack.shape[1], bvecs, shells))
        predicted = weights.astype(np.float32) @ stack
        _note_outliers(work, members, stack, predicted)
        for row, volume in enumerate(members):
            lost = _in_outlier(work, volume, work.points)
            stack[row, lost] = predicted[row, lost]
        predicted = weights.astype(np.float32) @ stack
        for row, volume in enumerate(members):
            _fit(work, volume, _reference(work, predicted[row]))
        work.usable[members] = work.correlation[members] > UNUSABLE_CORRELATION


def _note_outliers(work: _Work, members: list[int], stack: Array, predicted: Array) -> None:
    slices = np.array([acquired_slices(work.motion[v], work.affine, work.slice_axis, work.points) for v in members])
    work.outliers[members] = find_outlier_slices(stack, predicted, slices, work.outliers.shape[1])


def _centre(work: _Work, shift: Array) -> None:
    """Take out what all volumes of one contrast moved: aligned with each other alone, they drift together."""
    for group in (work.weighted, ~work.weighted):
        members = _members(work, group)
        if not members:
            continue
        origin = at_rest(work.motion[0].centre, work.motion[0].direction)
        rotation = np.mean([work.motion[v].rotation for v in members], axis=0)
        moved = [work.motion[v].translation - shift[v] * origin.direction for v in members]
        back = np.linalg.inv(origin.step(np.r_[rotation, np.mean(moved, axis=0)]).matrix)
        for volume in members:
            work.motion[volume] = work.motion[volume].after(back)


def _align_shells(work: _Work, shift: Array) -> None:
    """Align the mean of each shell with the mean without weighting, whose contrast is another one.

    Such an alignment errs by more than a still head moves, so it is believed as far as the head's motion from
    volume to volume makes a motion between the shells likely.
    """
    base = np.mean([_resampled(work, v) for v in _members(work, work.shells == 0)], axis=0)
    for shell in np.unique(work.shells[work.weighted]):
        members = _members(work, work.shells == shell)
        if not members:
            continue
        mean = np.mean([_resampled(work, v) for v in members], axis=0)
        matrix = align_by_mutual_information(_image(work, base), _image(work, mean), work.inside, work.affine)
        likely = _spread(work, members, shift)
        matrix = _part_of(matrix, likely**2 / (likely**2 + CONTRAST_ERROR_MM**2), work.motion[0].centre)
        for volume in members:
            work.motion[volume] = work.motion[volume].after(matrix)


def _spread(work: _Work, members: list[int], shift: Array) -> float:
    """Return twice the standard deviation of the head's place over volumes, and a tenth, mm."""
    direction = work.motion[0].direction
    places = [
        [*(HEAD_RADIUS_MM * work.motion[v].rotation), *(work.motion[v].translation - shift[v] * direction)]
        for v in members
    ]
    return 0.1 + 2 * float(np.sqrt(np.var(places, axis=0).sum() / 3))


def _part_of(matrix: Array, share: float, centre: Array) -> Array:
    """Return a share of a rigid motion about a centre."""
    part = np.eye(4)
    rotation = Rotation.from_matrix(matrix[:3, :3])
    translation = matrix[:3, :3] @ centre + matrix[:3, 3] - centre
    part[:3, :3] = Rotation.from_rotvec(share * rotation.as_rotvec()).as_matrix()
    part[:3, 3] = centre + share * translation - part[:3, :3] @ centre
    return part


def _image(work: _Work, values: Array) -> Array:
    """Return values inside the mask as an image."""
    image = np.zeros(work.inside.shape, dtype=np.float32)
    image[work.inside] = values
    return image


def _settle_eddy(work: _Work) -> Array:
    """Keep of the eddy terms what is linear in the gradient, as eddy currents are: the rest follows contrast.

    Returns
    -------
    ndarray
        The part of each volume's shift along phase encoding that goes with its gradient, mm, shape (n,): no motion.
    """
    shift = np.zeros(len(work.bvals))
    members = _members(work, work.weighted)
    weighting = work.bvecs[members] * (work.bvals[members, None] / 1000)
    design = np.c_[np.ones(len(members)), weighting]
    if len(members) < FEWEST_FOR_TERMS or np.linalg.cond(design) > 10:
        return shift
    eddy = np.array([work.motion[volume].eddy for volume in members])
    linear = weighting @ np.linalg.lstsq(design, eddy, rcond=None)[0][1:]
    for volume, change in zip(members, linear - eddy, strict=True):
        work.motion[volume] = work.motion[volume].step(np.r_[np.zeros(6), change])
    if len(members) >= FEWEST_FOR_SHIFT:
        along = np.array([work.motion[volume].translation @ work.motion[volume].direction for volume in members])
        shift[members] = weighting @ np.linalg.lstsq(design, along, rcond=None)[0][1:]
    return shift


def _anchor(work: _Work, first: int) -> None:
    """Make the first volume without weighting the one at rest."""
    back = np.linalg.inv(work.motion[first].matrix)
    work.motion[:] = [motion.after(back) for motion in work.motion]

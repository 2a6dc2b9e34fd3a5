"""The DTI-ALPS index: measurements in the regions, and the ratio of means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from bids_alps.model import SIDES, AlpsResult, Array, DwiSeries, Pose, Roi, RoiDiffusivity, TensorField
from bids_alps.numerics.index.rois import EXPECTED_AXIS, OFF_TRACT_ANGLE, OFF_TRACT_FA, angles_to_expected_axis
from bids_alps.numerics.tensors.tensor import (
    design_matrix,
    eigen_system,
    fit_coefficients,
    fractional_anisotropy,
    mode_of_anisotropy,
    rotate_elements,
)

SENTENCE = (
    "The index of a hemisphere is the mean of Dxx in the projection and association regions, divided by the mean "
    "of Dyy in the projection and Dzz in the association region, a ratio of means over regions ([@taoka2017]; "
    "[@park2023]); the bilateral index is the mean of both hemispheres."
)
ROTATED = (
    "The mean tensor of each region was rotated to template axes by the rigid part of the registration, "
    "so that the index does not depend on head pose ([@tatekawa2023])."
)
NOT_ROTATED = "Tensors were left in scanner axes, so that the index depends on head pose."
XX, YY, ZZ = 0, 3, 5

SCALARS = (
    *("n_voxels", "coverage", "x", "y", "z", "fa", "md", "ad", "rd", "mode"),
    *("lambda2_lambda3", "v1_x", "v1_y", "v1_z", "v1_angle", "v1_dispersion", "off_tract_fraction"),
)
"""Scalars measured in each region in addition to the tensor."""


def alps_index(projection: Array, association: Array) -> Array:
    """Return the index of one hemisphere, mean(Dxx, Dxx) / mean(Dyy of projection, Dzz of association).

    Taoka 2017, doi 10.1007/s11604-017-0617-z: a ratio of means over regions; a mean of voxel-wise ratios would be
    biased upwards by noise.

    Parameters
    ----------
    projection, association
        Mean tensors in template axes, shape (..., 6).

    Returns
    -------
    Array
        Shape (...); NaN if the denominator is not positive.

    Examples
    --------
    >>> isotropic = np.array([1.0, 0, 0, 1, 0, 1])
    >>> float(alps_index(isotropic, isotropic))
    1.0
    """
    projection, association = np.asarray(projection, dtype=float), np.asarray(association, dtype=float)
    # x is across the fibers of both regions; so is y where they run along z, and z where they run along y
    numerator = projection[..., XX] + association[..., XX]
    denominator = projection[..., YY] + association[..., ZZ]
    # noise can make a mean diffusivity negative: the ratio is then undefined
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), np.nan)


def alps_by_hemisphere(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the index left, right and bilateral (the mean of both) from mean tensors by region name.

    Parameters
    ----------
    tensors
        Mean tensors in template axes, ``{"projection_left": ..., ...}``, each of shape (..., 6).

    Returns
    -------
    dict
        ``left``, ``right`` and ``bilateral``, each of the leading shape.
    """
    left, right = (alps_index(tensors[f"projection_{side}"], tensors[f"association_{side}"]) for side in SIDES)
    return {"left": left, "right": right, "bilateral": (left + right) / 2}


def as_floats(values: Mapping[str, Array]) -> dict[str, float]:
    """Return single values as floats."""
    return {name: float(value) for name, value in values.items()}


def measure_alps(
    field: TensorField, rois: Iterable[Roi], rotation: Array, pose: Pose, *, pose_correction: bool = True
) -> AlpsResult:
    """Measure every region and the index.

    Parameters
    ----------
    field
        Tensors of the subject in scanner (world) axes.
    rois
        Regions on the same grid.
    rotation
        Rotation from scanner to template axes, shape (3, 3).
    pose
        Angles of the rotation, for the record.
    pose_correction
        Whether the index uses rotated tensors; the index without rotation is also reported.

    Returns
    -------
    AlpsResult
        NaN for hemispheres with a region without voxels.
    """
    measured = tuple(measure_roi(field, roi, rotation) for roi in rois)
    if not pose_correction:
        measured = tuple(replace(roi, tensor=roi.tensor_uncorrected) for roi in measured)
    alps = as_floats(alps_by_hemisphere({roi.name: roi.tensor for roi in measured}))
    uncorrected = as_floats(alps_by_hemisphere({roi.name: roi.tensor_uncorrected for roi in measured}))
    return AlpsResult(alps=alps, alps_uncorrected=uncorrected, rois=measured, pose=pose)


def alps_from_series(series: DwiSeries, rois: Iterable[Roi], rotation: Array) -> dict[str, float]:
    """Return the index left, right and bilateral from tensors refitted in the voxels of the regions.

    Parameters
    ----------
    series
        Signal and gradients in world axes.
    rois
        Regions on its grid; regions that do not enter the index are ignored.
    rotation
        Rotation from scanner axes to the axes of the index, shape (3, 3).
    """
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    tensors = {}
    for roi in rois:
        if roi.region in ("projection", "association"):
            coefficients = fit_coefficients(series.image.data[tuple(roi.voxels.T)], design)
            tensors[roi.name] = rotate_elements(roi.weights @ coefficients[:, :6] / roi.weights.sum(), rotation)
    return as_floats(alps_by_hemisphere(tensors))


def mean_tensor(field: TensorField, roi: Roi) -> Array:
    """Return the weighted mean tensor of a region, shape (6,), mm^2/s; NaN without voxels."""
    return roi.mean(field.image.data) if roi.weights.size else np.full(6, np.nan)


def measure_roi(field: TensorField, roi: Roi, rotation: Array) -> RoiDiffusivity:
    """Measure one region: mean tensor in both axes, and scalars to judge its position.

    Parameters
    ----------
    field
        Tensors in scanner axes.
    roi
        Region on the same grid.
    rotation
        Rotation from scanner to template axes, shape (3, 3).
    """
    if not roi.weights.size or roi.weights.sum() <= 0:
        missing, unknown = np.full(6, np.nan), dict.fromkeys(SCALARS, float("nan"))
        scalars = {**unknown, "n_voxels": 0.0, "coverage": 0.0}
        return RoiDiffusivity(name=roi.name, tensor=missing, tensor_uncorrected=missing, scalars=scalars)
    mean = mean_tensor(field, roi)
    return RoiDiffusivity(
        name=roi.name,
        # R D R' is linear in D: the rotated mean is the mean of the rotated tensors
        tensor=rotate_elements(mean, rotation),
        tensor_uncorrected=mean,
        scalars={**_scalars(field, roi), **_orientation(field, roi, rotation)},
    )


def _scalars(field: TensorField, roi: Roi) -> dict[str, float]:
    elements = field.image.data[tuple(roi.voxels.T)]
    values, _ = eigen_system(elements)
    share = roi.weights / roi.weights.sum()
    # an affine map keeps weighted means: the position of the mean index is the mean position
    x, y, z = field.image.world(share @ roi.voxels)
    # means of sorted eigenvalues: noise raises AD and lowers RD; lambda2 / lambda3 is that of the mean tensor, in which
    # noise is averaged before eigenvalues are sorted
    mean_values = share @ values
    pooled, _ = eigen_system(share @ elements)
    return {
        "n_voxels": roi.effective_voxels,
        "coverage": roi.coverage,
        "x": float(x),
        "y": float(y),
        "z": float(z),
        "fa": float(share @ fractional_anisotropy(elements)),
        "md": float(mean_values.mean()),
        "ad": float(mean_values[0]),
        "rd": float(mean_values[1:].mean()),
        "mode": float(share @ mode_of_anisotropy(elements)),
        "lambda2_lambda3": float(pooled[1] / pooled[2]) if pooled[2] > 0 else float("nan"),
    }


def _orientation(field: TensorField, roi: Roi, rotation: Array) -> dict[str, float]:
    elements = field.image.data[tuple(roi.voxels.T)]
    share = roi.weights / roi.weights.sum()
    _, vectors = eigen_system(elements)
    first = vectors[..., 0]
    # mean of v v': v and -v are the same fiber axis, so that the vectors themselves cannot be averaged
    dyadic = np.einsum("n,ni,nj->ij", share, first, first)
    # largest eigenvalue: mean squared cosine between the fibers and their main axis
    coherence = float(np.linalg.eigvalsh(dyadic)[-1])
    measures = {"v1_dispersion": float(np.degrees(np.arccos(np.sqrt(min(coherence, 1.0)))))}
    if roi.region not in EXPECTED_AXIS:
        unknown = ("v1_x", "v1_y", "v1_z", "v1_angle", "off_tract_fraction")
        return {**measures, **dict.fromkeys(unknown, float("nan"))}
    _, mean_vectors = np.linalg.eigh(rotation @ dyadic @ rotation.T)
    # eigh sorts in ascending order: the last column is the main axis, of arbitrary sign; here along the expected axis
    main = mean_vectors[:, -1] * np.copysign(1.0, mean_vectors[EXPECTED_AXIS[roi.region], -1])
    toward = float(main[EXPECTED_AXIS[roi.region]])
    off = (angles_to_expected_axis(elements, roi.region, rotation) > OFF_TRACT_ANGLE) | (
        fractional_anisotropy(elements) < OFF_TRACT_FA
    )
    return {
        **measures,
        **{f"v1_{axis}": float(component) for axis, component in zip("xyz", main, strict=True)},
        "v1_angle": float(np.degrees(np.arccos(min(toward, 1.0)))),
        "off_tract_fraction": float(share @ off),
    }

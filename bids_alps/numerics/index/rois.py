"""Regions of interest in a subject: voxels and their weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bids_alps.model import Array, Roi, RoiPreset, SpatialMap, SpatialTransform, TensorField, sample_nearest
from bids_alps.numerics.tensors.tensor import eigen_system, fractional_anisotropy, mean_diffusivity, rotate_elements

EXPECTED_AXIS = {"projection": 2, "association": 1, "subcortical": 0}
"""Axis of the template (0 x, 1 y, 2 z) along which the fibers of each region run."""

COUNTED_BY_FRACTION = (
    "Voxels of the diffusion images were weighted by the fraction of their volume inside a region; tensors were not "
    "resampled."
)
COUNTED_BY_TISSUE = (
    "Voxels of the diffusion images were weighted by the fraction of their volume inside a region, and down-weighted "
    "at "
    "FA below 0.2 or mean diffusivity above 1.1e-3 mm²/s; tensors were not resampled."
)
SUBDIVISIONS = 5
"""Sampling points per voxel edge: fractions are accurate to about 0.01."""

OFF_TRACT_FA = 0.2
"""Below this fractional anisotropy a voxel is not white matter (Mori 2002, doi 10.1002/nbm.781)."""

OFF_TRACT_ANGLE = 45.0
"""Above this angle to the expected axis, degrees, a voxel belongs to another tract."""

_BOUND_MD, _FREE_MD = (
    1.1e-3,
    1.5e-3,
)  # mean diffusivities at which tissue weights start to decrease and reach zero, mm^2/s
_MIN_FRACTION = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighborhood:
    """Voxels around a region, and their sampling points in the template.

    Parameters
    ----------
    voxels
        Voxel indices, possibly outside the grid, shape (n, 3).
    points
        Template points inside each voxel, shape (n, m, 3), mm.
    """

    voxels: Array
    points: Array


def place_preset(preset: RoiPreset, transform: SpatialTransform, mask: SpatialMap) -> tuple[Roi, ...]:
    """Map the regions of a preset to a subject, without resampling images of the subject.

    Parameters
    ----------
    preset
        Preset with centers in the template of `transform`.
    transform
        Transform from subject to template.
    mask
        Brain mask on the subject's grid; voxels outside are ignored.

    Returns
    -------
    tuple of Roi
        One per region and side, in the order of the preset. Regions without voxels in the mask have coverage 0.
    """
    return tuple(prepare_placement(preset, transform, mask)({}))


def prepare_placement(
    preset: RoiPreset,
    transform: SpatialTransform,
    mask: SpatialMap,
    *,
    margin_mm: float = 0.0,
    names: Collection[str] | None = None,
) -> Callable[[Mapping[str, Array]], list[Roi]]:
    """Return an object that places the regions of a preset, displaced in the template by offsets of up to `margin_mm`.

    Template points are computed once for all placements. `names` are the regions to place, by default all.
    """
    nearby, is_inside = {}, {}
    ones = np.ones(SUBDIVISIONS**3, dtype=np.float32)  # counts by a product are faster than a mean of booleans
    centers = {name: center for name, center in preset.centers.items() if names is None or name in names}
    for name, center in centers.items():
        reach = np.asarray(preset.shape(name).reach_mm) + margin_mm
        nearby[name] = find_neighborhood((np.asarray(center) - reach, np.asarray(center) + reach), transform, mask)
        is_inside[name] = _membership(preset, name, nearby[name].points)

    def placed(offsets: Mapping[str, Array]) -> list[Roi]:
        """Return the regions displaced by offsets in the template: name -> shape (3,), mm."""
        rois = []
        for name in centers:
            within = is_inside[name](offsets.get(name, np.zeros(3)))
            fractions = (within.astype(np.float32) @ ones).astype(np.float64) / ones.size
            rois.append(_weighted(name, nearby[name].voxels, fractions, mask))
        return rois

    return placed


def _membership(preset: RoiPreset, name: str, points: Array) -> Callable[[Array], Array]:
    """Return a function that tests whether template points, shape (..., 3), lie in a region with an offset, mm."""
    label_image = preset.label_image
    if label_image is not None:
        label = 1 + list(preset.centers).index(name)
        return lambda offset: sample_nearest(label_image, points - offset) == label
    # x positive towards lateral on both sides: the tilt of a shape is defined for the right one
    outward = np.array([-1.0 if name.endswith("left") else 1.0, 1.0, 1.0])
    shape = preset.shape(name)
    places = shape.normalized((points - preset.centers[name]) * outward).reshape(-1, 3)
    squares = np.einsum("ni,ni->n", places, places)

    def is_inside(offset: Array) -> Array:
        """Return |p - q|^2 <= 1 as |p|^2 - 2 p q <= 1 - |q|^2: of many offsets, each takes one product."""
        moved = shape.normalized(offset * outward)
        inside: Array = squares - places @ (2 * moved) <= 1 - moved @ moved
        return inside.reshape(points.shape[:-1])

    return is_inside


def find_neighborhood(box: tuple[Array, Array], transform: SpatialTransform, mask: SpatialMap) -> Neighborhood:
    """Return the voxels that may intersect a box of the template, given by its low and high corner, mm."""
    voxels = _candidate_voxels(box, transform, mask)
    # of these, the voxels that are in the box or less than an edge away, two and a half times as far as their points
    edge = np.abs(transform.affine[:3, :3] @ mask.affine[:3, :3]).sum(axis=1)
    centers = transform.template_from_subject(mask.world(voxels))
    voxels = voxels[((centers > box[0] - edge) & (centers < box[1] + edge)).all(axis=1)]
    points = transform.template_from_subject(mask.points_within(voxels, SUBDIVISIONS))
    return Neighborhood(voxels=voxels, points=points)


def _weighted(name: str, voxels: Array, fractions: Array, mask: SpatialMap) -> Roi:
    """Return a region from the fraction of each voxel that lies inside."""
    within = ((voxels >= 0) & (voxels < np.array(mask.shape))).all(axis=1)
    counted = within & (fractions > 0)
    # only voxels inside the grid are looked up: negative indices would wrap around
    counted[counted] = np.asarray(mask.data, dtype=bool)[tuple(voxels[counted].T)]
    total = fractions.sum()
    coverage = float(fractions[counted].sum() / total) if total > 0 else 0.0
    return Roi(name=name, voxels=voxels[counted], weights=fractions[counted], coverage=coverage)


def _candidate_voxels(box: tuple[Array, Array], transform: SpatialTransform, mask: SpatialMap) -> Array:
    """Return the voxels, possibly outside the grid, that may intersect a box of the template, shape (n, 3)."""
    # 5 points per edge, not the corners alone: the deformation may bend its faces
    grid = np.stack(np.meshgrid(*np.linspace(box[0], box[1], 5).T, indexing="ij"), axis=-1).reshape(-1, 3)
    corners = mask.voxels(transform.subject_from_template(grid))
    low, high = np.floor(corners.min(0) - 1).astype(int), np.ceil(corners.max(0) + 1).astype(int)
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def angles_to_expected_axis(elements: Array, region: str, rotation: Array) -> Array:
    """Return the angle between the principal eigenvector and the expected fiber axis of a region.

    Parameters
    ----------
    elements
        Tensors in subject axes, shape (n, 6).
    region
        ``projection``, ``association`` or ``subcortical``.
    rotation
        Rotation from subject to template axes, shape (3, 3).

    Returns
    -------
    Array
        Degrees, 0 to 90, shape (n,).
    """
    _, vectors = eigen_system(rotate_elements(elements, rotation))
    cosine = np.abs(vectors[..., EXPECTED_AXIS[region], 0])
    return np.degrees(np.arccos(np.clip(cosine, 0, 1)))


def weight_by_tissue(rois: tuple[Roi, ...], field: TensorField) -> tuple[Roi, ...]:
    """Down-weight voxels that are not white matter, by the same rule for every subject.

    Weights are multiplied by `tissue_share` (floor 0.01), so that a region without white matter is still measured, and
    the index is a continuous function of the data.

    Parameters
    ----------
    rois
        Regions with the fraction of each voxel inside.
    field
        Tensors of the subject.
    """
    return tuple(
        replace(
            roi, weights=roi.weights * (_MIN_FRACTION + (1 - _MIN_FRACTION) * tissue_share(elements_in(field, roi)))
        )
        for roi in rois
    )


def tissue_share(elements: Array) -> Array:
    """Return the similarity of each tensor to white matter, 0 to 1, shape (...).

    Linear from 0 at FA 0.1 to 1 at FA 0.2, times linear from 1 at a mean diffusivity of 1.1e-3 to 0 at 1.5e-3 mm^2/s:
    only rotationally invariant measures are used, so that voxels are not selected by the index.

    Examples
    --------
    >>> tissue_share(np.array([[1.2e-3, 0, 0, 0.4e-3, 0, 0.4e-3], [1.5e-3, 0, 0, 1.5e-3, 0, 1.5e-3]])).tolist()
    [1.0, 0.0]
    """
    anisotropic = np.clip((fractional_anisotropy(elements) - 0.1) / 0.1, 0, 1)
    bound = np.clip((_FREE_MD - mean_diffusivity(elements)) / (_FREE_MD - _BOUND_MD), 0, 1)
    return anisotropic * bound


def elements_in(field: TensorField, roi: Roi) -> Array:
    """Return the tensors of a region's voxels, shape (n, 6)."""
    return field.image.data[tuple(roi.voxels.T)]


def place_trilinear(preset: RoiPreset, transform: SpatialTransform, mask: SpatialMap) -> tuple[Roi, ...]:
    """Map regions to a subject, equivalent to resampling maps to the template at 1 mm and averaging there.

    Points of a 1 mm lattice inside a region are distributed to their eight nearest voxels by trilinear weights: the
    weighted mean over voxels equals the mean of the resampled map.

    Parameters
    ----------
    preset, transform, mask
        As in `place_preset`.
    """
    return tuple(_trilinear(name, preset, transform, mask) for name in preset.centers)


def _trilinear(name: str, preset: RoiPreset, transform: SpatialTransform, mask: SpatialMap) -> Roi:
    reach = np.ceil(preset.shape(name).reach_mm).astype(int)
    axes = [np.arange(-length, length + 1.0) for length in reach]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) + preset.centers[name]
    inside = _membership(preset, name, lattice)(np.zeros(3))
    where = mask.voxels(transform.subject_from_template(lattice[inside]))
    low = np.floor(where).astype(int)
    corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = (low[:, None] + corners).reshape(-1, 3)
    # product over the axes of the distance to the opposite corner, in voxels
    shares = np.prod(np.where(corners, (where - low)[:, None], 1 - (where - low)[:, None]), axis=-1).ravel()
    unique, position = np.unique(voxels, axis=0, return_inverse=True)
    volume = abs(np.linalg.det(mask.affine[:3, :3]))  # of a voxel, mm^3; a point of the lattice stands for 1 mm^3
    return _weighted(name, unique, np.bincount(position.ravel(), weights=shares, minlength=len(unique)) / volume, mask)

"""Regions of interest: as defined in a template, and as placed in a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bids_alps.model.arrays import Array, frozen, read_only
from bids_alps.model.spatial import SpatialMap

Side = Literal["left", "right"]
Conventions = Literal["anatomical", "alps.sh"]
Region = Literal["projection", "association", "subcortical"]

SIDES: tuple[Side, ...] = ("left", "right")
REGIONS: tuple[Region, ...] = ("projection", "association", "subcortical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """Shape of a region around its center.

    Parameters
    ----------
    semi_axes_mm
        Half-lengths along x, y and z of the template, mm; equal for a sphere.
    lean
        Tilt towards the midline: mm along x per mm along z.
    """

    semi_axes_mm: tuple[float, float, float]
    lean: float = 0.0

    def contains(self, offsets: Array) -> Array:
        """Whether offsets from the center, shape (..., 3), mm, x positive away from the midline, are inside.

        Examples
        --------
        >>> tilted = Ellipsoid(semi_axes_mm=(1.0, 1.0, 4.0), lean=0.5)
        >>> tilted.contains(np.array([[-1.5, 0.0, 3.0], [1.5, 0.0, 3.0]])).tolist()
        [True, False]
        """
        inside: Array = (self.normalized(offsets) ** 2).sum(axis=-1) <= 1
        return inside

    def normalized(self, offsets: Array) -> Array:
        """Return offsets, as in `contains`, in coordinates in which the ellipsoid is the unit sphere."""
        scaled = np.array(offsets, dtype=np.float64)
        scaled[..., 0] += self.lean * scaled[..., 2]
        scaled /= self.semi_axes_mm  # not times their inverses: a lattice point on the surface is inside
        return scaled

    @property
    def reach_mm(self) -> tuple[float, float, float]:
        """Extent from the center along each axis, mm."""
        x, y, z = self.semi_axes_mm
        return x + abs(self.lean) * z, y, z


@dataclass(frozen=True, slots=True, kw_only=True)
class RoiPreset:
    """Definition of the regions of interest: ellipsoids or a label image in a template.

    Parameters
    ----------
    name, version, citation, doi
        Name in every row of output, version and source.
    template
        TemplateFlow identifier of the space of the centers.
    shapes
        Shape by region (``projection``, ``association``, ``subcortical``), mirrored between the sides. For a label
        image, an ellipsoid with the largest extent of any region.
    centers
        ``{"projection_left": (x, y, z), ...}`` in RAS+ mm of the template, for each region and side.
    conventions
        How the index is measured: ``anatomical``, by the method settings, or by the conventions of ``alps.sh``.
    label_image
        Label image in the template, None for ellipsoids: 1 for the first of `centers`, 2 for the second and so on,
        0 outside the regions.
    native
        Whether the regions were drawn in the scan; centers and image are then in its world coordinates.
    """

    name: str
    version: str
    citation: str
    doi: str
    template: str
    shapes: Mapping[str, Ellipsoid]
    centers: Mapping[str, tuple[float, float, float]]
    conventions: Conventions = "anatomical"
    label_image: SpatialMap | None = None
    native: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "centers", frozen(self.centers))
        object.__setattr__(self, "shapes", frozen(self.shapes))

    def shape(self, roi: str) -> Ellipsoid:
        """Return the shape of a region by its name with the side, such as ``projection_left``."""
        return self.shapes[roi.rpartition("_")[0]]

    def with_radius(self, radius_mm: float) -> RoiPreset:
        """Return spheres around the same centers."""
        return replace(self, shapes=same_shape((radius_mm,) * 3), label_image=None)

    @property
    def radius_mm(self) -> float:
        """Radius of the spheres, mm; NaN if the regions are not spheres."""
        radii = {length for shape in self.shapes.values() for length in shape.semi_axes_mm}
        return radii.pop() if len(radii) == 1 and self.label_image is None else float("nan")

    @property
    def description(self) -> str:
        """Semi-axes along x, y and z in mm, per region if they differ; empty for label images."""
        if self.label_image is not None:
            return ""
        texts = {
            region: " ".join(f"{length:g}" for length in shape.semi_axes_mm)
            + (f" leaning {shape.lean:g}" if shape.lean else "")
            for region, shape in self.shapes.items()
        }
        if len(set(texts.values())) == 1:
            return texts["projection"]
        return ", ".join(f"{region} {text}" for region, text in texts.items())


def same_shape(semi_axes_mm: tuple[float, float, float]) -> dict[str, Ellipsoid]:
    """Return the same ellipsoid for every region."""
    return {region: Ellipsoid(semi_axes_mm=semi_axes_mm) for region in REGIONS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """A region of interest in a subject: its voxels and their weights.

    Parameters
    ----------
    name
        ``projection_left``, ``association_right`` and so on; the side is defined by x in the template.
    voxels
        Voxel indices, shape (n, 3).
    weights
        Weight of each voxel, shape (n,), > 0: the fraction of the voxel inside the region, optionally times its
        tissue fraction.
    coverage
        Fraction of the volume of the region inside the mask.
    """

    name: str
    voxels: Array
    weights: Array
    coverage: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "voxels", read_only(self.voxels, np.intp).reshape(-1, 3))
        object.__setattr__(self, "weights", read_only(self.weights, np.float64))

    @property
    def region(self) -> str:
        """Name without the side."""
        return self.name.rpartition("_")[0]

    @property
    def side(self) -> str:
        """``left`` or ``right``."""
        return self.name.rpartition("_")[2]

    @property
    def effective_voxels(self) -> float:
        """Kish's effective number of voxels, (sum w)^2 / sum w^2."""
        total = float((self.weights**2).sum())
        return float(self.weights.sum()) ** 2 / total if total else 0.0

    def mean(self, values: Array) -> Array:
        """Return the weighted mean over the region of `values`, shape (i, j, k, ...); result of shape (...)."""
        inside = values[tuple(self.voxels.T)]
        return np.tensordot(self.weights / self.weights.sum(), inside, axes=1)

"""The nouns of the program: immutable values, checked when they are made.

One frame rules inside the program: RAS+ world millimetres, x from left to right, y from posterior to
anterior, z from inferior to superior. Image arrays keep the voxel order of their file; their ``affine`` takes
voxel indices to that frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bids_alps.errors import GradientError, ImageError

Array = NDArray[Any]
Side = Literal["left", "right"]
Region = Literal["projection", "association", "subcortical"]
Status = Literal["pass", "warn", "fail"]
Axes = Literal["scanner", "template"]

SIDES: tuple[Side, ...] = ("left", "right")
REGIONS: tuple[Region, ...] = ("projection", "association", "subcortical")
TENSOR_COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")
"""Order of the six unique elements in the last axis of every tensor array."""


def read_only(array: Array, dtype: Any = None) -> Array:
    """Return a view of `array` that cannot be written to (a copy only where the type changes)."""
    view = np.asarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


def _checked_affine(affine: Array) -> Array:
    affine = read_only(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError("affine", f"no invertible 4 x 4 matrix: {affine.tolist()}", "repair the image's header")
    return affine


@dataclass(frozen=True, slots=True, kw_only=True)
class DwiRun:
    """The files of one diffusion run, as discovered; nothing has been read but sidecars.

    Parameters
    ----------
    entities
        BIDS entities in file name order, such as ``{"sub": "01", "ses": "1", "run": "2"}``; `part` left out.
    image, bval, bvec
        The 4-D image and its gradient table in FSL convention.
    metadata
        Sidecar fields, merged by the inheritance principle.
    preprocessed
        Whether the image is corrected already (a derivative), so that no preprocessing is due.
    mask, t1w, transform
        A brain mask on the image's grid, an anatomical image, a transform between T1w or DWI and a template.
    reverse_phase
        Images with another phase encoding from which the susceptibility field can be estimated.
    """

    entities: Mapping[str, str]
    image: Path
    bval: Path
    bvec: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    preprocessed: bool = False
    mask: Path | None = None
    t1w: Path | None = None
    transform: Path | None = None
    reverse_phase: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entities", dict(self.entities))
        object.__setattr__(self, "metadata", dict(self.metadata))

    @property
    def participant(self) -> str:
        """Participant label without ``sub-``."""
        return self.entities["sub"]

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``, if there are sessions."""
        return self.entities.get("ses")

    @property
    def name(self) -> str:
        """Common beginning of the names of everything written for this run, such as ``sub-01_run-2``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Diffusion weighting of a series.

    Parameters
    ----------
    bvals
        b-values, shape (n,), s/mm^2.
    bvecs
        Gradient directions, shape (n, 3), unit vectors in RAS+ world axes; zero where there is no weighting.

    Raises
    ------
    GradientError
        If the shapes disagree, a value is not finite or negative, or a vector is neither unit nor zero.
    """

    bvals: Array
    bvecs: Array

    def __post_init__(self) -> None:
        bvals, bvecs = read_only(self.bvals, np.float64), read_only(self.bvecs, np.float64)
        object.__setattr__(self, "bvals", bvals)
        object.__setattr__(self, "bvecs", bvecs)
        if bvals.ndim != 1 or bvecs.shape != (bvals.size, 3):
            raise GradientError(
                "gradients",
                f"b-values of shape {bvals.shape} with b-vectors of shape {bvecs.shape}",
                "give one b-value and one vector of three per volume",
            )
        if not (np.isfinite(bvals).all() and np.isfinite(bvecs).all()) or (bvals < 0).any():
            raise GradientError("gradients", "a negative b-value, or a value that is not finite", "repair the file")
        norms = np.linalg.norm(bvecs, axis=1)
        if (np.minimum(np.abs(norms - 1), norms) > 1e-3).any():
            worst = norms[np.argmax(np.minimum(np.abs(norms - 1), norms))]
            raise GradientError("gradients", f"a b-vector of length {worst:.4f}", "normalise the b-vectors")

    def __len__(self) -> int:
        return int(self.bvals.size)

    def take(self, volumes: Array) -> Gradients:
        """Return the weighting of some volumes, given as indices or as a boolean array of shape (n,)."""
        return Gradients(bvals=self.bvals[volumes], bvecs=self.bvecs[volumes])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialMap:
    """A 3-D image, or a 4-D one whose last axis is no space, on a grid in world space.

    Parameters
    ----------
    data
        Shape (i, j, k) or (i, j, k, n), in the voxel order of its file.
    affine
        Voxel indices to RAS+ world mm, shape (4, 4).
    """

    data: Array
    affine: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", read_only(self.data))
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        if self.data.ndim not in (3, 4):
            raise ImageError("image", f"{self.data.ndim} dimensions", "give a 3-D or 4-D image")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The three spatial dimensions."""
        i, j, k = self.data.shape[:3]
        return i, j, k

    @property
    def voxel_size(self) -> Array:
        """Edge lengths of a voxel, shape (3,), mm."""
        size: Array = np.linalg.norm(self.affine[:3, :3], axis=0)
        return size

    def like(self, data: Array) -> SpatialMap:
        """Return other data on the same grid."""
        return SpatialMap(data=data, affine=self.affine)

    def world(self, voxels: Array) -> Array:
        """Return the RAS+ world mm of voxel indices, both of shape (..., 3)."""
        points: Array = np.asarray(voxels) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points

    def voxels(self, points: Array) -> Array:
        """Return the (fractional) voxel indices of points in RAS+ world mm, both of shape (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        indices: Array = np.asarray(points) @ inverse[:3, :3].T + inverse[:3, 3]
        return indices


@dataclass(frozen=True, slots=True, kw_only=True)
class DwiSeries:
    """A diffusion series in memory.

    Parameters
    ----------
    image
        Signal, shape (i, j, k, n), float32.
    gradients
        Its weighting, n volumes.
    """

    image: SpatialMap
    gradients: Gradients

    def __post_init__(self) -> None:
        if self.image.data.ndim != 4 or self.image.data.shape[3] != len(self.gradients):
            raise ImageError(
                "series",
                f"image of shape {self.image.data.shape} with {len(self.gradients)} gradients",
                "give a 4-D image with one b-value and b-vector per volume",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorField:
    """Diffusion tensors on a grid.

    Parameters
    ----------
    image
        Elements in the order Dxx, Dxy, Dxz, Dyy, Dyz, Dzz, shape (i, j, k, 6), mm^2/s; zero outside `mask`.
    mask
        Where tensors were fitted, shape (i, j, k), bool.
    s0
        Fitted signal without weighting, shape (i, j, k).
    axes
        Axes of the elements: RAS+ world axes of the scanner, or of the template.
    """

    image: SpatialMap
    mask: Array
    s0: Array
    axes: Axes = "scanner"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", read_only(self.mask, bool))
        object.__setattr__(self, "s0", read_only(self.s0))
        if self.image.data.shape != (*self.mask.shape, 6):
            raise ImageError(
                "tensor field",
                f"elements of shape {self.image.data.shape}, mask {self.mask.shape}",
                "use one grid",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoiPreset:
    """A published or chosen definition of the regions of interest: spheres about centres in a template.

    Parameters
    ----------
    name, version, citation, doi
        What it is called in every row of output, and where it comes from.
    template
        TemplateFlow identifier of the space of the centres.
    radius_mm
        Radius of every sphere.
    centres
        ``{"projection_left": (x, y, z), ...}`` in RAS+ mm of the template, for each region and side.
    """

    name: str
    version: str
    citation: str
    doi: str
    template: str
    radius_mm: float
    centres: Mapping[str, tuple[float, float, float]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "centres", _frozen(self.centres))


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """A region of interest in a subject: the voxels that it touches and how much each one counts.

    Parameters
    ----------
    name
        ``projection_left``, ``association_right`` and so on; the side is that of world x in the template.
    voxels
        Voxel indices, shape (n, 3).
    weights
        Weight of each voxel, shape (n,), > 0: the fraction of the voxel inside the region, times what the
        weighting rule says of its tissue.
    coverage
        Fraction of the region's volume that lies inside the mask.
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
        picked = values[tuple(self.voxels.T)]
        mean: Array = np.tensordot(self.weights / self.weights.sum(), picked, axes=1)
        return mean


@dataclass(frozen=True, kw_only=True)
class SpatialTransform:
    """Where points of a subject lie in a template: p -> affine @ (p + u(p)), all in RAS+ world mm.

    Parameters
    ----------
    affine
        Subject to template, shape (4, 4).
    rigid
        The rigid part alone, subject to template, shape (4, 4): what pose correction turns tensors by. It comes
        from a rigid fit, never from the shear of `affine`.
    displacement
        u on a grid in *subject* space, shape (i, j, k, 3), mm; taken as its nearest edge value outside. None
        where the transform is affine.
    """

    affine: Array
    rigid: Array
    displacement: SpatialMap | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", _checked_affine(self.affine))
        object.__setattr__(self, "rigid", _checked_affine(self.rigid))

    @cached_property
    def rotation(self) -> Array:
        """Proper rotation that takes subject axes to template axes, shape (3, 3)."""
        return read_only(self.rigid[:3, :3])

    def template_from_subject(self, points: Array) -> Array:
        """Return the template points of subject points, both of shape (..., 3), mm."""
        points = np.asarray(points, dtype=np.float64)
        moved = points if self.displacement is None else points + sample_linear(self.displacement, points)
        mapped: Array = moved @ self.affine[:3, :3].T + self.affine[:3, 3]
        return mapped

    def subject_from_template(self, points: Array, *, iterations: int = 30) -> Array:
        """Return the subject points of template points, both of shape (..., 3), mm, by fixed-point iteration."""
        inverse = np.linalg.inv(self.affine)
        target = np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        if self.displacement is None:
            return target
        found = target
        for _ in range(iterations):
            found = target - sample_linear(self.displacement, found)
        return found


def sample_linear(image: SpatialMap, points: Array) -> Array:
    """Return values of an image at world points by linear interpolation, the edge value outside.

    Parameters
    ----------
    image
        Shape (i, j, k) or (i, j, k, n).
    points
        Shape (..., 3), RAS+ world mm.

    Returns
    -------
    Array
        Shape (...) or (..., n), float64.
    """
    from scipy.ndimage import map_coordinates  # here, since most values never need it

    points = np.asarray(points, dtype=np.float64)
    coordinates = image.voxels(points).reshape(-1, 3).T

    def sampled(channel: Array) -> Array:
        values: Array = map_coordinates(channel, coordinates, order=1, mode="nearest", output=np.float64)
        return values.reshape(points.shape[:-1])

    if image.data.ndim == 3:
        return sampled(image.data)
    return np.stack([sampled(image.data[..., n]) for n in range(image.data.shape[3])], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How the head lay in the scanner, against the template's axes.

    Parameters
    ----------
    pitch, roll, yaw
        Angles in degrees about x, y and z: rotation = Rz(yaw) @ Ry(roll) @ Rx(pitch), subject to template.
    se_degrees
        Standard error of the rotation, degrees (spread over starts, channels and halves of the data).
    """

    pitch: float
    roll: float
    yaw: float
    se_degrees: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One quality check: a value, its thresholds and what came of it.

    Parameters
    ----------
    name, unit, reason
        Name in snake case, unit (``""`` for none), one sentence why it matters.
    value
        What was measured; NaN where it could not be.
    warn, fail
        Thresholds; NaN where there is none. `bad` tells on which side of them trouble lies.
    status
        What came of it.
    """

    name: str
    value: float
    unit: str
    warn: float
    fail: float
    status: Status
    bad: Literal["above", "below", "outside"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoiDiffusivity:
    """What was measured in one region of interest; diffusivities in mm^2/s, template axes.

    Parameters
    ----------
    name
        ``projection_left`` and so on.
    tensor
        Weighted mean tensor in template axes, elements xx, xy, xz, yy, yz, zz, shape (6,).
    tensor_uncorrected
        The same in scanner axes.
    scalars
        Other weighted means and measures: ``n_voxels``, ``x``, ``y``, ``z`` (native centre, mm), ``fa``, ``md``,
        ``ad``, ``rd``, ``v1_angle`` (degrees), ``lambda2_lambda3``, ``off_tract_fraction``, ``coverage`` ...
    """

    name: str
    tensor: Array
    tensor_uncorrected: Array
    scalars: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensor", read_only(self.tensor, np.float64))
        object.__setattr__(self, "tensor_uncorrected", read_only(self.tensor_uncorrected, np.float64))
        object.__setattr__(self, "scalars", _frozen(self.scalars))

    @property
    def diagonal(self) -> tuple[float, float, float]:
        """Dxx, Dyy, Dzz, mm^2/s, template axes."""
        return float(self.tensor[0]), float(self.tensor[3]), float(self.tensor[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An index with its uncertainty: 95 % interval and standard errors, apart and together."""

    low: float
    high: float
    se: float
    se_noise: float
    se_placement: float
    se_pose: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpsResult:
    """The index of one run.

    Parameters
    ----------
    alps, alps_uncorrected
        ``{"left": ..., "right": ..., "bilateral": ...}``; the second in scanner axes. NaN where not computable.
    rois
        One measurement per region and side.
    pose
        Pose of the head.
    interval
        Uncertainty per hemisphere, empty where it was not asked for.
    """

    alps: Mapping[str, float]
    alps_uncorrected: Mapping[str, float]
    rois: tuple[RoiDiffusivity, ...]
    pose: Pose
    interval: Mapping[str, Interval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alps", _frozen(self.alps))
        object.__setattr__(self, "alps_uncorrected", _frozen(self.alps_uncorrected))
        object.__setattr__(self, "interval", _frozen(self.interval))

    def roi(self, name: str) -> RoiDiffusivity:
        """Return the measurement of one region."""
        return next(roi for roi in self.rois if roi.name == name)

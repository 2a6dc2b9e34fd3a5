"""A diffusion run: its files, gradient table, signal and fitted tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bids_alps.errors import GradientError, ImageError
from bids_alps.model.arrays import Array, read_only
from bids_alps.model.spatial import SpatialMap

Axes = Literal["scanner", "template"]
FieldmapMethod = Literal["reverse phase encoding", "phase difference", "two phases", "measured field"]

TENSOR_COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")
"""Order of the six unique elements in the last axis of every tensor array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionMask:
    """Lesion mask of a run.

    Parameters
    ----------
    path
        The mask; None if the lesion dataset has none for the run.
    space
        Space of the mask: ``dwi``, ``T1w`` or another anatomical image, or the name of a template.
    """

    path: Path | None = None
    space: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldmapImage:
    """An image from which the susceptibility field can be estimated.

    Parameters
    ----------
    path
        The image.
    metadata
        Its sidecar, merged by the inheritance principle.
    bval
        Its b-values if it is a diffusion series, of which only b=0 volumes are used.
    """

    path: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    bval: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", dict(self.metadata))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fieldmap:
    """Images from which the susceptibility field of a run can be estimated.

    Parameters
    ----------
    method
        How the field is estimated.
    images
        Images with a phase encoding different from the run's; or a phase difference, two phases, or a field in Hz.
    matching
        Images like `images`, with the phase encoding of the run, if any.
    magnitudes
        Magnitude images on the grid of the phase or field.
    """

    method: FieldmapMethod
    images: tuple[FieldmapImage, ...]
    matching: tuple[FieldmapImage, ...] = ()
    magnitudes: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        tables = (image.bval for image in (*self.images, *self.matching) if image.bval is not None)
        return (*(image.path for image in (*self.images, *self.matching)), *tables, *self.magnitudes)


@dataclass(frozen=True, slots=True, kw_only=True)
class DwiRun:
    """The files of one diffusion run; only sidecars have been read.

    Parameters
    ----------
    entities
        BIDS entities in file name order, such as ``{"sub": "01", "ses": "1", "run": "2"}``; without `part`.
    image, bval, bvec
        The 4-D image and its gradient table: b-vectors in FSL convention, or in world axes if the file is ``.b``.
    metadata
        Sidecar fields, merged by the inheritance principle.
    preprocessed
        Whether the image is preprocessed (a derivative), so that no preprocessing is needed.
    mask, t1w
        Brain mask on the grid of the image, and anatomical image.
    transforms
        Files that resample images of the run's space onto a template, by name of the template.
    fieldmaps
        Fieldmaps for the run, in order of priority.
    partners
        Runs that are merged with this one.
    notes
        Remarks about the files of the run, one sentence each.
    lesions
        Lesion mask, if a dataset of lesions was given.
    regions
        Label image and table of manual ROIs in the space of the run, by the label of the preset that they replace.
    dataset
        Name of its dataset, as in ``DatasetLinks`` of the output.
    """

    entities: Mapping[str, str]
    image: Path
    bval: Path
    bvec: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    preprocessed: bool = False
    mask: Path | None = None
    t1w: Path | None = None
    transforms: Mapping[str, Path] = field(default_factory=dict)
    fieldmaps: tuple[Fieldmap, ...] = ()
    partners: tuple[DwiRun, ...] = ()
    notes: tuple[str, ...] = ()
    lesions: LesionMask | None = None
    regions: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    dataset: str = "raw"

    def __post_init__(self) -> None:
        object.__setattr__(self, "entities", dict(self.entities))
        object.__setattr__(self, "metadata", dict(self.metadata))
        object.__setattr__(self, "transforms", dict(self.transforms))
        object.__setattr__(self, "regions", dict(self.regions))

    def uri_of(self, path: Path) -> str:
        """Return the BIDS URI of a file in the dataset of the run.

        Examples
        --------
        >>> image = Path("in/sub-01/dwi/sub-01_dwi.nii.gz")
        >>> DwiRun(entities={"sub": "01"}, image=image, bval=image, bvec=image).uri_of(image)
        'bids:raw:sub-01/dwi/sub-01_dwi.nii.gz'
        """
        folder = f"sub-{self.participant}"
        inside = path.parts[path.parts.index(folder) :] if folder in path.parts else path.parts[-1:]
        return f"bids:{self.dataset}:{'/'.join(inside)}"

    @property
    def needs_t1w(self) -> bool:
        """Whether the T1w image is needed, since lesions were drawn on it."""
        return self.lesions is not None and self.lesions.path is not None and self.lesions.space == "T1w"

    @property
    def participant(self) -> str:
        """Participant label without ``sub-``."""
        return self.entities["sub"]

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``; None without sessions."""
        return self.entities.get("ses")

    @property
    def name(self) -> str:
        """Common prefix of the names of all files written for this run, such as ``sub-01_run-2``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Diffusion weighting of a series.

    Parameters
    ----------
    bvals
        b-values, shape (n,), s/mm^2.
    bvecs
        Gradient directions, shape (n, 3), unit vectors in RAS+ world axes; zero for b=0.

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
            raise GradientError("gradients", f"a b-vector of length {worst:.4f}", "normalize the b-vectors")

    def __len__(self) -> int:
        return int(self.bvals.size)

    def take(self, volumes: Array) -> Gradients:
        """Return the gradients of some volumes, given as indices or as a boolean array of shape (n,)."""
        return Gradients(bvals=self.bvals[volumes], bvecs=self.bvecs[volumes])


@dataclass(frozen=True, slots=True, kw_only=True)
class DwiSeries:
    """A diffusion series in memory.

    Parameters
    ----------
    image
        Signal, shape (i, j, k, n), float32.
    gradients
        Gradients of its n volumes.
    notes
        Remarks on deviations accepted when it was read, one sentence each.
    gradient_axes
        Voxel axes of the gradient table: ``x y z`` as in the file, or such as ``-x y z`` after a repair.
    """

    image: SpatialMap
    gradients: Gradients
    notes: tuple[str, ...] = ()
    gradient_axes: str = "x y z"

    def __post_init__(self) -> None:
        if self.image.data.ndim != 4 or self.image.data.shape[3] != len(self.gradients):
            raise ImageError(
                "series",
                f"image of shape {self.image.data.shape} with {len(self.gradients)} gradients",
                "give a 4-D image with one b-value and b-vector per volume",
            )

    def take(self, volumes: Array) -> DwiSeries:
        """Return the series of the chosen volumes, bool, shape (n,); the series itself, uncopied, if these are all."""
        if volumes.all():
            return self
        data = np.asfortranarray(self.image.data[..., volumes])
        return replace(self, image=self.image.like(data), gradients=self.gradients.take(volumes))


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorField:
    """Diffusion tensors on a grid.

    Parameters
    ----------
    image
        Elements in the order Dxx, Dxy, Dxz, Dyy, Dyz, Dzz, shape (i, j, k, 6), mm^2/s; zero outside `mask`.
    mask
        Voxels with a fitted tensor, shape (i, j, k), bool.
    s0
        Fitted b=0 signal, shape (i, j, k).
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

"""Finds and reads transforms of other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from bids_alps.errors import BadDataError, NoInputError
from bids_alps.io.inheritance import entities_of
from bids_alps.model import Array, DwiRun, SpatialMap
from bids_alps.numerics.itk import itk_image, ras_matrix, spatial_map

PointMap = Callable[[Array], Array]
"""Maps points of shape (n, 3), RAS+ mm."""

_FLIP = np.array([-1.0, -1.0, 1.0])  # RAS+ to LPS+ and back
_EXTENSIONS = (".h5", ".txt", ".mat", ".tfm", ".nii.gz")
_FOLDERS = ("anat", "dwi")


def find_transforms(root: Path, entities: Mapping[str, str]) -> dict[str, Path]:
    """Return the files that resample images from the space of a run to a template, by name of the template.

    QSIPrep writes ``sub-01_from-ACPC_to-MNI152NLin2009cAsym_mode-image_xfm.h5`` into ``anat``; this program writes
    ``from-dwi_to-..._mode-image_xfm.nii.gz``. Of several for one template, the one with most entities of the run is
    used; none if that is ambiguous.

    Parameters
    ----------
    root
        Root of the dataset.
    entities
        Entities of the run; ``space`` is the space of its image.
    """
    sources = {"dwi", entities.get("space", "dwi")}
    participant = root / f"sub-{entities['sub']}"
    session = participant / f"ses-{entities['ses']}" if "ses" in entities else participant
    by_target: dict[str, list[tuple[int, Path]]] = {}
    for folder in {level / kind for level in (participant, session) for kind in _FOLDERS}:
        for path in folder.glob(f"{participant.name}_*_xfm.*"):
            entities_left = entities_of(path.name)
            source, target, mode = (entities_left.pop(key, "") for key in ("from", "to", "mode"))
            fits = entities_left.items() <= entities.items() and path.name.endswith(_EXTENSIONS)
            if fits and source in sources and target and mode == "image":
                by_target.setdefault(target, []).append((len(entities_left), path))
    nearest = {target: _nearest(paths) for target, paths in sorted(by_target.items())}
    return {target: path for target, path in nearest.items() if path is not None}


def _nearest(candidates: list[tuple[int, Path]]) -> Path | None:
    most = max(count for count, _ in candidates)
    nearest = [path for count, path in candidates if count == most]
    return nearest[0] if len(nearest) == 1 else None


def read_itk_transform(path: Path) -> PointMap:
    """Read an ITK transform (.h5, .txt, .mat, .tfm, composite or not; displacements, .nii.gz) as a map of RAS+ points.

    Raises
    ------
    NoInputError
        If the file does not exist.
    BadDataError
        If it is not a 3-D transform that ITK can read.
    """
    transform = _read_transform(path)

    def map_points(points: Array) -> Array:
        lps = [transform.TransformPoint(point) for point in (np.asarray(points) * _FLIP).tolist()]
        return np.array(lps).reshape(-1, 3) * _FLIP

    return map_points


def resample_labels(labels: SpatialMap, path: Path, onto: SpatialMap) -> SpatialMap:
    """Resample labels to the grid of another image with an ITK transform file, by nearest neighbor.

    Parameters
    ----------
    labels
        Whole numbers, shape (i, j, k).
    path
        Transform file from the space of `labels` to that of `onto`, ``from-<space>_..._mode-image_xfm``.
    onto
        Image that defines the output grid; 0 outside the field of view of `labels`.
    """
    nearest = sitk.Resample(itk_image(labels), itk_image(onto), _read_transform(path), sitk.sitkNearestNeighbor)
    return onto.like(spatial_map(nearest).data.astype(labels.data.dtype))


def resample_map(image: SpatialMap, path: Path, onto: SpatialMap) -> SpatialMap:
    """Resample an image to the grid of another image with an ITK transform file, by linear interpolation.

    Parameters
    ----------
    image
        Shape (i, j, k).
    path, onto
        As in `resample_labels`.
    """
    return onto.like(spatial_map(sitk.Resample(itk_image(image), itk_image(onto), _read_transform(path))).data)


def read_itk_matrix(path: Path) -> Array:
    """Read a linear ITK transform as the RAS+ matrix by which it maps points, shape (4, 4).

    Errors as in `read_itk_transform`.
    """
    return ras_matrix(_read_transform(path))


def _read_transform(path: Path) -> sitk.Transform:
    if not path.is_file():
        raise NoInputError(str(path), "no such file", "check the path of the transform")
    try:
        if path.name.endswith((".nii", ".nii.gz")):
            transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
        else:
            transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:  # ITK raises RuntimeError for all errors
        raise BadDataError(str(path), "ITK cannot read it as a transform", "give an ITK .h5, .txt or .mat") from error
    if transform.GetDimension() != 3:
        raise BadDataError(str(path), f"a {transform.GetDimension()}-D transform", "give a 3-D one")
    return transform


def find_transform_to(run: DwiRun, template: str) -> Path:
    """Return the file that resamples images of the space of a run onto a template.

    Raises
    ------
    NoInputError
        If the run has none.
    """
    if template not in run.transforms:
        raise NoInputError(
            str(run.image),
            f"no transform to {template} (available: {', '.join(run.transforms) or 'none'})",
            "choose another --template, or --registrar staged",
        )
    return run.transforms[template]

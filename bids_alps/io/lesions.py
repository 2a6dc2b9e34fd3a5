"""Lesion masks of a BIDS derivative dataset: which one a run has, and what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_alps.errors import AmbiguityError, ImageError, MetadataError, TemplateMissingError
from bids_alps.io.availability import check_there
from bids_alps.io.images import read_map
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, suffix_of
from bids_alps.io.templates import find_transform
from bids_alps.io.transforms import resample_labels
from bids_alps.model import DwiRun, LesionMask, SpatialMap, Template

LESIONS = "lesions"
"""Name by which a dataset of lesion masks is given."""

DWI, T1W = "dwi", "T1w"
ANATOMICAL = (T1W, "T2w", "FLAIR")
_NATIVE = (None, "orig", "scanner", T1W)
_DATATYPES = ("anat", "dwi")
_NOT_OF_THE_SCAN = ("sub", "ses", "space", "res", "den", "label", "desc")


def find_lesions(dataset: Path, run: DwiRun, *, t1w_aligned: bool = False) -> LesionMask:
    """Return the lesion mask of a run: ``sub-<>[/ses-<>]/{anat,dwi}/*_label-lesion_mask.nii[.gz]``.

    The session is the run's own; a mask beside the diffusion image is one of the run only if it names no other.

    Parameters
    ----------
    dataset
        Root of the dataset of lesion masks.
    run
        The run.
    t1w_aligned
        Whether masks drawn on an anatomical image are taken as they lie.

    Raises
    ------
    AmbiguityError
        If there are several.
    MetadataError
        If it is drawn on an anatomical image that cannot be aligned, and nobody said that it lies right.
    NoInputError, ImageError
        If its content is not there.
    """
    folder = dataset / f"sub-{run.participant}"
    folder = folder / f"ses-{run.session}" if run.session else folder
    found = sorted(
        path
        for datatype in _DATATYPES
        for path in (folder / datatype).glob("sub-*")
        if path.name.endswith(IMAGE_EXTENSIONS) and _is_of(path, run)
    )
    if not found:
        return LesionMask()
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise AmbiguityError(run.name, f"{len(found)} lesion masks in {folder}: {names}", "keep one")
    check_there(found[0])
    space = _space_of(found[0], run)
    if space in ANATOMICAL and not t1w_aligned and not (space == T1W and _has_native_t1w(run)):
        raise MetadataError(
            str(found[0]),
            f"drawn on a {space}, of which the run has no image, or several, to align with its diffusion image",
            "choose one T1w in the filter file, give the mask in the space of the diffusion image or of the template, "
            "or say --t1w-aligned",
        )
    return LesionMask(path=found[0], space=space)


def _is_of(path: Path, run: DwiRun) -> bool:
    has = entities_of(path.name)
    if suffix_of(path.name) != "mask" or has.get("label") != "lesion":
        return False
    if has.get("sub") != run.participant or has.get("ses") != run.session:
        return False
    scan = {key: label for key, label in has.items() if key not in _NOT_OF_THE_SCAN}
    return path.parent.name == "anat" or scan.items() <= run.entities.items()


def _has_native_t1w(run: DwiRun) -> bool:
    return run.t1w is not None and entities_of(run.t1w.name).get("space") in _NATIVE


def _space_of(path: Path, run: DwiRun) -> str:
    space = entities_of(path.name).get("space")
    if space in (None, "orig", "scanner"):
        return DWI if path.parent.name == "dwi" else T1W
    if space in (DWI, "DWI", run.entities.get("space")):
        return DWI
    return str(space)


def read_lesions(path: Path, space: str, *, template: Template) -> SpatialMap:
    """Read a lesion mask, 1 in lesions and 0 elsewhere, uint8; one of another template is carried to `template`.

    Raises
    ------
    ImageError
        If it is no 3-D image, or holds other values.
    TemplateMissingError
        If TemplateFlow has no transform from its template.
    """
    image = read_map(path)
    values = np.unique(image.data)
    if not np.isin(values, (0, 1)).all():
        other = ", ".join(f"{value:g}" for value in values[~np.isin(values, (0, 1))][:3])
        raise ImageError(str(path), f"values other than 0 and 1 (such as {other})", "write 1 in lesions, 0 elsewhere")
    mask = image.like(image.data.astype(np.uint8))
    if space in (DWI, *ANATOMICAL, template.name):
        return mask
    between = find_transform(template=template.name, source=space)
    if between is None:
        raise TemplateMissingError(
            str(path),
            f"in {space} by its name, and TemplateFlow has no transform from there to {template.name}",
            f"choose --template {space}, or fetch the transform where there is a network",
        )
    return resample_labels(mask, between, template.mask)

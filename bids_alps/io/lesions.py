"""Finds and reads lesion masks of a BIDS derivative dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_alps.errors import AmbiguityError, ImageError, MetadataError, TemplateMissingError
from bids_alps.io.availability import check_available
from bids_alps.io.images import read_map
from bids_alps.io.inheritance import IMAGE_EXTENSIONS, entities_of, suffix_of
from bids_alps.io.templates import find_transform
from bids_alps.io.transforms import resample_labels
from bids_alps.model import DwiRun, LesionMask, SpatialMap, Template

LESIONS = "lesions"
"""Name of a dataset of lesion masks in ``--derivatives``."""

DWI, T1W = "dwi", "T1w"
ANATOMICAL = (T1W, "T2w", "FLAIR")
_NATIVE = (None, "orig", "scanner", T1W)
_DATATYPES = ("anat", "dwi")
_NOT_OF_THE_SCAN = ("sub", "ses", "space", "res", "den", "label", "desc")


def find_lesions(dataset: Path, run: DwiRun, *, t1w_aligned: bool = False) -> LesionMask:
    """Return the lesion mask of a run: ``sub-<>[/ses-<>]/{anat,dwi}/*_label-lesion_mask.nii[.gz]``.

    The mask is of the session of the run; one in ``dwi`` must not have entities of another run.

    Parameters
    ----------
    dataset
        Root of the dataset of lesion masks.
    run
        The run.
    t1w_aligned
        Whether masks drawn on anatomical images are used without registration.

    Raises
    ------
    AmbiguityError
        If there are several masks.
    MetadataError
        If it is drawn on an anatomical image that cannot be registered, and `t1w_aligned` is false.
    NoInputError, ImageError
        If the file has no content.
    """
    folder = dataset / f"sub-{run.participant}"
    folder = folder / f"ses-{run.session}" if run.session else folder
    masks = sorted(
        path
        for datatype in _DATATYPES
        for path in (folder / datatype).glob("sub-*")
        if path.name.endswith(IMAGE_EXTENSIONS) and _is_of(path, run)
    )
    if not masks:
        return LesionMask()
    if len(masks) > 1:
        names = ", ".join(path.name for path in masks)
        raise AmbiguityError(run.name, f"{len(masks)} lesion masks in {folder}: {names}", "keep one")
    check_available(masks[0])
    space = _space_of(masks[0], run)
    native_t1w = run.t1w is not None and entities_of(run.t1w.name).get("space") in _NATIVE
    if space in ANATOMICAL and not t1w_aligned and not (space == T1W and native_t1w):
        raise MetadataError(
            str(masks[0]),
            f"drawn on a {space} image, but the run has none, or several, to register with the diffusion image",
            "choose one T1w in the filter file, give the mask in the space of the diffusion image or of the template, "
            "or use --t1w-aligned",
        )
    return LesionMask(path=masks[0], space=space)


def _is_of(path: Path, run: DwiRun) -> bool:
    entities = entities_of(path.name)
    if suffix_of(path.name) != "mask" or entities.get("label") != "lesion":
        return False
    if entities.get("sub") != run.participant or entities.get("ses") != run.session:
        return False
    # drawn on the scan itself: its entities must be those of the run
    scan = {key: label for key, label in entities.items() if key not in _NOT_OF_THE_SCAN}
    return path.parent.name == "anat" or scan.items() <= run.entities.items()


def _space_of(path: Path, run: DwiRun) -> str:
    space = entities_of(path.name).get("space")
    if space in (None, "orig", "scanner"):
        return DWI if path.parent.name == "dwi" else T1W
    if space in (DWI, "DWI", run.entities.get("space")):
        return DWI
    return str(space)


def read_lesions(path: Path, space: str, *, template: Template) -> SpatialMap:
    """Read a lesion mask, 1 in lesions and 0 elsewhere, uint8; resampled if it is in another template than `template`.

    Raises
    ------
    ImageError
        If it is not a 3-D image, or has other values.
    TemplateMissingError
        If TemplateFlow has no transform between the templates.
    """
    image = read_map(path)
    values = np.unique(image.data)
    if not np.isin(values, (0, 1)).all():
        other = ", ".join(f"{value:g}" for value in values[~np.isin(values, (0, 1))][:3])
        raise ImageError(str(path), f"values other than 0 and 1 (such as {other})", "write 1 in lesions, 0 elsewhere")
    mask = image.like(image.data.astype(np.uint8))
    if space in (DWI, *ANATOMICAL, template.name):
        return mask
    transform = find_transform(template=template.name, source=space)
    if transform is None:
        raise TemplateMissingError(
            str(path),
            f"in {space} by its name, and TemplateFlow has no transform to {template.name}",
            f"choose --template {space}, or download the transform",
        )
    return resample_labels(mask, transform, template.mask)

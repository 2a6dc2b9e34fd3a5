"""Table of all files written for a run, with names and descriptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_alps.errors import MetadataError, UsageError
from bids_alps.model import REGIONS, SIDES, DwiRun

ENTITY_ORDER = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run"),
    *("mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "atlas"),
    *("seg", "scale", "res", "den", "label", "model", "param", "from", "to", "mode", "desc"),
)
"""Order of entities in file names."""

STANDARD_SPACES = (
    "MNI152NLin2009aSym",
    "MNI152NLin2009cAsym",
    "MNI152NLin2009cSym",
    "MNI152NLin6Asym",
    "MNI152NLin6Sym",
)

ROI_LABELS: Mapping[str, int] = {
    f"{region}_{side}": n
    for n, (side, region) in enumerate(((side, region) for side in SIDES for region in REGIONS), start=1)
}
"""Value of each region of interest in label images, and its volume (from 1) in ``probseg`` images."""

_LABEL = re.compile(r"[a-zA-Z0-9+]+")
DIFFUSIVITY_UNIT = "mm^2/s"
AXES = "Elements in RAS+ world axes of the image (x left to right, y posterior to anterior, z inferior to superior)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivative:
    """A kind of output file.

    Parameters
    ----------
    suffix, extension
        End of the file name.
    entities
        Entities added to those of the run; labels in braces are filled in.
    description
        One sentence for its sidecar and the documentation.
    unit
        Unit of its values, ``""`` for none.
    fields
        Further fields of its sidecar.
    folder
        Folder below that of the participant (and session).
    """

    suffix: str
    extension: str
    description: str
    entities: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    folder: str = "dwi"


def _tensor_map(
    param: str, description: str, unit: str = DIFFUSIVITY_UNIT, desc: str = "", **fields: Any
) -> Derivative:
    return Derivative(
        suffix="dwimap",
        extension=".nii.gz",
        entities={"model": "tensor", "param": param, **({"desc": desc} if desc else {})},
        description=description,
        unit=unit,
        fields={
            "SkullStripped": True,
            "Model": {"Description": "Diffusion tensor", "Parameters": {"FitMethod": "iwls"}},
            **fields,
        },
    )


def _table(description: str, **entities: str) -> Derivative:
    return Derivative(suffix="scalarstats", extension=".tsv", entities=entities, description=description)


def _linear(source: str, target: str, desc: str, description: str) -> Derivative:
    entities = {"from": source, "to": target, "mode": "image", "desc": desc}
    return Derivative(suffix="xfm", extension=".txt", entities=entities, description=description)


def _warp(source: str, target: str, description: str) -> Derivative:
    entities = {"from": source, "to": target, "mode": "image"}
    return Derivative(suffix="xfm", extension=".nii.gz", entities=entities, description=description)


_PREPROCESSED = {"desc": "preproc"}
DERIVATIVES: Mapping[str, Derivative] = {
    "preproc": Derivative(
        suffix="dwi",
        extension=".nii.gz",
        entities=_PREPROCESSED,
        description="Diffusion series after preprocessing.",
        unit="arbitrary",
        fields={"SkullStripped": False},
    ),
    "preproc_bval": Derivative(
        suffix="dwi",
        extension=".bval",
        entities=_PREPROCESSED,
        description="b-values of the preprocessed series, s/mm^2.",
    ),
    "preproc_bvec": Derivative(
        suffix="dwi",
        extension=".bvec",
        entities=_PREPROCESSED,
        description="b-vectors of the preprocessed series, rotated for head motion, FSL convention.",
    ),
    "confounds": Derivative(
        suffix="timeseries",
        extension=".tsv",
        entities={"desc": "confounds"},
        description="Head motion, one row per volume.",
    ),
    "mask": Derivative(
        suffix="mask",
        extension=".nii.gz",
        entities={"desc": "brain"},
        description="Brain mask on the diffusion grid.",
        fields={"Type": "Brain"},
    ),
    "dseg": Derivative(
        suffix="dseg",
        extension=".nii.gz",
        entities={"seg": "{preset}"},
        description="Regions of interest: each voxel has the label of the region with the largest fraction, if any.",
    ),
    "probseg": Derivative(
        suffix="probseg",
        extension=".nii.gz",
        entities={"seg": "{preset}"},
        description="Weight of each voxel in each region of interest; one volume per region.",
        fields={"LabelMap": list(ROI_LABELS)},
    ),
    "lesions": Derivative(
        suffix="probseg",
        extension=".nii.gz",
        entities={"label": "lesion"},
        description="Fraction of each brain voxel in lesions, from the given lesion mask.",
    ),
    "fa": _tensor_map("fa", "Fractional anisotropy.", unit=""),
    "md": _tensor_map("md", "Mean diffusivity."),
    "ad": _tensor_map("ad", "Axial diffusivity."),
    "rd": _tensor_map("rd", "Radial diffusivity."),
    "txx": _tensor_map("txx", f"Diffusivity along x. {AXES}", Axes="scanner RAS+"),
    "tyy": _tensor_map("tyy", f"Diffusivity along y. {AXES}", Axes="scanner RAS+"),
    "tzz": _tensor_map("tzz", f"Diffusivity along z. {AXES}", Axes="scanner RAS+"),
    "tensor": _tensor_map(
        "diffusivity",
        f"Diffusion tensor, volumes Dxx, Dxy, Dxz, Dyy, Dyz, Dzz. {AXES}",
        Axes="scanner RAS+",
        Volumes=["Dxx", "Dxy", "Dxz", "Dyy", "Dyz", "Dzz"],
        OrientationEncoding={"Type": "tensor", "TensorRank": 2, "EncodingAxis": 3, "Reference": "xyz"},
    ),
    "xfm": _warp(
        "dwi", "{template}", "Registration, ITK displacement field (affine and deformation); scan to template."
    ),
    "xfm_inverse": _warp("{template}", "dwi", "Registration, ITK displacement field; template to scan."),
    "xfm_rigid": _linear(
        "dwi",
        "{template}",
        "rigid",
        "Rigid part (pose) of the registration, ITK text; scan to template.",
    ),
    "xfm_affine": _linear(
        "dwi", "{template}", "affine", "Affine part of the registration, ITK text; scan to template."
    ),
    "xfm_inverse_affine": _linear(
        "{template}", "dwi", "affine", "Inverse of the affine part, ITK text; template to scan."
    ),
    "roi_stats": _table("Measurements in each region of interest; one row per preset and region.", seg="alps"),
    "alps": _table("DTI-ALPS index; rows left, right, bilateral of each preset.", desc="alps"),
    "regions": Derivative(
        suffix="dseg",
        extension=".nii.gz",
        entities={"seg": "{atlas}"},
        description="Regions of an atlas on the diffusion grid; names in the table of the same name.",
    ),
    "region_stats": _table("Measurements in each region of an atlas; one row per region.", seg="{atlas}"),
    "quality": _table("Quality checks; one row per preset and check.", desc="quality"),
    "xfm_midpoint": _linear(
        "dwi", "midpoint", "rigid", "Rigid transform to the midpoint space of the sessions, ITK text."
    ),
    "alps_longitudinal": _table(
        "DTI-ALPS index in the midpoint space of the sessions; rows left, right, bilateral.", desc="longitudinal"
    ),
    "roi_stats_longitudinal": _table(
        "Measurements in each region of interest, placed in the midpoint space of the sessions.",
        desc="longitudinalregions",
    ),
    "quality_longitudinal": _table(
        "Quality checks of the measurements in the midpoint space of the sessions.", desc="longitudinalquality"
    ),
    "dseg_longitudinal": Derivative(
        suffix="dseg",
        extension=".nii.gz",
        entities={"seg": "{preset}", "desc": "longitudinal"},
        description="Regions of interest, placed in the midpoint space of the sessions.",
    ),
    "probseg_longitudinal": Derivative(
        suffix="probseg",
        extension=".nii.gz",
        entities={"seg": "{preset}", "desc": "longitudinal"},
        description="Weight of each voxel in each region of interest, placed in the midpoint space of the sessions.",
        fields={"LabelMap": list(ROI_LABELS)},
    ),
    "midpoint_fa": _tensor_map(
        "fa", "Fractional anisotropy, average of the sessions in midpoint space.", unit="", desc="midpoint"
    ),
    "midpoint_md": _tensor_map("md", "Mean diffusivity, average of the sessions in midpoint space.", desc="midpoint"),
    "midpoint_xfm": _warp(
        "midpoint", "{template}", "Registration of the average of the sessions, ITK displacement field."
    ),
    "change": _table("Change of the DTI-ALPS index between sessions; one row per pair and hemisphere.", desc="change"),
}
"""All kinds of output files of a run, by key."""


def derivative_path(output_dir: Path, run: DwiRun, key: str, **fill: str) -> Path:
    """Return the path of an output file of a run.

    Parameters
    ----------
    output_dir
        Root of the derivatives.
    run
        Run, whose entities are in the name.
    key
        Kind of file, a key of `DERIVATIVES`.
    **fill
        Labels to fill in.

    Raises
    ------
    MetadataError
        If a label has other characters than letters and digits, which could lead outside the folder.

    Examples
    --------
    >>> run = DwiRun(entities={"sub": "01", "run": "2"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
    >>> derivative_path(Path("out"), run, "fa").as_posix()
    'out/sub-01/dwi/sub-01_run-2_model-tensor_param-fa_dwimap.nii.gz'
    """
    kind = DERIVATIVES[key]
    added = {entity: label.format(**fill) for entity, label in kind.entities.items()}
    name = entity_name({**run.entities, **added})
    return participant_folder(output_dir, run) / kind.folder / f"{name}_{kind.suffix}{kind.extension}"


def name_ending(key: str, **fill: str) -> str:
    """Return the end of the name of an output file, after the entities of the run; arguments as in `derivative_path`.

    Examples
    --------
    >>> name_ending("xfm_rigid", template="MNI152NLin6Asym")
    '_from-dwi_to-MNI152NLin6Asym_mode-image_desc-rigid_xfm.txt'
    """
    kind = DERIVATIVES[key]
    added = entity_name({entity: label.format(**fill) for entity, label in kind.entities.items()})
    return f"_{added}_{kind.suffix}{kind.extension}"


_ANY = "0any0"
_EXTENSIONS = {".nii.gz": ("nii.gz", "json", "tsv"), ".tsv": ("tsv", "json")}
"""Extensions of a file and its companions: sidecar and table of labels."""


def name_pattern(run: DwiRun) -> re.Pattern[str]:
    """Return a pattern that matches exactly the names of output files of a run, with any settings.

    Examples
    --------
    >>> run = DwiRun(entities={"sub": "01"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
    >>> names = ("sub-01_desc-brain_mask.json", "sub-01_desc-mine_mask.json", "sub-01_run-2_desc-brain_mask.json")
    >>> [bool(name_pattern(run).fullmatch(name)) for name in names]
    [True, False, False]
    """
    names = []
    for kind in DERIVATIVES.values():
        added = {entity: re.sub(r"{\w+}", _ANY, label) for entity, label in kind.entities.items()}
        name = re.escape(f"{entity_name({**run.entities, **added})}_{kind.suffix}.")
        endings = "|".join(map(re.escape, _EXTENSIONS.get(kind.extension, (kind.extension[1:],))))
        names.append(f"{name.replace(_ANY, _LABEL.pattern)}(?:{endings})")
    return re.compile("|".join(names))


def participant_folder(output_dir: Path, run: DwiRun) -> Path:
    """Return the folder of a run's participant and session."""
    folder = output_dir / f"sub-{checked_label('sub', run.participant)}"
    return folder / f"ses-{checked_label('ses', run.session)}" if run.session else folder


def entity_name(entities: Mapping[str, str]) -> str:
    """Return entities as in a file name, in canonical order; unknown ones before ``desc``.

    Examples
    --------
    >>> entity_name({"sub": "01", "desc": "alps", "run": "2", "space": "ACPC"})
    'sub-01_run-2_space-ACPC_desc-alps'
    """
    known = {entity: n for n, entity in enumerate(ENTITY_ORDER)}
    order = sorted(entities, key=lambda entity: known.get(entity, known["desc"] - 0.5))
    return "_".join(f"{entity}-{checked_label(entity, entities[entity])}" for entity in order)


def checked_label(entity: str, label: str) -> str:
    """Return a label if it is valid, else raise a MetadataError."""
    if not _LABEL.fullmatch(label):
        raise MetadataError(f"{entity}-{label}", "not a BIDS label", "use letters and digits only")
    return label


def sidecar_of(run: DwiRun, key: str, *, sources: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """Return the sidecar of an image, with the fields that BIDS requires.

    Parameters
    ----------
    run
        Run of the image.
    key
        Kind of file, a key of `DERIVATIVES`.
    sources
        BIDS URIs of its sources; the files of the run if none are given.
    **fields
        Fields to add or to replace.
    """
    if key not in DERIVATIVES:
        raise UsageError(key, "no such derivative", f"choose one of {', '.join(DERIVATIVES)}")
    kind = DERIVATIVES[key]
    sidecar: dict[str, Any] = {"Description": kind.description}
    if kind.unit:
        sidecar["Units"] = kind.unit
    space = run.entities.get("space")
    if space is not None and space not in STANDARD_SPACES:
        sidecar["SpatialReference"] = run.uri_of(run.image)
    images = (run.image, *(partner.image for partner in run.partners))
    sidecar["Sources"] = list(sources) or [run.uri_of(path) for path in images]
    return {**sidecar, **kind.fields, **fields}

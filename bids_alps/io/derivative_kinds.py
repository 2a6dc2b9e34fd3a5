"""Kinds of output files of a run: name, content and unit of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bids_alps.model import REGIONS, SIDES

ROI_LABELS: Mapping[str, int] = {
    f"{region}_{side}": n
    for n, (side, region) in enumerate(((side, region) for side in SIDES for region in REGIONS), start=1)
}
"""Value of each region of interest in label images, and its volume (from 1) in ``probseg`` images."""

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

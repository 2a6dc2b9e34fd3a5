"""Stage: measurements in the regions of atlases."""

from __future__ import annotations

from typing import Any

import numpy as np

from bids_alps.io.atlases import Atlas, find_atlases, read_atlas
from bids_alps.io.derivatives import sidecar_of
from bids_alps.io.presets import preset_labels
from bids_alps.io.tables import Column, table_text, write_table
from bids_alps.io.templates import template_label
from bids_alps.io.writing import write_map, write_text
from bids_alps.model import Array, SpatialMap, SpatialTransform, Statement
from bids_alps.numerics.index.atlas import SENTENCE, Memberships, measure_regions, place_labels, place_probabilities
from bids_alps.settings import Method
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.statements import literal, make_statement
from bids_alps.stages.tensors import TensorFit, measures_of

_MEASURES = {
    "fa": ("fractional anisotropy", ""),
    "md": ("mean diffusivity", "mm^2/s"),
    "ad": ("axial diffusivity", "mm^2/s"),
    "rd": ("radial diffusivity", "mm^2/s"),
}
_KINDS = {"mean": "Weighted mean", "sd": "Weighted standard deviation over voxels", "median": "Weighted median"}
REGION_COLUMNS = (
    Column(name="index", description="Label of the region in the atlas."),
    Column(name="name", description="Name of the region in the atlas."),
    Column(name="n_voxels", description="Number of included voxels."),
    *(
        Column(name=f"{measure}_{kind}", description=f"{label} of the {name}.", unit=unit, optional=True)
        for measure, (name, unit) in _MEASURES.items()
        for kind, label in _KINDS.items()
    ),
    Column(name="reason", description="Why there is no measurement.", optional=True),
)


def read_atlases(method: Method) -> tuple[Atlas, ...]:
    """Read the atlases of the method, before processing starts; errors as in `find_atlases`."""
    reserved, template = preset_labels(method.rois), template_label(method.template)
    find_atlases(method.atlas, template=template, threshold=method.atlas_threshold, reserved=reserved)
    return tuple(read_atlas(name, template=template) for name in method.atlas)


def measure_atlas(
    outputs: RunOutputs, fitted: TensorFit, transform: SpatialTransform, atlas: Atlas, threshold: float
) -> SpatialMap:
    """Measure all regions of an atlas, write their table and label image; return the label image."""
    mask = fitted.field.image.like(fitted.field.mask)
    place = place_probabilities if atlas.is_probabilistic else place_labels
    memberships = place(atlas.image, transform, mask)
    included = memberships.above(threshold)
    measured = measure_regions(included, atlas.names, measures_of(fitted))
    rows: list[dict[str, Any]] = []
    for index, name in atlas.names.items():
        row: dict[str, Any] = {"index": index, "name": name, "n_voxels": 0, **measured.get(index, {})}
        if index not in measured:
            row["reason"] = _reason(atlas, index, memberships, threshold)
        rows.append(row)
    write_table(outputs.path("region_stats", atlas=atlas.label), rows, REGION_COLUMNS)
    path = outputs.path("regions", atlas=atlas.label)
    sidecar = sidecar_of(outputs.run, "regions", Threshold=threshold)
    labels = mask.like(label_image(included, mask.shape))
    write_map(path, labels, sidecar=sidecar, dtype=np.int32)
    write_text(path.with_name(path.name.removesuffix(".nii.gz") + ".tsv"), table_text(rows, ("index", "name")))
    return labels


def atlas_statement(atlas: Atlas, threshold: float) -> tuple[Statement, ...]:
    """Return the statements of the measurement of an atlas."""
    return make_statement("atlas", SENTENCE.replace("{atlas}", literal(atlas.label)), threshold=threshold)


def _reason(atlas: Atlas, index: int, memberships: Memberships, threshold: float) -> str:
    if (memberships.labels == index).any():
        return f"no voxel reaches {threshold:g}"
    if not atlas.is_probabilistic and not (atlas.image.data == index).any():
        return "the atlas has no such label"
    return "outside the brain mask or the field of view"


def label_image(placed: Memberships, shape: tuple[int, int, int]) -> Array:
    """Return the label with the largest weight in each voxel, 0 for none."""
    labels: Array = np.zeros(shape, dtype=np.int32)
    order = np.argsort(placed.weights, kind="stable")  # the largest weight is written last
    labels[tuple(placed.voxels[order].T)] = placed.labels[order]
    return labels

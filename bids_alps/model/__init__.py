"""Data model: immutable values, validated when they are created.

There is one coordinate system inside the program: RAS+ world millimeters, x from left to right, y from posterior to
anterior, z from inferior to superior. Image arrays keep the voxel order of their file; their ``affine`` maps voxel
indices to world coordinates.
"""

from bids_alps.model.arrays import Array, read_only
from bids_alps.model.maps import SubjectMaps, Template
from bids_alps.model.regions import (
    REGIONS,
    SIDES,
    Conventions,
    Ellipsoid,
    Region,
    Roi,
    RoiPreset,
    Side,
    same_shape,
)
from bids_alps.model.results import (
    STATUSES,
    AlpsResult,
    Check,
    Interval,
    LesionEffect,
    Pose,
    RoiDiffusivity,
    Status,
    worst_status,
)
from bids_alps.model.series import (
    TENSOR_COMPONENTS,
    Axes,
    DwiRun,
    DwiSeries,
    Fieldmap,
    FieldmapImage,
    FieldmapMethod,
    Gradients,
    LesionMask,
    TensorField,
)
from bids_alps.model.spatial import SpatialMap, SpatialTransform, sample_linear, sample_nearest, transform_points
from bids_alps.model.statements import STAGES, Stage, Statement

__all__ = [
    "REGIONS",
    "SIDES",
    "STAGES",
    "STATUSES",
    "TENSOR_COMPONENTS",
    "AlpsResult",
    "Array",
    "Axes",
    "Check",
    "Conventions",
    "DwiRun",
    "DwiSeries",
    "Ellipsoid",
    "Fieldmap",
    "FieldmapImage",
    "FieldmapMethod",
    "Gradients",
    "Interval",
    "LesionEffect",
    "LesionMask",
    "Pose",
    "Region",
    "Roi",
    "RoiDiffusivity",
    "RoiPreset",
    "Side",
    "SpatialMap",
    "SpatialTransform",
    "Stage",
    "Statement",
    "Status",
    "SubjectMaps",
    "Template",
    "TensorField",
    "read_only",
    "same_shape",
    "sample_linear",
    "sample_nearest",
    "transform_points",
    "worst_status",
]

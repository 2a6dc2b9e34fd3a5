"""The stage that draws the figures of a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bids_alps.io.presets import preset_labels
from bids_alps.io.templates import read_template
from bids_alps.model import SpatialMap
from bids_alps.numerics.tensors.tensor import (
    eigen_system,
)
from bids_alps.registration.base import Registration
from bids_alps.report.catalogue import write_figures
from bids_alps.report.drawing import RunDrawing, draw_regions, draw_run_figures
from bids_alps.settings import Method
from bids_alps.stages.index import Measurement
from bids_alps.stages.lesions import Lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.tensors import TensorFit


def draw(
    place: RunOutputs,
    fitted: TensorFit,
    registration: Registration,
    measured: tuple[Measurement, ...],
    ran: tuple[Method, PreprocessedSeries, tuple[SpatialMap, ...], Lesions | None],
) -> None:
    """Draw the figures of the run's report: those of regions for each preset, all others with the regions of the first.

    `ran`: the method, the correction, the regions of atlases, lesions.
    """
    method, correction, atlases, lesions = ran
    _, vectors = eigen_system(fitted.field.image.data)
    drawing = RunDrawing(
        fa=fitted.fa,
        mask=fitted.field.image.like(fitted.field.mask),
        v1=fitted.field.image.like(vectors[..., 0].astype(np.float32)),
        rois=measured[0].rois,
        transform=registration.transform,
        template=read_template(method.template),
        turned=method.pose_correction,
        comparisons=correction.comparisons,
        motion=correction.motion,
        atlases=atlases,
        lesions=lesions.share if lesions else None,
    )
    write_figures(place.output_dir, place.run.name, draw_run_figures(drawing))
    for one in measured[1:]:
        (label,) = preset_labels((one.preset.name,))
        write_figures(place.output_dir, place.run.name, draw_regions(replace(drawing, rois=one.rois)), preset=label)

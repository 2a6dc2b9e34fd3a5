"""Stage: figures of a run."""

from __future__ import annotations

from dataclasses import replace

from bids_alps.io.presets import preset_labels
from bids_alps.io.templates import read_template
from bids_alps.model import SpatialMap
from bids_alps.numerics.tensors.residuals import measure_residuals
from bids_alps.report.catalog import write_figures
from bids_alps.report.drawing import RunDrawing, draw_regions, draw_run_figures
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import Measurement
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.preprocessing import PreprocessedSeries


def draw(
    outputs: RunOutputs,
    aligned: AlignedRun,
    measured: tuple[Measurement, ...],
    preprocessed: PreprocessedSeries,
    atlases: tuple[SpatialMap, ...],
) -> None:
    """Plot the figures of a run: those of regions for each preset, the others with the regions of the first.

    Parameters
    ----------
    outputs
        Output paths of the run.
    aligned, measured
        The run, and the measurements of each preset.
    preprocessed
        Results of preprocessing.
    atlases
        Label images of atlases.
    """
    fitted, method = aligned.fitted, aligned.method
    drawing = RunDrawing(
        fa=fitted.fa,
        mask=aligned.mask,
        v1=fitted.v1,
        rois=measured[0].rois,
        transform=aligned.registration.transform,
        template=read_template(method.template),
        pose_corrected=method.pose_correction,
        comparisons=preprocessed.comparisons,
        motion=preprocessed.motion,
        atlases=atlases,
        lesions=aligned.lesion_fraction,
        series=fitted.all_shells,
        fit=(
            measure_residuals(
                fitted.series,
                fitted.field,
                slice_axis=preprocessed.motion.slice_axis if preprocessed.motion is not None else 2,
            ),
            fitted.series.gradients.bvals,
        ),
    )
    write_figures(outputs.output_dir, outputs.run.name, draw_run_figures(drawing))
    for measurement in measured[1:]:
        (label,) = preset_labels((measurement.preset.name,))
        write_figures(
            outputs.output_dir, outputs.run.name, draw_regions(replace(drawing, rois=measurement.rois)), preset=label
        )

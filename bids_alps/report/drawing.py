"""All figures of one run, drawn from the intermediate results of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bids_alps.model import Array, Roi, SpatialMap, SpatialTransform
from bids_alps.report.catalog import CATALOGUE, STEPS

if TYPE_CHECKING:
    from bids_alps.model import DwiSeries, Template
    from bids_alps.numerics.preprocessing.motion import SeriesMotion
    from bids_alps.numerics.tensors.residuals import FitResiduals
    from bids_alps.report.slices import Display


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeAfter:
    """A preprocessing step to show before and after.

    Parameters
    ----------
    name
        ``denoise``, ``gibbs``, ``motion`` or ``distortion``: part of the file's name.
    title
        Title of the step.
    before, after
        Shape (i, j, k).
    """

    name: str
    title: str
    before: SpatialMap
    after: SpatialMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Head motion per volume.

    Parameters
    ----------
    translations_mm, rotations_degrees
        Along and about x, y, z, shape (n, 3).
    displacement_mm
        Framewise displacement, shape (n,).
    outlier_fraction
        Fraction of outlier slices, n values or none.
    outlier_slices, slice_axis
        Outlier slices, bool, shape (n, slices), and the voxel axis of the slices.
    """

    translations_mm: Array
    rotations_degrees: Array
    displacement_mm: Array
    outlier_fraction: tuple[float, ...] = ()
    outlier_slices: Array | None = None
    slice_axis: int = 2


def compare_steps(grid: SpatialMap, before_after: Mapping[str, tuple[Array, Array]]) -> tuple[BeforeAfter, ...]:
    """Return the preprocessing steps to show, in the order of the page.

    Parameters
    ----------
    grid
        Any image on the grid of the series.
    before_after
        Two images of shape (i, j, k) by step: ``denoise``, ``gibbs``, ``motion``, ``distortion``.
    """
    return tuple(
        BeforeAfter(name=name, title=CATALOGUE[name].title, before=grid.like(pair[0]), after=grid.like(pair[1]))
        for name in STEPS
        if (pair := before_after.get(name)) is not None
    )


def trace_motion(motion: SeriesMotion) -> Motion:
    """Return the head motion of a series for the figures."""
    table = motion.confounds
    return Motion(
        translations_mm=np.stack([table[f"trans_{axis}"] for axis in "xyz"], axis=1),
        rotations_degrees=np.degrees(np.stack([table[f"rot_{axis}"] for axis in "xyz"], axis=1)),
        displacement_mm=motion.framewise_displacement,
        outlier_fraction=tuple(np.mean(motion.outlier_slices, axis=1).tolist()),
        outlier_slices=motion.outlier_slices,
        slice_axis=motion.slice_axis,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDrawing:
    """Data for the figures of a run, all on the diffusion grid except the template.

    Parameters
    ----------
    fa, mask
        Fractional anisotropy and brain mask, shape (i, j, k).
    v1
        Principal eigenvectors in RAS+ world axes, shape (i, j, k, 3).
    rois
        Regions of both sides.
    transform, template
        Transform to the template, and the template.
    pose_corrected
        Whether to show the head in template orientation (pose correction) or in scanner orientation.
    comparisons, motion
        Of preprocessing, if it was run.
    atlases
        Label images of the regions of atlases, on the same grid.
    lesions
        Lesion fraction of each voxel, if there is a lesion mask.
    series
        The series before shell selection.
    fit
        Residuals of the tensor fit, and the b-values of the fitted volumes, s/mm^2.
    """

    fa: SpatialMap
    mask: SpatialMap
    v1: SpatialMap
    rois: Sequence[Roi]
    transform: SpatialTransform
    template: Template
    pose_corrected: bool = True
    comparisons: tuple[BeforeAfter, ...] = ()
    motion: Motion | None = field(default=None)
    atlases: tuple[SpatialMap, ...] = ()
    lesions: SpatialMap | None = None
    series: DwiSeries | None = None
    fit: tuple[FitResiduals, Array] | None = None


def draw_regions(drawing: RunDrawing) -> dict[str, bytes]:
    """Draw the figures of the regions of interest, as `draw_run_figures` does."""
    from bids_alps.report import figures_rois
    from bids_alps.report.slices import find_display

    rois = [roi for roi in drawing.rois if roi.weights.size]
    display = find_display(drawing.mask, drawing.transform.rigid if drawing.pose_corrected else np.eye(4))
    return {
        "rois": figures_rois.draw_rois(drawing.fa, drawing.v1, rois, display, drawing.lesions),
        "sticks": figures_rois.draw_sticks(drawing.fa, drawing.v1, rois, display),
    }


def draw_run_figures(drawing: RunDrawing) -> dict[str, bytes]:
    """Draw every figure of a run.

    Returns
    -------
    dict[str, bytes]
        SVG by the label of the file's ``desc`` entity: ``rois``, ``sticks``, ``registrationBefore`` ...
    """
    from bids_alps.report import figures_atlas, figures_preprocessing, figures_registration
    from bids_alps.report.slices import find_display

    rois = [roi for roi in drawing.rois if roi.weights.size]
    display = find_display(drawing.mask, drawing.transform.rigid if drawing.pose_corrected else np.eye(4))
    figures = draw_regions(drawing)
    figures["registrationBefore"], figures["registrationAfter"] = figures_registration.draw_registration(
        drawing.fa, drawing.template, drawing.transform, rois, display
    )
    if drawing.atlases:
        figures["atlases"] = figures_atlas.draw_atlases(drawing.fa, drawing.atlases, display)
    for step in drawing.comparisons:
        pair = figures_preprocessing.draw_pair(step.before, step.after, step.title, display)
        figures[f"{step.name}Before"], figures[f"{step.name}After"] = pair
    return figures | _draw_quality(drawing, display)


def _draw_quality(drawing: RunDrawing, display: Display) -> dict[str, bytes]:
    """Draw the figures of data quality."""
    from bids_alps.report import figures_quality

    figures, trace = {}, drawing.motion
    bvals = () if drawing.series is None else tuple(drawing.series.gradients.bvals.tolist())
    if trace is not None:
        figures["headmotion"] = figures_quality.draw_motion(
            trace.translations_mm, trace.rotations_degrees, trace.displacement_mm, trace.outlier_fraction, bvals
        )
    if drawing.fit is not None:
        residuals, fitted = drawing.fit
        lost = None if trace is None or trace.outlier_slices is None else trace.outlier_slices.T
        lost = lost if lost is not None and lost.shape == residuals.by_slice.shape else None
        figures["carpet"] = figures_quality.draw_carpet(residuals.by_slice, fitted.tolist(), lost)
        maps = (drawing.fa.like(residuals.snr), drawing.fa.like(residuals.relative))
        figures["noise"] = figures_quality.draw_noise(*maps, display)
    if drawing.series is not None:
        figures["movie"] = figures_quality.draw_movie(drawing.series.image, bvals, display)
    return figures

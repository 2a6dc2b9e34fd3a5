"""Subject and template in the same planes, to be overlaid in the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from bids_alps.model import Array, Roi, SpatialMap, SpatialTransform, Template, sample_linear
from bids_alps.report.figures import NIGHT, new_figure, show_plane, styled, svg_bytes, title_of
from bids_alps.report.figures_rois import planes_through
from bids_alps.report.slices import Display, Plane, roi_center, sample_plane


@styled
def draw_registration(
    fa: SpatialMap, template: Template, transform: SpatialTransform, rois: Sequence[Roi], display: Display
) -> tuple[bytes, bytes]:
    """Draw the subject's FA and the template's white matter, both with the outline of the latter.

    Parameters
    ----------
    fa
        Fractional anisotropy of the subject, shape (i, j, k).
    template
        Its white matter is drawn in subject space.
    transform
        Transform from subject to template.
    rois
        Regions that define the planes.
    display
        Axes and limits of the images.

    Returns
    -------
    tuple[bytes, bytes]
        SVG of the subject and of the template, with identical geometry.
    """
    centers = np.array([display.place(roi_center(roi, fa)) for roi in rois]).reshape(-1, 3)
    planes = planes_through(display, centers)
    white = [sample_template(template.wm, transform, plane) for plane in planes]
    subject = [np.clip(sample_plane(fa, plane) / 0.8, 0, 1) for plane in planes]
    words = f"Orange: white matter of {template.name}. Left of the image = left of the head."
    return _draw_mosaic(planes, subject, white, words), _draw_mosaic(planes, white, white, words)


def sample_template(image: SpatialMap, transform: SpatialTransform, plane: Plane) -> Array:
    """Return the template resampled in a plane of the subject, shape (rows, columns)."""
    points = transform.template_from_subject(plane.points)
    return sample_linear(image, points)


def _draw_mosaic(planes: Sequence[Plane], pictures: Sequence[Array], outlines: Sequence[Array], words: str) -> bytes:
    figure = new_figure(8, 8, ground=NIGHT)
    for axes, plane, picture, outline in zip(figure.subplots(3, 3).flat, planes, pictures, outlines, strict=True):
        show_plane(axes, plane, picture, title=title_of(plane))
        _draw_outline(axes, plane, outline)
    figure.suptitle(words, color="white", fontsize=9)
    return svg_bytes(figure)


def _draw_outline(axes: Axes, plane: Plane, outline: Array) -> None:
    if outline.max() > 0.5:
        contours = axes.contour(outline, [0.5], extent=plane.extent, origin="lower")
        lines = contours.allsegs[0]
        contours.remove()  # as vector paths, thousands of points would dominate the file size
        axes.add_collection(LineCollection(lines, colors="#ff9e2c", linewidths=0.6, rasterized=True), autolim=False)

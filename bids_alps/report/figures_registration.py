"""Subject and template in the same planes, to be overlaid in the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_alps.model import Array, Roi, SpatialMap, SpatialTransform, Template, sample_linear
from bids_alps.report.figures_rois import planes_through
from bids_alps.report.panels import Panel, Row, contours, draw_panels
from bids_alps.report.slices import Display, Plane, roi_center, sample_plane

_OUTLINE = "#ff9e2c"


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
    panels = [
        Panel(plane=plane, picture=picture, shapes=(contours(outline, plane, 0.5, _OUTLINE, width=0.6),))
        for plane, picture, outline in zip(planes, pictures, outlines, strict=True)
    ]
    return draw_panels([Row(panels=panels[n : n + 3]) for n in (0, 3, 6)], (words,))

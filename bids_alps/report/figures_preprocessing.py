"""Images before and after each preprocessing step."""

from __future__ import annotations

import numpy as np

from bids_alps.model import SpatialMap
from bids_alps.report.figures import NIGHT, new_figure, show_plane, styled, svg_bytes, title_of
from bids_alps.report.slices import Display, sample_plane


@styled
def draw_pair(before: SpatialMap, after: SpatialMap, title: str, display: Display) -> tuple[bytes, bytes]:
    """Draw two images in the same planes with the same gray scale.

    Parameters
    ----------
    before, after
        Shape (i, j, k), the same grid or not.
    title
        Title of the step.
    display
        Axes and limits of the images.

    Returns
    -------
    tuple[bytes, bytes]
        SVG before and after, with identical geometry.
    """
    middle = (display.low + display.high) / 2
    planes = [display.plane(axis, float(middle[axis])) for axis in (2, 1, 0)]
    pictures = [[sample_plane(image, plane) for plane in planes] for image in (before, after)]
    shown = np.concatenate([picture.ravel() for picture in pictures[0]])
    top = float(np.percentile(shown[shown > 0], 99)) if (shown > 0).any() else 1.0
    panels = []
    for row in pictures:
        figure = new_figure(8, 3.6, ground=NIGHT)
        for axes, plane, picture in zip(figure.subplots(1, 3), planes, row, strict=True):
            show_plane(axes, plane, picture / top, title=title_of(plane))
        figure.suptitle(f"{title}. Left of the image = left of the head.", color="white", fontsize=9)
        panels.append(svg_bytes(figure))
    return panels[0], panels[1]

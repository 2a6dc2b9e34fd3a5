"""Images before and after each preprocessing step."""

from __future__ import annotations

import numpy as np

from bids_alps.model import SpatialMap
from bids_alps.report.panels import Panel, Row, draw_panels
from bids_alps.report.slices import Display, sample_plane


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
    heading = (f"{title}. Left of the image = left of the head.",)
    first, second = (
        Row(panels=[Panel(plane=plane, picture=shot / top) for plane, shot in zip(planes, row, strict=True)])
        for row in pictures
    )
    return draw_panels([first], heading), draw_panels([second], heading)

"""Regions of an atlas outlined on the fractional anisotropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_alps.model import Array, SpatialMap, sample_nearest
from bids_alps.report.panels import Lines, Panel, Row, contours, draw_panels
from bids_alps.report.slices import Display, Plane, sample_plane

_COLORS = ("#ffd23f", "#56b4e9", "#ff8fd8", "#5bd6a2", "#ff7f50", "#ffffff")


def draw_atlases(fa: SpatialMap, atlases: Sequence[SpatialMap], display: Display) -> bytes:
    """Draw the regions of each atlas on the FA, one row per atlas, in three planes through their center.

    Parameters
    ----------
    fa
        Fractional anisotropy, shape (i, j, k).
    atlases
        Label images on the same grid.
    display
        Axes and limits of the picture.

    Returns
    -------
    bytes
        SVG. Neighboring labels have different colors; planes that miss the regions show no outlines.
    """
    rows = []
    for labels in atlases:
        middle = _middle(labels, display)
        planes = [display.plane(axis, float(middle[axis])) for axis in (2, 1, 0)]
        rows.append(
            Row(
                panels=[
                    Panel(plane=plane, picture=sample_plane(fa, plane), shapes=_outlines(plane, labels))
                    for plane in planes
                ]
            )
        )
    return draw_panels(rows, ())


def _middle(labels: SpatialMap, display: Display) -> Array:
    voxels = np.argwhere(labels.data > 0)
    if not len(voxels):
        return (display.low + display.high) / 2
    points = display.place(labels.world(voxels))
    middle: Array = np.median(points, axis=0)
    middle[0] = np.median(points[points[:, 0] <= middle[0], 0])  # sagittal: through one side, not between them
    return middle


def _outlines(plane: Plane, labels: SpatialMap) -> tuple[Lines, ...]:
    cut = sample_nearest(labels, plane.points)
    return tuple(
        contours((cut == label).astype(np.float64), plane, 0.5, _COLORS[int(label) % len(_COLORS)], width=1.0)
        for label in np.unique(cut[cut > 0])
    )

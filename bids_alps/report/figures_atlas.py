"""Regions of an atlas outlined on the fractional anisotropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bids_alps.model import Array, SpatialMap, sample_nearest
from bids_alps.report.figures import NIGHT, new_figure, show_plane, styled, svg_bytes, title_of
from bids_alps.report.slices import Display, Plane, sample_plane

_COLORS = ("#ffd23f", "#56b4e9", "#ff8fd8", "#5bd6a2", "#ff7f50", "#ffffff")


@styled
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
    figure = new_figure(8, 3.1 * len(atlases), ground=NIGHT)
    rows = figure.subplots(len(atlases), 3, squeeze=False)
    for row, labels in zip(rows, atlases, strict=True):
        middle = _middle(labels, display)
        for axes, axis in zip(row, (2, 1, 0), strict=True):
            plane = display.plane(axis, float(middle[axis]))
            show_plane(axes, plane, np.clip(sample_plane(fa, plane), 0, 1), title=title_of(plane))
            _outline(axes, plane, labels)
    return svg_bytes(figure)


def _middle(labels: SpatialMap, display: Display) -> Array:
    voxels = np.argwhere(labels.data > 0)
    if not len(voxels):
        return (display.low + display.high) / 2
    points = display.place(labels.world(voxels))
    middle: Array = np.median(points, axis=0)
    middle[0] = np.median(points[points[:, 0] <= middle[0], 0])  # sagittal: through one side, not between them
    return middle


def _outline(axes: Axes, plane: Plane, labels: SpatialMap) -> None:
    cut = sample_nearest(labels, plane.points)
    for label in np.unique(cut[cut > 0]):
        color = _COLORS[int(label) % len(_COLORS)]
        inside = (cut == label).astype(np.float64)
        axes.contour(inside, [0.5], extent=plane.extent, origin="lower", colors=[color], linewidths=1.0)

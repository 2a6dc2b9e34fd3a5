"""Before and after each step of preprocessing, and how the head moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_alps.model import Array, SpatialMap
from bids_alps.report.figures import NIGHT, new_figure, show_plane, styled, svg_bytes, title_of
from bids_alps.report.slices import Display, sample_plane


@styled
def draw_pair(before: SpatialMap, after: SpatialMap, title: str, display: Display) -> tuple[bytes, bytes]:
    """Draw two images in the same planes with the same grey scale.

    Parameters
    ----------
    before, after
        Shape (i, j, k), the same grid or not.
    title
        What the step was.
    display
        Axes and limits of the pictures.

    Returns
    -------
    tuple[bytes, bytes]
        SVG before and after; pixel for pixel the same places.
    """
    middle = (display.low + display.high) / 2
    planes = [display.plane(axis, float(middle[axis])) for axis in (2, 1, 0)]
    pictures = [[sample_plane(image, plane) for plane in planes] for image in (before, after)]
    shown = np.concatenate([picture.ravel() for picture in pictures[0]])
    top = float(np.percentile(shown[shown > 0], 99)) if (shown > 0).any() else 1.0
    drawn = []
    for row in pictures:
        figure = new_figure(8, 3.6, ground=NIGHT)
        for axes, plane, picture in zip(figure.subplots(1, 3), planes, row, strict=True):
            show_plane(axes, plane, picture / top, title=title_of(plane))
        figure.suptitle(f"{title}. Left of the picture = left of the head.", color="white", fontsize=9)
        drawn.append(svg_bytes(figure))
    return drawn[0], drawn[1]


@styled
def draw_motion(
    translations_mm: Array, rotations_degrees: Array, displacement_mm: Array, outlier_fraction: Sequence[float] = ()
) -> bytes:
    """Draw head motion per volume.

    Parameters
    ----------
    translations_mm, rotations_degrees
        Along and about x, y, z, shape (n, 3).
    displacement_mm
        Framewise displacement, shape (n,); NaN where it has none, as in the first volume.
    outlier_fraction
        Fraction of slices of each volume that dropped out, n values or none.

    Returns
    -------
    bytes
        SVG.
    """
    rows = 4 if len(outlier_fraction) else 3
    figure = new_figure(8, 1.6 * rows + 0.3)
    grid = figure.subplots(rows, 1, sharex=True)
    volumes = np.arange(len(displacement_mm))
    for axes, values, label in (
        (grid[0], translations_mm, "Translation, mm"),
        (grid[1], rotations_degrees, "Rotation, °"),
    ):
        for n, (name, colour, style) in enumerate(
            zip("xyz", ("#c0392b", "#1e8449", "#2460a7"), ("-", "--", ":"), strict=True)
        ):
            axes.plot(volumes, np.asarray(values)[:, n], color=colour, linestyle=style, label=name)
        axes.set_ylabel(label)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    grid[2].plot(volumes, displacement_mm, color="#333333")
    grid[2].set_ylabel("Displacement, mm")
    grid[2].set_ylim(bottom=0)
    if rows == 4:
        grid[3].bar(volumes, np.asarray(outlier_fraction) * 100, color="#a04000")
        grid[3].set_ylabel("Slices lost, %")
        grid[3].set_ylim(0, max(5.0, 105 * max(outlier_fraction)))
    grid[-1].set_xlabel("Volume")
    return svg_bytes(figure)
